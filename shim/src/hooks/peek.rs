//! Peeks with `SO_PEEK_OFF`.

use core::sync::atomic::Ordering;
use core::time::Duration;

use libc::{c_int, ssize_t};
use libexo::client::session::Session;
use libexo::client::socket::GroupSocket;
use libexo::shm::socket_page::{NONBLOCK, READ_SHUT, SocketPage};
use rustix::io::Errno;

use super::options::wish;
use super::recv::{Target, Wait, finish, receive_slow, take_in};
use crate::cancel;
use crate::descriptor::Object;
use crate::errno::fail_len;

/// A peek with `SO_PEEK_OFF`.
///
/// Beyond the last datagram the call sleeps until one comes, although there is something to receive.
///
/// # Safety
///
/// As `receive`.
#[cold]
pub(super) unsafe fn peek_at_offset(
    fd: c_int,
    object: &'static Object,
    socket: &'static GroupSocket,
    session: &'static Session,
    flags: c_int,
    target: &Target,
) -> ssize_t {
    let page = socket.page();
    let sleepers = page.sleepers();
    let mut wait = Wait::default();
    let mut announced = None;
    let result = loop {
        let offset = page.peek_offset.load(Ordering::Relaxed);
        let wants = page.has(wish::ANY);
        let got = socket.peek_at(session, offset, |incoming, from| {
            // SAFETY: by contract.
            let mut received = unsafe { take_in(target, incoming, from, wants) };
            // The kernel's own comparison: a buffer that is just large enough is cut, too.
            let room = target.room();
            received.cut = room <= received.len - from && room < received.len;
            received
        });
        if let Some(received) = got {
            // SAFETY: by contract.
            break unsafe { finish(object, socket, target, flags, &received) };
        }
        if !socket.is_readable(session) {
            // SAFETY: by contract.
            let slow =
                unsafe { receive_slow(fd, object, socket, session, flags, target, &mut wait) };
            match slow {
                Some(result) => break result,
                None => continue,
            }
        }
        if flags & libc::MSG_DONTWAIT != 0 || page.has(NONBLOCK) {
            break fail_len(libc::EAGAIN);
        }
        if page.has(READ_SHUT) {
            break 0;
        }
        let limit = wait.left(socket);
        if limit == Some(Duration::ZERO) {
            break fail_len(libc::EAGAIN);
        }
        let Some(seen) = announced else {
            announced = Some(sleepers.announce());
            continue; // looks once more
        };
        if cancel::during(|| sleepers.sleep(seen, limit)) == Err(Errno::INTR) {
            break fail_len(libc::EINTR);
        }
        sleepers.retract();
        announced = None;
    };
    if announced.is_some() {
        sleepers.retract();
    }
    result
}

/// A peek moves the offset on, taking a datagram moves it back, by what the call returns.
#[cold]
pub(super) fn move_peek_offset(page: &SocketPage, flags: c_int, len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let moved = |offset: u32| {
        Some(if flags & libc::MSG_PEEK != 0 {
            offset.saturating_add(len)
        } else {
            offset.saturating_sub(len)
        })
    };
    // Relaxed: it orders nothing. The closure always has an answer.
    let _ = page
        .peek_offset
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
}
