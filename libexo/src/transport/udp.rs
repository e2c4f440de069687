//! UDP: one frame per datagram.
//!
//! Two sockets: `own` is bound to this host's address; everything is sent from it, so that peers
//! know us by that address, and it hears what is sent to us alone. `group` is bound to the address
//! of the group (multicast or broadcast) and hears what is sent to all. Frames that took different
//! sockets may change their order.
//!
//! Datagrams are never fragmented: what does not fit into the link's MTU is refused.

use std::net::{IpAddr, SocketAddr};

use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::arrivals::{self, Arrivals, Gate};
use super::counters::{Counters, DropReason};
use super::inbox::Inbox;
use super::mmsg::{Batch, Target};
use super::peers::{Destination, Peers};
use super::runs::{Outcome, Runs};
use super::system::{self, Link, OpenError, failed, set_option};
use super::targets::Targets;
use super::{SendError, Transport, check_lengths};
use crate::ids::HostId;
use crate::time::Time;

/// How a datagram comes to all others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// By a multicast group of one's own address family; one hop, never to this host itself.
    Multicast(SocketAddr),
    /// By the broadcast address of the link, such as 10.0.0.255 (IPv4 only). The port must be the
    /// one of the peers.
    Broadcast(SocketAddr),
    /// By a copy for each peer. Works across routers.
    FanOut,
}

/// What a [`UdpTransport`] is made from.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Interface that carries the frames.
    pub link: String,
    /// All hosts; this one's first address is what its frames come from.
    pub peers: Peers<SocketAddr>,
    /// How to reach all others.
    pub reach: Reach,
    /// Bytes of receive and send buffer for each socket.
    ///
    /// At least what all others send between two own turns: (hosts − 1) × the longest turn.
    pub buffer_bytes: usize,
}

impl UdpConfig {
    /// 31 hosts with turns of 128 KiB, as the system accounts them (about twice their bytes).
    pub const BUFFER_BYTES: usize = 8 << 20;
}

/// How often frames to this host alone are asked for, in calls of `recv`. Turns come to all.
const OWN_EVERY: u8 = 8;

/// Frames as datagrams.
#[derive(Debug)]
pub struct UdpTransport {
    peers: Peers<SocketAddr>,
    mtu_bytes: usize,
    own: OwnedFd,
    group: Option<OwnedFd>,
    /// Calls of `recv`, to tell whose turn it is.
    looks: u8,
    readable: OwnedFd,
    targets: Targets,
    arrivals: Arrivals,
    batch: Batch,
    /// `None` once the system has said that it cannot.
    runs: Option<Runs>,
    counters: Counters,
}

impl UdpTransport {
    /// Opens the sockets in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// When an address, the interface or the group does not exist here; the text says what to do.
    pub fn open(config: UdpConfig) -> Result<Self, OpenError> {
        let UdpConfig {
            link: name,
            peers,
            reach,
            buffer_bytes,
        } = config;
        let link = Link::find(&name)?;
        let me = *peers
            .addresses(peers.me())
            .first()
            .ok_or_else(|| no_address(peers.me()))?;
        check_families(&peers, me, reach)?;
        let mtu_bytes =
            longest_frame(link.mtu_bytes, me).ok_or_else(|| OpenError::Configuration {
                what: format!(
                    "an MTU of {} on {name} leaves no room for a frame",
                    link.mtu_bytes
                ),
                hint: "raise it with `ip link set mtu`",
            })?;
        let own = open_socket(me, &link, buffer_bytes)?;
        let group = open_group(reach, &own, me, &link, buffer_bytes)?;
        let readable = watch(own.as_fd(), group.as_ref().map(AsFd::as_fd))?;
        let group_address = match reach {
            Reach::Multicast(to) | Reach::Broadcast(to) => Some(to),
            Reach::FanOut => None,
        };
        let targets = Targets::new(&peers, group_address, |to| {
            Target::address(scoped(to, &link))
        });
        Ok(Self {
            peers,
            mtu_bytes,
            own,
            group,
            looks: 0,
            readable,
            targets,
            arrivals: Arrivals::new(),
            batch: Batch::new(),
            runs: Some(Runs::new()),
            counters: Counters::default(),
        })
    }

    /// Asks one of the sockets, or none for what the last call left.
    fn recv_from(&mut self, ask: Ask, inbox: &mut Inbox) -> usize {
        let before = inbox.len();
        let peers = &self.peers;
        let host = |address| match peers.owner(address) {
            None => Err(DropReason::UnknownSource),
            Some(host) if host == peers.me() => Err(DropReason::Own),
            Some(host) => Ok(host),
        };
        let mut gate = Gate {
            mtu_bytes: self.mtu_bytes,
            counters: &mut self.counters,
            host,
        };
        let socket = match ask {
            Ask::None => None,
            Ask::Own => Some(&self.own),
            Ask::Group => self.group.as_ref(),
        };
        match socket {
            Some(socket) => self.arrivals.receive(socket.as_fd(), inbox, &mut gate),
            None => _ = self.arrivals.cut(inbox, &mut gate),
        }
        inbox.len() - before
    }
}

/// Whom `recv` asks.
#[derive(Clone, Copy)]
enum Ask {
    None,
    Own,
    Group,
}

impl Transport for UdpTransport {
    fn me(&self) -> HostId {
        self.peers.me()
    }

    fn mtu(&self) -> usize {
        self.mtu_bytes
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        check_lengths(frames, self.mtu_bytes)?;
        let targets = self.targets.of(to)?;
        let mut rest = frames;
        if let Some(runs) = self.runs.as_mut().filter(|_| frames.len() > 1) {
            match runs.send(self.own.as_fd(), targets, frames, &mut self.counters) {
                Outcome::Done => return Ok(()),
                Outcome::Refused(from) => {
                    self.runs = None;
                    rest = &frames[from..];
                }
            }
        }
        self.batch
            .send(self.own.as_fd(), targets, rest, &mut self.counters);
        Ok(())
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        let left = self.recv_from(Ask::None, inbox);
        if left > 0 {
            return left;
        }
        self.looks = self.looks.wrapping_add(1);
        let is_own_turn = self.group.is_none() || self.looks.is_multiple_of(OWN_EVERY);
        if is_own_turn {
            let own = self.recv_from(Ask::Own, inbox);
            if own > 0 || self.group.is_none() {
                return own;
            }
        }
        self.recv_from(Ask::Group, inbox)
    }

    fn on_time(&mut self, _now: Time) -> Option<Time> {
        None
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn counters(&mut self) -> Counters {
        let group = self
            .group
            .as_ref()
            .map_or(0, |group| system::receive_drops(group.as_fd()));
        let drops = group + system::receive_drops(self.own.as_fd());
        self.counters
            .set_dropped(DropReason::ReceiveBufferFull, drops);
        self.counters
    }
}

fn no_address(me: HostId) -> OpenError {
    OpenError::Configuration {
        what: format!("host {} (this one) has no address", me.0),
        hint: "add its own address to the peers",
    }
}

fn check_families(
    peers: &Peers<SocketAddr>,
    me: SocketAddr,
    reach: Reach,
) -> Result<(), OpenError> {
    let wrong = |what| {
        let hint = "give all hosts and the group addresses of one family";
        Err(OpenError::Configuration { what, hint })
    };
    if let Some((host, to)) = peers.others().find(|(_, to)| to.is_ipv4() != me.is_ipv4()) {
        return wrong(format!("host {} has {to}, this host {me}", host.0));
    }
    match reach {
        Reach::Multicast(group) if !group.ip().is_multicast() => {
            let hint = "take one of 239.0.0.0/8 or ff15::/16";
            let what = format!("{group} is not a multicast address");
            Err(OpenError::Configuration { what, hint })
        }
        Reach::Broadcast(to) if to.is_ipv6() => {
            let hint = "take multicast: IPv6 has no broadcast";
            let what = format!("{to} cannot be a broadcast address");
            Err(OpenError::Configuration { what, hint })
        }
        Reach::Broadcast(to) if to.port() != me.port() => {
            let hint = "give all hosts and the broadcast address one port";
            let what = format!(
                "the broadcast {to} does not reach this host's port {}",
                me.port()
            );
            Err(OpenError::Configuration { what, hint })
        }
        Reach::Multicast(to) | Reach::Broadcast(to) if to.is_ipv4() != me.is_ipv4() => {
            wrong(format!("the group is {to}, this host {me}"))
        }
        _ => Ok(()),
    }
}

/// Bytes of a link's MTU that are left for a frame.
fn longest_frame(mtu_bytes: usize, me: SocketAddr) -> Option<usize> {
    const UDP: usize = 8;
    const DATAGRAM_MAX: usize = 65_535; // the length fields have 16 bits
    let left = match me.ip() {
        IpAddr::V4(_) => mtu_bytes.min(DATAGRAM_MAX).checked_sub(20 + UDP),
        IpAddr::V6(_) => mtu_bytes.min(DATAGRAM_MAX).checked_sub(40 + UDP),
    };
    left.filter(|left| *left > 0)
}

/// Addresses that mean something on one link only get that link.
fn scoped(mut address: SocketAddr, link: &Link) -> SocketAddr {
    if let SocketAddr::V6(address) = &mut address {
        let [first, second, ..] = address.ip().octets();
        let is_link_local_group = first == 0xFF && second & 0x0F == 2;
        if address.ip().is_unicast_link_local() || is_link_local_group {
            address.set_scope_id(link.index);
        }
    }
    address
}

fn open_socket(
    address: SocketAddr,
    link: &Link,
    buffer_bytes: usize,
) -> Result<OwnedFd, OpenError> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = system::socket(family, SocketType::DGRAM, "UDP")?;
    system::size_buffers(socket.as_fd(), buffer_bytes)?;
    arrivals::take_runs(socket.as_fd());
    never_fragment(socket.as_fd(), address)
        .map_err(failed("forbid fragments", "run Linux 4.12 or later"))?;
    if address.ip().is_multicast() {
        // Monitors of several rings on one machine may share a group.
        sockopt::set_socket_reuseaddr(&socket, true)
            .map_err(failed(format!("share {address}"), "choose another port"))?;
    }
    let hint = "check that this host has the address and that no other program has the port";
    rustix::net::bind(&socket, &scoped(address, link))
        .map_err(failed(format!("bind UDP to {address}"), hint))?;
    Ok(socket)
}

fn never_fragment(socket: BorrowedFd<'_>, address: SocketAddr) -> rustix::io::Result<()> {
    if address.is_ipv4() {
        return sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DO);
    }
    sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DO)?;
    set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &1_i32)
}

/// The socket that hears what is sent to all; prepares `own` for sending there.
fn open_group(
    reach: Reach,
    own: &OwnedFd,
    me: SocketAddr,
    link: &Link,
    buffer_bytes: usize,
) -> Result<Option<OwnedFd>, OpenError> {
    match reach {
        Reach::FanOut => Ok(None),
        Reach::Broadcast(to) => {
            sockopt::set_socket_broadcast(own, true)
                .map_err(failed(format!("broadcast to {to}"), "take multicast"))?;
            open_socket(to, link, buffer_bytes).map(Some)
        }
        Reach::Multicast(to) => {
            let group = open_socket(to, link, buffer_bytes)?;
            let hint = "check that the interface is up and does multicast (`ip link`)";
            join(group.as_fd(), own.as_fd(), to, me, link)
                .map_err(failed(format!("join {to}"), hint))?;
            Ok(Some(group))
        }
    }
}

fn join(
    group: BorrowedFd<'_>,
    own: BorrowedFd<'_>,
    to: SocketAddr,
    me: SocketAddr,
    link: &Link,
) -> rustix::io::Result<()> {
    match (to.ip(), me.ip()) {
        (IpAddr::V4(to), IpAddr::V4(me)) => {
            sockopt::set_ip_add_membership_with_ifindex(group, &to, &me, link.index)?;
            // Without this the socket hears what others on this machine joined on other links.
            set_option(group, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &0_i32)?;
            sockopt::set_ip_multicast_if_with_ifindex(own, &to, &me, link.index)?;
            sockopt::set_ip_multicast_ttl(own, 1)?;
            sockopt::set_ip_multicast_loop(own, false)
        }
        (IpAddr::V6(to), _) => {
            sockopt::set_ipv6_add_membership(group, &to, link.index)?;
            set_option(group, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, &0_i32)?;
            sockopt::set_ipv6_multicast_if(own, link.index)?;
            sockopt::set_ipv6_multicast_hops(own, 1)?;
            sockopt::set_ipv6_multicast_loop(own, false)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => Err(rustix::io::Errno::AFNOSUPPORT), // checked before
    }
}

/// One descriptor that is readable when one of the two is.
fn watch(own: BorrowedFd<'_>, group: Option<BorrowedFd<'_>>) -> Result<OwnedFd, OpenError> {
    let make = || {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for socket in [Some(own), group].into_iter().flatten() {
            epoll::add(
                &epoll,
                socket,
                epoll::EventData::new_u64(0),
                epoll::EventFlags::IN,
            )?;
        }
        Ok(epoll)
    };
    make().map_err(failed(
        "make an epoll instance",
        "raise the limit of open files",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn refusal(reach: Reach) -> String {
        let mut peers = Peers::new(HostId(0));
        peers.add(HostId(0), address("127.0.0.1:7")).expect("free");
        peers.add(HostId(1), address("127.0.0.2:7")).expect("free");
        let config = UdpConfig {
            link: "lo".to_owned(),
            peers,
            reach,
            buffer_bytes: UdpConfig::BUFFER_BYTES,
        };
        UdpTransport::open(config)
            .expect_err("it cannot work")
            .to_string()
    }

    #[test]
    fn longest_frame_is_what_the_headers_leave() {
        assert_eq!(longest_frame(1500, address("10.0.0.1:1")), Some(1472));
        assert_eq!(longest_frame(1500, address("[fd00::1]:1")), Some(1452));
        assert_eq!(longest_frame(70_000, address("10.0.0.1:1")), Some(65_507));
        assert_eq!(longest_frame(28, address("10.0.0.1:1")), None);
    }

    #[test]
    fn group_that_cannot_work_is_refused_with_what_to_do() {
        let text = refusal(Reach::Multicast(address("10.0.0.1:7")));
        assert!(text.contains("239.0.0.0/8"), "{text}");
        let text = refusal(Reach::Multicast(address("[ff15::1]:7")));
        assert!(text.contains("one family"), "{text}");
        let text = refusal(Reach::Broadcast(address("10.0.0.255:8")));
        assert!(text.contains("one port"), "{text}");
        let text = refusal(Reach::Broadcast(address("[ff02::1]:7")));
        assert!(text.contains("take multicast"), "{text}");
    }
}
