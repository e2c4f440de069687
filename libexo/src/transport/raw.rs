//! Ethernet frames without IP: a header of 14 bytes, then the frame.
//!
//! ```text
//! ┌────────────────┬──────────────┬────────────────┬───────
//! │ destination, 6 │ own, 6 bytes │ EtherType 88B5 │ frame
//! └────────────────┴──────────────┴────────────────┴───────
//! ```
//!
//! Ethernet fills short frames up: one of less than 46 bytes may arrive with zeros behind it, so
//! the frame's content must tell its length. Received through a ring in shared memory
//! (`packet_ring`), sent by `sendmmsg`.

use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::counters::{Counters, DropReason};
use super::inbox::Inbox;
use super::mmsg::{Batch, Target};
use super::packet_ring::{self, Packet, PacketRing};
use super::peers::{Destination, MacAddress, Peers};
use super::system::{self, Link, OpenError, failed, set_option};
use super::targets::Targets;
use super::{SendError, Transport, check_lengths};
use crate::ids::HostId;
use crate::time::Time;

/// IEEE 802 local experimental `EtherType` 1.
pub const ETHERTYPE: u16 = 0x88B5;

const HEADER_BYTES: usize = 14;

/// How a frame comes to all others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// By a multicast address, [`MacAddress::EXO`] or another; by all stations with
    /// [`MacAddress::BROADCAST`].
    Multicast(MacAddress),
    /// By a copy for each peer.
    FanOut,
}

/// What a [`RawTransport`] is made from.
#[derive(Clone, Debug)]
pub struct RawConfig {
    /// Interface that carries the frames.
    pub link: String,
    /// All other hosts; this one is known by the interface's own address.
    pub peers: Peers<MacAddress>,
    /// How to reach all others.
    pub reach: Reach,
    /// Bytes of the receive ring.
    pub ring_bytes: usize,
}

impl RawConfig {
    /// 4,096 frames of 1500 bytes: the turns of 40 hosts at 128 KiB.
    pub const RING_BYTES: usize = 8 << 20;
}

/// Frames on Ethernet.
#[derive(Debug)]
pub struct RawTransport {
    peers: Peers<MacAddress>,
    own: MacAddress,
    mtu_bytes: usize,
    ring: PacketRing,
    readable: OwnedFd,
    targets: Targets,
    batch: Batch,
    counters: Counters,
}

impl RawTransport {
    /// Opens the packet socket in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// Without `CAP_NET_RAW`, or when the interface is not Ethernet; the text says what to do.
    pub fn open(config: RawConfig) -> Result<Self, OpenError> {
        let RawConfig {
            link: name,
            peers,
            reach,
            ring_bytes,
        } = config;
        let link = Link::find(&name)?;
        let own = link.mac.ok_or_else(|| OpenError::Configuration {
            what: format!("interface {name} is not Ethernet"),
            hint: "name another one, or take UDP",
        })?;
        check_reach(reach)?;
        let ring = open_ring(&name, &link, reach, ring_bytes)?;
        let readable = watch(ring.as_fd()).map_err(failed(
            "make an epoll instance",
            "raise the limit of open files",
        ))?;
        let group = match reach {
            Reach::Multicast(to) => Some(to),
            Reach::FanOut => None,
        };
        let targets = Targets::new(&peers, group, |to| Target::behind(header(to, own)));
        Ok(Self {
            peers,
            own,
            mtu_bytes: link.mtu_bytes,
            ring,
            readable,
            targets,
            batch: Batch::new(),
            counters: Counters::default(),
        })
    }

    /// This host's address on the link.
    #[must_use]
    pub const fn address(&self) -> MacAddress {
        self.own
    }
}

impl Transport for RawTransport {
    fn me(&self) -> HostId {
        self.peers.me()
    }

    fn mtu(&self) -> usize {
        self.mtu_bytes
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        check_lengths(frames, self.mtu_bytes)?;
        let targets = self.targets.of(to)?;
        self.batch
            .send(self.ring.as_fd(), targets, frames, &mut self.counters);
        Ok(())
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        let before = inbox.len();
        // Once round at most: what nobody wants must not keep us here.
        for _ in 0..self.ring.slots() {
            if inbox.is_full() {
                break;
            }
            let (peers, own, mtu_bytes) = (&self.peers, self.own, self.mtu_bytes);
            let counters = &mut self.counters;
            let took = self
                .ring
                .take(|packet| match accept(&packet, peers, own, mtu_bytes) {
                    // A slot of the inbox may be shorter than the MTU.
                    Ok((from, frame)) if inbox.push(from, frame) => {
                        counters.received.add(frame.len());
                    }
                    Ok(_) => counters.drop_frames(DropReason::TooLong, 1),
                    Err(reason) => counters.drop_frames(reason, 1),
                });
            if !took {
                break;
            }
        }
        inbox.len() - before
    }

    fn on_time(&mut self, _now: Time) -> Option<Time> {
        None
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn counters(&mut self) -> Counters {
        let drops = self.ring.drops();
        self.counters
            .drop_frames(DropReason::ReceiveBufferFull, drops);
        self.counters
    }
}

/// Sender and frame in a packet, or why it is dropped.
fn accept<'a>(
    packet: &Packet<'a>,
    peers: &Peers<MacAddress>,
    own: MacAddress,
    mtu_bytes: usize,
) -> Result<(HostId, &'a [u8]), DropReason> {
    let Some((header, frame)) = packet.bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(DropReason::NotForUs);
    };
    let mut source = MacAddress([0; 6]);
    source.0.copy_from_slice(&header[6..12]);
    if source == own {
        return Err(DropReason::Own);
    }
    if !packet.is_for_us {
        return Err(DropReason::NotForUs);
    }
    let host = peers.owner(source).ok_or(DropReason::UnknownSource)?;
    if host == peers.me() {
        return Err(DropReason::Own); // from another of our links
    }
    if packet.is_cut || frame.len() > mtu_bytes {
        return Err(DropReason::TooLong);
    }
    Ok((host, frame))
}

fn header(to: MacAddress, from: MacAddress) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..6].copy_from_slice(&to.0);
    header[6..12].copy_from_slice(&from.0);
    header[12..].copy_from_slice(&ETHERTYPE.to_be_bytes());
    header
}

fn check_reach(reach: Reach) -> Result<(), OpenError> {
    match reach {
        Reach::Multicast(to) if !to.is_multicast() => Err(OpenError::Configuration {
            what: format!("{to} names one station"),
            hint: "take a multicast address such as 03:45:58:4f:00:00",
        }),
        _ => Ok(()),
    }
}

fn open_ring(
    name: &str,
    link: &Link,
    reach: Reach,
    ring_bytes: usize,
) -> Result<PacketRing, OpenError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0: nothing is received before the ring is there and the socket is bound.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None);
    let socket = socket.map_err(|errno| {
        let hint = match errno {
            Errno::PERM | Errno::ACCESS => {
                "CAP_NET_RAW is missing: give it by AmbientCapabilities=CAP_NET_RAW in the unit, \
                 or take UDP"
            }
            _ => "load the kernel's packet sockets (CONFIG_PACKET), or take UDP",
        };
        failed(format!("open a packet socket for {name}"), hint)(errno)
    })?;
    let hint = "make the ring smaller, or lower the interface's MTU";
    let ring = PacketRing::new(socket, link.mtu_bytes, ring_bytes).map_err(failed(
        format!("map a receive ring of {ring_bytes} bytes"),
        hint,
    ))?;
    // Before Linux 4.20 own frames come back; `accept` drops them.
    let _ = set_option(
        ring.as_fd(),
        libc::SOL_PACKET,
        libc::PACKET_IGNORE_OUTGOING,
        &1_i32,
    );
    system::set_send_buffer(ring.as_fd(), ring_bytes)?;
    if let Reach::Multicast(group) = reach
        && group != MacAddress::BROADCAST
    {
        packet_ring::join(ring.as_fd(), link.index, group).map_err(failed(
            format!("join {group} on {name}"),
            "take the broadcast address",
        ))?;
    }
    let hint = "check that the interface is up (`ip link set up`)";
    packet_ring::bind(ring.as_fd(), ETHERTYPE, link.index)
        .map_err(failed(format!("bind to {name}"), hint))?;
    Ok(ring)
}

/// A descriptor that is readable while the ring holds a frame.
fn watch(ring: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        ring,
        epoll::EventData::new_u64(0),
        epoll::EventFlags::IN,
    )?;
    Ok(epoll)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn verdict(from: MacAddress, is_for_us: bool, is_cut: bool) -> Result<HostId, DropReason> {
        let mut peers = Peers::new(HostId(1));
        peers.add(HostId(2), PEER).expect("free");
        let mut bytes = header(MacAddress::EXO, from).to_vec();
        bytes.extend_from_slice(b"frame");
        let packet = Packet {
            bytes: &bytes,
            is_for_us,
            is_cut,
        };
        let (host, frame) = accept(&packet, &peers, OWN, 5)?;
        assert_eq!(frame, b"frame");
        Ok(host)
    }

    #[test]
    fn packet_is_accepted_from_a_peer_and_from_nobody_else() {
        assert_eq!(verdict(PEER, true, false), Ok(HostId(2)));
        assert_eq!(verdict(OWN, true, false), Err(DropReason::Own));
        assert_eq!(verdict(PEER, false, false), Err(DropReason::NotForUs));
        assert_eq!(verdict(PEER, true, true), Err(DropReason::TooLong));
        let stranger = MacAddress([2, 0, 0, 0, 0, 3]);
        assert_eq!(
            verdict(stranger, true, false),
            Err(DropReason::UnknownSource)
        );
        let short = Packet {
            bytes: &[0; 13],
            is_for_us: true,
            is_cut: false,
        };
        let refused = accept(&short, &Peers::new(HostId(1)), OWN, 5);
        assert_eq!(refused.err(), Some(DropReason::NotForUs));
    }

    #[test]
    fn header_has_destination_source_and_type() {
        let bytes = header(MacAddress::EXO, OWN);
        assert_eq!(bytes, *b"\x03EXO\0\0\x02\0\0\0\0\x01\x88\xb5");
    }
}
