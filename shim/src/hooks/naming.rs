//! `bind`, `connect`, `getsockname`, `getpeername`, `shutdown`.

use core::net::SocketAddr;

use libc::{c_int, sockaddr, socklen_t};
use libexo::control::message::Request;
use libexo::shm::socket_page::{FILTERED, READ_SHUT, WRITE_SHUT};

use crate::convert::{
    away_errno, bind_marked, is_udp, join_pending, marked, may_be_marked, object_of,
};
use crate::descriptor::{self, Object};
use crate::errno::{self, fail};
use crate::{env, names, real, session};

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
                return connect_ours(object, group, name, len);
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
unsafe fn connect_ours(
    object: &Object,
    group: &libexo::client::socket::GroupSocket,
    name: *const sockaddr,
    len: socklen_t,
) -> c_int {
    let page = group.page();
    object.forget_grants();
    if !name.is_null() && len >= 2 {
        // SAFETY: two readable bytes, as libc's function takes them.
        let family = unsafe { name.cast::<u16>().read_unaligned() };
        if i32::from(family) == libc::AF_UNSPEC {
            note_filter_change(group);
            page.peer.set(None);
            page.set(FILTERED, has_source_filter(page));
            return 0;
        }
    }
    // SAFETY: as libc's function takes them.
    let Some(address) = (unsafe { names::parse(name, len) }) else {
        // The kernel's error, from a socket that does not matter.
        return if name.is_null() {
            fail(libc::EFAULT)
        } else {
            fail(libc::EINVAL)
        };
    };
    if address.is_ipv6() && !object.inet6 {
        return fail(libc::EAFNOSUPPORT);
    }
    note_filter_change(group);
    page.peer.set(Some(address));
    page.set(FILTERED, true);
    0
}

/// The filters are about to change: what is queued was judged by the old ones.
pub(super) fn note_filter_change(group: &libexo::client::socket::GroupSocket) {
    if let Some(session) = session::get().or_else(session::last) {
        group.before_filter_change(session);
    }
}

pub(super) fn has_source_filter(page: &libexo::shm::socket_page::SocketPage) -> bool {
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
        let room = if len.is_null() { 0 } else { *len };
        if real::getsockname(fd, name, len) != 0 {
            return -1;
        }
        *len = room;
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
        if len.is_null() || name.is_null() {
            return fail(libc::EFAULT);
        }
        if (*len).cast_signed() < 0 {
            return fail(libc::EINVAL);
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
