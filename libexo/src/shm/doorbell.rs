//! The doorbell of one open file description: when to put a byte into the kernel queue of its
//! socket, and when to take it out again.
//!
//! The application's own UDP socket is one end of a pair whose other end the monitor holds. While
//! somebody may be looking at the kernel's readiness of that socket, a byte lies in its queue
//! exactly while the socket has something to receive, so poll, epoll, a blocking `recv` and
//! everything else that waits in the kernel work without emulation.
//!
//! A blocking receive needs no byte: it sleeps on a futex beside the doorbell ([`Sleepers`]),
//! which costs who wakes it a fifth of a datagram over loopback.
//!
//! - `token` is 1 from just before the byte is sent until just before it is taken out.
//! - `interest` counts threads that sleep or are about to; `STICKY` says that somebody may look
//!   at any time (the socket is in an epoll set, or was passed to another process). Without
//!   either nobody rings, which is what makes a spinning receiver cheap.
//!
//! A receiver that found everything empty *settles*: token 1→0, look again; if something arrived
//! meanwhile put the token back (the byte is still there), else take one byte out. The monitor
//! publishes before it looks at the token, the receiver clears the token before it looks at the
//! log, both sequentially consistent: one of the two sees the other. No lock, so a signal handler
//! or a killed process can stop anywhere.
//!
//! A byte may be left without a token: a ringer that was stopped between its claim and its send
//! sends too late, a receiver that was killed while it settled takes nothing. Such a *stray* byte
//! would make the socket readable for ever, so who finds the socket readable and empty time and
//! again calls [`remove_stray`](Doorbell::remove_stray). Models: `tests/shm_loom.rs`.

#[cfg(not(loom))]
use rustix::io::Errno;
#[cfg(not(loom))]
use rustix::thread::futex;

use crate::sync::{AtomicU32, Ordering, fence};

/// Somebody may look at the kernel's readiness at any time.
pub const STICKY: u32 = 1 << 31;

/// The three words of a doorbell, wherever they live.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell<'a> {
    /// 1 while a byte is (about to be) in the kernel queue.
    pub token: &'a AtomicU32,
    /// Number of sleepers, and [`STICKY`].
    pub interest: &'a AtomicU32,
    /// Bytes sent beyond the token's: one for each further sleeper, or for each edge.
    pub extra: &'a AtomicU32,
}

/// What taking one byte out of the kernel queue came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Take {
    /// One is out.
    Byte,
    /// There is none.
    Nothing,
    /// Another datagram lies in front.
    Behind,
}

/// Bound on [`Doorbell::extra`]: more edges than this coalesce.
const EXTRA_MAX: u32 = 64;

impl Doorbell<'_> {
    /// After a publication of `count` messages: how many bytes to send now. Monitor side.
    ///
    /// `each_edge` asks for a byte at each publication, for edge-triggered waiters.
    #[inline]
    #[must_use]
    pub fn bytes_to_ring(&self, count: u32, each_edge: bool) -> u32 {
        // Pairs with the read-modify-write of `interest` in `begin_sleep`: either we see the
        // sleeper, or he sees what was published before this fence.
        fence(Ordering::SeqCst);
        let interest = self.interest.load(Ordering::Relaxed);
        if interest == 0 {
            return 0;
        }
        let sleepers = interest & !STICKY;
        let first = u32::from(
            self.token
                .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok(),
        );
        let wanted = if sleepers > 1 {
            count.min(sleepers)
        } else {
            u32::from(each_edge)
        };
        let room = EXTRA_MAX.saturating_sub(self.extra.load(Ordering::Relaxed).min(EXTRA_MAX));
        let more = wanted.saturating_sub(first).min(room);
        if more > 0 {
            self.extra.fetch_add(more, Ordering::SeqCst);
        }
        first + more
    }

    /// Claims the token so that the caller must send a byte, whoever waits. For the first look
    /// after a socket became [`STICKY`], and after a restart.
    #[must_use]
    pub fn claim(&self) -> bool {
        self.token
            .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Says that this thread is about to sleep; it must look for messages once more after this.
    #[inline]
    pub fn begin_sleep(&self) {
        self.interest.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst); // pairs with the fence in `bytes_to_ring`
    }

    /// Takes back `begin_sleep`.
    #[inline]
    pub fn end_sleep(&self) {
        self.interest.fetch_sub(1, Ordering::SeqCst);
    }

    /// Marks the socket as looked at from outside for the rest of its life.
    pub fn make_sticky(&self) {
        self.interest.fetch_or(STICKY, Ordering::SeqCst);
        fence(Ordering::SeqCst); // pairs with the fence in `bytes_to_ring`
    }

    /// After everything was found empty: takes the byte out, unless something arrived meanwhile.
    ///
    /// `is_empty` looks at the logs again; `take` takes one byte out of the kernel queue without
    /// waiting. Returns false if a byte may come later that nobody will take.
    #[inline]
    pub fn settle(&self, is_empty: impl Fn() -> bool, take: impl FnMut() -> Take) -> bool {
        self.token.load(Ordering::SeqCst) == 0 || self.settle_rung(is_empty, take)
    }

    #[cold]
    fn settle_rung(&self, is_empty: impl Fn() -> bool, mut take: impl FnMut() -> Take) -> bool {
        if !self.release() {
            return true; // another thread is doing it
        }
        if !is_empty() && self.claim() {
            return true; // the byte is still in the queue, and so is something to receive
        }
        let bytes = 1 + self.extra.swap(0, Ordering::SeqCst).min(EXTRA_MAX);
        for taken in 0..bytes {
            let mut tries = 0;
            loop {
                match take() {
                    Take::Byte => break,
                    Take::Behind => {
                        // They stay, accounted for, until what is in front is taken.
                        let left = bytes - taken - u32::from(self.claim());
                        self.extra.fetch_add(left, Ordering::SeqCst);
                        return true;
                    }
                    Take::Nothing => tries += 1,
                }
                // The ringer may be between its claim and its send. If it died there, or the
                // queue was full, the byte never comes.
                if tries == TAKE_TRIES {
                    return false;
                }
                if tries.is_multiple_of(TRIES_BEFORE_YIELD) {
                    give_way();
                }
                crate::sync::pause();
            }
        }
        true
    }

    /// Takes out a byte that has no token. `take` as for `settle`.
    ///
    /// Holds the token meanwhile, so nobody rings: on true the caller looks at the logs, and if
    /// they are not empty has the monitor ring. That look also mends what a receiver that settles
    /// at the same time may have been misled to.
    #[cold]
    #[must_use]
    pub fn remove_stray(&self, mut take: impl FnMut() -> Take) -> bool {
        if !self.claim() {
            return false; // what lies there has its token
        }
        let _ = take();
        self.release();
        true
    }

    /// Token 1→0, ordered before the look at the logs that follows.
    fn release(&self) -> bool {
        let released = self
            .token
            .compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        fence(Ordering::SeqCst); // pairs with the fence in `bytes_to_ring`
        released
    }
}

/// The threads that sleep in a blocking receive: an event count.
///
/// A receiver announces itself, looks once more, and sleeps unless `wakes` has moved. The monitor
/// publishes, then looks for sleepers. Both sides order the two steps, so one sees the other.
#[derive(Clone, Copy, Debug)]
pub struct Sleepers<'a> {
    /// How many sleep, or are about to.
    pub count: &'a AtomicU32,
    /// Counts the times that somebody was woken; the futex.
    pub wakes: &'a AtomicU32,
}

impl Sleepers<'_> {
    /// Says that this thread is about to sleep; it must look for messages once more after this.
    /// Returns what [`sleep`](Self::sleep) wants.
    #[must_use]
    pub fn announce(&self) -> u32 {
        self.count.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst); // pairs with the fence in `count_to_wake`
        self.wakes.load(Ordering::SeqCst)
    }

    /// Takes back `announce`.
    pub fn retract(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// After a publication of `messages`: how many threads to wake on the futex now.
    #[inline]
    #[must_use]
    pub fn count_to_wake(&self, messages: u32) -> u32 {
        fence(Ordering::SeqCst); // pairs with the fence in `announce`
        let sleepers = self.count.load(Ordering::Relaxed);
        if sleepers == 0 {
            return 0;
        }
        self.wakes.fetch_add(1, Ordering::SeqCst);
        sleepers.min(messages)
    }
}

#[cfg(not(loom))]
impl Sleepers<'_> {
    /// Sleeps until somebody wakes this thread, unless that was since `announce` returned `seen`.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if it was, `EINTR`, `ETIMEDOUT`: as `futex(2)`, which a signal interrupts and
    /// restarts as it does `recv(2)`.
    pub fn sleep(&self, seen: u32, limit: Option<core::time::Duration>) -> Result<(), Errno> {
        let limit = limit.map(|limit| rustix::time::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        futex::wait(self.wakes, futex::Flags::empty(), seen, limit.as_ref())
    }

    /// Wakes as many sleepers as there are messages for. Returns how many.
    #[inline]
    pub fn wake(&self, messages: u32) -> u32 {
        let count = self.count_to_wake(messages);
        if count > 0 {
            // It fails only for an address that is none.
            let _ = futex::wake(self.wakes, futex::Flags::empty(), count);
        }
        count
    }

    /// Wakes all: something else than a message is there to be seen.
    pub fn wake_all(&self) {
        self.wake(i32::MAX.cast_unsigned());
    }
}

/// Lets the ringer have this core, if that is what it waits for.
fn give_way() {
    #[cfg(not(loom))]
    rustix::thread::sched_yield();
}

/// Looks before the core is given away: a ringer that runs needs a few microseconds.
const TRIES_BEFORE_YIELD: u32 = 16;

/// How often `settle` looks for a byte that was claimed but not sent yet: some 200 µs of system
/// calls and more where the core is wanted, longer than a ringer needs unless it was stopped.
#[cfg(not(loom))]
const TAKE_TRIES: u32 = 1000;
#[cfg(loom)]
const TAKE_TRIES: u32 = 20;
