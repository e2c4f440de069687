//! `poll`, `ppoll`, `epoll_ctl`: readiness of sockets that are read from shared memory.
//!
//! The kernel's readiness of such a socket is right while somebody is registered as looking at it
//! (`libexo::shm::doorbell`). These hooks register, look at shared memory first, and otherwise let
//! the kernel wait. `epoll_wait` needs no hook: a socket in an epoll set is always looked at.
//!
//! The kernel says that such a socket is writable at all times. While this process's lane is full
//! `poll` and `select` say that it is not, so a program that both sends and receives goes on to
//! receive. epoll goes on saying it; who waits there for an edge gets one with each `EAGAIN`.

use core::sync::atomic::Ordering;

use libc::{c_int, epoll_event, nfds_t, pollfd, sigset_t, size_t, timespec};
use libexo::client::session::Session;
use libexo::client::socket::{GroupSocket, is_expelled};
use libexo::shm::doorbell::STICKY;
use libexo::shm::socket_page::READ_SHUT;
use libexo::shm::submit_ring::DATAGRAM_MAX;

use super::options::make_sticky;
use crate::descriptor::{self, EDGE, IN_EPOLL, Object};
use crate::{probe, real, session};

const READABLE: i16 = libc::POLLIN | libc::POLLRDNORM;
/// Between a datagram's publication and its doorbell byte lie some microseconds.
pub(super) const LOOKS_FOR_THE_BELL: u32 = 100;
const WRITABLE: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
/// How long a wait for a full lane goes on before it looks again.
pub(super) const PAUSE_NS: u64 = 1_000_000;

/// The socket, if `fd` is read from shared memory.
#[inline]
pub(super) fn receiver(fd: c_int) -> Option<(&'static Object, &'static GroupSocket)> {
    let object = descriptor::get(fd)?;
    Some((object, object.receiver()?))
}

/// Whether a receive on the socket would not wait.
pub(super) fn is_readable(socket: &GroupSocket, session: &Session) -> bool {
    let page = socket.page();
    if socket.lacks_a_log() {
        // Without the monitor the log cannot be had; there is nothing to read then.
        let _ = socket.catch_up(session);
    }
    socket.is_readable(session)
        || page.has(READ_SHUT)
        || page.has_mail()
        || is_expelled(page)
        || socket.is_orphaned()
}

/// Whether who looks from outside does not see yet what the log holds already. A program that looks
/// in both ways is told here only what it will be told there.
fn is_bell_late(entry: &pollfd, session: &Session) -> bool {
    entry.events & READABLE != 0
        && entry.revents & READABLE == 0
        && receiver(entry.fd).is_some_and(|(_, socket)| is_watched_and_readable(socket, session))
}

pub(super) fn is_watched_and_readable(socket: &GroupSocket, session: &Session) -> bool {
    let interest = socket.page().doorbell().interest;
    interest.load(Ordering::Relaxed) & STICKY != 0 && socket.is_readable(session)
}

/// Whether a send on `fd` would have to wait for room.
#[inline]
pub(super) fn is_full(fd: c_int, session: &Session) -> bool {
    descriptor::get(fd).is_some()
        && !session.has_room(DATAGRAM_MAX)
        && !session.has_ended()
        && !session.refuses()
}

/// Where a wait ends.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    Never,
    At(u64),
}

impl Limit {
    pub(super) fn after_ns(nanoseconds: Option<u64>) -> Self {
        nanoseconds.map_or(Self::Never, |limit| {
            Self::At(now_ns().saturating_add(limit))
        })
    }

    pub(super) fn left_ns(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::At(end) => Some(end.saturating_sub(now_ns())),
        }
    }
}

pub(super) fn now_ns() -> u64 {
    clock_ns(rustix::time::ClockId::Monotonic)
}

/// Nanoseconds since 1970, by this host's clock.
pub(super) fn wall_ns() -> u64 {
    clock_ns(rustix::time::ClockId::Realtime)
}

fn clock_ns(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

pub(super) fn timespec_of(nanoseconds: u64) -> timespec {
    timespec {
        tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
        tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
    }
}

/// Whether a time limit is there, or none.
pub(super) fn is_time<T>(limit: *const T) -> bool {
    limit.is_null() || probe::can_read(limit)
}

/// The nanoseconds of a time limit; `None` for no limit, `Err` for one that the kernel refuses.
pub(super) fn nanoseconds_of(limit: Option<&timespec>) -> Result<Option<u64>, ()> {
    match limit {
        None => Ok(None),
        Some(limit) if limit.tv_sec < 0 || !(0..1_000_000_000).contains(&limit.tv_nsec) => Err(()),
        Some(limit) => Ok(Some(
            limit
                .tv_sec
                .cast_unsigned()
                .saturating_mul(1_000_000_000)
                .saturating_add(limit.tv_nsec.cast_unsigned()),
        )),
    }
}

/// Sets what is readable in shared memory, clears what is not writable there; returns how many
/// entries have something to report.
fn merge(fds: &mut [pollfd], session: &Session) -> c_int {
    let mut count = 0;
    for entry in fds {
        if entry.revents & WRITABLE != 0 && is_full(entry.fd, session) {
            entry.revents &= !WRITABLE;
        }
        if entry.events & READABLE != 0
            && let Some((_, socket)) = receiver(entry.fd)
        {
            if is_readable(socket, session) {
                entry.revents |= entry.events & READABLE;
            } else {
                // A byte on its way in or out, or somebody else's: nothing to read here.
                entry.revents &= !READABLE;
            }
        }
        count += c_int::from(entry.revents != 0);
    }
    count
}

/// Whether one of the entries is readable in shared memory.
fn any_readable(fds: &[pollfd], session: &Session) -> bool {
    fds.iter().any(|entry| {
        entry.events & READABLE != 0
            && receiver(entry.fd).is_some_and(|(_, socket)| is_readable(socket, session))
    })
}

fn any_full(fds: &[pollfd], session: &Session) -> bool {
    fds.iter()
        .any(|entry| entry.events & WRITABLE != 0 && is_full(entry.fd, session))
}

fn each_receiver(fds: &[pollfd], each: impl Fn(&'static Object, &'static GroupSocket)) {
    for entry in fds {
        if entry.events & READABLE != 0
            && let Some((object, socket)) = receiver(entry.fd)
        {
            each(object, socket);
        }
    }
}

/// The heart of `poll` and `ppoll`. `call` is the real call with an array and a limit.
unsafe fn poll_ours(
    fds: *mut pollfd,
    count: nfds_t,
    limit_ns: Option<u64>,
    call: impl Fn(*mut pollfd, nfds_t, Option<u64>) -> c_int,
) -> c_int {
    let wait = |limit| call(fds, count, limit);
    let Some(session) = session::get().or_else(session::last) else {
        return wait(limit_ns);
    };
    // SAFETY: the caller's array; `concerns_us` has read it.
    let fds = unsafe { core::slice::from_raw_parts_mut(fds, usize::try_from(count).unwrap_or(0)) };
    let limit = Limit::after_ns(limit_ns);
    let mut wakes = 0;
    loop {
        if any_readable(fds, session) {
            let mut result = wait(Some(0));
            for _ in 0..LOOKS_FOR_THE_BELL {
                if result < 0 || !fds.iter().any(|entry| is_bell_late(entry, session)) {
                    break;
                }
                rustix::thread::sched_yield();
                result = wait(Some(0));
            }
            return if result < 0 {
                result
            } else {
                merge(fds, session)
            };
        }
        if any_full(fds, session) {
            let mut result = wait(Some(0));
            if result >= 0 {
                result = merge(fds, session);
            }
            let left = limit.left_ns();
            if result != 0 || left == Some(0) {
                return result;
            }
            session.wake_engine();
            let pause = left.map_or(PAUSE_NS, |left| left.min(PAUSE_NS));
            if call(core::ptr::null_mut(), 0, Some(pause)) < 0 {
                return -1;
            }
            continue;
        }
        each_receiver(fds, |object, socket| {
            object.sleepers.fetch_add(1, Ordering::AcqRel);
            socket.page().doorbell().begin_sleep();
        });
        // Looked at once more now that a sender would ring.
        let ready = any_readable(fds, session);
        let result = wait(if ready { Some(0) } else { limit.left_ns() });
        let errno = crate::errno::get();
        each_receiver(fds, |object, socket| {
            socket.page().doorbell().end_sleep();
            object.sleepers.fetch_sub(1, Ordering::AcqRel);
        });
        crate::errno::set(errno);
        if result < 0 {
            return result;
        }
        let found = merge(fds, session);
        if found > 0 || (result == 0 && limit.left_ns() == Some(0)) {
            return found;
        }
        if result > 0 {
            // A doorbell byte without a datagram: somebody else took it. Let it be taken out.
            wakes += 1;
            for entry in fds.iter() {
                if let Some((_, socket)) = receiver(entry.fd) {
                    socket.was_woken_for_nothing(wakes);
                    let _ = socket.next_len(session, crate::convert::borrow(entry.fd));
                }
            }
            rustix::thread::sched_yield();
        }
    }
}

/// Whether the kernel's answer for a socket of ours may have to be changed.
#[inline(never)]
fn concerns(entry: &pollfd, object: &Object) -> bool {
    (entry.events & READABLE != 0 && object.receiver().is_some())
        || (entry.events & WRITABLE != 0
            && session::get().is_some_and(|session| is_full(entry.fd, session)))
}

/// Whether some entry does.
unsafe fn concerns_us(fds: *const pollfd, count: nfds_t) -> bool {
    let count = usize::try_from(count).unwrap_or(0);
    let bytes = count.saturating_mul(size_of::<pollfd>());
    if !descriptor::is_used() || !probe::is_readable(fds.cast(), bytes) {
        return false;
    }
    // SAFETY: the caller's array.
    (0..count).any(|i| unsafe {
        let entry = &*fds.add(i);
        descriptor::get(entry.fd).is_some_and(|object| concerns(entry, object))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        if !concerns_us(fds, count) {
            return real::poll(fds, count, timeout);
        }
        let limit = u64::try_from(timeout).ok().map(|ms| ms * 1_000_000);
        poll_ours(fds, count, limit, |fds, count, limit| {
            let timeout = limit.map_or(-1, |ns| {
                c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX)
            });
            real::poll(fds, count, timeout)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { poll(fds, count, timeout) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
    size: size_t,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        check(size / size_of::<pollfd>() >= usize::try_from(count).unwrap_or(usize::MAX));
        poll(fds, count, timeout)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if !concerns_us(fds, count) || !is_time(timeout) {
            return real::ppoll(fds, count, timeout, mask);
        }
        let Ok(limit) = nanoseconds_of(timeout.as_ref()) else {
            return real::ppoll(fds, count, timeout, mask);
        };
        poll_ours(fds, count, limit, |fds, count, limit| {
            let limit = limit.map(timespec_of);
            let limit = limit
                .as_ref()
                .map_or(core::ptr::null(), core::ptr::from_ref);
            real::ppoll(fds, count, limit, mask)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    size: size_t,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        check(size / size_of::<pollfd>() >= usize::try_from(count).unwrap_or(usize::MAX));
        ppoll(fds, count, timeout, mask)
    }
}

/// What fortified functions do when an array is smaller than the call says.
fn check(fits: bool) {
    if !fits {
        // SAFETY: glibc's own end for a program whose array would overflow.
        unsafe { __chk_fail() }
    }
}

unsafe extern "C" {
    fn __chk_fail() -> !;
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_ctl(
    epoll: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let result = real::epoll_ctl(epoll, op, fd, event);
        if result == 0 && !session::is_vfork_child() {
            let event = event.as_ref().filter(|_| op != libc::EPOLL_CTL_DEL);
            note_registration(epoll, fd, event);
        }
        result
    }
}

/// What is needed of a registration once the socket is a group's.
#[inline]
fn note_registration(epoll: c_int, fd: c_int, event: Option<&epoll_event>) {
    const EDGE_FOR_ROOM: u32 = (libc::EPOLLET | libc::EPOLLOUT).cast_unsigned();
    const ONE_SHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();
    let Some(event) = event else {
        descriptor::forget_edge(fd, epoll);
        return;
    };
    let events = event.events;
    let edge = events & libc::EPOLLET.cast_unsigned() != 0;
    if let Some(history) = descriptor::history(fd) {
        let seen = IN_EPOLL | if edge { EDGE } else { 0 };
        history.fetch_or(seen, Ordering::Relaxed);
    }
    if events & (EDGE_FOR_ROOM | ONE_SHOT) == EDGE_FOR_ROOM {
        descriptor::note_edge(fd, epoll, events, event.u64);
    } else {
        descriptor::forget_edge(fd, epoll);
    }
    if let Some(object) = descriptor::get(fd) {
        make_sticky(object, edge);
    }
}

/// A send on `fd` found the lane full and will not wait. Who waits for an edge to try again gets
/// one: the kernel looks at the socket anew when its registration is written again.
pub(super) fn give_edge(fd: c_int) {
    let Some((epoll, events, data)) = descriptor::edge(fd) else {
        return;
    };
    let errno = crate::errno::get();
    let mut event = epoll_event { events, u64: data };
    // SAFETY: a valid event. It fails when the registration is gone, and then nobody waits.
    let _ = unsafe { real::epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, &raw mut event) };
    // It will come again at once; the monitor may need the core to make room.
    rustix::thread::sched_yield();
    crate::errno::set(errno);
}
