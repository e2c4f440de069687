//! `socket`, `close` and its kin, `dup` and its kin: what a number names.

use libc::{c_int, c_uint, sockaddr, socklen_t};
use libexo::control::message::Request;

use crate::convert::away_errno;
use crate::descriptor::{self, Object};
use crate::errno::fail;
use crate::{env, real, session};
use core::ptr;

/// A call returned a new descriptor: whatever the number named before is gone.
#[inline]
pub(super) fn fresh(fd: c_int) -> c_int {
    if fd >= 0 && descriptor::is_used() {
        forget(fd);
    }
    fd
}

/// The number names nothing of ours any more; the monitor hears of a socket's last close.
pub(super) fn forget(fd: c_int) {
    if let Some(object) = descriptor::clear(fd) {
        tell_closed(object);
    }
}

#[cold]
fn tell_closed(object: &Object) {
    let Some(group) = object.group() else { return };
    if let Some(session) = session::last()
        && !session.has_ended()
        && session::channel() >= 0
    {
        // Without a monitor nobody keeps anything for the socket.
        let _ = session.call(Request::Closed { socket: group.id() }, &[]);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    let fd = unsafe { real::socket(domain, kind, protocol) };
    // SOCK_NONBLOCK and SOCK_CLOEXEC are above the low four bits.
    if fd >= 0
        && (domain == libc::AF_INET || domain == libc::AF_INET6)
        && kind & 0xf == libc::SOCK_DGRAM
        && env::socket_path().is_some()
        && session::last().is_none()
    {
        // Early, so that unicast groups are known when the first datagram goes out.
        if session::get().is_none()
            && !session::is_vfork_child()
            && let Some(errno) = away_errno()
        {
            // Without having seen a monitor nobody can tell which addresses are groups.
            // SAFETY: just made, and nobody else knows of it.
            unsafe { real::close(fd) };
            return fail(errno);
        }
    }
    fresh(fd)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let result = real::socketpair(domain, kind, protocol, pair);
        if result == 0 {
            fresh(*pair);
            fresh(*pair.add(1));
        }
        result
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: as above.
    fresh(unsafe { real::accept(fd, name, len) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(
    fd: c_int,
    name: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: as above.
    fresh(unsafe { real::accept4(fd, name, len, flags) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if descriptor::is_known(fd) || session::may_be_channel(fd) {
        return close_slow(fd);
    }
    // SAFETY: as above.
    unsafe { real::close(fd) }
}

fn close_slow(fd: c_int) -> c_int {
    if fd >= 0 && fd == session::channel() && !session::is_vfork_child() {
        // Loops over all numbers find nothing here, as they would without us.
        return fail(libc::EBADF);
    }
    // First out of the table: once the kernel has closed it another thread may get the number.
    let object = descriptor::clear(fd);
    // SAFETY: as above.
    let result = unsafe { real::close(fd) };
    if let Some(object) = object {
        let errno = crate::errno::get();
        tell_closed(object);
        crate::errno::set(errno);
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __close(fd: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { close(fd) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __res_iclose(state: *mut libc::c_void, free_address: bool) {
    // glibc closes its resolver's sockets itself; their numbers must not stay ours.
    // SAFETY: as above.
    unsafe { real::__res_iclose(state, free_address) }
}

/// Numbers of a range that concern us, each once.
fn forget_range(first: c_uint, last: c_uint) {
    descriptor::for_each(|fd, _| {
        if (first..=last).contains(&fd.cast_unsigned()) {
            forget(fd);
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    const CLOSE_RANGE_CLOEXEC: c_int = 4;
    // SAFETY: as above.
    unsafe {
        let channel = session::channel();
        let is_plain = flags & CLOSE_RANGE_CLOEXEC != 0 || session::is_vfork_child();
        if is_plain || first > last {
            return real::close_range(first, last, flags);
        }
        forget_range(first, last);
        let Ok(channel) = c_uint::try_from(channel) else {
            return real::close_range(first, last, flags);
        };
        if !(first..=last).contains(&channel) {
            return real::close_range(first, last, flags);
        }
        // Around our own.
        let mut result = 0;
        if first < channel {
            result = real::close_range(first, channel - 1, flags);
        }
        if result == 0 && channel < last {
            result = real::close_range(channel + 1, last, flags);
        }
        result
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    // SAFETY: as above.
    unsafe {
        // glibc's own says nothing of an error, either.
        close_range(first.max(0).cast_unsigned(), c_uint::MAX, 0);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fclose(file: *mut libc::FILE) -> c_int {
    // SAFETY: as above.
    unsafe {
        if descriptor::is_used() && !file.is_null() {
            // It closes without calling `close`. The kernel's close comes after, but the number
            // cannot come back before this returns to its owner.
            let fd = libc::fileno(file);
            let result = real::fclose(file);
            let errno = crate::errno::get();
            forget(fd);
            crate::errno::set(errno);
            return result;
        }
        real::fclose(file)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn freopen(
    path: *const libc::c_char,
    mode: *const libc::c_char,
    file: *mut libc::FILE,
) -> *mut libc::FILE {
    // SAFETY: as above.
    unsafe {
        if descriptor::is_used() && !file.is_null() {
            forget(libc::fileno(file));
        }
        real::freopen(path, mode, file)
    }
}

/// `new` is another name of what `old` names.
#[inline]
pub(super) fn after_dup(old: c_int, new: c_int) {
    if old != new && (descriptor::is_known(old) || descriptor::is_known(new)) {
        after_dup_of_ours(old, new);
    }
}

#[cold]
fn after_dup_of_ours(old: c_int, new: c_int) {
    if session::is_vfork_child() {
        return;
    }
    forget(new);
    if let Some(object) = descriptor::get(old) {
        descriptor::put(new, ptr::from_ref(object).cast_mut());
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: as above.
    let new = unsafe { real::dup(fd) };
    if new >= 0 {
        after_dup(fd, new);
    }
    new
}

/// Whether a target number is our own, which moves away first.
fn is_own_channel(target: c_int) -> bool {
    target >= 0 && target == session::channel() && !session::is_vfork_child()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(fd: c_int, target: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        if is_own_channel(target) {
            session::lose_channel();
        }
        let new = real::dup2(fd, target);
        if new >= 0 {
            after_dup(fd, new);
        }
        new
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __dup2(fd: c_int, target: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { dup2(fd, target) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(fd: c_int, target: c_int, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        if is_own_channel(target) {
            session::lose_channel();
        }
        let new = real::dup3(fd, target, flags);
        if new >= 0 {
            after_dup(fd, new);
        }
        new
    }
}
