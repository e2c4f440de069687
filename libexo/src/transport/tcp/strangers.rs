//! Accepted connections, until they have said who they are.
//!
//! A few at a time, from addresses of peers only, and not for long: whatever comes to the port,
//! it costs a bounded amount of memory.

use std::net::SocketAddr;

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::super::Transport;
use super::super::inbox::Inbox;
use super::connection::{Connection, End, State};
use super::hello::Hello;
use super::{GREETING, TcpTransport, sockets};
use crate::ids::HostId;
use crate::quorum::HOSTS_MAX;
use crate::time::Time;

/// Connections that have not said who they are.
pub(super) const STRANGERS_MAX: usize = 16;

/// Accepted, and not greeted yet.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) connection: Connection,
    pub(super) source: SocketAddr,
    pub(super) deadline: Time,
}

impl TcpTransport {
    pub(super) fn accept_all(&mut self) {
        for _ in 0..STRANGERS_MAX {
            let (socket, source) = match sockets::accept(&self.listener) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => return,
                Err(errno) => {
                    self.counters.last_errno = errno.raw_os_error();
                    return;
                }
            };
            let place = self.strangers.iter().position(Option::is_none);
            let is_known = source.is_some_and(|source| self.has_ip(source, None));
            let (Some(place), Some(source), true) = (place, source, is_known) else {
                self.counters.nonsense += 1; // and closed by dropping it
                continue;
            };
            let connection = self.connection(socket, State::Greeting);
            let token = (HOSTS_MAX + place) as u64;
            if connection.watch(self.epoll.as_fd(), token).is_ok() {
                let deadline = self.now.after(GREETING);
                self.strangers[place] = Some(Stranger {
                    connection,
                    source,
                    deadline,
                });
            }
        }
    }

    /// Does a peer, or just `host`, have the IP address of `source`?
    fn has_ip(&self, source: SocketAddr, host: Option<HostId>) -> bool {
        let mut others = self.config.peers.others();
        others.any(|(other, _)| {
            let mut addresses = self.config.peers.addresses(other).iter();
            host.is_none_or(|host| host == other)
                && addresses.any(|address| address.ip() == source.ip())
        })
    }

    /// A stranger's socket is readable: it may become a peer's connection.
    pub(super) fn greet(&mut self, place: usize, inbox: &mut Inbox) {
        let Some(mut stranger) = self.strangers[place].take() else {
            return;
        };
        let hello = match stranger
            .connection
            .read()
            .and_then(|_| stranger.connection.hello())
        {
            Ok(None) => {
                self.strangers[place] = Some(stranger);
                return;
            }
            Ok(Some(hello)) if self.is_welcome(&hello, stranger.source) => hello,
            _ => {
                self.counters.nonsense += 1;
                return;
            }
        };
        let host = hello.from;
        // A peer that comes anew has lost the old connection, though we may not know it yet.
        self.end(host, End::Gone);
        stranger
            .connection
            .outbox
            .begin_with(&self.hello(host).emit());
        let watched = stranger
            .connection
            .rewatch(self.epoll.as_fd(), u64::from(host.0));
        self.lines[usize::from(host.0)].connection = Some(stranger.connection);
        self.open_line(host);
        if watched.is_err() {
            self.end(host, End::Gone);
        }
        self.flush(host);
        self.drain(host, inbox);
    }

    fn is_welcome(&self, hello: &Hello, source: SocketAddr) -> bool {
        *hello == self.hello_from(hello.from)
            && hello.from < self.me()
            && self.has_ip(source, Some(hello.from))
    }
}
