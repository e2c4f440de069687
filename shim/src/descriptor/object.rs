//! What this process knows of one open file description that concerns Exo.

use core::net::SocketAddr;
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering,
};

use super::Cork;
use libexo::client::socket::GroupSocket;
use libexo::shm::socket_page::{SharedAddress, WRITE_SHUT, delivery};

/// No grant, or none that is known.
const NO_GRANT: u64 = u64::MAX;
/// Joins before the socket was bound, kept until it is.
pub(crate) const PENDING_MAX: usize = 20;

/// A join whose port is not known yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) group: SharedAddress,
    pub(crate) interface: AtomicU32,
}

/// A socket that sends to, or receives from, a group.
#[derive(Debug)]
pub(crate) struct Object {
    /// How many numbers of this process name it.
    pub(crate) references: AtomicU32,
    pub(crate) inet6: bool,
    /// The receiving side; null for a socket that only sends.
    group: AtomicPtr<GroupSocket>,
    /// Threads that may be asleep in a receive or poll of it.
    pub(crate) sleepers: AtomicU32,
    /// The last destination: address words and the grant for it.
    target_name: AtomicU64,
    target_low: AtomicU64,
    target_high: AtomicU64,
    target_grant: AtomicU64,
    /// The grant for the connected destination.
    pub(crate) peer_grant: AtomicU64,
    /// The connected destination of a socket that only sends and that the kernel could not connect.
    pub(crate) peer: SharedAddress,
    /// The session that gave the grants.
    session: AtomicU32,
    /// A socket with the program's own address in the kernel, for what is sent elsewhere; -1.
    pub(crate) outside: AtomicI32,
    /// `shutdown` of the writing side.
    pub(crate) write_shut: AtomicBool,
    /// `UDP_SEGMENT`: datagrams that are sent are cut into pieces of so many bytes; 0: they are not.
    pub(crate) segment: AtomicU16,
    pub(crate) pending: [Pending; PENDING_MAX],
    /// What is collected for one datagram; null until the socket is first corked.
    cork: AtomicPtr<Cork>,
}

impl Object {
    /// A new object, owned by the table once it is put there.
    pub(crate) fn make(inet6: bool) -> *mut Self {
        // SAFETY: every field is valid as zero bytes; those that differ are set below.
        let mut object: Box<Self> = unsafe { Box::new(core::mem::zeroed()) };
        object.inet6 = inet6;
        object.target_grant = AtomicU64::new(NO_GRANT);
        object.peer_grant = AtomicU64::new(NO_GRANT);
        object.outside = AtomicI32::new(-1);
        Box::into_raw(object)
    }

    /// Whether nothing may be sent any more.
    #[inline]
    pub(crate) fn is_write_shut(&self) -> bool {
        self.write_shut.load(Ordering::Relaxed)
            || self
                .group()
                .is_some_and(|group| group.page().has(WRITE_SHUT))
    }

    /// The receiving side, while the program reads it from shared memory.
    #[inline]
    pub(crate) fn receiver(&self) -> Option<&'static GroupSocket> {
        let group = self.group()?;
        (group.page().delivery.load(Ordering::Relaxed) == delivery::SHARED_MEMORY).then_some(group)
    }

    /// The receiving side, however it is delivered.
    #[inline]
    pub(crate) fn group(&self) -> Option<&'static GroupSocket> {
        // SAFETY: null or made by `set_group`, given back by `retire` at the end.
        unsafe { self.group.load(Ordering::Acquire).as_ref() }
    }

    pub(crate) fn set_group(&self, group: GroupSocket) {
        let old = self
            .group
            .swap(Box::into_raw(Box::new(group)), Ordering::AcqRel);
        debug_assert!(old.is_null());
    }

    /// What is collected for one datagram, if the socket was ever corked.
    #[inline]
    pub(crate) fn cork(&self) -> Option<&'static Cork> {
        // SAFETY: null or made by `make_cork`, given back by `retire` at the end.
        unsafe { self.cork.load(Ordering::Acquire).as_ref() }
    }

    /// As `cork`, made if need be. `None`: there is no memory.
    #[cold]
    pub(crate) fn make_cork(&self) -> Option<&'static Cork> {
        if self.cork().is_none() {
            let made = Cork::map()?;
            let known = self.cork.compare_exchange(
                ptr::null_mut(),
                made,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if known.is_err() {
                // SAFETY: another thread was faster; nobody has seen ours.
                unsafe { Cork::unmap(made) };
            }
        }
        self.cork()
    }

    /// The grant for a destination, if it is the last one that was used in this session.
    #[inline]
    pub(crate) fn cached_grant(&self, target: SocketAddr, session: u32) -> Option<u32> {
        if self.session.load(Ordering::Relaxed) != session {
            return None;
        }
        let (name, low, high) = words(target);
        if self.target_name.load(Ordering::Relaxed) != name
            || self.target_low.load(Ordering::Relaxed) != low
            || self.target_high.load(Ordering::Relaxed) != high
        {
            return None;
        }
        // The grant goes last and is invalidated first, see `cache_grant`.
        u32::try_from(self.target_grant.load(Ordering::Acquire)).ok()
    }

    pub(crate) fn cache_grant(&self, target: SocketAddr, session: u32, grant: u32) {
        let (name, low, high) = words(target);
        self.target_grant.store(NO_GRANT, Ordering::Release);
        self.target_name.store(name, Ordering::Release);
        self.target_low.store(low, Ordering::Release);
        self.target_high.store(high, Ordering::Release);
        self.note_session(session);
        self.target_grant.store(u64::from(grant), Ordering::Release);
    }

    /// Grants of another session are worth nothing.
    fn note_session(&self, session: u32) {
        if self.session.swap(session, Ordering::AcqRel) != session {
            self.peer_grant.store(NO_GRANT, Ordering::Release);
        }
    }

    /// The grant for the connected destination in this session.
    #[inline]
    pub(crate) fn peer_grant(&self, session: u32) -> Option<u32> {
        if self.session.load(Ordering::Relaxed) != session {
            return None;
        }
        u32::try_from(self.peer_grant.load(Ordering::Acquire)).ok()
    }

    pub(crate) fn set_peer_grant(&self, session: u32, grant: u32) {
        self.target_grant.store(NO_GRANT, Ordering::Release);
        self.note_session(session);
        self.peer_grant.store(u64::from(grant), Ordering::Release);
    }

    /// An option changed that is part of what a grant says.
    pub(crate) fn forget_grants(&self) {
        self.target_grant.store(NO_GRANT, Ordering::Release);
        self.peer_grant.store(NO_GRANT, Ordering::Release);
    }
}

const fn words(address: SocketAddr) -> (u64, u64, u64) {
    match address {
        SocketAddr::V4(v4) => (4 | (v4.port() as u64) << 16, v4.ip().to_bits() as u64, 0),
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            let name = 6 | (v6.port() as u64) << 16 | (v6.scope_id() as u64) << 32;
            #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
            (name, bits as u64, (bits >> 64) as u64)
        }
    }
}

/// Objects whose last name is gone wait here until no thread can be using them.
const QUARANTINE: usize = 64;
static RETIRED: [AtomicPtr<Object>; QUARANTINE] =
    [const { AtomicPtr::new(ptr::null_mut()) }; QUARANTINE];
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Takes an object out of use. Its memory goes when as many others have followed, unless a thread
/// still sleeps in it: then it stays, as the kernel keeps a socket for a thread that sleeps in it.
pub(super) fn retire(object: &'static Object) {
    let outside = object.outside.swap(-1, Ordering::AcqRel);
    if outside >= 0 {
        // SAFETY: ours alone.
        unsafe { rustix::io::close(outside) };
    }
    let index = NEXT.fetch_add(1, Ordering::Relaxed) as usize % QUARANTINE;
    let old = RETIRED[index].swap(ptr::from_ref(object).cast_mut(), Ordering::AcqRel);
    // SAFETY: retired once, out of the table, and in nobody's hands for 64 retirements.
    unsafe {
        let Some(object) = old.as_ref() else { return };
        if object.sleepers.load(Ordering::Acquire) != 0 {
            return;
        }
        let group = object.group.load(Ordering::Acquire);
        if !group.is_null() {
            (*group).unmap();
            drop(Box::from_raw(group));
        }
        let cork = object.cork.load(Ordering::Acquire);
        if !cork.is_null() {
            Cork::unmap(cork);
        }
        drop(Box::from_raw(old));
    }
}
