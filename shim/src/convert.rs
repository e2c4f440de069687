//! Taking a socket over: from the moment it has a marked address, or joins a marked group.
//!
//! | what the program did | what happens |
//! | --- | --- |
//! | bind to a marked address | a *holder* socket is bound to it in its stead (so that the kernel answers EADDRINUSE and the like), the program's own becomes a doorbell |
//! | bind to a wildcard address, then join | the program's own keeps its port and becomes a doorbell; a holder beside it takes the unicast datagrams, which the monitor relays |
//! | join, then bind | the joins wait until the port is known |

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::sync::atomic::Ordering;

use libc::c_int;
use libexo::client::pair::{self, Bound};
use libexo::client::session::{CallError, Session};
use libexo::client::socket::GroupSocket;
use libexo::control::message::Request;
use libexo::shm::board::MarkedGroup;
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page as page;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::descriptor::{self, Object};
use crate::names::{option, set_option};
use crate::{env, foreign, session};

/// Lowest number of the descriptors that the shim keeps for itself.
const HIDDEN_LOWEST: c_int = 600;

/// The program's descriptor for one call.
pub(crate) const fn borrow<'a>(fd: c_int) -> BorrowedFd<'a> {
    // SAFETY: used within one call of the program on this number; what it names, if anything, is
    // the kernel's business, which answers EBADF if the program closes it meanwhile.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Whether `fd` is a UDP socket.
pub(crate) fn is_udp(fd: c_int) -> bool {
    option(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Some(libc::SOCK_DGRAM)
        && option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(libc::IPPROTO_UDP)
}

/// Whether `fd` is an IPv6 socket.
pub(crate) fn is_inet6(fd: c_int) -> bool {
    option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) == Some(libc::AF_INET6)
}

/// Whether a datagram to `address` could be for a group, before anybody is asked.
#[inline]
pub(crate) fn may_be_marked(address: SocketAddr) -> bool {
    address.ip().is_multicast() || any_unicast()
}

/// Whether unicast addresses are marked, too.
#[inline]
pub(crate) fn any_unicast() -> bool {
    session::last().is_some_and(|session| session.board().any_unicast())
}

/// The group at `address`, and the session that knows it.
pub(crate) fn marked(address: SocketAddr) -> Option<(&'static Session, MarkedGroup)> {
    let session = session::get()?;
    Some((session, session.board().group_at(address)?))
}

/// Answers a call that concerns a group while the monitor is away: programs that must have Exo get
/// an error, the others the kernel. Also for what Exo cannot follow.
pub(crate) fn away_errno() -> Option<c_int> {
    env::is_required().then_some(libc::ENETDOWN)
}

/// The object of `fd`, made if it has none.
pub(crate) fn object_of(fd: c_int) -> Option<&'static Object> {
    if let Some(object) = descriptor::get(fd) {
        return Some(object);
    }
    let object = Object::make(is_inet6(fd));
    if !descriptor::put(fd, object) {
        // SAFETY: just made and put nowhere.
        drop(unsafe { Box::from_raw(object) });
        return None;
    }
    // Copies made before are the same socket.
    has_other_names(fd);
    descriptor::get(fd)
}

fn errno_of(error: CallError) -> c_int {
    error.errno()
}

/// What a holder has in common with the program's socket.
fn make_holder(fd: c_int, bound: SocketAddr, shared: bool) -> Result<Descriptor, Errno> {
    let inet6 = is_inet6(fd);
    let family = if inet6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let holder = Descriptor::from_owned(rustix::net::socket_with(
        family,
        SocketType::DGRAM,
        flags,
        None,
    )?);
    for name in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
        if option(fd, libc::SOL_SOCKET, name).unwrap_or(0) != 0 {
            set_option(holder.raw(), libc::SOL_SOCKET, name, 1);
        }
    }
    if inet6 {
        let only = option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).unwrap_or(0);
        set_option(holder.raw(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only);
    }
    // It must not receive what other sockets of the host have joined.
    set_option(holder.raw(), libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0);
    if inet6 {
        set_option(
            holder.raw(),
            libc::IPPROTO_IPV6,
            29, /* IPV6_MULTICAST_ALL */
            0,
        );
    }
    if !shared {
        rustix::net::bind(&holder, &as_family(bound, inet6))?;
        return Ok(holder);
    }
    // Beside the program's own socket on the same port: for the moment of this bind both say that
    // they share; afterwards each says what the program said.
    let own = option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR).unwrap_or(0);
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    set_option(holder.raw(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    let bind = rustix::net::bind(&holder, &as_family(bound, inet6));
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, own);
    set_option(holder.raw(), libc::SOL_SOCKET, libc::SO_REUSEADDR, own);
    bind.map(|()| holder)
}

/// An address as a socket of the family takes it.
fn as_family(address: SocketAddr, inet6: bool) -> SocketAddr {
    match (address, inet6) {
        (SocketAddr::V4(v4), true) => {
            let ip = if v4.ip().is_unspecified() {
                Ipv6Addr::UNSPECIFIED
            } else {
                v4.ip().to_ipv6_mapped()
            };
            SocketAddr::V6(SocketAddrV6::new(ip, v4.port(), 0, 0))
        }
        _ => address,
    }
}

/// `bind` to a marked address. `Err` is the errno for the program.
pub(crate) fn bind_marked(
    fd: c_int,
    address: SocketAddr,
    session: &Session,
    is_multicast: bool,
) -> Result<(), c_int> {
    let holder = match make_holder(fd, address, false) {
        Err(Errno::ADDRINUSE) => {
            // Perhaps by a socket that was closed where nobody saw it.
            session.call(Request::Sweep, &[]).map_err(errno_of)?;
            make_holder(fd, address, false)
        }
        other => other,
    }
    .map_err(Errno::raw_os_error)?;
    take_over(fd, address, Bound::Not, session, &holder, !is_multicast)?;
    if !is_multicast {
        // A unicast group has no join: to be bound is to be a member.
        join(fd, session, address, 0)?;
    }
    Ok(())
}

/// Makes `fd` a doorbell and tells the monitor.
fn take_over(
    fd: c_int,
    address: SocketAddr,
    bound: Bound,
    session: &Session,
    holder: &Descriptor,
    relay: bool,
) -> Result<(), c_int> {
    let object = object_of(fd).ok_or(libc::ENETDOWN)?;
    let a = borrow(fd);
    let guard = |peer| bound == Bound::Not && address.is_ipv6() && foreign::guard(fd, peer);
    let b = pair::make(a, bound, address.port(), guard).map_err(Errno::raw_os_error)?;
    let group = GroupSocket::open(session, a, &b, Some(holder), relay, address)
        .map_err(errno_of)
        .inspect_err(|_| {
            // The program may try again, or use the socket for something else.
            let _ = rustix::net::connect_unspec(a);
        })?;
    let state = group.page();
    let status = rustix::fs::fcntl_getfl(a).map_err(Errno::raw_os_error)?;
    state.set(
        page::NONBLOCK,
        status.contains(rustix::fs::OFlags::NONBLOCK),
    );
    let history = descriptor::history(fd).map_or(0, |history| history.load(Ordering::Relaxed));
    // Another number of the socket may be in an epoll set, or in another process.
    let shared = has_other_names(fd);
    if shared || history & descriptor::IN_EPOLL != 0 {
        state.doorbell().make_sticky();
        state.set(page::EACH_EDGE, shared || history & descriptor::EDGE != 0);
    }
    state.set(page::RELAYED, relay);
    object.set_group(group);
    crate::hooks::options::refresh_wishes(fd, object);
    Ok(())
}

/// Whether this process has another descriptor of the same socket. Those that share our object are
/// put into the table, so that they are known from now on.
fn has_other_names(fd: c_int) -> bool {
    let Ok(own) = rustix::fs::fstat(borrow(fd)) else {
        return false;
    };
    let mut any = false;
    crate::hooks::process::each_descriptor(|other| {
        if other != fd
            && rustix::fs::fstat(borrow(other))
                .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino))
        {
            any = true;
            if let Some(object) = descriptor::get(fd) {
                descriptor::put(other, core::ptr::from_ref(object).cast_mut());
            }
        }
    });
    any
}

/// Joins a group that the monitor knows, on a socket that was taken over or will be now.
pub(crate) fn join(
    fd: c_int,
    session: &Session,
    group: SocketAddr,
    interface: u32,
) -> Result<(), c_int> {
    let object = object_of(fd).ok_or(libc::ENETDOWN)?;
    if object.group().is_none() {
        convert_wildcard(fd, session)?;
    }
    let socket = object.group().ok_or(libc::ENETDOWN)?;
    if socket.is_orphaned() {
        return Err(libc::ENETDOWN); // its monitor is gone; a new socket gets the new one
    }
    socket.join(session, group, interface).map_err(errno_of)?;
    crate::hooks::process::joined(fd, object);
    Ok(())
}

/// Takes over a socket that is bound to a wildcard address.
fn convert_wildcard(fd: c_int, session: &Session) -> Result<(), c_int> {
    let bound = pair::name_of(borrow(fd)).map_err(Errno::raw_os_error)?;
    let holder = make_holder(fd, bound, true).map_err(Errno::raw_os_error)?;
    take_over(fd, bound, Bound::Wildcard, session, &holder, true)?;
    discard_queued(fd);
    Ok(())
}

/// What arrived between bind and join is unordered and has no place in the queue of a doorbell;
/// like any datagram before a join it is not for this socket.
fn discard_queued(fd: c_int) {
    let mut byte = [0];
    let flags = rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::TRUNC;
    for _ in 0..65_536 {
        if rustix::net::recv(borrow(fd), &mut byte, flags).is_err() {
            return;
        }
    }
}

/// The address that a socket is bound to, as the program asked for it.
pub(crate) fn bound_address(fd: c_int) -> Option<SocketAddr> {
    descriptor::get(fd)
        .and_then(Object::group)
        .and_then(|group| group.page().bound.get())
        .or_else(|| pair::name_of(borrow(fd)).ok())
}

/// Remembers a join until the socket is bound. False: there are too many.
pub(crate) fn remember_join(fd: c_int, group: IpAddr, interface: u32) -> bool {
    let Some(object) = object_of(fd) else {
        return false;
    };
    for pending in &object.pending {
        if pending.group.get().is_none() {
            pending.interface.store(interface, Ordering::Relaxed);
            pending.group.set(Some(SocketAddr::new(group, 0)));
            return true;
        }
    }
    false
}

/// Takes back a remembered join.
pub(crate) fn forget_join(fd: c_int, group: IpAddr) {
    let Some(object) = descriptor::get(fd) else {
        return;
    };
    for pending in &object.pending {
        if pending.group.get().is_some_and(|known| known.ip() == group) {
            pending.group.set(None);
            return;
        }
    }
}

/// The socket is bound now: joins that waited for the port are made.
pub(crate) fn join_pending(fd: c_int) -> Result<(), c_int> {
    let Some(object) = descriptor::get(fd) else {
        return Ok(());
    };
    let Some(bound) = bound_address(fd) else {
        return Ok(());
    };
    let receives_groups = bound.ip().is_unspecified() || object.group().is_some();
    for pending in &object.pending {
        let Some(group) = pending.group.get() else {
            continue;
        };
        let group = SocketAddr::new(group.ip(), bound.port());
        // Bound to one group's address it receives that group only.
        let is_meant = bound.ip().is_unspecified() || bound.ip() == group.ip();
        if receives_groups && is_meant {
            if let Some((session, _)) = marked(group) {
                join(
                    fd,
                    session,
                    group,
                    pending.interface.load(Ordering::Relaxed),
                )?;
            } else if session::get().is_none()
                && let Some(errno) = away_errno()
            {
                return Err(errno);
            }
        }
        pending.group.set(None);
    }
    Ok(())
}

/// A socket with the program's own address in the kernel, for what it sends elsewhere: the holder,
/// which the monitor gives back on demand.
pub(crate) fn outside(object: &Object) -> Result<c_int, c_int> {
    let known = object.outside.load(Ordering::Acquire);
    if known >= 0 {
        return Ok(known);
    }
    let session = session::get().ok_or(libc::ENETDOWN)?;
    let socket = object.group().ok_or(libc::EBADF)?.id();
    let (_, [holder, ..]) = session
        .call(Request::Holder { socket }, &[])
        .map_err(errno_of)?;
    let holder = holder.ok_or(libc::EDESTADDRREQ)?;
    let number = rustix::io::fcntl_dupfd_cloexec(&holder, HIDDEN_LOWEST)
        .map(|fd| Descriptor::from_owned(fd).into_raw())
        .map_err(Errno::raw_os_error)?;
    match object
        .outside
        .compare_exchange(-1, number, Ordering::AcqRel, Ordering::Acquire)
    {
        Ok(_) => Ok(number),
        Err(other) => {
            drop(Descriptor::from_raw(number));
            Ok(other)
        }
    }
}

/// The address that receivers shall see as the source of what `fd` sends to `group`.
pub(crate) fn source_of(fd: c_int, group: SocketAddr) -> Option<SocketAddr> {
    let mut bound = bound_address(fd)?;
    if bound.port() == 0 {
        // As the kernel does at the first send: a port of its choice, so that answers arrive.
        rustix::net::bind(borrow(fd), &bound).ok()?;
        bound = pair::name_of(borrow(fd)).ok()?;
    }
    let ip = bound.ip().to_canonical();
    if !ip.is_unspecified() && !ip.is_multicast() {
        return Some(SocketAddr::new(ip, bound.port()));
    }
    let (ip, scope) = route_source(fd, group);
    Some(match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, bound.port()),
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, bound.port(), 0, scope)),
    })
}

/// The address that the kernel would send from.
fn route_source(fd: c_int, group: SocketAddr) -> (IpAddr, u32) {
    let v4 = group.is_ipv4();
    let fallback = if v4 {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    };
    if v4
        && let Some(chosen) = option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF)
        && chosen != 0
    {
        // getsockopt gives an `in_addr`, in network order.
        return (
            IpAddr::V4(Ipv4Addr::from(chosen.cast_unsigned().to_ne_bytes())),
            0,
        );
    }
    let family = if v4 {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let probe = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let Ok(probe) = probe.map(Descriptor::from_owned) else {
        return (fallback, 0);
    };
    if !v4 && let Some(index) = option(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) {
        set_option(
            probe.raw(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MULTICAST_IF,
            index,
        );
    }
    let name = rustix::net::connect(&probe, &group)
        .and_then(|()| pair::name_of(rustix::fd::AsFd::as_fd(&probe)));
    match name {
        Ok(SocketAddr::V4(v4)) if !v4.ip().is_unspecified() => (IpAddr::V4(*v4.ip()), 0),
        Ok(SocketAddr::V6(v6)) if !v6.ip().is_unspecified() => {
            (IpAddr::V6(*v6.ip()), v6.scope_id())
        }
        // No route to the group: the network has no multicast, Exo does not need it.
        _ => (fallback, 0),
    }
}
