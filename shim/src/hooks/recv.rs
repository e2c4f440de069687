//! `recv`, `recvfrom`, `recvmsg`, `recvmmsg`, `read`, `readv` and their fortified forms.

use core::ffi::c_void;
use core::net::{IpAddr, SocketAddr};
use core::ptr;
use core::sync::atomic::Ordering;
use core::time::Duration;

use libc::{
    c_int, c_uint, iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t, timespec,
};
use libexo::client::session::Session;
use libexo::client::socket::{GroupSocket, Incoming, is_expelled};
use libexo::shm::log::Origin;
use libexo::shm::socket_page::{NONBLOCK, NOT_STAMPED, PEEK_OFFSET, READ_SHUT, delivery};
use rustix::io::Errno;

use super::ancillary::write_control;
use super::mail::take_mail;
use super::options::wish;
use super::peek::{move_peek_offset, peek_at_offset};
use super::poll::{now_ns, receiver};
use super::raw::message_flags;
use crate::convert::borrow;
use crate::descriptor::Object;
use crate::errno::{fail, fail_len};
use crate::{cancel, names, probe, real, session};

/// Looks at the log before a receiver goes to sleep: a few hundred nanoseconds, in which a
/// sender on another core that is just at it gets through.
const LOOKS_BEFORE_SLEEP: u32 = 16;

/// More than all control messages of a datagram take.
const CONTROL_MAX: usize = 512;

/// Where a datagram is to be put: the caller's buffers and what it wants to know.
pub(super) struct Target {
    pub(super) iov: *const iovec,
    pub(super) count: usize,
    name: *mut sockaddr,
    name_len: *mut socklen_t,
    message: *mut msghdr,
}

/// A datagram that was received.
pub(super) struct Received {
    /// Bytes of the datagram.
    pub(super) len: usize,
    /// Bytes that found room.
    pub(super) copied: usize,
    pub(super) origin: Origin,
    pub(super) time_ns: u64,
    /// The group it was sent to and the interface, for `IP_PKTINFO`; `None` for a plain unicast one.
    pub(super) group: Option<(SocketAddr, u32)>,
    pub(super) dropped: u64,
    /// It did not find room whole.
    pub(super) cut: bool,
    /// A buffer that cannot be the program's.
    pub(super) fault: bool,
}

impl Target {
    /// Bytes that there is room for.
    pub(super) fn room(&self) -> usize {
        // SAFETY: `count` entries by contract.
        let lengths = (0..self.count).map(|i| unsafe { (*self.iov.add(i)).iov_len });
        lengths.fold(0, usize::saturating_add)
    }

    /// Copies the payload from byte `from` on into the buffers. `None`: one of them is not there.
    ///
    /// # Safety
    ///
    /// The buffers are not unmapped meanwhile.
    #[inline]
    unsafe fn copy(&self, incoming: &Incoming<'_>, from: usize) -> Option<usize> {
        let left = incoming.record.head.len as usize - from;
        let mut copied = 0;
        for i in 0..self.count {
            // SAFETY: `count` entries by contract.
            let part = unsafe { &*self.iov.add(i) };
            let len = part.iov_len.min(left - copied);
            let target = part.iov_base.cast();
            if len > 0 {
                if !probe::is_writable(target, len) {
                    return None;
                }
                // SAFETY: writable, as just seen.
                copied += unsafe { incoming.record.copy_to(from + copied, target, len) };
            }
            if copied == left {
                break;
            }
        }
        Some(copied)
    }
}

/// The heart of all receiving calls on a socket that is a member of groups.
///
/// # Safety
///
/// The target's pointers are valid for what they say.
#[inline]
pub(super) unsafe fn receive(
    fd: c_int,
    object: &'static Object,
    socket: &'static GroupSocket,
    flags: c_int,
    target: &Target,
) -> ssize_t {
    let Some(session) = session::get().or_else(session::last) else {
        return fail_len(libc::ENETDOWN);
    };
    cancel::point();
    let peek = flags & libc::MSG_PEEK != 0;
    let mut wait = Wait::default();
    if peek && socket.page().has(PEEK_OFFSET) {
        // SAFETY: by contract.
        return unsafe { peek_at_offset(fd, object, socket, session, flags, target) };
    }
    loop {
        let wants = socket.page().has(wish::ANY);
        let got = socket.receive(session, borrow(fd), peek, |incoming| {
            // SAFETY: by contract.
            unsafe { take_in(target, incoming, 0, wants) }
        });
        if let Some(received) = got {
            // SAFETY: by contract.
            return unsafe { finish(object, socket, target, flags, &received) };
        }
        // SAFETY: by contract.
        let slow = unsafe { receive_slow(fd, object, socket, session, flags, target, &mut wait) };
        if let Some(result) = slow {
            return result;
        }
    }
}

/// How long one call has waited.
#[derive(Default)]
pub(super) struct Wait {
    /// By the monotonic clock; `None` until the first sleep of a call with `SO_RCVTIMEO`.
    deadline_ns: Option<u64>,
}

impl Wait {
    /// What is left; `None` for no limit.
    pub(super) fn left(&mut self, socket: &GroupSocket) -> Option<Duration> {
        let limit_us = socket.page().receive_timeout_us.load(Ordering::Relaxed);
        if limit_us == 0 {
            return None;
        }
        let now = now_ns();
        let limit_ns = limit_us.saturating_mul(1000);
        let deadline = *self
            .deadline_ns
            .get_or_insert_with(|| now.saturating_add(limit_ns));
        Some(Duration::from_nanos(deadline.saturating_sub(now)))
    }
}

/// Copies what `incoming` has from byte `from` on.
///
/// # Safety
///
/// As `receive`.
#[inline]
pub(super) unsafe fn take_in(
    target: &Target,
    incoming: &Incoming<'_>,
    from: usize,
    wants: bool,
) -> Received {
    // SAFETY: by contract.
    let copied = unsafe { target.copy(incoming, from) };
    let (fault, copied) = (copied.is_none(), copied.unwrap_or(0));
    let membership = incoming.membership;
    let len = incoming.record.head.len as usize;
    Received {
        len,
        copied,
        origin: incoming.record.origin(),
        time_ns: incoming.record.head.time.0,
        group: wants.then(|| {
            let group = membership.address.get();
            let any = SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0);
            (
                group.unwrap_or(any),
                membership.interface.load(Ordering::Relaxed),
            )
        }),
        dropped: membership.dropped.load(Ordering::Relaxed),
        cut: copied < len,
        fault,
    }
}

/// The log is empty: plain datagrams, ends, and waiting. `None` means to look again.
///
/// # Safety
///
/// As `receive`.
#[cold]
pub(super) unsafe fn receive_slow(
    fd: c_int,
    object: &'static Object,
    socket: &'static GroupSocket,
    session: &'static Session,
    flags: c_int,
    target: &Target,
    wait: &mut Wait,
) -> Option<ssize_t> {
    let page = socket.page();
    if socket.lacks_a_log() {
        // A sharer of the socket joined a group. Without the monitor its log cannot be had yet.
        let _ = socket.catch_up(session);
        if socket.is_readable(session) {
            return None;
        }
    }
    if is_expelled(page) {
        return Some(fail_len(libc::ECONNABORTED));
    }
    if page.has_mail() {
        // SAFETY: by contract.
        if let Some(received) = unsafe { take_mail(fd, object, socket, session, flags, target) } {
            return Some(received);
        }
        if socket.is_readable(session) {
            return None;
        }
    }
    if socket.is_orphaned() {
        // Looked again: the last of the order was written before the end was.
        return if socket.is_readable(session) {
            None
        } else {
            Some(fail_len(libc::ENETDOWN))
        };
    }
    if flags & libc::MSG_DONTWAIT != 0 || page.has(NONBLOCK) {
        return Some(fail_len(libc::EAGAIN));
    }
    if page.has(READ_SHUT) {
        return Some(0);
    }
    for _ in 0..LOOKS_BEFORE_SLEEP {
        if socket.is_readable(session) {
            return None;
        }
        core::hint::spin_loop();
    }
    let limit = wait.left(socket);
    if limit == Some(Duration::ZERO) {
        return Some(fail_len(libc::EAGAIN));
    }
    let sleepers = page.sleepers();
    object.sleepers.fetch_add(1, Ordering::AcqRel);
    let seen = sleepers.announce();
    let is_quiet = !socket.is_readable(session)
        && !page.has_mail()
        && !page.has(READ_SHUT)
        && !is_expelled(page)
        && !socket.is_orphaned()
        && page.delivery.load(Ordering::Acquire) == delivery::SHARED_MEMORY;
    let slept = if is_quiet {
        cancel::during(|| sleepers.sleep(seen, limit))
    } else {
        Ok(())
    };
    sleepers.retract();
    object.sleepers.fetch_sub(1, Ordering::AcqRel);
    if page.delivery.load(Ordering::Acquire) != delivery::SHARED_MEMORY {
        // SAFETY: by contract.
        return Some(unsafe { receive_from_kernel(fd, flags, target) });
    }
    match slept {
        Err(Errno::INTR) => Some(fail_len(libc::EINTR)),
        // Woken, or the time is over: the next look tells.
        _ => None,
    }
}

/// The socket was switched to kernel delivery while this thread waited.
///
/// # Safety
///
/// As `receive`.
unsafe fn receive_from_kernel(fd: c_int, flags: c_int, target: &Target) -> ssize_t {
    // SAFETY: all zero is a message without anything; the pointers are the caller's.
    unsafe {
        let mut message: msghdr = core::mem::zeroed();
        message.msg_iov = target.iov.cast_mut();
        message.msg_iovlen = target.count;
        message.msg_name = target.name.cast();
        if !target.name_len.is_null() {
            message.msg_namelen = *target.name_len;
        }
        let result = real::recvmsg(fd, &raw mut message, flags);
        if !target.name_len.is_null() {
            *target.name_len = message.msg_namelen;
        }
        result
    }
}

/// Tells the caller about a datagram whose bytes it has.
///
/// # Safety
///
/// As `receive`.
#[inline]
pub(super) unsafe fn finish(
    object: &Object,
    socket: &GroupSocket,
    target: &Target,
    flags: c_int,
    received: &Received,
) -> ssize_t {
    // The kernel, too, finds out after it has taken the datagram.
    if received.fault {
        return fail_len(libc::EFAULT);
    }
    let stamp = &socket.page().stamp_ns;
    if socket.page().has(wish::STAMP) {
        stamp.store(received.time_ns, Ordering::Relaxed);
    } else if stamp.load(Ordering::Relaxed) == 0 {
        stamp.store(NOT_STAMPED, Ordering::Relaxed);
    }
    // SAFETY: by contract.
    unsafe {
        if !target.name.is_null() {
            if !probe::can_write(target.name_len) {
                return fail_len(libc::EFAULT);
            }
            let room = *target.name_len;
            if room.cast_signed() < 0 {
                return fail_len(libc::EINVAL);
            }
            let room = (room as usize).min(size_of::<names::NameBytes>());
            if !probe::is_writable(target.name.cast(), room) {
                return fail_len(libc::EFAULT);
            }
        }
        names::store(
            received.origin.source,
            object.inet6,
            target.name,
            target.name_len,
        );
        if let Some(message) = target.message.as_mut() {
            let cut = if received.cut { libc::MSG_TRUNC } else { 0 };
            message.msg_flags = flags & libc::MSG_CMSG_CLOEXEC | cut;
            let room = message.msg_controllen.min(CONTROL_MAX);
            if socket.page().has(wish::ANY)
                && !message.msg_control.is_null()
                && probe::is_writable(message.msg_control.cast(), room)
            {
                write_control(object, socket, message, received);
            } else {
                message.msg_controllen = 0;
            }
        }
    }
    let len = if flags & libc::MSG_TRUNC != 0 {
        received.len
    } else {
        received.copied
    };
    if socket.page().has(PEEK_OFFSET) {
        move_peek_offset(socket.page(), flags, len);
    }
    len.cast_signed()
}

/// `MSG_CMSG_COMPAT`: the kernel refuses it at once.
const COMPAT: c_int = c_int::MIN;

/// Whether the kernel must answer whatever the socket is. It takes no notice of `MSG_OOB` here.
const fn is_for_kernel(flags: c_int) -> bool {
    flags & libc::MSG_ERRQUEUE != 0
}

/// Whether the kernel refuses a list of buffers before it looks for a datagram.
///
/// # Safety
///
/// The list is not unmapped meanwhile.
unsafe fn is_refused(iov: *const iovec, count: usize) -> bool {
    count > 1024
        || !probe::can_read_list(iov, count)
        // SAFETY: readable, as just seen.
        || (0..count).any(|i| unsafe {
            let part = &*iov.add(i);
            probe::is_refused_at_once(part.iov_base) || isize::try_from(part.iov_len).is_err()
        })
}

#[inline]
unsafe fn receive_one(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    name: *mut sockaddr,
    name_len: *mut socklen_t,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let Some((object, socket)) = receiver(fd) else {
        return kernel();
    };
    if is_for_kernel(flags) || probe::is_refused_at_once(buf) {
        return kernel();
    }
    let part = iovec {
        iov_base: buf,
        iov_len: len,
    };
    let target = Target {
        iov: &raw const part,
        count: 1,
        name,
        name_len,
        message: ptr::null_mut(),
    };
    // SAFETY: the caller's pointers.
    unsafe { receive(fd, object, socket, flags, &target) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        let null = ptr::null_mut();
        receive_one(fd, buf, len, flags, null, null.cast(), || {
            real::recv(fd, buf, len, flags)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above; the check that the caller was compiled with is kept.
    unsafe {
        assert_fits(len, size);
        recv(fd, buf, len, flags)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    name: *mut sockaddr,
    name_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        receive_one(fd, buf, len, flags, name, name_len, || {
            real::recvfrom(fd, buf, len, flags, name, name_len)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
    name: *mut sockaddr,
    name_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        assert_fits(len, size);
        recvfrom(fd, buf, len, flags, name, name_len)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        // A read of nothing gives nothing and takes nothing; a recv of nothing takes a datagram.
        // What is negative to the kernel is no room at all.
        if len == 0 || len > isize::MAX.cast_unsigned() {
            return real::read(fd, buf, len);
        }
        let null = ptr::null_mut();
        receive_one(fd, buf, len, 0, null, null.cast(), || {
            real::read(fd, buf, len)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: as above.
    unsafe { read(fd, buf, len) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        assert_fits(len, size);
        read(fd, buf, len)
    }
}

/// Receives into a list of buffers, without a name.
#[inline]
unsafe fn read_list(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    flags: c_int,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    // SAFETY: as above; the list is read after it was looked at.
    unsafe {
        let (Some((object, socket)), Ok(parts)) = (receiver(fd), usize::try_from(count)) else {
            return kernel();
        };
        if is_refused(iov, parts) || (0..parts).all(|i| (*iov.add(i)).iov_len == 0) {
            return kernel(); // which knows the answer
        }
        let null = ptr::null_mut();
        let target = Target {
            iov,
            count: parts,
            name: null,
            name_len: null.cast(),
            message: null.cast(),
        };
        receive(fd, object, socket, flags, &target)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: as above.
    unsafe { read_list(fd, iov, count, 0, || real::readv(fd, iov, count)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv2(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    position: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        let kernel = || real::preadv2(fd, iov, count, position, flags);
        match message_flags(position, flags) {
            Some(flags) => read_list(fd, iov, count, flags, kernel),
            None => kernel(),
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv64v2(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    position: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above.
    unsafe { preadv2(fd, iov, count, position, flags) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        let Some((object, socket)) = receiver(fd) else {
            let result = real::recvmsg(fd, message, flags);
            if result >= 0 {
                super::process::note_received(message);
            }
            return result;
        };
        recvmsg_ours(fd, object, socket, message, flags)
    }
}

#[inline(never)]
unsafe fn recvmsg_ours(
    fd: c_int,
    object: &'static Object,
    socket: &'static GroupSocket,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        if !probe::can_write(message) {
            return fail_len(libc::EFAULT);
        }
        if is_for_kernel(flags)
            || flags & COMPAT != 0
            || ((*message).msg_namelen.cast_signed() < 0 && !(*message).msg_name.is_null())
            || is_refused((*message).msg_iov, (*message).msg_iovlen)
        {
            return real::recvmsg(fd, message, flags); // the kernel knows the answer
        }
        let target = Target {
            iov: (*message).msg_iov,
            count: (*message).msg_iovlen,
            name: (*message).msg_name.cast(),
            name_len: &raw mut (*message).msg_namelen,
            message,
        };
        receive(fd, object, socket, flags, &target)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if receiver(fd).is_none()
            || is_for_kernel(flags)
            || flags & COMPAT != 0
            || (!timeout.is_null() && !probe::can_write(timeout))
        {
            return real::recvmmsg(fd, messages, count, flags, timeout);
        }
        let deadline = match timeout.as_ref() {
            None => None,
            Some(limit) if limit.tv_sec < 0 || !(0..1_000_000_000).contains(&limit.tv_nsec) => {
                return fail(libc::EINVAL);
            }
            Some(limit) => Some(now_ns().saturating_add(
                limit.tv_sec.cast_unsigned().saturating_mul(1_000_000_000)
                    + limit.tv_nsec.cast_unsigned(),
            )),
        };
        let count = c_int::try_from(count.min(1024)).unwrap_or(1024);
        let mut flags = flags;
        let mut done = 0;
        while done < count {
            let message = messages.offset(isize::try_from(done).unwrap_or(0));
            let one = flags & !libc::MSG_WAITFORONE;
            if !probe::can_write(message) {
                if done == 0 {
                    return fail(libc::EFAULT);
                }
                break;
            }
            let got = recvmsg(fd, &raw mut (*message).msg_hdr, one);
            let Ok(len) = c_uint::try_from(got) else {
                if done == 0 {
                    return fail(crate::errno::get());
                }
                break;
            };
            (*message).msg_len = len;
            done += 1;
            if flags & libc::MSG_WAITFORONE != 0 {
                flags |= libc::MSG_DONTWAIT;
            }
            // As the kernel does, the limit is looked at after each datagram.
            if let (Some(deadline), Some(limit)) = (deadline, timeout.as_mut()) {
                let left = deadline.saturating_sub(now_ns());
                limit.tv_sec = (left / 1_000_000_000).cast_signed();
                limit.tv_nsec = (left % 1_000_000_000).cast_signed();
                if left == 0 {
                    break;
                }
            }
        }
        done
    }
}

/// What fortified functions do when a buffer is smaller than the call says.
fn assert_fits(len: size_t, size: size_t) {
    if len > size {
        // SAFETY: glibc's own end for a program whose buffer would overflow.
        unsafe { __chk_fail() }
    }
}

unsafe extern "C" {
    fn __chk_fail() -> !;
}
