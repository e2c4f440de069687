//! Kernel delivery: the program's own socket, into which the monitor sends what was ordered.
//!
//! Where the program was allowed to make a raw socket, datagrams are sent through that one, from
//! the address of whoever sent them. A raw socket makes the IP header and any fragments, the UDP
//! header is made here:
//!
//! ```text
//!  0              2              4              6              8
//!  | source port  | A's port     | 8 + payload  | check        | payload …
//! ```
//!
//! Over IPv4 the check stays 0, which means none; over IPv6 the kernel computes it. Everywhere else
//! the doorbell's end sends, and its address is what the program sees.

use std::io::IoSlice;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use libexo::shm::log::Origin;
use libexo::shm::region::Descriptor;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, ipproto};

use super::meminfo;

/// Largest payload that the kernel delivers over IPv4, and what the doorbell's end sends at most.
const DATAGRAM_MAX: usize = 65_507;
/// The loopback device of every network namespace.
const LOOPBACK: u32 = 1;

/// The program's own socket, and how it is sent into.
#[derive(Debug)]
pub(crate) struct KernelQueue {
    own: Descriptor,
    sender: Option<Sender>,
}

/// A raw socket that is connected to the program's own and may send from any address.
#[derive(Debug)]
struct Sender {
    raw: Descriptor,
    /// Address family, and the port of the program's own socket.
    inet6: bool,
    port: u16,
}

impl KernelQueue {
    /// `raw` is believed to be what the shim makes; what else it may be sends at most what its
    /// owner could send himself.
    pub(crate) fn new(own: Descriptor, raw: Option<Descriptor>, bell: &Descriptor) -> Self {
        let sender = raw.and_then(|raw| Sender::new(&own, raw));
        if sender.is_none()
            && matches!(rustix::net::getpeername(&own), Err(Errno::NOTCONN))
            && let Ok(bell) = rustix::net::getsockname(bell)
        {
            // Its guard may be gone; else an error leaves it as it was.
            let _ = rustix::net::connect(&own, &bell);
        }
        Self { own, sender }
    }

    /// Whether the datagrams have their own source.
    pub(crate) const fn names_sources(&self) -> bool {
        self.sender.is_some()
    }

    /// Sends one datagram into the program's socket.
    ///
    /// # Errors
    ///
    /// What the kernel says; `EAGAIN` and `ENOBUFS` pass.
    pub(crate) fn send(
        &self,
        bell: &Descriptor,
        origin: &Origin,
        payload: &[u8],
    ) -> Result<(), Errno> {
        if let Some(sender) = &self.sender {
            return match sender.send(Some(origin), payload) {
                // A source that no packet can have, or that a firewall keeps out.
                Err(error) if !matches!(error, Errno::AGAIN | Errno::NOBUFS) => {
                    sender.send(None, payload)
                }
                other => other,
            };
        }
        let payload = &payload[..payload.len().min(DATAGRAM_MAX)];
        rustix::net::send(bell, payload, SendFlags::DONTWAIT).map(drop)
    }

    /// Takes the next datagram out of the program's queue: only before anything is delivered there.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, and what else the kernel says.
    pub(crate) fn take(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        rustix::net::recv(&self.own, bytes, RecvFlags::DONTWAIT).map(|(len, _)| len)
    }

    /// Whether one more datagram of `len` bytes fits into the receive queue, as the kernel accounts
    /// for it: payload in whole pages beyond the first, and a buffer head.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let Some((allocated, limit)) = meminfo::receive_queue(&self.own) else {
            return false;
        };
        let need = if len <= 512 {
            1024
        } else {
            len.next_multiple_of(4096) + 1024
        };
        allocated == 0 || allocated + need <= limit
    }
}

impl Sender {
    fn new(own: &Descriptor, raw: Descriptor) -> Option<Self> {
        let is_raw = rustix::net::sockopt::socket_type(&raw) == Ok(SocketType::RAW)
            && rustix::net::sockopt::socket_protocol(&raw) == Ok(Some(ipproto::UDP));
        let name = rustix::net::getsockname(own).ok()?;
        let v4 = SocketAddrV4::try_from(name.clone()).map(|name| (false, name.port()));
        let (inet6, port) = v4
            .or_else(|_| SocketAddrV6::try_from(name).map(|name| (true, name.port())))
            .ok()?;
        is_raw.then_some(Self { raw, inet6, port })
    }

    fn send(&self, origin: Option<&Origin>, payload: &[u8]) -> Result<(), Errno> {
        let payload = if self.inet6 {
            payload
        } else {
            &payload[..payload.len().min(DATAGRAM_MAX)]
        };
        let source_port = origin.map_or(0, |origin| origin.source.port());
        // At most 65,527 bytes can be submitted, and 8 more fit into the field.
        let len = u16::try_from(8 + payload.len()).map_err(|_| Errno::MSGSIZE)?;
        let mut header = [0; 8];
        header[0..2].copy_from_slice(&source_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.port.to_be_bytes());
        header[4..6].copy_from_slice(&len.to_be_bytes());
        let parts = [IoSlice::new(&header), IoSlice::new(payload)];
        let send = |control: &[ControlMessage<'_>]| {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            sendmsg::<SockaddrStorage>(self.raw.raw(), &parts, control, flags, None)
                .map(drop)
                .map_err(|errno| Errno::from_raw_os_error(errno as i32))
        };
        let Some(origin) = origin else {
            return send(&[]);
        };
        let (hops, class) = (i32::from(origin.ttl.max(1)), i32::from(origin.tos));
        match origin.source {
            SocketAddr::V4(source) if !self.inet6 => send(&[
                ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from_ne_bytes(source.ip().octets()),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                }),
                ControlMessage::Ipv4Ttl(&hops),
                ControlMessage::Ipv4Tos(&origin.tos),
            ]),
            SocketAddr::V6(source) if self.inet6 => send(&[
                ControlMessage::Ipv6PacketInfo(&in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: source.ip().octets(),
                    },
                    // An address of one link is only taken together with a device.
                    ipi6_ifindex: if source.ip().is_unicast_link_local() {
                        LOOPBACK
                    } else {
                        0
                    },
                }),
                ControlMessage::Ipv6HopLimit(&hops),
                ControlMessage::Ipv6TClass(&class),
            ]),
            _ => Err(Errno::AFNOSUPPORT),
        }
    }
}
