//! The board: what the monitor tells everybody, mapped read-only by every session.
//!
//! ```text
//!    0  magic:u32  version:u32
//!   64  engine asleep:u32 (futex)  engine thread:u32  refuses:u32
//!  128  published seq:u64
//!  192  counters: 32 × u64
//! 1024  marks: change:u32 (odd while being written)  count:u32  any unicast:u32
//! 1088  mark[MARKS_MAX]: address:16  port:u16  family:u16 (4 or 6)  group:u32  log bytes:u64
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{LayoutError, Preamble};
use crate::ids::{GroupId, Seq};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Most groups of one monitor.
#[cfg(not(loom))]
pub const MARKS_MAX: usize = 1024;
/// Most groups of a model.
#[cfg(loom)]
pub const MARKS_MAX: usize = 2;
/// Bytes of the board.
pub const BOARD_BYTES: usize = size_of::<Board>().next_multiple_of(4096);

/// What the monitor counts, by index into the counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum Counter {
    /// Datagrams ordered.
    Ordered,
    /// Payload bytes ordered.
    OrderedBytes,
    /// Doorbell bytes sent.
    Rings,
    /// Sessions attached.
    SessionsAttached,
    /// Sessions ended because of what they did.
    SessionsExpelled,
    /// Control messages that could not be understood.
    BadRequests,
    /// Requests refused by policy.
    Refused,
    /// Datagrams that a slow reader lost by policy.
    Gapped,
    /// Readers expelled for being slow.
    ReadersExpelled,
    /// Datagrams that went into a socket by kernel delivery.
    KernelDelivered,
    /// Plain unicast datagrams relayed to a group socket.
    Relayed,
    /// Times that the engine thread slept.
    EngineSleeps,
    /// Passes of a lane that had to wait for room in a log.
    BackPressure,
}

/// Name of each counter, as operators read it, by index.
pub const COUNTER_NAMES: [&str; 13] = [
    "ordered",
    "ordered_bytes",
    "rings",
    "sessions_attached",
    "sessions_expelled",
    "bad_requests",
    "refused",
    "gapped",
    "readers_expelled",
    "kernel_delivered",
    "relayed",
    "engine_sleeps",
    "back_pressure",
];

/// The board's memory.
#[derive(Debug)]
#[repr(C)]
pub struct Board {
    preamble: Preamble,
    pad_a: [u64; 7],
    /// 1 while the engine thread sleeps on this word.
    pub engine_asleep: AtomicU32,
    /// Number of the engine thread. The kernel takes it out when the thread ends.
    pub engine_thread: AtomicU32,
    /// 1 while the monitor takes no datagrams: no majority of the hosts can be reached.
    refuses: AtomicU32,
    pad_c: [u32; 13],
    /// Everything up to this place is visible in every log.
    pub published_seq: AtomicU64,
    pad_d: [u64; 7],
    counters: [AtomicU64; 32],
    pad_e: [u64; 72],
    change: AtomicU32,
    count: AtomicU32,
    any_unicast: AtomicU32,
    pad_f: [u32; 13],
    marks: [Mark; MARKS_MAX],
}

#[derive(Debug)]
#[repr(C)]
struct Mark {
    address_low: AtomicU64,
    address_high: AtomicU64,
    port_family_group: AtomicU64,
    log_bytes: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(core::mem::offset_of!(Board, engine_asleep) == 64);
    assert!(core::mem::offset_of!(Board, counters) == 192);
    assert!(core::mem::offset_of!(Board, change) == 1024);
    assert!(core::mem::offset_of!(Board, marks) == 1088);
};

/// A group as the board shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MarkedGroup {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its number.
    pub id: GroupId,
    /// Data capacity of its log.
    pub log_bytes: u64,
}

#[cfg(loom)]
impl Board {
    /// A board for a loom model; never mapped.
    #[must_use]
    pub fn for_model() -> Self {
        let word = || AtomicU64::new(0);
        let mark = || Mark {
            address_low: word(),
            address_high: word(),
            port_family_group: word(),
            log_bytes: word(),
        };
        Self {
            preamble: Preamble::for_model(),
            pad_a: [0; 7],
            engine_asleep: AtomicU32::new(0),
            engine_thread: AtomicU32::new(1),
            refuses: AtomicU32::new(0),
            pad_c: [0; 13],
            published_seq: word(),
            pad_d: [0; 7],
            counters: core::array::from_fn(|_| word()),
            pad_e: [0; 72],
            change: AtomicU32::new(0),
            count: AtomicU32::new(0),
            any_unicast: AtomicU32::new(0),
            pad_f: [0; 13],
            marks: core::array::from_fn(|_| mark()),
        }
    }
}

impl Board {
    /// Writes the words that never change. Maker of the region only.
    pub fn initialise(&self) {
        self.preamble.initialise();
    }

    /// Checks that a mapped region of `region_bytes` is a board.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] with what was found.
    pub fn check(&self, region_bytes: u64) -> Result<(), LayoutError> {
        self.preamble.check(region_bytes, Some(BOARD_BYTES as u64))
    }

    /// Whether the monitor is gone: nobody orders, and nothing more will come.
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        /// `FUTEX_TID_MASK`: what the kernel leaves beside the number are bits of its own.
        const NUMBER: u32 = 0x3fff_ffff;
        // Acquire: what the engine thread wrote before its end is seen by who sees the end.
        self.engine_thread.load(Ordering::Acquire) & NUMBER == 0
    }

    /// Whether sends are to fail rather than to wait.
    #[inline]
    #[must_use]
    pub fn refuses(&self) -> bool {
        // Relaxed: a send that began before the change may end either way.
        self.refuses.load(Ordering::Relaxed) != 0
    }

    /// Makes sends fail, or lets them be again. Monitor only.
    pub fn set_refuses(&self, refuses: bool) {
        self.refuses.store(u32::from(refuses), Ordering::Relaxed);
    }

    /// Adds to a counter. Monitor only.
    pub fn count(&self, counter: Counter, by: u64) {
        // Relaxed: counters order nothing.
        self.counters[counter as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// Value of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// All counters by name.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COUNTER_NAMES
            .iter()
            .copied()
            .zip(self.counters.iter().map(|c| c.load(Ordering::Relaxed)))
    }

    /// Says that everything up to `seq` is visible. Monitor only, after it published the logs.
    pub fn publish(&self, seq: Seq) {
        self.published_seq.store(seq.0, Ordering::Release); // pairs with `published`
    }

    /// Everything up to this place is visible in the logs to who loads their tails after it.
    #[inline]
    pub fn published(&self) -> Seq {
        Seq(self.published_seq.load(Ordering::Acquire)) // pairs with `publish`
    }

    /// Replaces the marks. Monitor only, one thread.
    pub fn set_marks(&self, groups: &[MarkedGroup]) {
        assert!(
            groups.len() <= MARKS_MAX,
            "the caller bounds the number of groups"
        );
        let change = self.change.load(Ordering::Relaxed);
        self.change.store(change | 1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // odd before any word changes; pairs with `find`
        for (mark, group) in self.marks.iter().zip(groups) {
            let (low, high, family) = address_words(group.address.ip());
            mark.address_low.store(low, Ordering::Relaxed);
            mark.address_high.store(high, Ordering::Relaxed);
            let word = u64::from(group.address.port()) | family << 16 | u64::from(group.id.0) << 32;
            mark.port_family_group.store(word, Ordering::Relaxed);
            mark.log_bytes.store(group.log_bytes, Ordering::Relaxed);
        }
        let any_unicast = groups
            .iter()
            .any(|group| !group.address.ip().is_multicast());
        self.any_unicast
            .store(u32::from(any_unicast), Ordering::Relaxed);
        self.count.store(
            u32::try_from(groups.len()).expect("bounded"),
            Ordering::Relaxed,
        );
        self.change
            .store((change | 1).wrapping_add(1), Ordering::Release);
    }

    /// The first group for which `wanted` holds.
    #[must_use]
    pub fn find(&self, mut wanted: impl FnMut(&MarkedGroup) -> bool) -> Option<MarkedGroup> {
        // The writer needs microseconds; one that died while writing leaves the marks as they are.
        for _ in 0..1000 {
            let before = self.change.load(Ordering::Acquire); // pairs with `set_marks`
            let found = self.marks().find(|mark| wanted(mark));
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.change.load(Ordering::Relaxed) == before {
                return found;
            }
            crate::sync::pause();
        }
        self.marks().find(|mark| wanted(mark))
    }

    /// The group of an address and port.
    #[must_use]
    pub fn group_at(&self, address: SocketAddr) -> Option<MarkedGroup> {
        self.find(|mark| mark.address.ip() == address.ip() && mark.address.port() == address.port())
    }

    /// Whether any marked address is a unicast one.
    #[inline]
    pub fn any_unicast(&self) -> bool {
        self.any_unicast.load(Ordering::Relaxed) != 0
    }

    fn marks(&self) -> impl Iterator<Item = MarkedGroup> + '_ {
        let count = (self.count.load(Ordering::Relaxed) as usize).min(MARKS_MAX);
        self.marks.iter().take(count).map(|mark| {
            let word = mark.port_family_group.load(Ordering::Relaxed);
            let low = mark.address_low.load(Ordering::Relaxed);
            let high = mark.address_high.load(Ordering::Relaxed);
            #[allow(clippy::cast_possible_truncation, reason = "parts of a word")]
            let (port, family, group) = (word as u16, (word >> 16) as u16, (word >> 32) as u32);
            MarkedGroup {
                address: SocketAddr::new(address_of(low, high, family), port),
                id: GroupId(group),
                log_bytes: mark.log_bytes.load(Ordering::Relaxed),
            }
        })
    }
}

fn address_words(address: IpAddr) -> (u64, u64, u64) {
    match address {
        IpAddr::V4(v4) => (u64::from(u32::from(v4)), 0, 4),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
            (bits as u64, (bits >> 64) as u64, 6)
        }
    }
}

fn address_of(low: u64, high: u64, family: u16) -> IpAddr {
    if family == 6 {
        IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
    } else {
        IpAddr::V4(Ipv4Addr::from((low & 0xffff_ffff) as u32))
    }
}
