//! Where a datagram goes, and the right to send it there.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;

use libc::c_int;
use libexo::client::session::{CallError, Session};
use libexo::ids::GrantId;

use super::pieces::note_cork;
use crate::convert::{away_errno, marked, may_be_marked, object_of, outside, source_of};
use crate::descriptor::{self, Object};
use crate::names::option;
use crate::{env, session};

/// Largest payload of a UDP datagram over IPv4, and over IPv6.
const DATAGRAM_MAX_V4: usize = 65_507;
const DATAGRAM_MAX_V6: usize = 65_527;

/// Where a datagram goes.
pub(super) enum Way {
    /// To a group, through the lane.
    Group(&'static Session, GrantId, usize),
    /// To somebody else, through the socket that has the program's address.
    Outside(c_int, SocketAddr),
    /// Wherever the kernel sends it.
    Kernel,
    /// Nowhere: this errno.
    Refused(c_int),
}

#[inline]
pub(super) fn limit_of(group: SocketAddr) -> usize {
    if group.is_ipv4() {
        DATAGRAM_MAX_V4
    } else {
        DATAGRAM_MAX_V6
    }
}

/// The way of a datagram with an explicit destination.
#[inline]
pub(super) fn way_to(fd: c_int, target: SocketAddr) -> Way {
    let object = descriptor::get(fd);
    if target.is_ipv4() && object.is_some_and(is_ipv6_only) {
        return Way::Refused(libc::ENETUNREACH);
    }
    if let Some(object) = object
        && let Some(session) = session::get()
        && let Some(grant) = object.cached_grant(target, session.id().0)
    {
        return Way::Group(session, GrantId(grant), limit_of(target));
    }
    way_to_slow(fd, object, target)
}

/// Whether a socket is bound to an IPv6 address, which makes it one of that family alone.
#[inline]
pub(super) fn is_ipv6_only(object: &Object) -> bool {
    object.inet6
        && object
            .group()
            .and_then(|group| group.page().bound.get())
            .is_some_and(|bound| bound.is_ipv6() && !bound.ip().is_unspecified())
}

#[cold]
fn way_to_slow(fd: c_int, object: Option<&'static Object>, target: SocketAddr) -> Way {
    let is_marked = may_be_marked(target).then(|| marked(target)).flatten();
    let Some((session, group)) = is_marked else {
        if may_be_marked(target)
            && env::socket_path().is_some()
            && session::get().is_none()
            && let Some(errno) = away_errno()
        {
            return Way::Refused(errno);
        }
        let Some(object) = object.filter(|object| object.group().is_some()) else {
            return Way::Kernel;
        };
        return match outside(object) {
            Ok(socket) => Way::Outside(socket, target),
            Err(errno) => Way::Refused(errno),
        };
    };
    if !crate::convert::is_udp(fd) {
        return Way::Kernel;
    }
    match ask_grant(fd, session, group.address) {
        Ok(grant) => {
            if let Some(object) = object_of(fd) {
                note_options(fd, object);
                object.cache_grant(target, session.id().0, grant.0);
            }
            Way::Group(session, grant, limit_of(target))
        }
        Err(errno) => Way::Refused(errno),
    }
}

/// What the socket was told before it became ours, or since its grants were forgotten.
fn note_options(fd: c_int, object: &Object) {
    note_cork(fd, object);
    let segment = option(fd, libc::IPPROTO_UDP, libc::UDP_SEGMENT);
    let segment = segment.and_then(|len| u16::try_from(len).ok()).unwrap_or(0);
    object.segment.store(segment, Ordering::Relaxed);
}

/// Asks the monitor for the right to send from `fd` to `group`.
fn ask_grant(fd: c_int, session: &Session, group: SocketAddr) -> Result<GrantId, c_int> {
    let source = source_of(fd, group).ok_or(libc::ENOBUFS)?;
    let byte = |level, name, default: u8| {
        option(fd, level, name)
            .and_then(|value| u8::try_from(value).ok())
            .unwrap_or(default)
    };
    let (ttl, tos, no_loop) = if group.is_ipv4() {
        (
            byte(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, 1),
            byte(libc::IPPROTO_IP, libc::IP_TOS, 0),
            byte(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, 1) == 0,
        )
    } else {
        (
            byte(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, 1),
            byte(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 0),
            byte(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, 1) == 0,
        )
    };
    session
        .grant(group, source, ttl, tos, no_loop)
        .map_err(CallError::errno)
}

/// What a socket of ours is connected to.
#[inline]
pub(super) fn peer_of(object: &Object) -> Option<SocketAddr> {
    object
        .group()
        .map_or_else(|| object.peer.get(), |group| group.page().peer.get())
}

/// The way of a datagram without a destination, on a socket that is ours.
#[inline]
pub(super) fn way_of_peer(fd: c_int, object: &'static Object) -> Way {
    let group = object.group();
    let Some(peer) = peer_of(object) else {
        // A plain sender that is connected elsewhere is the kernel's.
        return if group.is_some() {
            Way::Refused(libc::EDESTADDRREQ)
        } else {
            Way::Kernel
        };
    };
    if let Some(session) = session::get()
        && let Some(grant) = object.peer_grant(session.id().0)
    {
        return Way::Group(session, GrantId(grant), limit_of(peer));
    }
    if let Some((session, marked)) = marked(peer) {
        return match ask_grant(fd, session, marked.address) {
            Ok(grant) => {
                note_options(fd, object);
                object.set_peer_grant(session.id().0, grant.0);
                Way::Group(session, grant, limit_of(peer))
            }
            Err(errno) => Way::Refused(errno),
        };
    }
    if group.is_none() {
        return Way::Refused(libc::ENETDOWN); // a group whose monitor is away
    }
    match outside(object) {
        Ok(socket) => Way::Outside(socket, peer),
        Err(errno) => Way::Refused(errno),
    }
}
