//! Addresses of the functions that the hooks stand in front of, looked up at the first call.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

/// The next definition of `name` after this library's.
#[cold]
fn look_up(name: &CStr) -> *mut c_void {
    let errno = crate::errno::get();
    // SAFETY: a constant name.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    crate::errno::set(errno);
    found
}

/// Declares `real::name`, which calls libc's function. What stands before the arrow is how these
/// functions say that they failed.
///
/// The slot holds a function at all times, so a call is a load and a jump: at first one that looks
/// libc's up and puts it there.
macro_rules! real {
    ($failed:expr => $($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[inline]
        pub(crate) unsafe fn $name($($arg: $type),*) -> $result {
            type Function = unsafe extern "C" fn($($type),*) -> $result;
            static SLOT: AtomicPtr<c_void> =
                AtomicPtr::new(on_first_call as *mut c_void);

            #[cold]
            #[allow(clippy::unused_unit, reason = "some functions have no way to fail")]
            unsafe extern "C" fn on_first_call($($arg: $type),*) -> $result {
                const NAME: &CStr = {
                    match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("a function name"),
                    }
                };
                let found = look_up(NAME);
                if found.is_null() {
                    // A libc that lacks it: the program that calls it was made for another.
                    crate::errno::set(libc::ENOSYS);
                    return $failed;
                }
                SLOT.store(found, Ordering::Relaxed);
                // SAFETY: libc's function of this name, which has this signature; the caller keeps
                // its contract.
                unsafe { core::mem::transmute::<*mut c_void, Function>(found)($($arg),*) }
            }

            let function = SLOT.load(Ordering::Relaxed);
            // SAFETY: as in `on_first_call`, or that itself.
            unsafe { core::mem::transmute::<*mut c_void, Function>(function)($($arg),*) }
        }
    )*};
}

use libc::{
    c_int, c_long, c_uint, c_ulong, epoll_event, fd_set, iovec, mmsghdr, msghdr, nfds_t, off_t,
    pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval,
};

real! { -1 =>
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int;
    accept(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int;
    accept4(fd: c_int, name: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int;
    bind(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int;
    connect(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int;
    shutdown(fd: c_int, how: c_int) -> c_int;
    getsockname(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int;
    getpeername(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t;
    readv(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t;
    preadv2(fd: c_int, iov: *const iovec, count: c_int, position: off_t, flags: c_int) -> ssize_t;
    pwritev2(fd: c_int, iov: *const iovec, count: c_int, position: off_t, flags: c_int) -> ssize_t;
    recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, name: *mut sockaddr, name_len: *mut socklen_t) -> ssize_t;
    recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    recvmmsg(fd: c_int, msgs: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t;
    writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t;
    send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    sendto(fd: c_int, buf: *const c_void, len: size_t, flags: c_int, name: *const sockaddr, name_len: socklen_t) -> ssize_t;
    sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    sendmmsg(fd: c_int, msgs: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
    vdprintf(fd: c_int, format: *const libc::c_char, arguments: *mut c_void) -> c_int;
    __vdprintf_chk(fd: c_int, flag: c_int, format: *const libc::c_char, arguments: *mut c_void) -> c_int;
    sendfile(out: c_int, input: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    splice(input: c_int, off_in: *mut i64, output: c_int, off_out: *mut i64, len: size_t, flags: c_uint) -> ssize_t;
    poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int;
    ppoll(fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *mut timeval) -> c_int;
    pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    dup(fd: c_int) -> c_int;
    dup2(fd: c_int, target: c_int) -> c_int;
    dup3(fd: c_int, target: c_int, flags: c_int) -> c_int;
    fcntl(fd: c_int, cmd: c_int, arg: usize) -> c_int;
    ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int;
    close(fd: c_int) -> c_int;
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    fclose(file: *mut libc::FILE) -> c_int;
    execve(path: *const libc::c_char, argv: *const *const libc::c_char, envp: *const *const libc::c_char) -> c_int;
    execvpe(path: *const libc::c_char, argv: *const *const libc::c_char, envp: *const *const libc::c_char) -> c_int;
    fexecve(fd: c_int, argv: *const *const libc::c_char, envp: *const *const libc::c_char) -> c_int;
    posix_spawn(pid: *mut libc::pid_t, path: *const libc::c_char, actions: *const c_void, attributes: *const c_void, argv: *const *const libc::c_char, envp: *const *const libc::c_char) -> c_int;
    posix_spawnp(pid: *mut libc::pid_t, path: *const libc::c_char, actions: *const c_void, attributes: *const c_void, argv: *const *const libc::c_char, envp: *const *const libc::c_char) -> c_int;
    syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;
}

real! { core::ptr::null_mut() =>
    fdopen(fd: c_int, mode: *const libc::c_char) -> *mut libc::FILE;
    freopen(path: *const libc::c_char, mode: *const libc::c_char, file: *mut libc::FILE) -> *mut libc::FILE;
}

real! { () =>
    __res_iclose(state: *mut c_void, free_address: bool) -> ();
}
