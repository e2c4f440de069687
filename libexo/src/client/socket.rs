//! Receiving on one open file description: its page, the logs of its groups, its doorbell.

use core::net::{IpAddr, SocketAddr};
use core::ptr;
use core::sync::atomic::AtomicPtr;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::RecvFlags;

use super::pair::TOKEN_BYTE;
use super::session::{CallError, Session, bad_answer, map_shared};
use crate::control::message::{Reply, Request};
use crate::ids::{GroupId, Seq, SocketId};
use crate::shm::area::Area;
use crate::shm::board::Board;
use crate::shm::doorbell::{STICKY, Take};
use crate::shm::log::{HEADER_BYTES, LogHeader, LogReader, Look, Record};
use crate::shm::region::Descriptor;
use crate::shm::socket_page::{
    FILTERED, MEMBERSHIPS_MAX, Membership, RELAYED, SocketPage, membership_state,
};
use crate::sync::Ordering;

/// Empty receives that look into the kernel queue after a byte was given up there.
const LOOKS_FOR_A_LATE_BYTE: u32 = 64;
/// With a socket that is looked at from outside, every so many empty receives one looks anyway.
const EMPTY_RECEIVES_PER_LOOK: u32 = 64;
/// Wake-ups for nothing that other threads of the socket may cause in the normal course.
const WAKES_BEFORE_A_LOOK: u32 = 3;

type Reader = LogReader<&'static LogHeader>;

/// What this process has of a socket that the monitor serves.
#[derive(Debug)]
pub struct GroupSocket {
    id: SocketId,
    page: &'static SocketPage,
    page_bytes: usize,
    /// The board of the monitor that serves it.
    board: &'static Board,
    /// The log reader of each slot; null until this process has mapped it.
    readers: [AtomicPtr<Reader>; MEMBERSHIPS_MAX],
    /// Group of each reader, to notice a slot that was used again.
    reader_groups: [crate::sync::AtomicU32; MEMBERSHIPS_MAX],
}

/// A received record, while it is being copied.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Head and payload.
    pub record: &'a Record<'a>,
    /// The membership it came by.
    pub membership: &'a Membership,
}

impl GroupSocket {
    /// Asks the monitor to serve a socket whose doorbell pair is `b`; `holder` keeps the program's
    /// own address in the kernel and, with `relay`, takes its unicast datagrams.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn open(
        session: &Session,
        a: BorrowedFd<'_>,
        b: &Descriptor,
        holder: Option<&Descriptor>,
        relay: bool,
        bound: SocketAddr,
    ) -> Result<Self, CallError> {
        let cookie = rustix::net::sockopt::socket_cookie(a).map_err(CallError::Away)?;
        let inode = rustix::fs::fstat(a).map_err(CallError::Away)?.st_ino;
        let inet6 = rustix::net::sockopt::socket_domain(a).map_err(CallError::Away)?
            == rustix::net::AddressFamily::INET6;
        let request = Request::OpenSocket {
            cookie,
            inode,
            inet6,
            relay,
            bound,
        };
        let answer = match holder {
            Some(holder) => session.call(request, &[b.as_fd(), holder.as_fd()]),
            None => session.call(request, &[b.as_fd()]),
        }?;
        let socket = Self::from_answer(session, answer)?;
        socket.page.bound.set(Some(bound));
        Ok(socket)
    }

    /// Attaches to a socket that this process inherited or was given, by its cookie.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] with `ENOENT` when the monitor does not serve it.
    pub fn adopt(session: &Session, cookie: u64) -> Result<Self, CallError> {
        Self::from_answer(session, session.call(Request::Adopt { cookie }, &[])?)
    }

    fn from_answer(
        session: &Session,
        answer: (Reply, crate::control::channel::Descriptors),
    ) -> Result<Self, CallError> {
        let (Reply::Socket { socket }, [Some(page), ..]) = answer else {
            return Err(bad_answer());
        };
        let (base, page_bytes) = map_shared(&page, true)?;
        // SAFETY: sealed against shrinking, mapped until `unmap`, and a socket page, which `check`
        // confirms; its words are atomics.
        let page: &'static SocketPage = unsafe { &*base.cast::<SocketPage>() };
        page.check(page_bytes as u64).map_err(|_| bad_answer())?;
        Ok(Self {
            id: socket,
            page,
            page_bytes,
            board: session.board(),
            readers: [const { AtomicPtr::new(ptr::null_mut()) }; MEMBERSHIPS_MAX],
            reader_groups: [const { crate::sync::AtomicU32::new(0) }; MEMBERSHIPS_MAX],
        })
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// No thread of this process uses the socket any more.
    pub unsafe fn unmap(&self) {
        for reader in &self.readers {
            let reader = reader.swap(ptr::null_mut(), Ordering::AcqRel);
            if !reader.is_null() {
                // SAFETY: made by `Box::into_raw` in `reader`, and nobody uses it any more. The
                // log itself stays mapped, it belongs to the process's table of logs.
                drop(unsafe { Box::from_raw(reader) });
            }
        }
        let base = ptr::from_ref(self.page).cast_mut().cast();
        // SAFETY: the whole mapping made in `from_answer`. It cannot fail for a mapped range.
        let _ = unsafe { rustix::mm::munmap(base, self.page_bytes) };
    }

    /// The monitor's number of this socket.
    #[must_use]
    pub const fn id(&self) -> SocketId {
        self.id
    }

    /// The page that all sharers see.
    #[inline]
    #[must_use]
    pub const fn page(&self) -> &'static SocketPage {
        self.page
    }

    /// Whether the monitor that served the socket is gone: what it had ordered can still be
    /// received, and nothing comes after it.
    #[inline]
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.board.is_over()
    }

    /// Joins a group. Reception begins at the place of this call in the order.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`]: `EADDRINUSE` for a second join, `ENOBUFS` beyond
    /// [`MEMBERSHIPS_MAX`], `EACCES` by policy.
    pub fn join(
        &self,
        session: &Session,
        group: SocketAddr,
        interface: u32,
    ) -> Result<u32, CallError> {
        let request = Request::Join {
            socket: self.id,
            group,
            interface,
        };
        let (Reply::Joined { slot, group }, [Some(log), ..]) = session.call(request, &[])? else {
            return Err(bad_answer());
        };
        let index = slot as usize;
        let Some(membership) = self.page.memberships.get(index) else {
            return Err(bad_answer());
        };
        membership.interface.store(interface, Ordering::Relaxed);
        self.install(index, group, &log)?;
        Ok(slot)
    }

    /// Leaves the group of `slot`. What was ordered before can still be received.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn leave(&self, session: &Session, slot: u32) -> Result<(), CallError> {
        session
            .call(
                Request::Leave {
                    socket: self.id,
                    slot,
                },
                &[],
            )
            .map(|_| ())
    }

    fn install(
        &self,
        index: usize,
        group: GroupId,
        log: &Descriptor,
    ) -> Result<&Reader, CallError> {
        let (header, area) = logs::map(group, log)?;
        let reader = Box::into_raw(Box::new(LogReader::new(header, area)));
        // A reader of an earlier use of the slot may still be in use by a thread: it is left, as
        // 32 bytes that a program which joins and leaves for ever pays each time it changes group.
        self.readers[index].store(reader, Ordering::Release); // pairs with `reader`
        self.reader_groups[index].store(group.0, Ordering::Release);
        // SAFETY: just made, and given back only by `unmap`.
        Ok(unsafe { &*reader })
    }

    /// Maps the logs of slots that another sharer of the socket joined.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    #[cold]
    pub fn catch_up(&self, session: &Session) -> Result<(), CallError> {
        for (index, membership) in self.page.slots().iter().enumerate() {
            let group = membership.group.load(Ordering::Relaxed);
            if membership.is_open() && self.reader_groups[index].load(Ordering::Acquire) != group {
                let group = GroupId(group);
                let request = Request::Log {
                    socket: self.id,
                    group,
                };
                let (Reply::Log, [Some(log), ..]) = session.call(request, &[])? else {
                    return Err(bad_answer());
                };
                self.install(index, group, &log)?;
            }
        }
        Ok(())
    }

    /// Whether some slot's log is not mapped in this process yet.
    #[inline]
    #[must_use]
    pub fn lacks_a_log(&self) -> bool {
        self.page
            .slots()
            .iter()
            .zip(&self.reader_groups)
            .any(|(membership, group)| {
                membership.is_open()
                    && membership.group.load(Ordering::Relaxed) != group.load(Ordering::Acquire)
            })
    }

    #[inline]
    pub(super) fn reader(&self, index: usize) -> Option<&Reader> {
        // SAFETY: null or made by `install`; given back only by `unmap`.
        unsafe { self.readers[index].load(Ordering::Acquire).as_ref() }
    }

    /// Takes the next datagram of the order, or only looks at it.
    ///
    /// `read` copies what it wants; it may be called again when the copy turned out to be of a
    /// record that somebody else took. `None`: there is nothing, and the doorbell is quiet.
    #[inline]
    pub fn receive<R>(
        &self,
        session: &Session,
        a: BorrowedFd<'_>,
        peek: bool,
        mut read: impl FnMut(&Incoming<'_>) -> R,
    ) -> Option<R> {
        loop {
            let Some((index, position, record)) = self.look(session) else {
                self.settle(session, a);
                if self.is_stray_look_due() {
                    self.remove_stray(session, a);
                }
                // `settle` looked again; what came meanwhile has rung or is found here.
                let (..) = self.look(session)?;
                continue;
            };
            let membership = &self.page.memberships[index];
            let reader = self.reader(index)?;
            let incoming = Incoming {
                record: &record,
                membership,
            };
            let result = read(&incoming);
            if peek {
                if reader.is_whole(membership.cursor(), position) {
                    return Some(result);
                }
                continue;
            }
            if reader.advance(membership.cursor(), position, &record.head) {
                let doorbell = self.page.doorbell();
                if doorbell.token.load(Ordering::Relaxed) != 0 && self.look(session).is_none() {
                    self.settle(session, a);
                }
                return Some(result);
            }
        }
    }

    #[inline]
    fn settle(&self, session: &Session, a: BorrowedFd<'_>) {
        let doorbell = self.page.doorbell();
        if !doorbell.settle(|| self.look(session).is_none(), || take_token(a, self.page)) {
            let looks = &self.page.stray_looks;
            looks.store(LOOKS_FOR_A_LATE_BYTE, Ordering::Relaxed);
        }
    }

    /// Whether the kernel queue of an empty socket is to be looked at for a byte without token:
    /// after one was given up, and now and then if somebody may look from outside.
    #[inline]
    fn is_stray_look_due(&self) -> bool {
        // Plain loads and stores: a count lost to another sharer costs a look.
        let left = self.page.stray_looks.load(Ordering::Relaxed);
        if left != 0 {
            self.page.stray_looks.store(left - 1, Ordering::Relaxed);
            return true;
        }
        if self.page.doorbell().interest.load(Ordering::Relaxed) & STICKY == 0 {
            return false;
        }
        let empty = self.page.empty_receives.load(Ordering::Relaxed);
        let empty = empty.wrapping_add(1);
        self.page.empty_receives.store(empty, Ordering::Relaxed);
        empty.is_multiple_of(EMPTY_RECEIVES_PER_LOOK)
    }

    /// The kernel said readable `times` times in a row and there was nothing: from the third time
    /// on the next receive looks for a byte without token.
    #[inline]
    pub fn was_woken_for_nothing(&self, times: u32) {
        if times >= WAKES_BEFORE_A_LOOK {
            self.page.stray_looks.store(1, Ordering::Relaxed);
        }
    }

    /// Takes a doorbell byte that says nothing out of the front of the kernel queue, if one is
    /// there and the logs are empty.
    #[cold]
    pub fn remove_stray(&self, session: &Session, a: BorrowedFd<'_>) {
        self.settle(session, a);
        let doorbell = self.page.doorbell();
        if front_of(a) == Take::Byte
            && doorbell.remove_stray(|| take_token(a, self.page))
            && self.is_readable(session)
        {
            // Without the monitor nothing rings any more.
            let _ = session.call(Request::Ring { socket: self.id }, &[]);
        }
    }

    /// The next datagram's payload length, without taking it.
    #[must_use]
    pub fn next_len(&self, session: &Session, a: BorrowedFd<'_>) -> Option<u32> {
        self.receive(session, a, true, |incoming| incoming.record.head.len)
    }

    /// Before a filter changes: what is queued was judged when it arrived, so what the present
    /// filters refuse goes, and the rest stays whatever the new ones say.
    ///
    /// Deviation from the kernel: of refused datagrams between admitted ones only those at the
    /// front go.
    pub fn before_filter_change(&self, session: &Session) {
        for (index, membership) in self.page.slots().iter().enumerate() {
            if membership.is_open()
                && let Some(reader) = self.reader(index)
            {
                // Skips what is refused at the front.
                let _ = self.look_at(session, index, membership);
                membership.exempt.store(reader.tail(), Ordering::Relaxed);
            }
        }
    }

    /// Whether there is something to receive in shared memory.
    #[inline]
    #[must_use]
    pub fn is_readable(&self, session: &Session) -> bool {
        self.look(session).is_some()
    }

    /// The first record in the order that this socket shall receive; skips the others.
    #[inline]
    fn look(&self, session: &Session) -> Option<(usize, u64, Record<'_>)> {
        let slots = self.page.slots();
        if let [only] = slots {
            return self
                .look_at(session, 0, only)
                .map(|(position, record)| (0, position, record));
        }
        // Several groups: everything up to `published` is visible in all logs, so the lowest
        // place among their next records is the next one of the common order.
        let published = if self.is_orphaned() {
            Seq(u64::MAX) // its last words need nobody's leave any more
        } else {
            self.board.published()
        };
        let mut first: Option<(usize, u64, Record<'_>)> = None;
        for (index, membership) in slots.iter().enumerate() {
            if !membership.is_open() {
                continue;
            }
            if let Some((position, record)) = self.look_at(session, index, membership)
                && record.head.seq <= published
                && first
                    .as_ref()
                    .is_none_or(|(_, _, other)| record.head.seq < other.head.seq)
            {
                first = Some((index, position, record));
            }
        }
        first
    }

    #[inline]
    fn look_at(
        &self,
        session: &Session,
        index: usize,
        membership: &Membership,
    ) -> Option<(u64, Record<'_>)> {
        let reader = self.reader(index)?;
        loop {
            let Look::Found(position, record) = reader.look(membership.cursor()) else {
                return None;
            };
            if (!self.page.has(FILTERED) && !record.is_extended())
                || position < membership.exempt.load(Ordering::Relaxed)
                || self.is_wanted(session, membership, &record)
            {
                return Some((position, record));
            }
            // Not for us. If the cursor moved meanwhile, somebody else skipped or took it.
            let _ = reader.advance(membership.cursor(), position, &record.head);
        }
    }

    #[cold]
    pub(super) fn is_wanted(
        &self,
        session: &Session,
        membership: &Membership,
        record: &Record<'_>,
    ) -> bool {
        let origin = record.origin();
        if origin.no_loop == Some(session.id()) {
            return false;
        }
        is_wanted_from(self.page, membership, origin.source)
    }
}

/// Whether a socket's peer and source filter let a datagram of a group from `source` through.
///
/// A socket that was bound to any address and then connected has the address that it was connected
/// from, as in the kernel, and receives no group any more.
#[must_use]
pub fn is_wanted_from(page: &SocketPage, membership: &Membership, source: SocketAddr) -> bool {
    if !page.has(FILTERED) {
        return true;
    }
    let bound_to_any = || {
        let bound = page.bound.get();
        bound.is_some_and(|bound| bound.ip().is_unspecified())
    };
    if page.connected_from.get().is_some() && bound_to_any() {
        return false;
    }
    let from_peer = page
        .peer
        .get()
        .is_none_or(|peer| canonical(peer) == canonical(source));
    from_peer && membership.admits(source.ip().to_canonical())
}

/// An address without what does not matter for equality: IPv4 in IPv6, and the scope.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The state in which a membership delivers nothing more, by policy.
#[must_use]
pub fn is_expelled(page: &SocketPage) -> bool {
    page.slots()
        .iter()
        .any(|membership| membership.state.load(Ordering::Relaxed) == membership_state::EXPELLED)
}

/// What lies at the front of the kernel queue: a doorbell byte, nothing, or something else.
fn front_of(a: BorrowedFd<'_>) -> Take {
    let mut byte = [0];
    match rustix::net::recv(a, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((1, _)) if byte[0] == TOKEN_BYTE => Take::Byte,
        Ok(_) => Take::Behind,
        // `ECONNREFUSED` is the monitor's end having gone; the error is now consumed.
        Err(_) => Take::Nothing,
    }
}

/// Takes one doorbell byte out of the kernel queue, if one is at its front.
fn take_token(a: BorrowedFd<'_>, page: &SocketPage) -> Take {
    // Without relayed datagrams nothing else can lie there.
    if page.has(RELAYED) {
        let front = front_of(a);
        if front != Take::Byte {
            return front;
        }
    }
    match rustix::net::recv(a, &mut [0], RecvFlags::DONTWAIT) {
        Ok(_) => Take::Byte,
        // Another thread had it, or the monitor's end is gone; that error is now consumed.
        Err(_) => Take::Nothing,
    }
}

/// The logs that this process has mapped, one mapping a group.
mod logs {
    use super::{Area, CallError, Descriptor, GroupId, HEADER_BYTES, LogHeader, bad_answer};
    use super::{AtomicPtr, Ordering, map_shared, ptr};
    use core::sync::atomic::AtomicU64;

    struct Slot {
        base: AtomicPtr<u8>,
        capacity: AtomicU64,
        /// Inode of the memfd: another monitor's group may have the same number.
        inode: AtomicU64,
    }

    static LOGS: [Slot; 1025] = [const {
        Slot {
            base: AtomicPtr::new(ptr::null_mut()),
            capacity: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }; 1025];

    /// Maps the log of `group`, unless this process has it already.
    pub(super) fn map(
        group: GroupId,
        log: &Descriptor,
    ) -> Result<(&'static LogHeader, Area), CallError> {
        let slot = LOGS.get(group.0 as usize).ok_or_else(bad_answer)?;
        let inode = rustix::fs::fstat(log).map_err(CallError::Away)?.st_ino;
        let mut base = slot.base.load(Ordering::Acquire);
        if base.is_null() || slot.inode.load(Ordering::Acquire) != inode {
            let (mapped, len) = map_shared(log, false)?;
            // SAFETY: sealed, mapped for ever; `capacity` checks that it is a log.
            let header: &'static LogHeader = unsafe { &*mapped.cast::<LogHeader>() };
            let capacity = header.capacity(len as u64).map_err(|_| bad_answer())?;
            slot.capacity.store(capacity, Ordering::Relaxed);
            slot.inode.store(inode, Ordering::Release);
            slot.base.store(mapped, Ordering::Release);
            base = mapped;
        }
        let capacity = slot.capacity.load(Ordering::Relaxed);
        // SAFETY: as above; the capacity was checked against the mapping's length.
        unsafe {
            Ok((
                &*base.cast::<LogHeader>(),
                Area::new(base.add(HEADER_BYTES), capacity),
            ))
        }
    }
}
