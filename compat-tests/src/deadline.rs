//! Waiting for events with an end: the only place here that reads a clock.

use anyhow::{Result, bail};
use nix::poll::{PollTimeout, poll};
use std::time::{Duration, Instant};

/// Pause between two looks at a file or a process that cannot be waited for otherwise.
const TICK_MS: u8 = 2;

/// A moment after which waiting ends with an error.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self(now() + duration)
    }

    /// The deadline `seconds` from now.
    pub fn seconds(seconds: u64) -> Self {
        Self::after(Duration::from_secs(seconds))
    }

    /// Has it passed?
    pub fn passed(self) -> bool {
        now() >= self.0
    }

    /// Time until it passes; zero when it has.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// Looks at `event` until it is there.
    ///
    /// # Errors
    ///
    /// What `event` fails with, or a sentence with `what` in it when the deadline passes first.
    pub fn until<T>(self, what: &str, mut event: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        loop {
            if let Some(found) = event()? {
                return Ok(found);
            }
            if self.passed() {
                bail!("{what} did not come in time");
            }
            tick();
        }
    }
}

/// A moment from which time is measured.
#[derive(Clone, Copy, Debug)]
pub struct Start(Instant);

impl Start {
    /// This moment.
    pub fn now() -> Self {
        Self(now())
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        now().saturating_duration_since(self.0)
    }
}

/// Leaves the processor to the programs under test for a moment.
pub fn tick() {
    // An interrupted or failed poll is a shorter tick, which harms nothing.
    let _ = poll(&mut [], PollTimeout::from(TICK_MS));
}

#[expect(
    clippy::disallowed_methods,
    reason = "deadlines of tests need a real clock"
)]
fn now() -> Instant {
    Instant::now()
}
