//! Deadlines of a host, and the estimates that they come from.

use core::time::Duration;

use crate::engine::params::Times;
use crate::ids::Position;
use crate::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Timer {
    Resend,
    Nack,
    Loss,
    Prepare,
    Grace,
    Epoch,
    Join,
    Park,
    Wake,
    Fetch,
}

impl Timer {
    pub(super) const ALL: [Self; 10] = [
        Self::Resend,
        Self::Nack,
        Self::Loss,
        Self::Prepare,
        Self::Grace,
        Self::Epoch,
        Self::Join,
        Self::Park,
        Self::Wake,
        Self::Fetch,
    ];
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    at: [Option<Time>; Timer::ALL.len()],
}

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer, at: Time) {
        self.at[timer as usize] = Some(at);
    }

    /// Arms unless it is armed already.
    pub(super) fn arm_first(&mut self, timer: Timer, at: Time) {
        self.at[timer as usize].get_or_insert(at);
    }

    pub(super) fn disarm(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.at.iter().flatten().min().copied()
    }

    /// Disarms the timer if it is due. Returns whether it was.
    pub(super) fn take_due(&mut self, timer: Timer, now: Time) -> bool {
        let slot = &mut self.at[timer as usize];
        let is_due = slot.is_some_and(|at| at <= now);
        if is_due {
            *slot = None;
        }
        is_due
    }
}

/// Smoothed time between consecutive turns while the ring is busy.
///
/// Measured where turns are heard, not where they are appended: a host with a gap would take the
/// time that it waits for the repair for the ring's, and wait longer and longer.
#[derive(Debug, Default)]
pub(super) struct Hop {
    /// The highest turn heard of since the token last rested, and when.
    heard: Option<(Position, Time)>,
    mean_ns: u64,
    deviation_ns: u64,
    /// When this host wrote last since the token rested.
    written: Option<Time>,
    rotation_ns: u64,
}

impl Hop {
    /// Another's turn was heard. What was sent again says nothing of the time, and the own turn
    /// only when the next is heard: until then its way and the next one's have passed.
    pub(super) fn hear(&mut self, position: Position, now: Time, is_sample: bool) {
        if self.heard.is_some_and(|(before, _)| position <= before) {
            return;
        }
        let before = self.heard.replace((position, now));
        if let Some((before, at)) = before.filter(|_| is_sample) {
            let hops = u32::try_from(position.0 - before.0).unwrap_or(u32::MAX);
            self.observe(now.since(at) / hops);
        }
    }

    /// The token rests, or the epoch changed: the time until the next turn is no hop.
    pub(super) fn rest(&mut self) {
        self.heard = None;
        self.written = None;
    }

    /// This host wrote a turn.
    pub(super) fn write(&mut self, now: Time) {
        if let Some(before) = self.written.replace(now) {
            let rotation = nanoseconds(now.since(before));
            self.rotation_ns = if self.rotation_ns == 0 {
                rotation
            } else {
                self.rotation_ns - self.rotation_ns / 8 + rotation / 8
            };
        }
    }

    /// Smoothed time between own turns while the ring is busy.
    pub(super) const fn rotation(&self) -> Duration {
        Duration::from_nanos(self.rotation_ns)
    }

    pub(super) const fn deviation(&self) -> Duration {
        Duration::from_nanos(self.deviation_ns)
    }

    /// Gains 1/8 and 1/4, as TCP's.
    fn observe(&mut self, hop: Duration) {
        let hop = nanoseconds(hop).min(1_000_000_000);
        let error = self.mean_ns.abs_diff(hop);
        self.deviation_ns = self.deviation_ns - self.deviation_ns / 4 + error / 4;
        self.mean_ns = self.mean_ns - self.mean_ns / 8 + hop / 8;
    }

    pub(super) const fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_ns)
    }

    /// Time until the last turn is sent again.
    pub(super) fn resend(&self, times: &Times) -> Duration {
        let late = Duration::from_nanos(2 * (self.mean_ns + 4 * self.deviation_ns));
        late.max(times.resend_min)
    }

    /// Time without progress until others are asked.
    pub(super) fn loss(&self, times: &Times) -> Duration {
        let resend = nanoseconds(self.resend(times));
        Duration::from_nanos(resend.saturating_mul(21) / 5).max(times.loss_min)
    }
}

/// Arithmetic in whole nanoseconds is what each turn can afford.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A small generator for jitter: deterministic from its seed (xorshift64*).
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Anything below `most`.
    pub(super) fn below(&mut self, most: Duration) -> Duration {
        let most = nanoseconds(most).max(1);
        Duration::from_nanos((self.next() >> 8) % most)
    }
}
