//! The sockets of the mesh, made and set up.

use core::time::Duration;
use std::net::SocketAddr;

use rustix::event::epoll;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::super::system::{self, OpenError, failed};

/// A peer that acknowledges nothing for so long is given up, in milliseconds.
const SILENCE_MS: u32 = 5_000;
/// What epoll says of the listener.
pub(super) const LISTENER: u64 = u64::MAX;

pub(super) fn watch(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    Ok(epoll)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

pub(super) fn listen(own: SocketAddr) -> Result<OwnedFd, OpenError> {
    let listener = system::socket(family(own), SocketType::STREAM, "TCP")?;
    let hint = "check that this host has the address and that no other program has the port";
    // A monitor that restarts must not wait for its old connections to time out.
    sockopt::set_socket_reuseaddr(&listener, true)
        .and_then(|()| rustix::net::bind(&listener, &own))
        .and_then(|()| rustix::net::listen(&listener, 64))
        .map_err(failed(format!("listen on TCP {own}"), hint))?;
    Ok(listener)
}

pub(super) fn accept(listener: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, source) = rustix::net::acceptfrom_with(listener, flags)?;
    set_up(&socket)?;
    Ok((
        socket,
        source.and_then(|source| SocketAddr::try_from(source).ok()),
    ))
}

pub(super) fn connect(own: SocketAddr, to: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family(to), SocketType::STREAM, flags, None)?;
    set_up(&socket)?;
    if own.is_ipv4() == to.is_ipv4() && !own.ip().is_unspecified() {
        // The peer knows us by this address.
        let mut source = own;
        source.set_port(0);
        rustix::net::bind(&socket, &source)?;
    }
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn set_up(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    // Asked once, and given up a second later at `SILENCE_MS`: a ring at rest is to be silent.
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(4))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(1))?;
    sockopt::set_tcp_user_timeout(socket, SILENCE_MS)
}
