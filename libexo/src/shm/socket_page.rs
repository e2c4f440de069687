//! The socket page: what all sharers of one open file description must agree on.
//!
//! A forked child, a `dup` and a descriptor passed to another process are one socket: they compete
//! for its datagrams and share its options. So cursors, doorbell and names live here, in a memfd
//! of their own, and not in any process's memory. `docs/shm.md` draws the bytes.
//!
//! The application may write every byte of it. The monitor loads what it needs once and bounds
//! it: a wrong cursor ends the membership, everything else can only hurt the socket itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::doorbell::{Doorbell, Sleepers};
use super::log::Cursor;
use super::{LayoutError, Preamble};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Bytes of a socket page.
pub const PAGE_BYTES: usize = 8192;
/// Most groups that one socket can be a member of: the kernel's `IP_MAX_MEMBERSHIPS`.
pub const MEMBERSHIPS_MAX: usize = 20;
/// Most sources in one membership's filter: the kernel's `igmp_max_msf`.
pub const SOURCES_MAX: usize = 10;

/// In [`SocketPage::stamp_ns`]: something was received while nobody had asked for its time.
pub const NOT_STAMPED: u64 = 1;

/// `O_NONBLOCK` is set.
pub const NONBLOCK: u32 = 1;
/// An edge-triggered waiter: ring at each publication.
pub const EACH_EDGE: u32 = 2;
/// `shutdown` of the reading side.
pub const READ_SHUT: u32 = 4;
/// Some record may have to be skipped: the socket is connected or has a source filter.
pub const FILTERED: u32 = 8;
/// `IP_PKTINFO` or `IPV6_RECVPKTINFO`.
pub const WANTS_PKTINFO: u32 = 16;
/// Plain unicast datagrams are relayed into its kernel queue.
pub const RELAYED: u32 = 32;
/// `shutdown` of the writing side.
pub const WRITE_SHUT: u32 = 64;
/// `SO_PEEK_OFF` is not negative: peeks begin at [`SocketPage::peek_offset`].
pub const PEEK_OFFSET: u32 = 128;

/// States of [`Membership::state`].
pub mod membership_state {
    /// The slot is free.
    pub const FREE: u32 = 0;
    /// A member.
    pub const ACTIVE: u32 = 1;
    /// Left; what was ordered before is still to be received.
    pub const LEFT: u32 = 2;
    /// Expelled by policy.
    pub const EXPELLED: u32 = 3;
}

/// Values of [`SocketPage::delivery`].
pub mod delivery {
    /// Members read the log in shared memory.
    pub const SHARED_MEMORY: u32 = 0;
    /// The monitor sends the ordered datagrams into the kernel socket.
    pub const KERNEL: u32 = 1;
}

/// A socket address in shared memory.
#[derive(Debug)]
#[repr(C)]
pub struct SharedAddress {
    /// family (0, 4 or 6) | port << 16 | scope << 32
    name: AtomicU64,
    low: AtomicU64,
    high: AtomicU64,
}

impl SharedAddress {
    /// Replaces the address. A reader in another thread may see a mixture meanwhile, as with the
    /// kernel's `connect` beside a `recv`.
    pub fn set(&self, address: Option<SocketAddr>) {
        let (name, bits) = match address {
            None => (0, 0),
            Some(SocketAddr::V4(v4)) => (
                4 | u64::from(v4.port()) << 16,
                u128::from(u32::from(*v4.ip())),
            ),
            Some(SocketAddr::V6(v6)) => (
                6 | u64::from(v6.port()) << 16 | u64::from(v6.scope_id()) << 32,
                u128::from(*v6.ip()),
            ),
        };
        #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
        {
            self.low.store(bits as u64, Ordering::Relaxed);
            self.high.store((bits >> 64) as u64, Ordering::Relaxed);
        }
        self.name.store(name, Ordering::Release); // pairs with the Acquire in `get`
    }

    /// The address, if one is set.
    pub fn get(&self) -> Option<SocketAddr> {
        let name = self.name.load(Ordering::Acquire); // pairs with the Release in `set`
        let bits = u128::from(self.high.load(Ordering::Relaxed)) << 64
            | u128::from(self.low.load(Ordering::Relaxed));
        #[allow(clippy::cast_possible_truncation, reason = "parts of a word")]
        let (family, port, scope) = (name as u16, (name >> 16) as u16, (name >> 32) as u32);
        #[allow(clippy::cast_possible_truncation, reason = "IPv4 uses 32 bits")]
        match family {
            4 => Some(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::from(bits as u32)),
                port,
            )),
            6 => Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(bits),
                port,
                0,
                scope,
            ))),
            _ => None,
        }
    }
}

/// One group that the socket joined.
#[derive(Debug)]
#[repr(C)]
pub struct Membership {
    /// See [`membership_state`]. Monitor; the application sets `FREE` after it finished `LEFT`.
    pub state: AtomicU32,
    /// The group's number. Monitor.
    pub group: AtomicU32,
    /// Data capacity of the group's log. Monitor.
    pub log_bytes: AtomicU64,
    next: AtomicU64,
    floor: AtomicU64,
    end: AtomicU64,
    /// Datagrams lost by policy `gap`. Monitor.
    pub dropped: AtomicU64,
    /// Interface index given at the join, 0 for none. Application.
    pub interface: AtomicU32,
    /// 0 none, 1 only the listed sources, 2 all but the listed ones. Application.
    pub filter: AtomicU32,
    /// Number of listed sources. Application.
    pub source_count: AtomicU32,
    pad: u32,
    sources: [[AtomicU64; 2]; SOURCES_MAX],
    /// The group's address. Monitor.
    pub address: SharedAddress,
    /// Records below this were queued before the present filters: those do not apply to them.
    /// Application.
    pub exempt: AtomicU64,
}

impl Membership {
    /// The reader's place in the group's log.
    #[inline]
    pub const fn cursor(&self) -> Cursor<'_> {
        Cursor {
            next: &self.next,
            floor: &self.floor,
            end: &self.end,
        }
    }

    /// Makes this slot a membership that begins at `position`. Monitor only.
    pub fn activate(&self, group: u32, address: SocketAddr, log_bytes: u64, position: u64) {
        self.group.store(group, Ordering::Relaxed);
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        self.address.set(Some(address));
        self.next.store(position, Ordering::Relaxed);
        self.floor.store(0, Ordering::Relaxed);
        self.end.store(u64::MAX, Ordering::Relaxed);
        self.dropped.store(0, Ordering::Relaxed);
        self.filter.store(0, Ordering::Relaxed);
        self.exempt.store(0, Ordering::Relaxed);
        self.state
            .store(membership_state::ACTIVE, Ordering::Release); // pairs with `is_open`
    }

    /// Whether there may be something to receive here.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) != membership_state::FREE
    }

    /// Replaces the source filter. At most [`SOURCES_MAX`] sources.
    pub fn set_filter(&self, filter: u32, sources: &[IpAddr]) {
        assert!(
            sources.len() <= SOURCES_MAX,
            "the caller answers ENOBUFS before"
        );
        for (words, source) in self.sources.iter().zip(sources) {
            let bits = match source {
                IpAddr::V4(v4) => u128::from(u32::from(*v4)),
                IpAddr::V6(v6) => u128::from(*v6),
            };
            #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
            {
                words[0].store(bits as u64, Ordering::Relaxed);
                words[1].store((bits >> 64) as u64, Ordering::Relaxed);
            }
        }
        let count = u32::try_from(sources.len()).expect("bounded above");
        self.source_count.store(count, Ordering::Relaxed);
        self.filter.store(filter, Ordering::Release); // pairs with `admits`
    }

    /// Whether the source filter lets datagrams from `source` through.
    pub fn admits(&self, source: IpAddr) -> bool {
        let filter = self.filter.load(Ordering::Acquire); // pairs with `set_filter`
        if filter == 0 {
            return true;
        }
        let bits = match source {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let count = self.source_count.load(Ordering::Relaxed) as usize;
        let listed = self.sources.iter().take(count).any(|words| {
            u128::from(words[1].load(Ordering::Relaxed)) << 64
                | u128::from(words[0].load(Ordering::Relaxed))
                == bits
        });
        listed == (filter == 1)
    }

    /// The listed sources, as IPv4 or IPv6 addresses.
    pub fn sources(&self, inet6: bool) -> impl Iterator<Item = IpAddr> + '_ {
        let count = self.source_count.load(Ordering::Relaxed) as usize;
        self.sources.iter().take(count).map(move |words| {
            let low = words[0].load(Ordering::Relaxed);
            let high = words[1].load(Ordering::Relaxed);
            if inet6 {
                IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
            } else {
                IpAddr::V4(Ipv4Addr::from((low & 0xffff_ffff) as u32))
            }
        })
    }
}

/// The page's memory.
#[derive(Debug)]
#[repr(C)]
pub struct SocketPage {
    preamble: Preamble,
    /// The monitor's number of this socket. Monitor.
    pub socket: AtomicU32,
    /// See [`delivery`]. Monitor.
    pub delivery: AtomicU32,
    token: AtomicU32,
    interest: AtomicU32,
    extra: AtomicU32,
    /// Options: [`NONBLOCK`] and the others above. Application.
    pub flags: AtomicU32,
    /// Relayed datagrams that are in the kernel queue, or were. Monitor, after it sent one.
    pub mail_sent: AtomicU32,
    /// Relayed datagrams taken out of it, or found missing. Application.
    pub mail_taken: AtomicU32,
    /// Slots ever used; higher ones are free. Monitor.
    pub slots: AtomicU32,
    /// How often an empty socket is still to be looked at for a byte without token. Application.
    pub stray_looks: AtomicU32,
    /// Receives that found nothing while somebody may look from outside. Application.
    pub empty_receives: AtomicU32,
    sleeping: AtomicU32,
    wakes: AtomicU32,
    pad_a: u32,
    /// `SO_RCVTIMEO` in microseconds; 0 for none. Application.
    pub receive_timeout_us: AtomicU64,
    /// When the datagram last received was ordered, for `SIOCGSTAMP`; kept once that was asked for.
    /// 0 before the first one, [`NOT_STAMPED`] after it until then. Application.
    pub stamp_ns: AtomicU64,
    pad_b: [u64; 6],
    /// What the program bound, as `getsockname` shows it. Application.
    pub bound: SharedAddress,
    /// What the program connected to. Application.
    pub peer: SharedAddress,
    /// Bytes of the queue that peeks pass over. Application.
    pub peek_offset: AtomicU32,
    pad_c: u32,
    /// Place in the order of the last empty datagram that was peeked at. Application.
    pub peeked_empty: AtomicU64,
    /// The own address, without port, that the kernel chose when the program connected. A socket that
    /// was bound to any has it from then on and receives no group. Application.
    pub connected_from: SharedAddress,
    pad_d: [u64; 101],
    /// The groups that the socket is a member of.
    pub memberships: [Membership; MEMBERSHIPS_MAX],
}

#[cfg(not(loom))]
const _: () = {
    assert!(core::mem::offset_of!(SocketPage, bound) == 128);
    assert!(core::mem::offset_of!(SocketPage, peek_offset) == 176);
    assert!(core::mem::offset_of!(SocketPage, memberships) == 1024);
    assert!(size_of::<Membership>() == 256);
    assert!(size_of::<SocketPage>() <= PAGE_BYTES);
};

impl SocketPage {
    /// Writes the words that never change. Maker of the region only.
    pub fn initialise(&self, socket: u32) {
        self.preamble.initialise();
        self.socket.store(socket, Ordering::Relaxed);
    }

    /// Checks that a mapped region of `region_bytes` is a socket page.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] with what was found.
    pub fn check(&self, region_bytes: u64) -> Result<(), LayoutError> {
        self.preamble.check(region_bytes, Some(PAGE_BYTES as u64))
    }

    /// The doorbell's words.
    #[inline]
    pub const fn doorbell(&self) -> Doorbell<'_> {
        Doorbell {
            token: &self.token,
            interest: &self.interest,
            extra: &self.extra,
        }
    }

    /// Threads that sleep in a blocking receive.
    #[inline]
    pub const fn sleepers(&self) -> Sleepers<'_> {
        Sleepers {
            count: &self.sleeping,
            wakes: &self.wakes,
        }
    }

    /// Whether relayed datagrams may lie in the kernel queue.
    #[inline]
    pub fn has_mail(&self) -> bool {
        self.mail_sent.load(Ordering::SeqCst) != self.mail_taken.load(Ordering::SeqCst)
    }

    /// Whether an option is set.
    #[inline]
    pub fn has(&self, flag: u32) -> bool {
        // Relaxed: options order nothing.
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Sets or clears an option.
    pub fn set(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag, Ordering::Relaxed);
        }
    }

    /// The slots that may be in use.
    #[inline]
    pub fn slots(&self) -> &[Membership] {
        let slots = (self.slots.load(Ordering::Acquire) as usize).min(MEMBERSHIPS_MAX);
        &self.memberships[..slots]
    }
}
