#![cfg(not(loom))]
//! A bounded slice of every fuzz target on every run: seeds, what once failed, and mutations.
//!
//! The functions are those of `libexo/fuzz`; `EXO_FUZZ_CASES` sets how many mutations each target
//! gets.

#[path = "../fuzz/src/lib.rs"]
#[allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a crate of its own elsewhere"
)]
mod fuzz;

use std::fs;
use std::path::Path;

use fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

const CASES: u32 = if cfg!(debug_assertions) { 2000 } else { 20_000 };

fn cases() -> u32 {
    let asked = std::env::var("EXO_FUZZ_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

/// What is done to an input.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    /// A number at the edge of its range.
    Edge(Index, u64, usize),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
    /// The rest of another seed.
    Splice(Index, Index),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let len = bytes.len();
        let place = |at: &Index| at.index(len + 1);
        match self {
            Self::Flip(at, bit) if len > 0 => bytes[at.index(len)] ^= 1 << bit,
            Self::Set(at, byte) if len > 0 => bytes[at.index(len)] = *byte,
            Self::Flip(..) | Self::Set(..) => {}
            Self::Edge(at, number, width) => {
                let at = place(at);
                let end = (at + width).min(len);
                let number = number.to_le_bytes();
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Insert(at, more) => {
                bytes.splice(place(at)..place(at), more.iter().copied());
            }
            Self::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, piece);
            }
            Self::Splice(other, at) => {
                let other = other.get(seeds);
                let rest = &other[at.index(other.len() + 1)..];
                bytes.extend_from_slice(rest);
            }
        }
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let at = any::<Index>;
    let edges = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 7),
        Just(1 << 63),
        (0..64_u32).prop_map(|bit| 1 << bit),
    ];
    let one = prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), edges, prop_oneof![Just(1), Just(2), Just(4), Just(8)])
            .prop_map(|(at, number, width)| Mutation::Edge(at, number, width)),
        at().prop_map(Mutation::Cut),
        (at(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), at()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        (at(), at()).prop_map(|(other, at)| Mutation::Splice(other, at)),
    ];
    prop::collection::vec(one, 1..8)
}

fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(entries) = fs::read_dir(root.join("fuzz/regressions").join(target.name)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a readable file"))
        .collect()
}

#[track_caller]
fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("it is listed");
    let mut seeds = (target.seeds)();
    seeds.extend(regressions(target));
    assert!(!seeds.is_empty());
    for seed in &seeds {
        (target.run)(seed);
    }
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    };
    let input = (any::<Index>(), mutations());
    let result = TestRunner::new_with_rng(config, rng()).run(&input, |(seed, mutations)| {
        let mut bytes = seed.get(&seeds).clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes, &seeds);
        }
        (target.run)(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
}

/// The same mutations on every run: what fails here fails again.
fn rng() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}

#[test]
fn frames_of_any_bytes_are_refused_or_come_back() {
    holds("frame");
}

#[test]
fn an_engine_survives_frames_of_any_bytes() {
    holds("ring");
}

#[test]
fn the_seeds_of_an_engine_form_a_ring_that_orders() {
    let story = &fuzz::ring::seeds()[1];
    let ring = fuzz::ring::run_to_end(story);
    assert!(ring.counters().installed + ring.counters().founded > 0);
    assert!(ring.counters().turns > 1, "{:?}", ring.counters());
    assert!(ring.seq().0 > 1, "{:?}", ring.counters());
}

#[test]
fn an_epoch_of_less_than_a_majority_is_refused() {
    let ring = fuzz::ring::run_to_end(&fuzz::ring::lonely());
    assert_eq!(ring.counters().installed, 0);
    assert_eq!(
        ring.counters()
            .dropped(libexo::engine::ring::DropReason::Malformed),
        2
    );
}

#[test]
fn records_and_keys_of_any_bytes_are_refused_or_come_back() {
    holds("record");
}

#[test]
fn control_packets_of_any_bytes_are_refused_or_come_back() {
    holds("control");
}

#[test]
fn a_lane_of_any_bytes_is_drained_within_its_bounds() {
    holds("lane");
}

#[test]
fn a_log_of_any_bytes_is_read_within_its_bounds() {
    holds("log");
}

#[test]
fn a_journal_of_any_bytes_is_whole_or_lost() {
    holds("journal");
}
