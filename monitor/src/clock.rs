//! The only place that reads clocks.

use libexo::time::{Time, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// Now, on the clock that never jumps.
#[must_use]
pub fn now() -> Time {
    Time(nanoseconds(clock_gettime(ClockId::Monotonic)))
}

/// Now, as people and `SO_TIMESTAMP` count.
#[must_use]
pub fn wall() -> Timestamp {
    Timestamp(nanoseconds(clock_gettime(ClockId::Realtime)))
}
