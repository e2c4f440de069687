//! The undertaker: a small process that wakes the monitor's members when the monitor is no more.
//!
//! Members sleep in the kernel on their own sockets, where only the other end of a doorbell can wake
//! them, or on a word of their socket's page. Those ends die with the monitor, without a word to
//! anybody. So a second process holds a copy of each end and of each page. It does nothing until its
//! channel to the monitor ends, which the kernel does however the monitor died; then it rings every
//! doorbell once, wakes every sleeper and ends, too. The woken see on the board that the engine
//! thread is gone (`engine_thread::life`).
//!
//! ```text
//! packet: socket:u32    with doorbell and page: keep them    without: forget them
//! ```
//!
//! Sockets with kernel delivery are forgotten: their byte would be a datagram.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use libexo::client::pair::TOKEN_BYTE;
use libexo::control::channel::{Channel, Descriptors};
use libexo::control::message::PACKET_MAX;
use libexo::ids::SocketId;
use libexo::shm::region::Descriptor;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::mapped;

/// What makes `exod` an undertaker.
pub const OPTION: &str = "--undertaker";

/// An undertaker does nothing but listen: one that does not for this long is stuck, and the monitor
/// does without it from then on.
const PATIENCE: Duration = Duration::from_secs(1);

/// The monitor's end.
#[derive(Debug)]
pub struct Undertaker {
    channel: Channel,
    is_lost: bool,
}

impl Undertaker {
    /// Starts the process: this very program with [`OPTION`] and the channel as its input.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Command::new("/proc/self/exe")
            .arg(OPTION)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let channel = Channel::from_descriptor(Descriptor::from_owned(ours));
        channel.set_timeout(PATIENCE)?;
        Ok(Self {
            channel,
            is_lost: false,
        })
    }

    /// From now on who waits at the socket is woken when the monitor is gone.
    pub(crate) fn keep(&mut self, socket: SocketId, bell: &Descriptor, page: &Descriptor) {
        self.tell(socket, &[bell.as_fd(), page.as_fd()]);
    }

    /// The socket is gone, or can do without.
    pub(crate) fn forget(&mut self, socket: SocketId) {
        self.tell(socket, &[]);
    }

    fn tell(&mut self, socket: SocketId, descriptors: &[BorrowedFd<'_>]) {
        if self.is_lost {
            return;
        }
        if let Err(errno) = self.channel.send(&socket.0.to_le_bytes(), descriptors) {
            self.is_lost = true;
            tracing::warn!(
                %errno,
                "the undertaker does not listen: members that sleep would not hear of this \
                 monitor's death (restart the monitor when that suits)"
            );
        }
    }
}

/// The undertaker's whole life; `input` is the channel. Returns when every doorbell was rung.
pub fn serve(input: OwnedFd) {
    // What `ps` shows; without it the program's own name stays.
    let _ = rustix::thread::set_name(c"exo-undertaker");
    let channel = Channel::from_descriptor(Descriptor::from_owned(input));
    let mut kept: HashMap<u32, (Descriptor, Descriptor)> = HashMap::new();
    loop {
        let mut bytes = [0; PACKET_MAX];
        let mut descriptors = Descriptors::default();
        // Every error means that nothing comes any more.
        let Ok(len @ 1..) = channel.receive(&mut bytes, &mut descriptors) else {
            break;
        };
        let Ok(socket) = <[u8; 4]>::try_from(&bytes[..len]).map(u32::from_le_bytes) else {
            break;
        };
        match descriptors {
            [Some(bell), Some(page), ..] => kept.insert(socket, (bell, page)),
            _ => kept.remove(&socket),
        };
    }
    for (bell, page) in kept.values() {
        // A page that cannot be mapped now has nobody woken in vain.
        if let Ok(page) = mapped::page_of(page) {
            page.sleepers().wake_all();
        }
        // A full queue wakes as well, and a socket that is gone needs nothing.
        let _ = rustix::net::send(
            bell,
            &[TOKEN_BYTE],
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::net::RecvFlags;

    fn pair(kind: SocketType) -> (Descriptor, Descriptor) {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        (Descriptor::from_owned(a), Descriptor::from_owned(b))
    }

    #[test]
    fn kept_doorbells_ring_when_the_channel_ends_and_forgotten_ones_do_not() {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        let mut undertaker = Undertaker {
            channel: Channel::from_descriptor(ours),
            is_lost: false,
        };
        let (kept, kept_bell) = pair(SocketType::DGRAM);
        let (forgotten, forgotten_bell) = pair(SocketType::DGRAM);
        let (page_fd, page) = mapped::socket_page(1).unwrap();
        undertaker.keep(SocketId(1), &kept_bell, &page_fd);
        undertaker.keep(SocketId(2), &forgotten_bell, &page_fd);
        undertaker.forget(SocketId(2));
        drop(undertaker);
        let seen = page.sleepers().announce();
        serve(rustix::io::dup(&theirs).unwrap());
        // Who was about to sleep does not fall asleep any more.
        let slept = page.sleepers().sleep(seen, None);
        assert_eq!(slept, Err(Errno::AGAIN));
        let mut byte = [0];
        let look = RecvFlags::DONTWAIT;
        assert_eq!(rustix::net::recv(&kept, &mut byte, look).unwrap().0, 1);
        assert_eq!(byte, [TOKEN_BYTE]);
        assert_eq!(
            rustix::net::recv(&forgotten, &mut byte, look).unwrap_err(),
            Errno::AGAIN
        );
    }
}
