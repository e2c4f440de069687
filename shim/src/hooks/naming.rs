//! `bind`, `connect`, `getsockname`, `getpeername`, `shutdown`.

use core::net::SocketAddr;

use libc::{c_int, sockaddr, socklen_t};
use libexo::client::pair;
use libexo::control::message::Request;
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page::{FILTERED, READ_SHUT, SocketPage, WRITE_SHUT};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::convert::{
    away_errno, bind_marked, borrow, bound_address, is_inet6, is_udp, join_pending, marked,
    may_be_marked, object_of,
};
use crate::descriptor::{self, Object};
use crate::errno::{self, fail};
use crate::{env, names, probe, real, session};

#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        if env::socket_path().is_none() {
            return real::bind(fd, name, len);
        }
        let address = names::parse(name, len);
        if let Some(address) = address
            && address.port() != 0
            && !address.ip().is_unspecified()
            && descriptor::get(fd).and_then(Object::group).is_none()
            && is_udp(fd)
            // What is bound already, or of the other family, is the kernel's to refuse.
            && bound_address(fd).is_none_or(|bound| bound.port() == 0)
            && names::is_inet6(name, len) == is_inet6(fd)
        {
            // Attaches, so that unicast groups are known, too.
            if let Some((session, group)) = marked(address) {
                let is_multicast = group.address.ip().is_multicast();
                let bound =
                    bind_marked(fd, address, session, is_multicast).and_then(|()| join_pending(fd));
                return bound.map_or_else(fail, |()| 0);
            }
            if may_be_marked(address)
                && session::get().is_none()
                && let Some(errno) = away_errno()
            {
                return fail(errno);
            }
        }
        let mut result = real::bind(fd, name, len);
        let Some(address) = address else {
            return result;
        };
        if result != 0
            && errno::get() == libc::EADDRINUSE
            && let Some(session) = session::last()
            && session
                .board()
                .find(|group| group.address.port() == address.port())
                .is_some()
            && is_udp(fd)
        {
            // Perhaps by the holder of a socket that was closed where nobody saw it.
            if session.call(Request::Sweep, &[]).is_ok() {
                result = real::bind(fd, name, len);
            } else {
                errno::set(libc::EADDRINUSE);
            }
        }
        if result == 0
            && descriptor::get(fd).is_some()
            // The program joined before. What policy refuses is refused here, although the socket
            // is bound; any other failure leaves the kernel's groups to who may have them.
            && let Err(errno) = join_pending(fd)
            && (errno == libc::EACCES || env::is_required())
        {
            return fail(errno);
        }
        result
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: as above.
    unsafe {
        if env::socket_path().is_none() {
            return real::connect(fd, name, len);
        }
        let result = connect_any(fd, name, len);
        if result == 0
            && let Some(object) = descriptor::get(fd)
            && let Some(cork) = object.cork()
            && let Some(address) = names::parse(name, len)
            && !object.inet6
        {
            // The kernel keeps both in one place: an unfinished datagram now goes there, too.
            cork.pieces().redirect(address);
        }
        result
    }
}

/// As `connect`, of the peer alone.
unsafe fn connect_any(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: as above.
    unsafe {
        if let Some(object) = descriptor::get(fd) {
            if let Some(group) = object.group() {
                return connect_ours(fd, object, group, name, len);
            }
            object.forget_grants();
            object.peer.set(None);
        }
        let Some(address) = names::parse(name, len) else {
            return real::connect(fd, name, len);
        };
        if !may_be_marked(address) || !is_udp(fd) {
            return real::connect(fd, name, len);
        }
        let Some((_, group)) = marked(address) else {
            if session::get().is_none()
                && let Some(errno) = away_errno()
            {
                return fail(errno);
            }
            return real::connect(fd, name, len);
        };
        // The kernel connects it, too, so that names and the choice of a source are the kernel's;
        // where the network has no route to the group, Exo does not need one.
        let result = real::connect(fd, name, len);
        if result != 0 && errno::get() != libc::ENETUNREACH {
            return result;
        }
        let Some(object) = object_of(fd) else {
            return away_errno().map_or(result, fail);
        };
        object
            .peer
            .set(Some(SocketAddr::new(group.address.ip(), address.port())));
        0
    }
}

/// `connect` on a socket that is a doorbell: the kernel's connection is the doorbell's.
///
/// The kernel says what it thinks of the address by a socket that stands in for the program's.
unsafe fn connect_ours(
    fd: c_int,
    object: &Object,
    group: &libexo::client::socket::GroupSocket,
    name: *const sockaddr,
    len: socklen_t,
) -> c_int {
    let page = group.page();
    let Some(stand_in) = StandIn::of(fd, object) else {
        return -1;
    };
    // SAFETY: as libc's function takes them.
    if unsafe { real::connect(stand_in.0.raw(), name, len) } != 0 {
        return -1;
    }
    object.forget_grants();
    note_filter_change(group);
    let stand_in = borrow(stand_in.0.raw());
    let own = pair::name_of(stand_in).ok();
    let own = own.filter(|own| !own.ip().is_unspecified());
    let bound_to_any = page
        .bound
        .get()
        .is_some_and(|bound| bound.ip().is_unspecified());
    // SAFETY: as libc's function took them.
    let is_taken_back = unsafe { names::is_no_name(name, len) };
    // An own address that the kernel chose goes with the connection.
    if is_taken_back && bound_to_any {
        page.connected_from.set(None);
    } else if own.is_some() {
        let own = own.map(|own| SocketAddr::new(own.ip(), 0));
        page.connected_from.set(own);
    }
    let peer = pair::peer_of(stand_in).ok();
    page.peer.set(peer);
    page.set(FILTERED, is_filtered(page));
    0
}

/// Whether the socket may have to leave out what its groups receive.
pub(super) fn is_filtered(page: &SocketPage) -> bool {
    page.peer.get().is_some() || page.connected_from.get().is_some() || has_source_filter(page)
}

/// A socket that is connected as the program's would be if it were no doorbell.
pub(super) struct StandIn(pub(super) Descriptor);

impl StandIn {
    /// `None` with the errno set: there is no descriptor left.
    pub(super) fn of(fd: c_int, object: &Object) -> Option<Self> {
        let family = if object.inet6 {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let made = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        let stand_in = match made {
            Ok(made) => Self(Descriptor::from_owned(made)),
            Err(errno) => {
                errno::set(errno.raw_os_error());
                return None;
            }
        };
        let own = stand_in.0.raw();
        for (level, name) in [
            (libc::SOL_SOCKET, libc::SO_BROADCAST),
            (libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX),
            (libc::IPPROTO_IP, libc::IP_UNICAST_IF),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        ] {
            if let Some(value) = names::option(fd, level, name).filter(|value| *value != 0) {
                names::set_option(own, level, name, value);
            }
        }
        let bound = object.group().and_then(|group| group.page().bound.get());
        if object.inet6 && bound.is_some_and(|bound| !bound.ip().is_unspecified()) {
            // To be bound to an address is to be of its family.
            names::set_option(own, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
        }
        let own_address = object
            .group()
            .and_then(|group| group.page().connected_from.get());
        if let Some(address) = own_address {
            let mut name: names::NameBytes = [0; 28];
            let len = names::encode(address, object.inet6, &mut name);
            let len = socklen_t::try_from(len).unwrap_or(0);
            // SAFETY: as many readable bytes. The address may be gone meanwhile.
            unsafe { real::bind(own, name.as_ptr().cast(), len) };
        }
        Some(stand_in)
    }

    /// As `of`, connected to what the program is connected to.
    pub(super) fn connected(fd: c_int, object: &Object) -> Option<Self> {
        let stand_in = Self::of(fd, object)?;
        if let Some(peer) = object.group().and_then(|group| group.page().peer.get()) {
            let mut name: names::NameBytes = [0; 28];
            let len = names::encode(peer, object.inet6, &mut name);
            let len = socklen_t::try_from(len).unwrap_or(0);
            // SAFETY: as many readable bytes. There may be no way to the peer any more.
            unsafe { real::connect(stand_in.0.raw(), name.as_ptr().cast(), len) };
        }
        Some(stand_in)
    }
}

/// The filters are about to change: what is queued was judged by the old ones.
pub(super) fn note_filter_change(group: &libexo::client::socket::GroupSocket) {
    if let Some(session) = session::get().or_else(session::last) {
        group.before_filter_change(session);
    }
}

fn has_source_filter(page: &SocketPage) -> bool {
    page.slots()
        .iter()
        .any(|slot| slot.is_open() && slot.filter.load(core::sync::atomic::Ordering::Relaxed) != 0)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __connect(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: as above.
    unsafe { connect(fd, name, len) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockname(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(object) = descriptor::get(fd) else {
            return real::getsockname(fd, name, len);
        };
        let Some(bound) = object.group().and_then(|group| group.page().bound.get()) else {
            return real::getsockname(fd, name, len);
        };
        // The kernel judges the pointers, and its answer is replaced.
        let room = if probe::can_read(len) { *len } else { 0 };
        if real::getsockname(fd, name, len) != 0 {
            return -1;
        }
        *len = room;
        let chosen = object
            .group()
            .and_then(|group| group.page().connected_from.get());
        let bound = match chosen {
            Some(chosen) if bound.ip().is_unspecified() => {
                SocketAddr::new(chosen.ip(), bound.port())
            }
            _ => bound,
        };
        names::store(bound, object.inet6, name, len);
        0
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpeername(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(object) = descriptor::get(fd) else {
            return real::getpeername(fd, name, len);
        };
        let peer = match object.group() {
            Some(group) => group.page().peer.get(),
            None => match object.peer.get() {
                Some(peer) => Some(peer),
                None => return real::getpeername(fd, name, len),
            },
        };
        let Some(peer) = peer else {
            return fail(libc::ENOTCONN);
        };
        if !probe::can_write(len) {
            return fail(libc::EFAULT);
        }
        if (*len).cast_signed() < 0 {
            return fail(libc::EINVAL);
        }
        let room = (*len as usize).min(size_of::<names::NameBytes>());
        if !probe::is_writable(name.cast(), room) {
            return fail(libc::EFAULT);
        }
        names::store(peer, object.inet6, name, len);
        0
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let result = real::shutdown(fd, how);
        let Some(object) = descriptor::get(fd) else {
            return result;
        };
        let writing = how == libc::SHUT_WR || how == libc::SHUT_RDWR;
        // The kernel shuts an unconnected socket, too, while it says that it is not connected.
        if writing && (result == 0 || errno::get() == libc::ENOTCONN) {
            object
                .write_shut
                .store(true, core::sync::atomic::Ordering::Relaxed);
        }
        let Some(group) = object.group() else {
            return result;
        };
        if result != 0 && errno::get() != libc::ENOTCONN {
            return result;
        }
        let page = group.page();
        page.set(WRITE_SHUT, page.has(WRITE_SHUT) || writing);
        if how == libc::SHUT_RD || how == libc::SHUT_RDWR {
            page.set(READ_SHUT, true);
            page.sleepers().wake_all();
        }
        // Whatever the doorbell is connected to, the kernel shut it; a socket that the program did
        // not connect is told that it is not, and its readers wake all the same.
        if page.peer.get().is_none() {
            fail(libc::ENOTCONN)
        } else {
            0
        }
    }
}
