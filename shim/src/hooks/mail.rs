//! Mail: plain unicast datagrams to a socket that is a member of groups. The monitor relays them
//! into the kernel queue, where doorbell bytes lie between them.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::sync::atomic::Ordering;

use libc::{c_int, iovec, msghdr, ssize_t};
use libexo::client::pair::{MAIL_BYTE, MAIL_HEADER_BYTES, TOKEN_BYTE};
use libexo::client::session::Session;
use libexo::client::socket::GroupSocket;
use libexo::shm::log::Origin;
use rustix::net::RecvFlags;

use super::poll::wall_ns;
use super::recv::{Received, Target, finish};
use crate::convert::borrow;
use crate::descriptor::Object;
use crate::{names, real};

/// Doorbell bytes taken away in front of a relayed datagram before the caller asks again.
const TRIES_FOR_MAIL: u32 = 64;

/// Takes a plain unicast datagram that the monitor relayed into the kernel queue.
///
/// # Safety
///
/// As `receive`.
pub(super) unsafe fn take_mail(
    fd: c_int,
    object: &'static Object,
    socket: &'static GroupSocket,
    session: &'static Session,
    flags: c_int,
    target: &Target,
) -> Option<ssize_t> {
    let page = socket.page();
    let mut first = [0];
    let mut tries = 0;
    loop {
        let taken = page.mail_taken.load(Ordering::SeqCst);
        let sent = page.mail_sent.load(Ordering::SeqCst);
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let Ok((_, len)) = rustix::net::recv(borrow(fd), &mut first, look) else {
            // What was sent until then has been received, or the queue had no room for it.
            let _ =
                page.mail_taken
                    .compare_exchange(taken, sent, Ordering::SeqCst, Ordering::Relaxed);
            return None;
        };
        if first[0] == MAIL_BYTE && len >= MAIL_HEADER_BYTES {
            break;
        }
        // A doorbell byte in front of it: a datagram of the order has just come, or the byte has
        // no token.
        if first[0] != TOKEN_BYTE || socket.is_readable(session) || tries == TRIES_FOR_MAIL {
            return None;
        }
        tries += 1;
        socket.remove_stray(session, borrow(fd));
    }
    let mut header = [0_u8; MAIL_HEADER_BYTES];
    let mut parts = [iovec {
        iov_base: header.as_mut_ptr().cast(),
        iov_len: MAIL_HEADER_BYTES,
    }; 65];
    let count = target.count.min(64);
    for (i, part) in parts.iter_mut().skip(1).take(count).enumerate() {
        // SAFETY: `count` entries by contract.
        *part = unsafe { *target.iov.add(i) };
    }
    // SAFETY: all zero is a message without anything; every part is writable.
    let len = unsafe {
        let mut message: msghdr = core::mem::zeroed();
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = count + 1;
        let peek = flags & libc::MSG_PEEK;
        real::recvmsg(
            fd,
            &raw mut message,
            libc::MSG_DONTWAIT | libc::MSG_TRUNC | peek,
        )
    };
    let len = usize::try_from(len).ok()?.checked_sub(MAIL_HEADER_BYTES)?;
    if flags & libc::MSG_PEEK == 0 {
        page.mail_taken.fetch_add(1, Ordering::SeqCst);
    }
    let port = u16::from_le_bytes([header[2], header[3]]);
    let source = if header[1] == 6 {
        let scope = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let ip: [u8; 16] = header[8..24].try_into().ok()?;
        names::canonical(SocketAddr::V6(SocketAddrV6::new(ip.into(), port, 0, scope)))
    } else {
        let ip: [u8; 4] = header[8..12].try_into().ok()?;
        SocketAddr::new(IpAddr::from(ip), port)
    };
    // SAFETY: `count` entries by contract.
    let room: usize = (0..count)
        .map(|i| unsafe { (*target.iov.add(i)).iov_len })
        .sum();
    let received = Received {
        len,
        copied: len.min(room),
        origin: Origin {
            source,
            ttl: 64,
            tos: 0,
            no_loop: None,
        },
        time_ns: wall_ns(),
        group: None,
        dropped: 0,
        cut: len > room,
        fault: false,
    };
    // SAFETY: by contract.
    Some(unsafe { finish(object, socket, target, flags, &received) })
}
