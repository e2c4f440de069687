#![allow(unsafe_code, reason = "rings over ordinary memory")]
#![cfg(not(loom))]
//! Rings against simple models, and the draining end against nonsense.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use libexo::ids::{GrantId, Seq};
use libexo::shm::area::Area;
use libexo::shm::log::{Cursor, LogHeader, LogReader, LogWriter, Look, Origin};
use libexo::shm::submit_ring::{DATAGRAM_MAX, Full, LaneHeader, SubmitDrain, Submitter};
use libexo::time::Timestamp;
use proptest::prelude::*;

/// Memory as the kernel gives it: zero, aligned, alive to the end of the test.
struct Memory(Box<[AtomicU64]>);

impl Memory {
    fn new(bytes: usize) -> Self {
        Self((0..bytes / 8).map(|_| AtomicU64::new(0)).collect())
    }

    const fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }

    const fn header<T>(&self) -> &T {
        // SAFETY: the tests make memories of more than a page; headers are atomics and padding.
        unsafe { &*self.base().cast::<T>() }
    }

    fn area(&self, capacity: u64) -> Area {
        // SAFETY: the tests add a page for the header.
        unsafe { Area::new(self.base().add(4096), capacity) }
    }
}

const LANE: u64 = 4096;

#[derive(Clone, Debug)]
enum Step {
    Submit(u32, Vec<u8>),
    /// Takes at most so many records.
    Drain(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..9_u32, prop::collection::vec(any::<u8>(), 0..900))
            .prop_map(|(g, b)| Step::Submit(g, b)),
        (0..6_usize).prop_map(Step::Drain),
    ]
}

proptest! {
    #[test]
    fn lane_is_a_bounded_queue(steps in prop::collection::vec(step(), 1..200)) {
        let memory = Memory::new(8192);
        let header: &LaneHeader = memory.header();
        header.initialise(LANE);
        let producer = Submitter::new(header, memory.area(LANE));
        let mut consumer = SubmitDrain::new(header, memory.area(LANE));
        let mut model: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        let room = |bytes: usize| (bytes as u64 + 8).next_multiple_of(8);
        for step in steps {
            match step {
                Step::Submit(grant, bytes) => {
                    let used: u64 = model.iter().map(|(_, bytes)| room(bytes.len())).sum();
                    let fits = used + room(bytes.len()) <= LANE;
                    prop_assert_eq!(producer.has_room(bytes.len()), fits);
                    let submitted = producer
                        .submit(GrantId(grant), bytes.len(), |area, at| area.write(at, &bytes));
                    prop_assert_eq!(submitted, if fits { Ok(()) } else { Err(Full) });
                    if fits {
                        model.push_back((grant, bytes));
                    }
                }
                Step::Drain(most) => {
                    prop_assert_eq!(consumer.fetch(), Ok(!model.is_empty()));
                    for _ in 0..most {
                        let record = consumer.peek().expect("a correct producer");
                        let Some(record) = record else { break };
                        let (grant, bytes) = model.pop_front().expect("nothing is invented");
                        prop_assert_eq!(record.grant, GrantId(grant));
                        prop_assert_eq!(record.bytes, &bytes[..]);
                        let record_bytes = record.record_bytes();
                        consumer.take(record_bytes);
                    }
                    consumer.release();
                }
            }
        }
    }

    #[test]
    fn drain_survives_anything_and_invents_nothing(
        garbage in prop::collection::vec(any::<u64>(), 64),
        likely in prop::collection::vec((0..512_usize, 0..2048_u64, any::<bool>()), 0..40),
        tails in prop::collection::vec(prop_oneof![0..9000_u64, any::<u64>()], 1..8),
    ) {
        let memory = Memory::new(8192);
        let header: &LaneHeader = memory.header();
        header.initialise(LANE);
        let mut consumer = SubmitDrain::new(header, memory.area(LANE));
        for (word, value) in memory.0[512..].iter().zip(garbage.iter().cycle()) {
            word.store(*value, Ordering::Relaxed);
        }
        for (at, len, skip) in likely {
            // Heads that are nearly right get further.
            let head = if skip { 1 << 31 | len << 32 } else { len };
            memory.0[512 + at].store(head, Ordering::Relaxed);
        }
        let mut taken = 0_u64;
        for tail in tails {
            memory.0[16].store(tail, Ordering::Relaxed); // offset 128
            let pending = tail.wrapping_sub(taken);
            let fetched = consumer.fetch();
            prop_assert_eq!(fetched.is_err(), pending > LANE, "{:?}", fetched);
            if fetched.is_err() {
                break;
            }
            let mut ended = false;
            for _ in 0..2000 {
                match consumer.peek() {
                    Err(_) => {
                        ended = true;
                        break;
                    }
                    Ok(None) => break,
                    Ok(Some(record)) => {
                        prop_assert!(record.bytes.len() <= DATAGRAM_MAX);
                        let record_bytes = record.record_bytes();
                        prop_assert!(record.bytes.len() + 8 <= record_bytes);
                        consumer.take(record_bytes);
                    }
                }
            }
            consumer.release();
            taken = memory.0[32].load(Ordering::Relaxed); // offset 256
            prop_assert!(taken <= tail, "took {} of {}", taken, tail);
            if ended {
                break;
            }
        }
    }

    #[test]
    fn readers_anywhere_in_a_log_see_what_the_model_holds(
        steps in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 0..700), any::<bool>()), 1..200),
    ) {
        const LOG: u64 = 8192;
        let memory = Memory::new(4096 + 8192);
        let header: &LogHeader = memory.header();
        header.initialise(LOG);
        let mut writer = LogWriter::new(header, memory.area(LOG));
        let reader = LogReader::new(header, memory.area(LOG));
        let words: Vec<[AtomicU64; 3]> = (0..3)
            .map(|_| [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX)])
            .collect();
        let cursor = |at: usize| Cursor { next: &words[at][0], floor: &words[at][1], end: &words[at][2] };
        let mut models: Vec<VecDeque<(u64, Vec<u8>)>> = vec![VecDeque::new(); 3];
        let mut seq = 0;
        for (who, bytes, inet6) in steps {
            if who == 3 {
                let slowest = words.iter().map(|word| word[0].load(Ordering::Relaxed)).min();
                if writer.has_room(slowest.expect("three"), bytes.len()) {
                    seq += 1;
                    let source = if inet6 { "[fd00::1]:7" } else { "10.0.0.1:7" };
                    let source = source.parse().expect("an address");
                    let origin = Origin { source, ttl: 9, tos: 8, no_loop: None };
                    writer.append(Seq(seq), Timestamp(seq), &origin, &bytes);
                    writer.publish();
                    for model in &mut models {
                        model.push_back((seq, bytes.clone()));
                    }
                }
                continue;
            }
            prop_assert_eq!(reader.is_empty(cursor(who)), models[who].is_empty());
            match (reader.look(cursor(who)), models[who].pop_front()) {
                (Look::Empty, None) => {}
                (Look::Found(position, record), Some((seq, bytes))) => {
                    prop_assert_eq!(record.head.seq, Seq(seq));
                    let mut copy = vec![0; record.head.len as usize];
                    record.read(&mut copy);
                    prop_assert_eq!(copy, bytes);
                    prop_assert_eq!((record.origin().ttl, record.origin().tos), (9, 8));
                    let head = record.head;
                    prop_assert!(reader.advance(cursor(who), position, &head));
                }
                (look, wanted) => prop_assert!(false, "{:?} instead of {:?}", look, wanted),
            }
        }
    }
}
