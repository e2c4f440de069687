//! `send`, `sendto`, `sendmsg`, `sendmmsg`, `write`, `writev`, `sendfile`.

mod control;
mod payload;
mod pieces;
mod submit;
mod way;

use core::ffi::c_void;
use core::net::SocketAddr;

use libc::{c_int, c_uint, iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t};

use super::raw::message_flags;
use crate::convert::marked;
use crate::descriptor::{self, Object};
use crate::errno::{fail, fail_len};
use crate::names;
use crate::{probe, real};
use payload::Payload;
pub(super) use pieces::cork_changed;
use pieces::{begin, continued, wants_more};
use submit::submit;
use way::{Way, is_ipv6_only, peer_of, way_of_peer, way_to};

/// Most bytes of an address.
const NAME_MAX: socklen_t = 128;
/// The kernel's `MAX_RW_COUNT`: of a longer buffer it takes so much.
const LEN_MAX: usize = 0x7fff_f000;
/// Largest payload that an IPv4 socket looks at at all.
const LOOKED_AT_MAX: usize = 0xffff;

/// The errno of a datagram that goes nowhere: for IPv4 what is wrong with itself comes first.
#[cold]
fn refusal(fd: c_int, errno: c_int, len: usize, flags: c_int) -> c_int {
    let inet6 = descriptor::get(fd).is_some_and(|object| object.inet6);
    match errno {
        libc::EDESTADDRREQ if !inet6 && len > LOOKED_AT_MAX => libc::EMSGSIZE,
        libc::EDESTADDRREQ if !inet6 && flags & libc::MSG_OOB != 0 => libc::EOPNOTSUPP,
        errno => errno,
    }
}

/// Sends `payload` on the way; `target` is the destination that the call named.
///
/// # Safety
///
/// The payload's buffers are readable.
#[inline]
unsafe fn go(
    fd: c_int,
    way: &Way,
    target: Option<SocketAddr>,
    payload: Payload,
    flags: c_int,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    match way {
        Way::Group(session, grant, limit) => {
            if wants_more(descriptor::get(fd).and_then(Object::cork), flags) {
                return begin(fd, payload, flags, target);
            }
            submit(fd, session, *grant, *limit, payload, flags)
        }
        Way::Kernel => kernel(),
        Way::Refused(errno) => fail_len(refusal(fd, *errno, payload.len, flags)),
        Way::Outside(socket, target) => {
            let inet6 = descriptor::get(fd).is_some_and(|object| object.inet6);
            let mut name: names::NameBytes = [0; 28];
            let len = names::encode(*target, inet6, &mut name);
            // SAFETY: all zero is a message without anything.
            let mut message: msghdr = unsafe { core::mem::zeroed() };
            message.msg_name = name.as_mut_ptr().cast();
            message.msg_namelen = socklen_t::try_from(len).unwrap_or(0);
            message.msg_iov = payload.iov.cast_mut();
            message.msg_iovlen = payload.count;
            // That socket does not know of the cork; it is told when it comes off.
            let cork = descriptor::get(fd).and_then(Object::cork);
            let more = if wants_more(cork, flags) {
                libc::MSG_MORE
            } else {
                0
            };
            let flags = (flags | more) & !COMPAT;
            // SAFETY: name and buffers are readable.
            unsafe { real::sendmsg(*socket, &raw const message, flags) }
        }
    }
}

/// `MSG_CMSG_COMPAT`: for `send` it is nothing, and `sendmsg` refuses it at once.
const COMPAT: c_int = c_int::MIN;

/// One buffer as an iovec.
const fn single(buf: *const c_void, len: size_t) -> iovec {
    iovec {
        iov_base: buf.cast_mut(),
        iov_len: len,
    }
}

/// Sends without a destination.
#[inline]
unsafe fn send_to_peer(
    fd: c_int,
    iov: *const iovec,
    count: usize,
    flags: c_int,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    // SAFETY: the caller's buffers.
    unsafe {
        let Some(payload) = Payload::new(iov, count) else {
            return kernel();
        };
        send_payload_to_peer(fd, payload, flags, kernel)
    }
}

/// As `send_to_peer`, of what was looked at.
#[inline]
unsafe fn send_payload_to_peer(
    fd: c_int,
    payload: Payload,
    flags: c_int,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let Some(object) = descriptor::get(fd) else {
        return kernel();
    };
    if let Some(result) = continued(fd, payload, flags) {
        return result;
    }
    // SAFETY: as above.
    unsafe { go(fd, &way_of_peer(fd, object), None, payload, flags, kernel) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        if descriptor::get(fd).is_none() || probe::is_refused_at_once(buf) {
            return real::send(fd, buf, len, flags);
        }
        send_ours(fd, buf, len, flags)
    }
}

#[inline(never)]
unsafe fn send_ours(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    let part = single(buf, len.min(LEN_MAX));
    // SAFETY: as above.
    unsafe {
        send_to_peer(fd, &raw const part, 1, flags, || {
            real::send(fd, buf, len, flags)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __send(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above.
    unsafe { send(fd, buf, len, flags) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        if descriptor::get(fd).is_none()
            || probe::is_refused_at_once(buf)
            || len > isize::MAX.cast_unsigned()
        {
            return real::write(fd, buf, len);
        }
        send_ours(fd, buf, len, 0) // to the kernel `write` is `send` without flags
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: as above.
    unsafe { write(fd, buf, len) }
}

/// Sends a list of buffers without a destination. The kernel sends nothing for nothing here, unlike
/// `write`.
#[inline]
unsafe fn write_list(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    flags: c_int,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    // SAFETY: as above; the list is read after it was looked at.
    unsafe {
        match usize::try_from(count) {
            Ok(parts)
                if descriptor::get(fd).is_some()
                    && parts <= 1024
                    && probe::can_read_list(iov, parts)
                    && (0..parts).any(|i| (*iov.add(i)).iov_len > 0) =>
            {
                send_to_peer(fd, iov, parts, flags, kernel)
            }
            _ => kernel(),
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: as above.
    unsafe { write_list(fd, iov, count, 0, || real::writev(fd, iov, count)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev2(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    position: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        let kernel = || real::pwritev2(fd, iov, count, position, flags);
        match message_flags(position, flags) {
            Some(flags) => write_list(fd, iov, count, flags, kernel),
            None => kernel(),
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64v2(
    fd: c_int,
    iov: *const iovec,
    count: c_int,
    position: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as above.
    unsafe { pwritev2(fd, iov, count, position, flags) }
}

/// Whether a destination can be no group's.
///
/// # Safety
///
/// `name` is null or points to `len` readable bytes.
#[inline]
unsafe fn is_elsewhere(name: *const sockaddr, len: socklen_t) -> bool {
    // SAFETY: by contract.
    unsafe { !names::is_multicast(name, len) && !crate::convert::any_unicast() }
}

/// Whether that is seen at a glance.
///
/// # Safety
///
/// What `name` points to is not unmapped meanwhile.
#[inline(always)]
unsafe fn is_plainly_elsewhere(name: *const sockaddr, len: socklen_t) -> bool {
    // SAFETY: by contract.
    unsafe {
        (name.is_null() || names::is_plainly_unicast(name, len)) && !crate::convert::any_unicast()
    }
}

/// Whether a destination needs a closer look on a socket that is not ours yet.
///
/// # Safety
///
/// `name` is null or points to `len` readable bytes.
#[inline]
unsafe fn concerns_us(fd: c_int, name: *const sockaddr, len: socklen_t) -> Option<SocketAddr> {
    // SAFETY: by contract.
    unsafe {
        let object = descriptor::get(fd);
        if object.is_none() && is_elsewhere(name, len) {
            return None;
        }
        // The kernel refuses an IPv6 address on an IPv4 socket, whatever it stands for.
        if names::is_inet6(name, len)
            && !object.map_or_else(|| crate::convert::is_inet6(fd), |object| object.inet6)
        {
            return None;
        }
        names::parse_target(name, len)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    name: *const sockaddr,
    name_len: socklen_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        if descriptor::get(fd).is_none() && is_plainly_elsewhere(name, name_len) {
            return real::sendto(fd, buf, len, flags, name, name_len);
        }
        sendto_ours(fd, buf, len, flags, name, name_len)
    }
}

/// Sends to a destination.
#[inline]
unsafe fn send_to_name(
    fd: c_int,
    name: *const sockaddr,
    name_len: socklen_t,
    payload: Payload,
    flags: c_int,
    kernel: impl FnOnce() -> ssize_t,
) -> ssize_t {
    if let Some(result) = continued(fd, payload, flags) {
        return result;
    }
    // SAFETY: the caller's address and buffers.
    unsafe {
        let Some(target) = concerns_us(fd, name, name_len) else {
            return kernel();
        };
        let way = way_to(fd, target);
        go(fd, &way, Some(target), payload, flags, kernel)
    }
}

/// Whether a destination is none: an IPv6 socket takes one without a family for that.
///
/// # Safety
///
/// `name` is not unmapped meanwhile.
unsafe fn is_no_name(fd: c_int, name: *const sockaddr, len: socklen_t) -> bool {
    // SAFETY: by contract.
    descriptor::get(fd).is_some_and(|object| object.inet6)
        && unsafe { names::is_no_name(name, len) }
}

#[inline(never)]
unsafe fn sendto_ours(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    name: *const sockaddr,
    name_len: socklen_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        let part = single(buf, len.min(LEN_MAX));
        let kernel = || real::sendto(fd, buf, len, flags, name, name_len);
        if probe::is_refused_at_once(buf) {
            return kernel();
        }
        if name.is_null() || is_no_name(fd, name, name_len) {
            return send_to_peer(fd, &raw const part, 1, flags, kernel);
        }
        let payload = Payload::of(&part);
        send_to_name(fd, name, name_len, payload, flags, kernel)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        if descriptor::get(fd).is_none()
            && probe::is_known::<{ size_of::<msghdr>() }>(message.cast())
            && is_plainly_elsewhere((*message).msg_name.cast(), (*message).msg_namelen)
            && ((*message).msg_controllen == 0 || !descriptor::is_used())
        {
            return real::sendmsg(fd, message, flags);
        }
        sendmsg_ours(fd, message, flags)
    }
}

/// What the control messages of a datagram say of its length, if they concern us. `Err` is the errno.
///
/// # Safety
///
/// As `control::check`.
#[cold]
unsafe fn segment_of(fd: c_int, header: &msghdr, target: SocketAddr) -> Result<Option<u16>, c_int> {
    let object = descriptor::get(fd);
    let is_ours = || object.is_some_and(|object| object.group().is_some());
    if !crate::convert::is_udp(fd) || !(is_ours() || marked(target).is_some()) {
        return Ok(None);
    }
    let inet6 = object.is_some_and(|object| object.inet6);
    // SAFETY: by contract.
    let checked = unsafe { control::check(fd, header, inet6, target.is_ipv4()) };
    checked.map_err(|errno| {
        let is_unreachable = target.is_ipv4() && object.is_some_and(is_ipv6_only);
        // Before it looks at what they say the kernel fetches them.
        if errno != libc::EFAULT && is_unreachable {
            libc::ENETUNREACH
        } else {
            errno
        }
    })
}

#[inline(never)]
unsafe fn sendmsg_ours(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        let kernel = || {
            let result = real::sendmsg(fd, message, flags);
            if result >= 0 {
                super::process::note_passed(message);
            }
            result
        };
        // What the kernel refuses at once is its to answer.
        if !probe::can_read(message)
            || flags & COMPAT != 0
            || (*message).msg_namelen.cast_signed() < 0
        {
            return kernel();
        }
        let header = &*message;
        let Some(mut payload) = Payload::new(header.msg_iov, header.msg_iovlen) else {
            return kernel();
        };
        let name = header.msg_name.cast::<sockaddr>().cast_const();
        // The kernel cuts what is too long, unlike in `sendto`.
        let name_len = header.msg_namelen.min(NAME_MAX);
        let has_name = !name.is_null() && name_len > 0 && !is_no_name(fd, name, name_len);
        if header.msg_controllen > 0 {
            let target = if has_name {
                concerns_us(fd, name, name_len)
            } else {
                descriptor::get(fd).and_then(peer_of)
            };
            match target.map_or(Ok(None), |target| segment_of(fd, header, target)) {
                Ok(segment) => payload.segment = segment,
                Err(errno) => return fail_len(errno),
            }
        }
        if has_name {
            send_to_name(fd, name, name_len, payload, flags, kernel)
        } else {
            send_payload_to_peer(fd, payload, flags, kernel)
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if count == 0 || flags & COMPAT != 0 || !probe::can_write(messages) {
            return real::sendmmsg(fd, messages, count, flags);
        }
        let first = &(*messages).msg_hdr;
        let needs_us = descriptor::get(fd).is_some()
            || concerns_us(fd, first.msg_name.cast(), first.msg_namelen).is_some();
        if !needs_us {
            return real::sendmmsg(fd, messages, count, flags);
        }
        let count = c_int::try_from(count.min(1024)).unwrap_or(1024);
        for i in 0..count {
            let message = messages.offset(isize::try_from(i).unwrap_or(0));
            if !probe::can_write(message) {
                return if i == 0 { fail(libc::EFAULT) } else { i };
            }
            let sent = sendmsg(fd, &raw const (*message).msg_hdr, flags);
            let Ok(len) = c_uint::try_from(sent) else {
                return if i == 0 { fail(crate::errno::get()) } else { i };
            };
            (*message).msg_len = len;
        }
        count
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: as above.
    unsafe { sendmmsg(fd, messages, count, flags) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(
    out: c_int,
    input: c_int,
    offset: *mut off_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        if descriptor::get(out).is_none() {
            return real::sendfile(out, input, offset, count);
        }
        // Page after page, as pieces of one datagram; the last is known by what follows it.
        let mut pages = [[0_u8; 4096]; 2];
        let mut done = 0;
        let next = |page: &mut [u8; 4096], done: usize| {
            let len = count.saturating_sub(done).min(page.len());
            if offset.is_null() {
                libc::read(input, page.as_mut_ptr().cast(), len)
            } else {
                libc::pread(
                    input,
                    page.as_mut_ptr().cast(),
                    len,
                    *offset + done.cast_signed() as off_t,
                )
            }
        };
        let [mut page, mut following] = pages.each_mut();
        let mut got = next(page, 0);
        while let Ok(len) = usize::try_from(got)
            && len > 0
        {
            got = if done + len < count {
                next(following, done + len)
            } else {
                0
            };
            let flags = if got > 0 { libc::MSG_MORE } else { 0 };
            let sent = send(out, page.as_ptr().cast(), len, flags);
            if sent < 0 {
                got = sent;
                break;
            }
            done += len;
            core::mem::swap(&mut page, &mut following);
        }
        if !offset.is_null() {
            *offset += done.cast_signed() as off_t;
        }
        if done > 0 { done.cast_signed() } else { got }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(
    out: c_int,
    input: c_int,
    offset: *mut off_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: as above; `off_t` has 64 bits.
    unsafe { sendfile(out, input, offset, count) }
}
