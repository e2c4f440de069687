//! A transport whose network is as bad as wanted, from a seed.
//!
//! Faults are made where frames are received, so each receiver of a multicast has its own. For each
//! sender there is one sequence of random numbers, and a frame takes the same count of them
//! whatever happens to it: the same seed does the same to the same frames, and raising one rate
//! moves no other fault.

mod specification;

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

use rustix::fd::BorrowedFd;

use super::counters::Counters;
use super::inbox::Inbox;
use super::peers::Destination;
use super::{SendError, Transport};
use crate::ids::HostId;
use crate::quorum::HOSTS_MAX;
use crate::time::Time;
pub use specification::{Faults, FaultsError, Rate};

/// Frames that wait at most: 3 ms of a busy gigabit link.
const HELD_MAX: usize = 4096;
/// A frame that lets the next one pass waits no longer for it.
const PASS_MAX: Duration = Duration::from_millis(10);
/// Frames taken from below at once.
const BATCH: usize = 64;

/// How often each fault was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FaultCounters {
    /// Frames that disappeared.
    pub lost: u64,
    /// Frames that disappeared in a cut direction.
    pub cut: u64,
    /// Frames that arrived twice.
    pub duplicated: u64,
    /// Frames that let another pass.
    pub reordered: u64,
    /// Frames that came late.
    pub delayed: u64,
    /// Frames in which a bit was changed.
    pub corrupted: u64,
    /// Frames that disappeared because too many waited.
    pub overflowed: u64,
}

/// A frame that waits; ordered by when it is due, then by arrival.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Held {
    due: Time,
    number: u64,
    from: HostId,
    frame: Vec<u8>,
}

/// Another transport, with faults.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    faults: Faults,
    now: Time,
    /// `None` only while its frames are looked at.
    arrivals: Option<Inbox>,
    chances: Vec<Random>,
    /// At most one for each sender: the frame that lets the next one pass.
    passed: Vec<Option<Held>>,
    held: BinaryHeap<Reverse<Held>>,
    spare: Vec<Vec<u8>>,
    number: u64,
    made: FaultCounters,
}

impl<T: Transport> Faulty<T> {
    /// Wraps `inner`. What is received goes through `faults`, by chances from `seed`.
    #[must_use]
    pub fn new(inner: T, faults: Faults, seed: u64) -> Self {
        let chances = |host: u64| Random(seed ^ (host << 8 | u64::from(inner.me().0)) << 40);
        Self {
            now: Time(0),
            arrivals: Some(Inbox::new(BATCH, inner.mtu())),
            chances: (0..HOSTS_MAX as u64).map(chances).collect(),
            passed: (0..HOSTS_MAX).map(|_| None).collect(),
            held: BinaryHeap::with_capacity(HELD_MAX),
            spare: Vec::with_capacity(HELD_MAX),
            number: 0,
            made: FaultCounters::default(),
            inner,
            faults,
        }
    }

    /// Other faults from now on; frames that wait already are not affected.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// How often each fault was made so far.
    #[must_use]
    pub const fn made(&self) -> FaultCounters {
        self.made
    }

    /// The transport below.
    pub const fn inner(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Decides about one frame.
    fn arrive(&mut self, from: HostId, frame: &[u8]) {
        let chance = Chance::draw(&mut self.chances[usize::from(from.0)]);
        if self.faults.cuts.contains(&(from, self.inner.me())) {
            self.made.cut += 1;
            return;
        }
        if chance.loss < self.faults.loss {
            self.made.lost += 1;
            return;
        }
        let mut due = self.now;
        if let Some((shortest, longest)) = self.faults.delay {
            due = due.after(chance.delay_within(shortest, longest));
            self.made.delayed += 1;
        }
        let copies = 1 + u64::from(chance.dup < self.faults.dup);
        self.made.duplicated += copies - 1;
        for _ in 0..copies {
            let Some(mut held) = self.hold(from, frame, due) else {
                continue;
            };
            if chance.corrupt < self.faults.corrupt && !held.frame.is_empty() {
                chance.flip_bit(&mut held.frame);
                self.made.corrupted += 1;
            }
            self.queue(held, chance.reorder < self.faults.reorder);
        }
    }

    fn hold(&mut self, from: HostId, frame: &[u8], due: Time) -> Option<Held> {
        // Each sender may have one more that waits to be passed.
        if self.held.len() >= HELD_MAX - 1 {
            self.made.overflowed += 1;
            return None;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.number += 1;
        Some(Held {
            due,
            number: self.number,
            from,
            frame: bytes,
        })
    }

    /// Lets a frame wait for its moment, or for the next one to pass.
    fn queue(&mut self, mut held: Held, is_to_be_passed: bool) {
        let place = &mut self.passed[usize::from(held.from.0)];
        match place.take() {
            None if is_to_be_passed => {
                self.made.reordered += 1;
                held.due = held.due.max(self.now.after(PASS_MAX));
                *place = Some(held);
            }
            None => self.held.push(Reverse(held)),
            Some(mut passed) => {
                passed.due = held.due;
                self.number += 1;
                passed.number = self.number; // behind the one that passes
                self.held.push(Reverse(held));
                self.held.push(Reverse(passed));
            }
        }
    }

    /// Frames that nobody came to pass.
    fn give_up_passing(&mut self) {
        for place in &mut self.passed {
            if place.as_ref().is_some_and(|passed| passed.due <= self.now) {
                self.held.extend(place.take().map(Reverse));
            }
        }
    }

    fn release(&mut self, inbox: &mut Inbox) {
        while let Some(Reverse(next)) = self.held.peek() {
            if next.due > self.now || inbox.is_full() {
                return;
            }
            let Some(Reverse(held)) = self.held.pop() else {
                return;
            };
            // One that is longer than a slot is lost, as it would be below.
            let _ = inbox.push(held.from, &held.frame);
            if self.spare.len() < HELD_MAX {
                self.spare.push(held.frame);
            }
        }
    }
}

impl<T: Transport> Transport for Faulty<T> {
    fn me(&self) -> HostId {
        self.inner.me()
    }

    fn mtu(&self) -> usize {
        self.inner.mtu()
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        self.inner.send(to, frames)
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        let before = inbox.len();
        self.release(inbox);
        while !inbox.is_full() {
            let Some(mut arrivals) = self.arrivals.take() else {
                break;
            };
            arrivals.clear();
            let count = self.inner.recv(&mut arrivals);
            for (from, frame) in arrivals.iter() {
                self.arrive(from, frame);
            }
            self.arrivals = Some(arrivals);
            self.release(inbox);
            if count == 0 {
                break;
            }
        }
        inbox.len() - before
    }

    fn on_time(&mut self, now: Time) -> Option<Time> {
        self.now = self.now.max(now);
        self.give_up_passing();
        let inner = self.inner.on_time(now);
        let held = self.held.peek().map(|Reverse(held)| held.due);
        let passed = self.passed.iter().flatten().map(|passed| passed.due).min();
        inner.into_iter().chain(held).chain(passed).min()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn counters(&mut self) -> Counters {
        self.inner.counters()
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn rate(&mut self) -> Rate {
        Rate(u32::try_from(self.next() % 1_000_000).expect("below a million"))
    }
}

/// The chances of one frame, drawn all at once.
#[derive(Clone, Copy, Debug)]
struct Chance {
    loss: Rate,
    dup: Rate,
    reorder: Rate,
    corrupt: Rate,
    delay: u64,
    bit: u64,
}

impl Chance {
    fn draw(random: &mut Random) -> Self {
        Self {
            loss: random.rate(),
            dup: random.rate(),
            reorder: random.rate(),
            corrupt: random.rate(),
            delay: random.next(),
            bit: random.next(),
        }
    }

    fn delay_within(&self, shortest: Duration, longest: Duration) -> Duration {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let range = nanoseconds(longest.saturating_sub(shortest));
        shortest + Duration::from_nanos(self.delay % range.saturating_add(1))
    }

    fn flip_bit(&self, frame: &mut [u8]) {
        let bit = self.bit % (frame.len() as u64 * 8);
        let at = usize::try_from(bit / 8).expect("within the frame");
        frame[at] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
