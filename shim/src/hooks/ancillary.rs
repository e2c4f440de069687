//! What `recvmsg` sends along with a datagram: addresses, times, hops, what was lost.

use core::net::{IpAddr, SocketAddr};
use core::ptr;

use libc::{c_int, cmsghdr, msghdr};
use libexo::client::socket::GroupSocket;

use super::options::wish;
use super::recv::Received;
use crate::descriptor::Object;
use crate::names;

/// Writes the control messages that the program asked for, in the kernel's order.
///
/// # Safety
///
/// The message's control buffer is writable.
pub(super) unsafe fn write_control(
    object: &Object,
    socket: &GroupSocket,
    message: &mut msghdr,
    received: &Received,
) {
    let page = socket.page();
    let room = message.msg_controllen;
    let mut control = Control {
        base: message.msg_control.cast(),
        room,
        used: 0,
        cut: false,
    };
    let (seconds, nanoseconds) = (
        received.time_ns / 1_000_000_000,
        received.time_ns % 1_000_000_000,
    );
    if page.has(wish::TIMESTAMP_NS) {
        control.put(
            libc::SOL_SOCKET,
            libc::SCM_TIMESTAMPNS,
            &two_words(seconds, nanoseconds),
        );
    } else if page.has(wish::TIMESTAMP) {
        control.put(
            libc::SOL_SOCKET,
            libc::SCM_TIMESTAMP,
            &two_words(seconds, nanoseconds / 1000),
        );
    }
    if page.has(wish::OVERFLOW) && received.dropped > 0 {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the kernel's counter wraps, too"
        )]
        let dropped = received.dropped as u32;
        control.put(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &dropped.to_ne_bytes());
    }
    let any = (
        SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0),
        0,
    );
    let (group, interface) = received.group.unwrap_or(any);
    if object.inet6 {
        if page.has(wish::PKTINFO6) {
            let ip = match group.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let mut bytes = [0; 20];
            bytes[..16].copy_from_slice(&ip.octets());
            bytes[16..].copy_from_slice(&interface.to_ne_bytes());
            control.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &bytes);
        }
        if page.has(wish::HOPS6) {
            let hops = i32::from(received.origin.ttl).to_ne_bytes();
            control.put(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &hops);
        }
        if page.has(wish::CLASS6) {
            let class = i32::from(received.origin.tos).to_ne_bytes();
            control.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
        }
    }
    if let (IpAddr::V4(ip), true) = (group.ip(), page.has(wish::IPV4)) {
        if page.has(wish::PKTINFO) {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&interface.to_ne_bytes());
            if let Some(local) = super::memberships::interface_address(interface) {
                bytes[4..8].copy_from_slice(&local.octets());
            }
            bytes[8..].copy_from_slice(&ip.octets());
            control.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &bytes);
        }
        if page.has(wish::TTL) {
            let ttl = i32::from(received.origin.ttl).to_ne_bytes();
            control.put(libc::IPPROTO_IP, libc::IP_TTL, &ttl);
        }
        if page.has(wish::TOS) {
            control.put(libc::IPPROTO_IP, libc::IP_TOS, &[received.origin.tos]);
        }
        if page.has(wish::ORIGINAL) {
            let mut name: names::NameBytes = [0; 28];
            let len = names::encode(group, false, &mut name);
            control.put(libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, &name[..len]);
        }
    }
    if control.cut {
        message.msg_flags |= libc::MSG_CTRUNC;
    }
    message.msg_controllen = control.used;
}

/// The bytes of two words, as times are sent along.
fn two_words(first: u64, second: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_ne_bytes());
    bytes[8..].copy_from_slice(&second.to_ne_bytes());
    bytes
}

/// A control buffer being filled.
struct Control {
    base: *mut u8,
    room: usize,
    used: usize,
    cut: bool,
}

impl Control {
    const HEADER: usize = size_of::<cmsghdr>();

    fn put(&mut self, level: c_int, kind: c_int, bytes: &[u8]) {
        let rest = self.room.saturating_sub(self.used);
        if rest < Self::HEADER {
            self.cut = true;
            return;
        }
        let fitting = bytes.len().min(rest - Self::HEADER);
        self.cut |= fitting < bytes.len();
        // SAFETY: all zero is a header; the room was checked.
        unsafe {
            let mut header: cmsghdr = core::mem::zeroed();
            header.cmsg_len = Self::HEADER + fitting;
            header.cmsg_level = level;
            header.cmsg_type = kind;
            let at = self.base.add(self.used);
            ptr::write_unaligned(at.cast(), header);
            ptr::copy_nonoverlapping(bytes.as_ptr(), at.add(Self::HEADER), fitting);
        }
        self.used += (Self::HEADER + fitting).next_multiple_of(8).min(rest);
    }
}
