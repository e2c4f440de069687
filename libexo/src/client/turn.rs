//! Which thread of a process may use its lane's producing end.
//!
//! A word in the lane's header holds the owner's mark, unique per thread. A thread that finds its
//! own mark is a signal handler that interrupted itself: it goes ahead, and the submit ring makes
//! the interrupted submission start over.

use core::time::Duration;

use rustix::thread::futex;

use crate::sync::{AtomicU64, Ordering};

/// How often to look before yielding.
const SPINS: u32 = 64;
/// How long a turn may last before it is taken away: its owner was cancelled in the middle of it.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// The turn, given back when dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    word: &'a AtomicU64,
    nested: bool,
}

impl<'a> Turn<'a> {
    /// Waits for the turn. `me` is the thread's mark and not 0.
    #[inline]
    pub fn take(word: &'a AtomicU64, me: u64) -> Self {
        // Acquire pairs with the Release in `drop`.
        if word
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            return Self {
                word,
                nested: false,
            };
        }
        Self::wait(word, me)
    }

    #[cold]
    fn wait(word: &'a AtomicU64, me: u64) -> Self {
        let mut rounds: u32 = 0;
        let mut stuck_since = None;
        loop {
            let owner = word.load(Ordering::Relaxed);
            if owner == me {
                return Self { word, nested: true };
            }
            if owner == 0
                && word
                    .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Self {
                    word,
                    nested: false,
                };
            }
            rounds = rounds.wrapping_add(1);
            if rounds < SPINS {
                crate::sync::pause();
                continue;
            }
            rustix::thread::sched_yield();
            if !rounds.is_multiple_of(1024) {
                continue;
            }
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            match stuck_since {
                Some((same, since)) if same == owner => {
                    if now - since > STUCK {
                        // The record that it was writing was never published.
                        if word
                            .compare_exchange(owner, me, Ordering::Acquire, Ordering::Relaxed)
                            .is_ok()
                        {
                            return Self {
                                word,
                                nested: false,
                            };
                        }
                    }
                }
                _ => stuck_since = Some((owner, now)),
            }
        }
    }
}

const STUCK: rustix::time::Timespec = rustix::time::Timespec {
    tv_sec: STUCK_AFTER.as_secs().cast_signed(),
    tv_nsec: 0,
};

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.nested {
            self.word.store(0, Ordering::Release); // pairs with the Acquire in `take`
        }
    }
}

/// Wakes the engine thread that sleeps on `word` of a board.
#[cold]
pub fn wake_engine(word: &core::sync::atomic::AtomicU32) {
    // The engine looks again on a timer, so a failed wake costs time, not a datagram.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}
