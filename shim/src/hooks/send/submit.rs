//! A datagram's way into the lane.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use libc::{c_int, socklen_t, ssize_t};
use libexo::client::session::Session;
use libexo::control::channel::Channel;
use libexo::control::message::Request;
use libexo::ids::GrantId;
use libexo::shm::area::Area;
use libexo::shm::socket_page::NONBLOCK;

use super::payload::Payload;
use crate::convert::borrow;
use crate::descriptor::{self, Object};
use crate::errno::fail_len;
use crate::{cancel, env, real, session};

/// Most datagrams that one call is cut into, as in the kernel.
const SEGMENTS_MAX: usize = 128;
/// More than a record's head and padding take in the lane.
const RECORD_BYTES: usize = 128;
/// Looks before a sender on a full lane goes to sleep; the monitor needs some microseconds.
const YIELDS: u32 = 64;

/// Submits one datagram; waits for room as the socket says.
#[inline]
pub(super) fn submit(
    fd: c_int,
    session: &'static Session,
    grant: GrantId,
    limit: usize,
    payload: Payload,
    flags: c_int,
) -> ssize_t {
    if payload.len > limit {
        return fail_len(libc::EMSGSIZE);
    }
    if flags & libc::MSG_OOB != 0 {
        return fail_len(libc::EOPNOTSUPP);
    }
    let object = descriptor::get(fd);
    if object.is_some_and(Object::is_write_shut) {
        return fail_len(libc::EPIPE); // without a signal: that is for streams
    }
    if !payload.is_readable() {
        return fail_len(libc::EFAULT);
    }
    let segment = payload
        .segment
        .or_else(|| object.map(|object| object.segment.load(Ordering::Relaxed)));
    match segment.map(usize::from) {
        Some(segment) if segment > 0 && payload.len > segment => {
            put_segments(fd, session, grant, payload, flags, segment)
        }
        _ => put(fd, session, grant, payload, flags),
    }
}

/// Submits datagrams of `segment` bytes and one of the rest, as the kernel cuts with `UDP_SEGMENT`.
#[cold]
fn put_segments(
    fd: c_int,
    session: &'static Session,
    grant: GrantId,
    payload: Payload,
    flags: c_int,
    segment: usize,
) -> ssize_t {
    let count = payload.len.div_ceil(segment);
    if count > SEGMENTS_MAX {
        return fail_len(libc::EINVAL);
    }
    // All or nothing, as far as other threads let it be.
    let whole = payload.len + count * RECORD_BYTES;
    while !session.has_room(whole) {
        if let Err(errno) = wait_for_room(fd, session, whole, flags) {
            return fail_len(errno);
        }
        if session.has_ended() {
            return fail_len(libc::ENETDOWN);
        }
    }
    for skip in (0..payload.len).step_by(segment) {
        let part = Payload {
            skip,
            len: segment.min(payload.len - skip),
            ..payload
        };
        let sent = put(fd, session, grant, part, flags & !libc::MSG_DONTWAIT);
        if sent < 0 {
            return sent;
        }
    }
    payload.len.cast_signed()
}

/// As `submit`, of what was checked.
#[inline]
pub(super) fn put(
    fd: c_int,
    session: &'static Session,
    grant: GrantId,
    payload: Payload,
    flags: c_int,
) -> ssize_t {
    cancel::point();
    if session.refuses() {
        return fail_len(libc::ENETUNREACH);
    }
    let me = session::thread_mark();
    let fill = |area: &Area, position| payload.write_to(area, position);
    if session.submit(me, grant, payload.len, fill).is_ok() {
        return payload.len.cast_signed();
    }
    loop {
        if let Err(errno) = wait_for_room(fd, session, payload.len, flags) {
            return fail_len(errno);
        }
        if session.has_ended() {
            return fail_len(libc::ENETDOWN);
        }
        if session.refuses() {
            return fail_len(libc::ENETUNREACH);
        }
        if session.submit(me, grant, payload.len, fill).is_ok() {
            return payload.len.cast_signed();
        }
    }
}

/// The lane is full: the group's slowest reader holds the senders back.
#[cold]
fn wait_for_room(
    fd: c_int,
    session: &'static Session,
    len: usize,
    flags: c_int,
) -> Result<(), c_int> {
    session.wake_engine();
    let nonblocking = flags & libc::MSG_DONTWAIT != 0
        || descriptor::get(fd).and_then(Object::group).map_or_else(
            || {
                rustix::fs::fcntl_getfl(borrow(fd))
                    .is_ok_and(|status| status.contains(rustix::fs::OFlags::NONBLOCK))
            },
            |group| group.page().has(NONBLOCK),
        );
    for _ in 0..YIELDS {
        if session.has_room(len) {
            return Ok(());
        }
        if nonblocking {
            crate::hooks::poll::give_edge(fd);
            return Err(libc::EAGAIN);
        }
        rustix::thread::sched_yield();
    }
    // On a connection of its own, so that signals, time-outs and cancellation act as on a send
    // that blocks in the kernel: the wait is libc's recv.
    let path = env::socket_path().ok_or(libc::ENETDOWN)?;
    let channel = Channel::connect(path).map_err(|_| libc::ENETDOWN)?;
    let request = Request::WaitRoom {
        session: session.id(),
    };
    channel
        .send(request.emit(1).as_bytes(), &[])
        .map_err(|_| libc::ENETDOWN)?;
    let mut timeout = [0_i64; 2];
    let mut timeout_len: socklen_t = 16;
    // SAFETY: 16 writable, then readable bytes; one writable byte.
    let received = unsafe {
        if real::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            timeout.as_mut_ptr().cast::<c_void>(),
            &raw mut timeout_len,
        ) == 0
        {
            real::setsockopt(
                channel.descriptor().raw(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                timeout.as_ptr().cast::<c_void>(),
                timeout_len,
            );
        }
        let mut byte = 0_u8;
        real::recv(
            channel.descriptor().raw(),
            (&raw mut byte).cast::<c_void>(),
            1,
            0,
        )
    };
    match received {
        1 => Ok(()),
        0 => Err(libc::ENETDOWN), // the monitor has gone
        _ => Err(crate::errno::get()),
    }
}
