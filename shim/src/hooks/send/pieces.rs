//! Datagrams in pieces.
//!
//! With `MSG_MORE` or `UDP_CORK` a call adds a piece to the socket's unfinished datagram. The
//! destination is the first piece's, whatever the others say; an error gives up what was collected,
//! as in the kernel.

use core::net::SocketAddr;

use libc::{c_int, socklen_t, ssize_t};

use super::payload::Payload;
use super::submit::put;
use super::way::{Way, limit_of, peer_of, way_to};
use super::{go, single};
use crate::convert::object_of;
use crate::descriptor::{self, Cork, Object};
use crate::errno::{fail, fail_len};
use crate::names::{self, option};
use crate::real;

/// A socket that becomes ours may have been corked before.
pub(super) fn note_cork(fd: c_int, object: &Object) {
    if object.cork().is_none()
        && option(fd, libc::IPPROTO_UDP, libc::UDP_CORK).is_some_and(|on| on != 0)
        && let Some(cork) = object.make_cork()
    {
        cork.set_on(true);
    }
}

/// The kernel took `UDP_CORK` for a socket that concerns us. Uncorking sends what was collected;
/// when that cannot be now (`EAGAIN`), it is kept for the next call.
pub(in crate::hooks) fn cork_changed(fd: c_int, object: &'static Object) -> c_int {
    let on = option(fd, libc::IPPROTO_UDP, libc::UDP_CORK).is_some_and(|on| on != 0);
    if on {
        let Some(cork) = object.make_cork() else {
            return fail(libc::ENOBUFS);
        };
        cork.set_on(true);
        return 0;
    }
    let outside = object.outside.load(core::sync::atomic::Ordering::Acquire);
    if outside >= 0 {
        names::set_option(outside, libc::IPPROTO_UDP, libc::UDP_CORK, 0);
    }
    let Some(cork) = object.cork() else { return 0 };
    cork.set_on(false);
    let pieces = cork.pieces();
    let Some((target, len)) = pieces.held() else {
        return 0;
    };
    if send_pieces(fd, target, pieces.first(), len, 0) < 0 {
        return -1;
    }
    pieces.clear();
    0
}

/// Sends what was collected as one datagram.
fn send_pieces(fd: c_int, target: SocketAddr, first: *mut u8, len: usize, flags: c_int) -> ssize_t {
    let whole = single(first.cast_const().cast(), len);
    let payload = Payload::of(&whole);
    let way = way_to(fd, target);
    // Shut down or not: the first piece was before.
    if let Way::Group(session, grant, _) = way {
        return put(fd, session, grant, payload, flags);
    }
    let mut name: names::NameBytes = [0; 28];
    let inet6 = descriptor::get(fd).is_some_and(|object| object.inet6);
    let name_len = socklen_t::try_from(names::encode(target, inet6, &mut name)).unwrap_or(0);
    let (name, bytes) = (name.as_ptr().cast(), whole.iov_base);
    // SAFETY: name and bytes are readable.
    unsafe {
        go(fd, &way, Some(target), payload, flags, || {
            real::sendto(fd, bytes, len, flags, name, name_len)
        })
    }
}

/// Whether the next piece is not the last.
#[inline]
pub(super) fn wants_more(cork: Option<&Cork>, flags: c_int) -> bool {
    flags & libc::MSG_MORE != 0 || cork.is_some_and(Cork::is_on)
}

/// Adds a piece to the socket's unfinished datagram, if there is one.
#[inline]
pub(super) fn continued(fd: c_int, payload: Payload, flags: c_int) -> Option<ssize_t> {
    let object = descriptor::get(fd)?;
    object.cork()?;
    collect(fd, object, payload, flags, None)
}

/// Adds a piece to the unfinished datagram, or begins one to `first`. `None`: there is none.
#[cold]
fn collect(
    fd: c_int,
    object: &'static Object,
    payload: Payload,
    flags: c_int,
    first: Option<SocketAddr>,
) -> Option<ssize_t> {
    let cork = object.cork()?;
    let pieces = cork.pieces();
    let held = pieces.held();
    let (target, len) = held.or_else(|| first.map(|target| (target, 0)))?;
    // These two the kernel looks at before it looks at what it has.
    if payload.len > 0xffff && !object.inet6 {
        return Some(fail_len(libc::EMSGSIZE));
    }
    if flags & libc::MSG_OOB != 0 {
        return Some(fail_len(libc::EOPNOTSUPP));
    }
    if held.is_none() {
        if object.is_write_shut() {
            return Some(fail_len(libc::EPIPE));
        }
        pieces.begin(target);
    }
    let room = pieces.room(payload.len);
    if room.is_null() || len + payload.len > limit_of(target) {
        pieces.clear();
        return Some(fail_len(libc::EMSGSIZE));
    }
    if !payload.is_readable() {
        pieces.clear();
        return Some(fail_len(libc::EFAULT));
    }
    // SAFETY: `room` has the payload's length, in memory that only the holder of the turn uses.
    unsafe { payload.copy_to(room) };
    pieces.add(payload.len);
    if !wants_more(Some(cork), flags) {
        let whole = len + payload.len;
        let sent = send_pieces(fd, target, pieces.first(), whole, flags);
        pieces.clear();
        if sent < 0 {
            return Some(sent);
        }
    }
    Some(payload.len.cast_signed())
}

/// The first piece of a datagram to a group; without a target, to the peer.
#[cold]
pub(super) fn begin(
    fd: c_int,
    payload: Payload,
    flags: c_int,
    target: Option<SocketAddr>,
) -> ssize_t {
    let Some(object) = object_of(fd).filter(|object| object.make_cork().is_some()) else {
        return fail_len(libc::ENOBUFS);
    };
    target
        .or_else(|| peer_of(object))
        .and_then(|target| collect(fd, object, payload, flags, Some(target)))
        .unwrap_or_else(|| fail_len(libc::EDESTADDRREQ))
}
