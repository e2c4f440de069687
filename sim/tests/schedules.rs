//! A few schedules on every run; many by `exo sim run`.

use exo_sim::{Outcome, Plan, examine, run};

/// Under a minute when optimised. Unoptimised builds run a tenth.
const COUNT: u64 = if cfg!(debug_assertions) { 60 } else { 600 };

#[test]
fn every_schedule_keeps_the_guarantees() {
    let mut total = Outcome::default();
    let mut failures = Vec::new();
    for seed in 1..=COUNT {
        match examine(&Plan::new(seed, None)) {
            Ok(outcome) => total.add(&outcome),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    println!("{}", total.faults);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 159, 265] {
        let plan = Plan::new(seed, None);
        assert_eq!(run(&plan), run(&plan));
    }
}

/// Schedules that once failed: what broke is in the message.
#[test]
fn what_was_mended_stays_mended() {
    for (seed, hosts, what) in [
        (
            41034,
            6,
            "a host let in by a turn that its earlier life had asked for",
        ),
        (51302, 6, "the same"),
        (89641, 4, "the same"),
        (
            97244,
            7,
            "sources of a long log asked again before they could answer",
        ),
    ] {
        let plan = Plan::new(seed, Some(hosts..=hosts));
        run(&plan).unwrap_or_else(|failure| panic!("{what}: {failure}"));
    }
}
