//! Turning a UDP socket, in place, into the receiving end of a doorbell.
//!
//! The application's socket A stays its own open file description. It becomes one end of a
//! connected UDP pair on the loopback addresses; the other end, B, goes to the monitor, which rings
//! by sending a byte. `connect` filters everything else out, and when the last descriptor of A is
//! closed, wherever that was, B's next send is refused: that is how the monitor learns of it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType};

use crate::shm::region::Descriptor;

/// A datagram of this one byte is the doorbell's.
pub const TOKEN_BYTE: u8 = 1;
/// First byte of a relayed datagram: this, family, port, scope, address, then the payload.
pub const MAIL_BYTE: u8 = 2;
/// Bytes before a relayed datagram's payload.
pub const MAIL_HEADER_BYTES: usize = 24;

/// How A is bound at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound {
    /// Not at all: it is bound to a private address.
    Not,
    /// To a wildcard address: it keeps its port and is connected.
    Wildcard,
}

fn domain_of(a: BorrowedFd<'_>) -> Result<AddressFamily, Errno> {
    rustix::net::sockopt::socket_domain(a)
}

/// An address of 127.64.0.0/10 that another socket hardly has.
fn private_v4(seed: u64) -> Ipv4Addr {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let [_, x, y, z] = u32::try_from(mixed).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(127, 64 | (x & 63), y, z.max(1))
}

/// Makes `a` one end of a new pair and returns the other.
///
/// `port` is what the program bound, kept if it is free on the private address, so that who asks
/// the kernel sees it. `guard` gets the other end's address and may keep out what comes from
/// elsewhere in its own way; then, and only then, `a` is not connected.
///
/// # Errors
///
/// `EADDRNOTAVAIL` or `ENETUNREACH` when the loopback device is down, or what the kernel says.
pub fn make(
    a: BorrowedFd<'_>,
    bound: Bound,
    port: u16,
    guard: impl FnOnce(SocketAddr) -> bool,
) -> Result<Descriptor, Errno> {
    let domain = domain_of(a)?;
    let b = rustix::net::socket_with(
        domain,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let b = Descriptor::from_owned(b);
    let seed = rustix::net::sockopt::socket_cookie(a)?
        ^ u64::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0) << 32;
    let ip = if domain == AddressFamily::INET6 {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::V4(private_v4(seed))
    };
    rustix::net::bind(&b, &SocketAddr::new(ip, 0))?;
    let b_name = name_of(b.as_fd())?;
    if bound == Bound::Not {
        bind_alone(a, ip, port)?;
    }
    if !guard(b_name) {
        rustix::net::connect(a, &b_name)?;
    }
    let connected = name_of(a).and_then(|a_name| rustix::net::connect(&b, &a_name));
    if let Err(errno) = connected {
        // Only the connection can be taken back; the caller decides what that means.
        let _ = rustix::net::connect_unspec(a);
        return Err(errno);
    }
    Ok(b)
}

/// Binds to `port` if no other socket has it there, else to any.
///
/// IPv6 has one loopback address. Two sockets that share a port on it and are not connected would
/// get each other's bytes, and programs say `SO_REUSEADDR` for the groups' sake: it is off for the
/// moment of the bind, which therefore shares with nobody.
fn bind_alone(a: BorrowedFd<'_>, ip: IpAddr, port: u16) -> Result<(), Errno> {
    use rustix::net::sockopt;
    let shares = (sockopt::socket_reuseaddr(a)?, sockopt::socket_reuseport(a)?);
    sockopt::set_socket_reuseaddr(a, false)?;
    sockopt::set_socket_reuseport(a, false)?;
    let bind = rustix::net::bind(a, &SocketAddr::new(ip, port))
        .or_else(|_| rustix::net::bind(a, &SocketAddr::new(ip, 0)));
    sockopt::set_socket_reuseaddr(a, shares.0)?;
    sockopt::set_socket_reuseport(a, shares.1)?;
    bind
}

/// The kernel's name of a socket.
///
/// # Errors
///
/// What `getsockname` says; `EAFNOSUPPORT` for another family.
pub fn name_of(fd: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    inet(rustix::net::getsockname(fd)?)
}

/// The kernel's name of what a socket is connected to.
///
/// # Errors
///
/// What `getpeername` says; `EAFNOSUPPORT` for another family.
pub fn peer_of(fd: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    rustix::net::getpeername(fd)?
        .ok_or(Errno::NOTCONN)
        .and_then(inet)
}

fn inet(address: SocketAddrAny) -> Result<SocketAddr, Errno> {
    SocketAddrV4::try_from(address.clone())
        .map(SocketAddr::V4)
        .or_else(|_| SocketAddrV6::try_from(address).map(SocketAddr::V6))
}
