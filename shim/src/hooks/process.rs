//! The process's beginning, and what leaves it: `exec`, `fdopen`, descriptors that are passed on.

use core::sync::atomic::{AtomicBool, Ordering};

use libc::{c_char, c_int, c_void, msghdr};
use libexo::client::socket::GroupSocket;
use libexo::control::message::{DemoteReason, Request};
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page::NONBLOCK;
use rustix::fd::AsFd;

use crate::convert::borrow;
use crate::descriptor::{self, Object};
use crate::{env, foreign, real, session};

/// At load: sockets that this process inherited from a program that used Exo are found again.
pub(crate) fn start() {
    if env::socket_path().is_none() {
        return;
    }
    each_descriptor(adopt);
}

/// Calls `each` for every descriptor that this process has open.
pub(crate) fn each_descriptor(mut each: impl FnMut(c_int)) {
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let folder = rustix::fs::open(c"/proc/self/fd", flags, rustix::fs::Mode::empty());
    let Ok(folder) = folder.map(Descriptor::from_owned) else {
        return;
    };
    let mut space = [core::mem::MaybeUninit::uninit(); 2048];
    let mut entries = rustix::fs::RawDir::new(&folder, &mut space);
    while let Some(Ok(entry)) = entries.next() {
        let number = entry
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse::<c_int>().ok());
        if let Some(fd) = number
            && fd != folder.raw()
        {
            each(fd);
        }
    }
}

/// Makes `fd` ours if it is a socket that the monitor serves.
pub(crate) fn adopt(fd: c_int) {
    if descriptor::get(fd).is_some() {
        return;
    }
    // A doorbell is a UDP socket that is connected to the loopback, or was.
    let Ok(domain) = rustix::net::sockopt::socket_domain(borrow(fd)) else {
        return;
    };
    let is_inet =
        domain == rustix::net::AddressFamily::INET || domain == rustix::net::AddressFamily::INET6;
    if !is_inet || !crate::convert::is_udp(fd) {
        return;
    }
    if rustix::net::getpeername(borrow(fd)).is_err() && !foreign::is_open(fd) {
        return;
    }
    let Ok(cookie) = rustix::net::sockopt::socket_cookie(borrow(fd)) else {
        return;
    };
    // Another number of this process may name it already.
    let mut known = None;
    descriptor::for_each(|other, object| {
        if known.is_none()
            && object.group().is_some()
            && rustix::net::sockopt::socket_cookie(borrow(other)) == Ok(cookie)
        {
            known = Some(object);
        }
    });
    if let Some(object) = known {
        descriptor::put(fd, core::ptr::from_ref(object).cast_mut());
        return;
    }
    let Some(session) = session::get() else {
        return;
    };
    let Ok(group) = GroupSocket::adopt(session, cookie) else {
        return;
    };
    let Some(object) = crate::convert::object_of(fd) else {
        return;
    };
    if let Ok(status) = rustix::fs::fcntl_getfl(borrow(fd)) {
        group
            .page()
            .set(NONBLOCK, status.contains(rustix::fs::OFlags::NONBLOCK));
    }
    let _ = group.catch_up(session);
    object.set_group(group);
}

/// Switches one socket to kernel delivery.
pub(crate) fn demote(fd: c_int, object: &Object, reason: DemoteReason) {
    let Some(group) = object.receiver() else {
        return;
    };
    let Some(session) = session::get() else {
        return;
    };
    // Room for many datagrams: the monitor sends no more than fit, and the kernel gives no more
    // than the system's limit.
    let wanted = 4 << 20;
    let room = crate::names::option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF).unwrap_or(0);
    if room < wanted {
        crate::names::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, wanted);
    }
    let opened = foreign::open(fd, group.page());
    // Nothing of the doorbell's may be left in the queue.
    let doorbell = group.page().doorbell();
    let mut byte = [0];
    if doorbell.token.swap(2, Ordering::SeqCst) == 1 {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        for _ in 0..=doorbell.extra.swap(0, Ordering::SeqCst) {
            let _ = rustix::net::recv(borrow(fd), &mut byte, flags);
        }
    }
    let request = Request::Demote {
        socket: group.id(),
        reason,
    };
    let own = borrow(fd);
    let called = match &opened {
        Some(opened) => session.call(request, &[own, opened.raw.as_fd()]),
        None => session.call(request, &[own]),
    };
    if called.is_err() {
        if let Some(opened) = opened {
            opened.undo(fd);
        }
        doorbell.token.store(0, Ordering::SeqCst);
    }
}

/// Switches every socket that a program without the shim would inherit.
fn demote_inheritable() {
    descriptor::for_each(|fd, object| {
        let inherits = rustix::io::fcntl_getfd(borrow(fd))
            .is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC));
        if inherits && object.receiver().is_some() {
            demote(fd, object, DemoteReason::Exec);
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdopen(fd: c_int, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        if let Some(object) = descriptor::get(fd)
            && crate::names::is_user(mode.cast())
        {
            let mode_text = core::ffi::CStr::from_ptr(mode).to_bytes();
            if mode_text
                .iter()
                .any(|byte| matches!(byte, b'w' | b'a' | b'+'))
            {
                return stream_over_hooks(fd, mode);
            }
            demote(fd, object, DemoteReason::Fdopen);
        }
        real::fdopen(fd, mode)
    }
}

fn fd_of(cookie: *mut c_void) -> c_int {
    c_int::try_from(cookie.addr()).unwrap_or(-1)
}

/// A stream that writes through the hooks: stdio's own writes would go around them. Its one
/// difference: `fileno` does not know its descriptor.
unsafe fn stream_over_hooks(fd: c_int, mode: *const c_char) -> *mut libc::FILE {
    unsafe extern "C" fn read(cookie: *mut c_void, buf: *mut c_char, len: usize) -> isize {
        // SAFETY: stdio's buffer.
        unsafe { super::recv::read(fd_of(cookie), buf.cast(), len) }
    }
    unsafe extern "C" fn write(cookie: *mut c_void, buf: *const c_char, len: usize) -> isize {
        // SAFETY: stdio's buffer. Zero is how a stream's write says that it failed.
        unsafe { super::send::write(fd_of(cookie), buf.cast(), len).max(0) }
    }
    unsafe extern "C" fn close(cookie: *mut c_void) -> c_int {
        // SAFETY: the stream owned the descriptor.
        unsafe { super::lifecycle::close(fd_of(cookie)) }
    }
    let functions = CookieFunctions {
        read: Some(read),
        write: Some(write),
        seek: None,
        close: Some(close),
    };
    let cookie = core::ptr::without_provenance_mut(fd.cast_unsigned() as usize);
    // SAFETY: functions of the right signatures; the cookie is only a number.
    unsafe { fopencookie(cookie, mode, functions) }
}

type CookieRead = unsafe extern "C" fn(*mut c_void, *mut c_char, usize) -> isize;
type CookieWrite = unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize;
type CookieClose = unsafe extern "C" fn(*mut c_void) -> c_int;

/// glibc's `cookie_io_functions_t`.
#[repr(C)]
struct CookieFunctions {
    read: Option<CookieRead>,
    write: Option<CookieWrite>,
    seek: Option<CookieClose>,
    close: Option<CookieClose>,
}

unsafe extern "C" {
    fn fopencookie(
        cookie: *mut c_void,
        mode: *const c_char,
        functions: CookieFunctions,
    ) -> *mut libc::FILE;
}

/// A message was sent that may carry descriptors: whoever gets one of ours looks at it unseen.
pub(super) unsafe fn note_passed(message: *const msghdr) {
    if !descriptor::is_used() {
        return;
    }
    // SAFETY: the kernel has just taken the message.
    unsafe {
        each_passed(message, |fd| {
            if let Some(object) = descriptor::get(fd) {
                super::options::make_sticky(object, true);
            }
        });
    }
}

/// A message was received that may carry descriptors.
pub(super) unsafe fn note_received(message: *const msghdr) {
    // SAFETY: the kernel has just filled the message.
    unsafe {
        if !message.is_null() && (*message).msg_controllen != 0 {
            take_passed(message);
        }
    }
}

#[inline(never)]
unsafe fn take_passed(message: *const msghdr) {
    if env::socket_path().is_none() {
        return;
    }
    // SAFETY: by contract.
    unsafe {
        each_passed(message, |fd| {
            super::lifecycle::fresh(fd);
            adopt(fd);
        });
    }
}

unsafe fn each_passed(message: *const msghdr, each: impl Fn(c_int)) {
    // SAFETY: by contract a message that the kernel has accepted.
    unsafe {
        if message.is_null() {
            return;
        }
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(this) = header.as_ref() {
            if this.cmsg_level == libc::SOL_SOCKET && this.cmsg_type == libc::SCM_RIGHTS {
                let bytes = this.cmsg_len.saturating_sub(size_of::<libc::cmsghdr>());
                let first = libc::CMSG_DATA(header).cast::<c_int>();
                for i in 0..bytes / 4 {
                    each(first.add(i).read_unaligned());
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

/// Whether a program file can be followed by the shim: dynamically linked, and nothing that makes
/// the loader ignore a preload.
unsafe fn is_followed(path: *const c_char, envp: *const *const c_char) -> bool {
    // SAFETY: the arguments of an exec.
    unsafe { is_dynamic(path) && has_preload(envp) }
}

unsafe fn has_preload(envp: *const *const c_char) -> bool {
    if envp.is_null() {
        return false;
    }
    // SAFETY: an environment, which a null pointer ends.
    unsafe {
        let mut entry = envp;
        while let Some(text) = (*entry).as_ref() {
            let text = core::ffi::CStr::from_ptr(text).to_bytes();
            if text.starts_with(b"LD_PRELOAD=")
                && text.windows(11).any(|part| part == b"libexo_shim")
            {
                return true;
            }
            entry = entry.add(1);
        }
    }
    false
}

unsafe fn is_dynamic(path: *const c_char) -> bool {
    // SAFETY: a path, as exec takes it.
    let Some(path) = (unsafe { path.as_ref() }) else {
        return false;
    };
    // SAFETY: as above.
    let path = unsafe { core::ffi::CStr::from_ptr(path) };
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, rustix::fs::Mode::empty()) else {
        return false;
    };
    let file = Descriptor::from_owned(file);
    if let Ok(stat) = rustix::fs::fstat(&file)
        && stat.st_mode & 0o6000 != 0
    {
        return false;
    }
    let mut head = [0_u8; 4096];
    let Ok(len) = rustix::io::pread(&file, &mut head, 0) else {
        return false;
    };
    if head.starts_with(b"#!") {
        return true; // its interpreter is as good as any; a static one is rare
    }
    if len < 64 || !head.starts_with(b"\x7fELF") || head[4] != 2 {
        return false;
    }
    let word = |at: usize, size: usize| {
        head.get(at..at + size).map_or(0, |bytes| {
            bytes
                .iter()
                .rev()
                .fold(0_u64, |sum, b| sum << 8 | u64::from(*b))
        })
    };
    let (offset, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    (0..count).any(|i| {
        usize::try_from(offset + i * size).is_ok_and(|at| word(at, 4) == 3 /* PT_INTERP */)
    })
}

/// Before another program takes over, or is started beside this one.
unsafe fn before_exec(path: *const c_char, envp: *const *const c_char) {
    if !descriptor::is_used() {
        return;
    }
    let errno = crate::errno::get();
    // SAFETY: the arguments of an exec.
    if !unsafe { is_followed(path, envp) } {
        demote_inheritable();
    }
    crate::errno::set(errno);
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        before_exec(path, envp);
        real::execve(path, argv, envp)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: as above.
    unsafe { execve(path, argv, environ) }
}

/// The file that a search through `PATH` finds; the name itself if it has a slash or none is found.
unsafe fn searched(name: *const c_char, found: &mut [u8; 4096]) -> *const c_char {
    // SAFETY: a name, as exec takes it.
    unsafe {
        if name.is_null() {
            return name;
        }
        let text = core::ffi::CStr::from_ptr(name).to_bytes();
        let path = libc::getenv(c"PATH".as_ptr());
        if text.contains(&b'/') || path.is_null() {
            return name;
        }
        for folder in core::ffi::CStr::from_ptr(path)
            .to_bytes()
            .split(|byte| *byte == b':')
        {
            let len = folder.len() + 1 + text.len();
            if len + 1 > found.len() {
                continue;
            }
            found[..folder.len()].copy_from_slice(folder);
            found[folder.len()] = b'/';
            found[folder.len() + 1..len].copy_from_slice(text);
            found[len] = 0;
            if libc::access(found.as_ptr().cast(), libc::X_OK) == 0 {
                return found.as_ptr().cast();
            }
        }
        name
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(
    name: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if descriptor::is_used() {
            let mut found = [0; 4096];
            before_exec(searched(name, &mut found), envp);
        }
        real::execvpe(name, argv, envp)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(name: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: as above.
    unsafe { execvpe(name, argv, environ) }
}

/// Defines an `exec` that takes its words one by one. Stable Rust cannot define such a function, so a
/// few instructions put the words that came in registers in front of those on the stack, which
/// makes the array that the others take, and call `$listed` with it. Nothing is allocated: the
/// caller may be a `vfork` child.
macro_rules! listed {
    ($name:ident, $listed:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "endbr64",
                "pop rax", // the return address, whose place the last register takes
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "push rax", // and the stack is aligned to 16 bytes
                "call {listed}",
                "pop rcx",
                "mov [rsp + 32], rcx",
                "add rsp, 32",
                "ret",
                listed = sym $listed,
            );
        }

        #[cfg(target_arch = "aarch64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "hint #34", // bti c
                "stp x6, x7, [sp, #-16]!",
                "stp x4, x5, [sp, #-16]!",
                "stp x2, x3, [sp, #-16]!",
                "stp x30, x1, [sp, #-16]!",
                "add x1, sp, #8",
                "bl {listed}",
                "ldr x30, [sp], #64",
                "ret",
                listed = sym $listed,
            );
        }
    };
}

// `execl`, `execlp` and `execle`, which call no other function that could be intercepted.
listed!(execl, execl_listed);
listed!(execlp, execlp_listed);
listed!(execle, execle_listed);

unsafe extern "C" fn execl_listed(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: as above.
    unsafe { execv(path, argv) }
}

unsafe extern "C" fn execlp_listed(name: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: as above.
    unsafe { execvp(name, argv) }
}

unsafe extern "C" fn execle_listed(path: *const c_char, argv: *const *const c_char) -> c_int {
    // SAFETY: by the manual page a null pointer ends the words, and the environment follows it.
    unsafe {
        let mut end = argv;
        while !(*end).is_null() {
            end = end.add(1);
        }
        execve(path, argv, (*end.add(1)).cast())
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(
    fd: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if descriptor::is_used() && !has_preload(envp) {
            demote_inheritable();
        }
        real::fexecve(fd, argv, envp)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawn(
    pid: *mut libc::pid_t,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        before_exec(path, envp);
        real::posix_spawn(pid, path, actions, attributes, argv, envp)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawnp(
    pid: *mut libc::pid_t,
    name: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if descriptor::is_used() {
            let mut found = [0; 4096];
            before_exec(searched(name, &mut found), envp);
        }
        real::posix_spawnp(pid, name, actions, attributes, argv, envp)
    }
}

/// Whether this process has set up an `io_uring`.
static USES_RINGS: AtomicBool = AtomicBool::new(false);

/// The process sets up an `io_uring`, which reads and writes without the hooks: its sockets, and
/// those that become members later, are the kernel's to deliver.
pub(super) fn demote_for_rings() {
    USES_RINGS.store(true, Ordering::Relaxed); // by the thread that will use the ring
    descriptor::for_each(|fd, object| demote(fd, object, DemoteReason::IoUring));
}

/// A socket became a member.
pub(crate) fn joined(fd: c_int, object: &Object) {
    if USES_RINGS.load(Ordering::Relaxed) {
        demote(fd, object, DemoteReason::IoUring);
    }
}
