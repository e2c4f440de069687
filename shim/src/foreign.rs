//! Kernel delivery with the original source address, where this process may make raw sockets.
//!
//! ```text
//!  IPv4: A 127.64.x.y:port ══ connected ══ B, disconnected when the monitor shall deliver into it
//!  IPv6: A ::1:port            guarded     B, from the beginning
//!  then: A  ◀── raw socket, from any source, with our mark
//! ```
//!
//! A connected socket hears one source. A filter does instead: it lets in what carries the mark of
//! the raw socket, and to set a mark takes the same right as to forge an address. The raw socket
//! goes to the monitor. Linux goes on comparing the address that an IPv6 socket was once connected
//! to, so such a socket is never connected: its filter also lets in B.
//!
//! A stays connected, and its program sees B as the source, when the raw socket is not allowed;
//! when A keeps a wildcard port, because then other sockets of that port would get what is meant for
//! it; when the program has a filter of its own; and for IPv4 on an IPv6 socket, which no packet to
//! `::1` can have as its source.

use core::net::SocketAddr;

use libc::{c_int, sock_filter, sock_fprog};
use libexo::client::pair;
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page::SocketPage;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::convert::borrow;
use crate::names::set_option;
use crate::real;

/// Small, because others give meanings to single bits of a mark.
const MARK: u32 = 43;

// What the libc crate does not name everywhere.
const IPV6_TRANSPARENT: c_int = 75;
const IPV6_CHECKSUM: c_int = 7;
const SO_GET_FILTER: c_int = libc::SO_ATTACH_FILTER;

/// A socket that was opened for foreign sources, until the monitor agrees.
pub(crate) struct Opened {
    /// Sends into it.
    pub(crate) raw: Descriptor,
    /// What it was connected to, if it was.
    peer: Option<SocketAddr>,
}

/// Keeps everything but `peer` and what has our mark out of an IPv6 socket that is not connected,
/// if this process may make the raw socket one day. False: nothing was done.
pub(crate) fn guard(fd: c_int, peer: SocketAddr) -> bool {
    let own = pair::name_of(borrow(fd));
    filter_len(fd) == Some(0)
        && own.is_ok_and(|own| raw_socket(own).is_some())
        && attach(fd, &mut marked_or_from(peer.port()))
}

/// Opens `fd` for all sources; `None`: it stays as it was.
pub(crate) fn open(fd: c_int, page: &SocketPage) -> Option<Opened> {
    let own = pair::name_of(borrow(fd)).ok()?;
    let bound = page.bound.get()?;
    if bound.ip().is_unspecified() || bound.is_ipv4() != own.is_ipv4() {
        return None;
    }
    if own.is_ipv6() {
        let is_guarded = filter_len(fd) == Some(GUARD_LEN);
        let raw = is_guarded.then(|| raw_socket(own))??;
        return Some(Opened { raw, peer: None });
    }
    if filter_len(fd) != Some(0) {
        return None;
    }
    let peer = pair::peer_of(borrow(fd)).ok()?;
    let raw = raw_socket(own)?;
    if !attach(fd, &mut marked()) {
        return None;
    }
    let peer = Some(peer);
    let opened = Opened { raw, peer };
    if rustix::net::connect_unspec(borrow(fd)).is_err() {
        opened.undo(fd);
        return None;
    }
    Some(opened)
}

impl Opened {
    /// Connects it again.
    pub(crate) fn undo(self, fd: c_int) {
        if let Some(peer) = self.peer {
            // What fails here leaves a socket that hears less; the monitor is away in any case.
            let _ = rustix::net::connect(borrow(fd), &peer);
            set_option(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
        }
    }
}

/// Whether `fd` may be a doorbell that is not connected.
pub(crate) fn is_open(fd: c_int) -> bool {
    matches!(filter_len(fd), Some(MARKED_LEN | GUARD_LEN))
        && pair::name_of(borrow(fd)).is_ok_and(|own| own.ip().is_loopback())
}

/// A socket that is connected to `own`, hears nothing, and sends from any address with our mark.
fn raw_socket(own: SocketAddr) -> Option<Descriptor> {
    let (family, level, transparent) = if own.is_ipv4() {
        let level = libc::IPPROTO_IP;
        (AddressFamily::INET, level, libc::IP_TRANSPARENT)
    } else {
        let level = libc::IPPROTO_IPV6;
        (AddressFamily::INET6, level, IPV6_TRANSPARENT)
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let raw = rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::UDP)).ok()?;
    let raw = Descriptor::from_owned(raw);
    rustix::net::connect(&raw, &own).ok()?;
    let is_ready = set_option(raw.raw(), level, transparent, 1)
        && set_option(
            raw.raw(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            MARK.cast_signed(),
        )
        // Where a datagram's check is, which the kernel computes. IPv4 does without.
        && (own.is_ipv4() || set_option(raw.raw(), level, IPV6_CHECKSUM, 6))
        // It would get a copy of each datagram from the address that it is connected to.
        && attach(raw.raw(), &mut [step(RETURN, 0, 0, 0)]);
    is_ready.then_some(raw)
}

const WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const IF: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const MARK_OF: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_MARK).cast_unsigned();
/// Where the source is in an IPv6 header.
const SOURCE: u32 = libc::SKF_NET_OFF.cast_unsigned() + 8;

const MARKED_LEN: usize = 4;
const GUARD_LEN: usize = 14;

/// `return mark == MARK`
const fn marked() -> [sock_filter; MARKED_LEN] {
    [
        step(WORD, 0, 0, MARK_OF),
        step(IF, 0, 1, MARK),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

/// `return mark == MARK || source == [::1]:port`
fn marked_or_from(port: u16) -> [sock_filter; GUARD_LEN] {
    [
        step(WORD, 0, 0, MARK_OF),
        step(IF, 10, 0, MARK),
        step(WORD, 0, 0, SOURCE),
        step(IF, 0, 9, 0),
        step(WORD, 0, 0, SOURCE + 4),
        step(IF, 0, 7, 0),
        step(WORD, 0, 0, SOURCE + 8),
        step(IF, 0, 5, 0),
        step(WORD, 0, 0, SOURCE + 12),
        step(IF, 0, 3, 1),
        step(HALF, 0, 0, 0), // the UDP header begins with the source's port
        step(IF, 0, 1, u32::from(port)),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

#[allow(clippy::cast_possible_truncation, reason = "all codes are small")]
const fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a few steps; a struct of 16 bytes"
)]
fn attach(fd: c_int, steps: &mut [sock_filter]) -> bool {
    let program = sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program and its steps, which live until it returns.
    unsafe {
        real::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        ) == 0
    }
}

/// How many steps the filter of `fd` has; `None` when the kernel does not say, as for eBPF.
fn filter_len(fd: c_int) -> Option<usize> {
    let mut len: libc::socklen_t = 0;
    // SAFETY: with length 0 nothing is written but the length.
    let result = unsafe {
        real::getsockopt(
            fd,
            libc::SOL_SOCKET,
            SO_GET_FILTER,
            core::ptr::null_mut(),
            &raw mut len,
        )
    };
    (result == 0).then_some(len as usize)
}
