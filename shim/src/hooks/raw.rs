//! `syscall`, `splice`: calls that go around the others.

use libc::{c_int, c_long, c_uint, off_t, size_t, ssize_t};
use libexo::control::message::DemoteReason;

use super::{lifecycle, naming, options, poll, process, recv, select, send};
use crate::{descriptor, env, real};

/// Flags of `preadv2` and `pwritev2` that a socket takes: high priority, synchronised, no waiting, and
/// about appending. The kernel refuses the others.
const RWF_OF_SOCKETS: c_int = 0x3f;

/// What `preadv2` and `pwritev2` are in flags of a message, where they are `readv` and `writev`: at the
/// position -1, the only one that a socket has. `None`: the kernel knows the answer.
pub(super) const fn message_flags(position: off_t, flags: c_int) -> Option<c_int> {
    if position != -1 || flags & !RWF_OF_SOCKETS != 0 {
        None
    } else if flags & libc::RWF_NOWAIT != 0 {
        Some(libc::MSG_DONTWAIT)
    } else {
        Some(0)
    }
}

/// `syscall` with the arguments that every call has room for. The numbers below go through the
/// hooks when they concern a socket of ours; everything else goes straight on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: the caller's arguments.
    unsafe {
        if env::socket_path().is_none() || number == libc::SYS_futex {
            return real::syscall(number, a, b, c, d, e, f);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "the kernel takes the low bits, too"
        )]
        match number {
            libc::SYS_close => c_long::from(lifecycle::close(a as c_int)),
            libc::SYS_socket => c_long::from(lifecycle::socket(a as c_int, b as c_int, c as c_int)),
            libc::SYS_bind => c_long::from(naming::bind(a as c_int, b as _, c as _)),
            libc::SYS_connect => c_long::from(naming::connect(a as c_int, b as _, c as _)),
            libc::SYS_setsockopt => c_long::from(options::setsockopt(
                a as c_int, b as c_int, c as c_int, d as _, e as _,
            )),
            libc::SYS_sendto => {
                send::sendto(a as c_int, b as _, c, d as c_int, e as _, f as _) as c_long
            }
            libc::SYS_sendmsg => send::sendmsg(a as c_int, b as _, c as c_int) as c_long,
            libc::SYS_dup3 => c_long::from(lifecycle::dup3(a as c_int, b as c_int, c as c_int)),
            libc::SYS_dup => c_long::from(lifecycle::dup(a as c_int)),
            libc::SYS_close_range => {
                c_long::from(lifecycle::close_range(a as c_uint, b as c_uint, c as c_int))
            }
            libc::SYS_epoll_ctl => {
                c_long::from(poll::epoll_ctl(a as c_int, b as c_int, c as c_int, d as _))
            }
            libc::SYS_io_uring_setup => {
                let ring = real::syscall(number, a, b, c, d, e, f);
                if ring >= 0 {
                    let errno = crate::errno::get();
                    process::demote_for_rings();
                    crate::errno::set(errno);
                }
                ring
            }
            libc::SYS_execve => c_long::from(process::execve(a as _, b as _, c as _)),
            _ if !descriptor::is_used() => real::syscall(number, a, b, c, d, e, f),
            libc::SYS_read => recv::read(a as c_int, b as _, c) as c_long,
            libc::SYS_write => send::write(a as c_int, b as _, c) as c_long,
            libc::SYS_recvfrom => {
                recv::recvfrom(a as c_int, b as _, c, d as c_int, e as _, f as _) as c_long
            }
            libc::SYS_recvmsg => recv::recvmsg(a as c_int, b as _, c as c_int) as c_long,
            libc::SYS_recvmmsg => c_long::from(recv::recvmmsg(
                a as c_int,
                b as _,
                c as c_uint,
                d as c_int,
                e as _,
            )),
            libc::SYS_sendmmsg => {
                c_long::from(send::sendmmsg(a as c_int, b as _, c as c_uint, d as c_int))
            }
            libc::SYS_fcntl => c_long::from(options::fcntl(a as c_int, b as c_int, c)),
            libc::SYS_ioctl => c_long::from(options::ioctl(a as c_int, b as _, c)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll => c_long::from(poll::poll(a as _, b as _, c as c_int)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_select => {
                c_long::from(select::select(a as c_int, b as _, c as _, d as _, e as _))
            }
            _ => real::syscall(number, a, b, c, d, e, f),
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn splice(
    input: c_int,
    off_in: *mut i64,
    output: c_int,
    off_out: *mut i64,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    if descriptor::get(output).is_some() && off_out.is_null() {
        // What one splice moves is one datagram.
        let mut page = [0_u8; 4096];
        // SAFETY: writable for its length, then readable for what was read.
        return unsafe {
            let room = len.min(page.len());
            let got = if off_in.is_null() {
                libc::read(input, page.as_mut_ptr().cast(), room)
            } else {
                libc::pread(input, page.as_mut_ptr().cast(), room, *off_in)
            };
            match usize::try_from(got) {
                Ok(got) if got > 0 => {
                    let is_piece = flags & libc::SPLICE_F_MORE != 0;
                    let flags = if is_piece { libc::MSG_MORE } else { 0 };
                    send::send(output, page.as_ptr().cast(), got, flags)
                }
                _ => got,
            }
        };
    }
    if let Some(object) = descriptor::get(input) {
        process::demote(input, object, DemoteReason::Splice);
    }
    // SAFETY: as above.
    unsafe { real::splice(input, off_in, output, off_out, len, flags) }
}
