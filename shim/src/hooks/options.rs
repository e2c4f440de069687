//! `setsockopt`, `getsockopt`, `fcntl`, `ioctl`.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::Ordering;

use libc::{c_int, c_ulong, socklen_t};
use libexo::control::message::{DemoteReason, Request};
use libexo::shm::socket_page::{EACH_EDGE, NONBLOCK, NOT_STAMPED, PEEK_OFFSET, SocketPage};

use super::lifecycle::after_dup;
use super::memberships::{change_membership, is_membership, parse_change};
use crate::descriptor::{self, Object};
use crate::errno::fail;
use crate::names::option;
use crate::{env, probe, real, session};

/// What a program wants to be told with each datagram: bits of the socket page's flags.
pub(super) mod wish {
    pub(crate) const PKTINFO: u32 = 1 << 8;
    pub(crate) const TTL: u32 = 1 << 9;
    pub(crate) const TOS: u32 = 1 << 10;
    pub(crate) const TIMESTAMP: u32 = 1 << 11;
    pub(crate) const TIMESTAMP_NS: u32 = 1 << 12;
    pub(crate) const OVERFLOW: u32 = 1 << 13;
    pub(crate) const PKTINFO6: u32 = 1 << 14;
    pub(crate) const HOPS6: u32 = 1 << 15;
    pub(crate) const CLASS6: u32 = 1 << 16;
    pub(crate) const ORIGINAL: u32 = 1 << 17;
    /// `SIOCGSTAMP`, which nothing is sent along for.
    pub(crate) const STAMP: u32 = 1 << 18;
    pub(crate) const IPV4: u32 = PKTINFO | TTL | TOS | ORIGINAL;
    pub(crate) const ANY: u32 = 0x3ff << 8;
}

const IP_MULTICAST_ALL: c_int = 49;
const SO_RXQ_OVFL: c_int = 40;
const SO_PEERNAME: c_int = 28;

/// Reads the program's wishes from the kernel's copy of the options.
pub(crate) fn refresh_wishes(fd: c_int, object: &Object) {
    let Some(group) = object.group() else { return };
    take_peek_offset(fd, object);
    let is_set = |level, name| option(fd, level, name).is_some_and(|value| value != 0);
    let (ip, ip6, sock) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6, libc::SOL_SOCKET);
    let page = group.page();
    for (flag, level, name) in [
        (wish::PKTINFO, ip, libc::IP_PKTINFO),
        (wish::TTL, ip, libc::IP_RECVTTL),
        (wish::TOS, ip, libc::IP_RECVTOS),
        (wish::ORIGINAL, ip, libc::IP_RECVORIGDSTADDR),
        (wish::OVERFLOW, sock, SO_RXQ_OVFL),
        (wish::TIMESTAMP_NS, sock, libc::SO_TIMESTAMPNS),
        (wish::TIMESTAMP, sock, libc::SO_TIMESTAMP),
    ] {
        page.set(flag, is_set(level, name));
    }
    page.receive_timeout_us
        .store(receive_timeout_us(fd), Ordering::Relaxed);
    if object.inet6 {
        for (flag, name) in [
            (wish::PKTINFO6, libc::IPV6_RECVPKTINFO),
            (wish::HOPS6, libc::IPV6_RECVHOPLIMIT),
            (wish::CLASS6, libc::IPV6_RECVTCLASS),
        ] {
            page.set(flag, is_set(ip6, name));
        }
    }
}

/// `SO_RCVTIMEO` of a socket; 0 for none.
fn receive_timeout_us(fd: c_int) -> u64 {
    // SAFETY: all zero is a time; the kernel writes at most what is there.
    unsafe {
        let mut limit: libc::timeval = core::mem::zeroed();
        let mut len: socklen_t = 16; // two words
        let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
        if real::getsockopt(fd, level, name, (&raw mut limit).cast(), &raw mut len) != 0 {
            return 0;
        }
        limit.tv_sec.cast_unsigned() * 1_000_000 + limit.tv_usec.cast_unsigned()
    }
}

/// `SO_PEEK_OFF` moves from the kernel, which would apply it to the doorbell's bytes, to the page.
fn take_peek_offset(fd: c_int, object: &Object) {
    let Some(group) = object.receiver() else {
        return;
    };
    let offset = option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF);
    if let Some(offset) = offset.and_then(|offset| u32::try_from(offset).ok()) {
        crate::names::set_option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, -1);
        group.page().peek_offset.store(offset, Ordering::Relaxed);
        group.page().set(PEEK_OFFSET, true);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        if env::socket_path().is_none() {
            return real::setsockopt(fd, level, name, value, len);
        }
        if (level == libc::IPPROTO_IP || level == libc::IPPROTO_IPV6)
            && (8..=4096).contains(&len)
            && is_membership(level, name)
            && probe::is_readable(value.cast(), len as usize)
        {
            let bytes = core::slice::from_raw_parts(value.cast::<u8>(), len as usize);
            if let Some(change) = parse_change(level, name, bytes)
                && let Some(result) = change_membership(fd, level, name, value, len, &change)
            {
                return result;
            }
        }
        if (level, name) == (libc::SOL_SOCKET, libc::SO_DETACH_FILTER)
            && (4..=c_int::MAX.cast_unsigned()).contains(&len)
            && probe::is_readable(value.cast(), 4)
            && descriptor::get(fd).is_some_and(|object| object.group().is_some())
            && crate::foreign::is_open(fd)
        {
            return fail(libc::ENOENT); // the filter is ours; the program has none
        }
        let result = real::setsockopt(fd, level, name, value, len);
        if result == 0
            && is_membership(level, name)
            && let Some(object) = descriptor::get(fd)
            && object.group().is_some()
            && let Ok(outside) = crate::convert::outside(object)
        {
            // A group that nobody orders: the socket that hears the kernel's datagrams joins it.
            real::setsockopt(outside, level, name, value, len);
        }
        if result == 0
            && let Some(object) = descriptor::get(fd)
        {
            if (level, name) == (libc::IPPROTO_UDP, libc::UDP_CORK) {
                return super::send::cork_changed(fd, object);
            }
            option_changed(fd, object, level, name);
        }
        result
    }
}

/// The kernel took an option of a socket that concerns us.
fn option_changed(fd: c_int, object: &Object, level: c_int, name: c_int) {
    object.forget_grants();
    let Some(group) = object.group() else { return };
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER | libc::SO_ATTACH_BPF) => {
            super::process::demote(fd, object, DemoteReason::Filter);
        }
        (libc::IPPROTO_IP, IP_MULTICAST_ALL) => {}
        (libc::SOL_SOCKET, libc::SO_PEEK_OFF) => {
            group.page().set(PEEK_OFFSET, false);
            take_peek_offset(fd, object); // unless it is negative
        }
        _ => refresh_wishes(fd, object),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: as above. The program's socket is its own: the kernel's answers are right, but for
    // what was moved to the page.
    unsafe {
        if name.cast_unsigned() < 64 && LOOKED_AT >> name & 1 != 0 {
            return option_of_ours(fd, level, name, value, len);
        }
        real::getsockopt(fd, level, name, value, len)
    }
}

/// Options by number, of any level, that may have another answer than the kernel's.
const LOOKED_AT: u64 = 1 << libc::SO_PEEK_OFF
    | 1 << SO_PEERNAME
    | 1 << libc::SO_ATTACH_FILTER
    | 1 << libc::IP_MTU
    | 1 << libc::IPV6_ADDRFORM
    | 1 << libc::IPV6_MTU
    | 1 << libc::IPV6_PATHMTU;

/// Options that the kernel answers by what the doorbell is connected to, or by its filter.
#[cold]
unsafe fn option_of_ours(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let is_of_peer = matches!(
        (level, name),
        (libc::SOL_SOCKET, SO_PEERNAME)
            | (libc::IPPROTO_IP, libc::IP_MTU)
            | (
                libc::IPPROTO_IPV6,
                libc::IPV6_ADDRFORM | libc::IPV6_MTU | libc::IPV6_PATHMTU
            )
    );
    let is_of_filter = (level, name) == (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: as above.
    unsafe {
        if (level, name) == (libc::SOL_SOCKET, libc::SO_PEEK_OFF) {
            return peek_offset(fd, value, len);
        }
        if let Some(object) = descriptor::get(fd)
            && object.group().is_some()
            && (is_of_peer || (is_of_filter && crate::foreign::is_open(fd)))
        {
            let Some(stand_in) = super::naming::StandIn::connected(fd, object) else {
                return -1;
            };
            return real::getsockopt(stand_in.0.raw(), level, name, value, len);
        }
        real::getsockopt(fd, level, name, value, len)
    }
}

/// `getsockopt` of `SO_PEEK_OFF`.
#[cold]
unsafe fn peek_offset(fd: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int {
    // SAFETY: as above; the kernel has just written as many bytes as it says.
    unsafe {
        let result = real::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, len);
        if result == 0
            && let Some(group) = descriptor::get(fd).and_then(Object::receiver)
            && group.page().has(PEEK_OFFSET)
        {
            let offset = group.page().peek_offset.load(Ordering::Relaxed);
            let room = (*len as usize).min(4);
            ptr::copy_nonoverlapping((&raw const offset).cast::<u8>(), value.cast(), room);
        }
        result
    }
}

/// Somebody may look at the socket's readiness in the kernel from now on.
pub(crate) fn make_sticky(object: &Object, each_edge: bool) {
    let Some(group) = object.group() else { return };
    let page = group.page();
    page.doorbell().make_sticky();
    if each_edge {
        page.set(EACH_EDGE, true);
    }
    if let Some(session) = session::get()
        && group.is_readable(session)
    {
        // What nobody was rung for, because nobody looked, is rung for at last.
        let _ = session.call(Request::Ring { socket: group.id() }, &[]);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, cmd: c_int, arg: usize) -> c_int {
    // SAFETY: as above; commands without an argument ignore it.
    unsafe {
        let result = real::fcntl(fd, cmd, arg);
        if result < 0 {
            return result;
        }
        match cmd {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => after_dup(fd, result),
            libc::F_SETFL => {
                if let Some(object) = descriptor::get(fd)
                    && let Some(group) = object.group()
                {
                    let flags = c_int::try_from(arg).unwrap_or(0);
                    group.page().set(NONBLOCK, flags & libc::O_NONBLOCK != 0);
                    if flags & libc::O_ASYNC != 0 {
                        make_sticky(object, true);
                    }
                }
            }
            _ => {}
        }
        result
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl64(fd: c_int, cmd: c_int, arg: usize) -> c_int {
    // SAFETY: as above.
    unsafe { fcntl(fd, cmd, arg) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __fcntl(fd: c_int, cmd: c_int, arg: usize) -> c_int {
    // SAFETY: as above.
    unsafe { fcntl(fd, cmd, arg) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(object) = descriptor::get(fd) else {
            return real::ioctl(fd, request, arg);
        };
        let Some(group) = object.group() else {
            return real::ioctl(fd, request, arg);
        };
        if let Some(socket) = object.receiver()
            && let Some(unit_ns) = stamp_unit_ns(request)
        {
            let Some(time_ns) = last_stamp_ns(socket.page()) else {
                return fail(libc::ENOENT);
            };
            if !probe::can_write(arg as *const [u64; 2]) {
                return fail(libc::EFAULT);
            }
            let (seconds, rest) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
            *(arg as *mut [u64; 2]) = [seconds, rest / unit_ns];
            return 0;
        }
        let result = real::ioctl(fd, request, arg);
        if result != 0 {
            return result;
        }
        let number = arg as *mut c_int;
        match request {
            libc::FIONBIO => group.page().set(NONBLOCK, *number != 0),
            libc::FIOASYNC if *number != 0 => make_sticky(object, true),
            libc::FIONREAD => {
                if let (Some(socket), Some(session)) =
                    (object.receiver(), session::get().or_else(session::last))
                {
                    // Only what was relayed has its length in the kernel, with a header in front.
                    let mail = *number - 24;
                    *number = socket
                        .next_len(session, crate::convert::borrow(fd))
                        .and_then(|len| c_int::try_from(len).ok())
                        .unwrap_or_else(|| mail.max(0));
                }
            }
            _ => {}
        }
        result
    }
}

/// What the fraction of a second counts in `SIOCGSTAMP` and `SIOCGSTAMPNS`, old and new.
const fn stamp_unit_ns(request: c_ulong) -> Option<u64> {
    match request {
        0x8906 | 0x8010_8906 => Some(1000),
        0x8907 | 0x8010_8907 => Some(1),
        _ => None,
    }
}

/// When the last datagram was ordered; `None`: nothing was received yet. As in the kernel, times are
/// kept from the first question on, which itself is answered with the present.
fn last_stamp_ns(page: &SocketPage) -> Option<u64> {
    page.set(wish::STAMP, true);
    match page.stamp_ns.load(Ordering::Relaxed) {
        0 => None,
        NOT_STAMPED => {
            let now = super::poll::wall_ns();
            page.stamp_ns.store(now, Ordering::Relaxed);
            Some(now)
        }
        stamp => Some(stamp),
    }
}
