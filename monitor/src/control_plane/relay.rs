//! Plain unicast datagrams for a socket that is bound to a wildcard address and a member of a
//! group. They have no place in the order; they are put into the program's own kernel queue, with
//! their source in front, and the shim takes them out there.

use std::net::{IpAddr, SocketAddr};

use libexo::client::pair::{MAIL_BYTE, MAIL_HEADER_BYTES};
use libexo::ids::SocketId;
use libexo::shm::board::Counter;
use libexo::sync::Ordering;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrV4, SocketAddrV6};

use super::Control;

/// Most datagrams relayed for one socket at one event.
const RELAY_MAX: usize = 64;

impl Control {
    pub(super) fn relay(&self, id: SocketId) {
        let Some(socket) = self.sockets.get(&id) else {
            return;
        };
        let (Some(holder), Some(token)) = (&socket.holder, socket.relay_token) else {
            return;
        };
        let mut bytes = vec![0; MAIL_HEADER_BYTES + 65_536];
        for _ in 0..RELAY_MAX {
            let received =
                rustix::net::recvfrom(holder, &mut bytes[MAIL_HEADER_BYTES..], RecvFlags::DONTWAIT);
            let (len, source) = match received {
                Ok((len, _, source)) => (len, source),
                Err(Errno::AGAIN) => return,
                Err(_) => continue, // an ICMP error of some earlier peer
            };
            let Some(source) = source.and_then(|source| {
                SocketAddrV4::try_from(source.clone())
                    .map(SocketAddr::V4)
                    .or_else(|_| SocketAddrV6::try_from(source).map(SocketAddr::V6))
                    .ok()
            }) else {
                continue;
            };
            bytes[..MAIL_HEADER_BYTES].copy_from_slice(&mail_header(source));
            let mail = &bytes[..MAIL_HEADER_BYTES + len];
            // Without room it is lost like any unicast datagram, which nobody is told of.
            if rustix::net::send(&*socket.bell, mail, SendFlags::DONTWAIT).is_ok() {
                self.board.count(Counter::Relayed, 1);
                // Afterwards: what the counter says has been in the queue.
                socket.page.mail_sent.fetch_add(1, Ordering::SeqCst);
                socket.page.sleepers().wake(1);
            }
        }
        let fd = holder.raw();
        // What is left is asked for again; an error means that the socket is going away.
        let _ = self.poll.registry().reregister(
            &mut mio::unix::SourceFd(&fd),
            mio::Token(token),
            mio::Interest::READABLE,
        );
    }
}

fn mail_header(source: SocketAddr) -> [u8; MAIL_HEADER_BYTES] {
    let mut header = [0; MAIL_HEADER_BYTES];
    header[0] = MAIL_BYTE;
    header[2..4].copy_from_slice(&source.port().to_le_bytes());
    match source {
        SocketAddr::V4(v4) => {
            header[1] = 4;
            header[8..12].copy_from_slice(&v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            header[1] = 6;
            header[4..8].copy_from_slice(&v6.scope_id().to_le_bytes());
            header[8..24].copy_from_slice(&v6.ip().octets());
        }
    }
    debug_assert!(matches!(source.ip(), IpAddr::V4(_) | IpAddr::V6(_)));
    header
}
