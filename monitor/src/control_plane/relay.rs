//! Plain unicast datagrams for a socket that is bound to a wildcard address and a member of a
//! group. They have no place in the order; they are put into the program's own kernel queue, with
//! their source in front, and the shim takes them out there.

use std::net::{IpAddr, SocketAddr};

use libexo::client::pair::{MAIL_BYTE, MAIL_HEADER_BYTES};
use libexo::ids::SocketId;
use libexo::shm::board::Counter;
use libexo::shm::log::Origin;
use libexo::shm::region::Descriptor;
use libexo::sync::Ordering;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrV4, SocketAddrV6};

use super::Control;
use crate::engine_thread::kernel_queue::KernelQueue;

/// The kernel's usual time to live: the datagram's own is not asked for.
const UNICAST_TTL: u8 = 64;
/// Most datagrams sent again when a socket is switched to kernel delivery.
const QUEUED_MAX: usize = 4096;
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
            let mail = &mut bytes[..MAIL_HEADER_BYTES + len];
            // Without room it is lost like any unicast datagram, which nobody is told of.
            if let Some(queue) = &socket.queue {
                // Nobody there takes a header off.
                if send_plain(queue, &socket.bell, source, &mail[MAIL_HEADER_BYTES..]).is_ok() {
                    self.board.count(Counter::Relayed, 1);
                }
                continue;
            }
            mail[..MAIL_HEADER_BYTES].copy_from_slice(&mail_header(source));
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

fn send_plain(
    queue: &KernelQueue,
    bell: &Descriptor,
    source: SocketAddr,
    payload: &[u8],
) -> Result<(), Errno> {
    let origin = Origin {
        source,
        ttl: UNICAST_TTL,
        tos: 0,
        no_loop: None,
    };
    queue.send(bell, &origin, payload)
}

/// Takes out what was relayed to a socket before it was switched to kernel delivery, and sends it
/// again without its headers. What else is there is the doorbell's.
pub(super) fn send_again(queue: &KernelQueue, bell: &Descriptor) {
    let mut bytes = vec![0; MAIL_HEADER_BYTES + 65_536];
    let mut mails = Vec::new();
    while mails.len() < QUEUED_MAX
        && let Ok(len) = queue.take(&mut bytes)
    {
        if let Some(source) = mail_source(&bytes[..len]) {
            mails.push((source, bytes[MAIL_HEADER_BYTES..len].to_vec()));
        }
    }
    for (source, payload) in mails {
        // There was room for it with its header.
        let _ = send_plain(queue, bell, source, &payload);
    }
}

/// The source that a relayed datagram has in front.
fn mail_source(mail: &[u8]) -> Option<SocketAddr> {
    let header = mail.first_chunk::<MAIL_HEADER_BYTES>()?;
    let port = u16::from_le_bytes([header[2], header[3]]);
    match header[..2] {
        [MAIL_BYTE, 4] => {
            let ip = *header[8..].first_chunk::<4>()?;
            Some(SocketAddr::new(IpAddr::from(ip), port))
        }
        [MAIL_BYTE, 6] => {
            let ip = *header[8..].first_chunk::<16>()?;
            let scope = u32::from_le_bytes(*header[4..].first_chunk::<4>()?);
            let v6 = SocketAddrV6::new(ip.into(), port, 0, scope);
            Some(SocketAddr::V6(v6))
        }
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_in_front_of_a_relayed_datagram_is_found_again() {
        for source in ["10.1.2.3:4000", "[fd77::1]:4001", "[fe80::1%7]:4002"] {
            let source: SocketAddr = source.parse().expect("an address");
            let mut mail = mail_header(source).to_vec();
            mail.extend(b"payload");
            assert_eq!(mail_source(&mail), Some(source));
        }
        assert_eq!(mail_source(&[MAIL_BYTE; 8]), None, "too short");
        assert_eq!(mail_source(&[1; MAIL_HEADER_BYTES]), None, "a doorbell's");
    }
}
