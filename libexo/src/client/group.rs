//! Groups for Rust programs: join, submit, receive.
//!
//! ```no_run
//! use libexo::client::group::Group;
//! use libexo::client::session::Session;
//!
//! let session = Session::attach(b"/run/exo/exod.sock")?;
//! let group = Group::join(&session, "239.1.2.3:5000".parse()?)?;
//! group.submit(b"hello")?;
//! let mut bytes = [0; 65_536];
//! let received = group.receive(&mut bytes)?;
//! println!("{} says {} bytes", received.source, received.len);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::pair::{self, Bound};
use super::session::{CallError, Session};
use super::socket::{GroupSocket, is_expelled};
use crate::ids::{GrantId, Seq};
use crate::shm::region::Descriptor;
use crate::shm::submit_ring::{DATAGRAM_MAX, Full};
use crate::time::Timestamp;

/// A membership of a group: receives everything that is ordered from the join on.
#[derive(Debug)]
pub struct Group<'a> {
    session: &'a Session,
    /// The receiving end of the doorbell.
    bell: Descriptor,
    socket: GroupSocket,
    grant: GrantId,
}

/// Why a call on a group failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The monitor refused or is away.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The kernel refused a socket for the doorbell.
    #[error("cannot make a doorbell: {0}")]
    Doorbell(Errno),
    /// The sleep ended without a datagram.
    #[error("interrupted while waiting for a datagram: {0}")]
    Sleep(Errno),
    /// A datagram longer than any UDP datagram.
    #[error("a datagram of {len} bytes is longer than {DATAGRAM_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The group's slowest reader holds the senders back; try again after receiving.
    #[error("the submit ring is full: a slow reader holds the senders back")]
    Full,
    /// No majority of the hosts can be reached, and the ring is configured to fail then.
    #[error("no majority of the ring's hosts can be reached: see `exo ring`, and try again later")]
    Minority,
    /// The policy of the group ended this membership because it was too slow.
    #[error("expelled from the group for reading too slowly; join again")]
    Expelled,
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Length of the datagram; more than the buffer's if it was cut.
    pub len: usize,
    /// Who sent it.
    pub source: SocketAddr,
    /// Its place in the order.
    pub seq: Seq,
    /// When it was ordered, by the clock of this host; the same at all its receivers.
    pub time: Timestamp,
    /// How many datagrams this member has lost by policy `gap` so far.
    pub dropped: u64,
}

impl<'a> Group<'a> {
    /// Joins the group that is marked at `address`.
    ///
    /// # Errors
    ///
    /// [`GroupError::Call`] with `ENOENT` if no group is marked there, `EACCES` by policy;
    /// [`GroupError::Doorbell`] if the loopback device is down.
    pub fn join(session: &'a Session, address: SocketAddr) -> Result<Self, GroupError> {
        let (family, any) = match address {
            SocketAddr::V4(_) => (AddressFamily::INET, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SocketAddr::V6(_) => (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        let flags = SocketFlags::CLOEXEC;
        let bell = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)
            .map(Descriptor::from_owned)
            .map_err(GroupError::Doorbell)?;
        let other =
            pair::make(bell.as_fd(), Bound::Not, 0, |_| false).map_err(GroupError::Doorbell)?;
        let own = pair::name_of(bell.as_fd()).map_err(GroupError::Doorbell)?;
        let source = SocketAddr::new(any, own.port());
        let socket = GroupSocket::open(session, bell.as_fd(), &other, None, false, address)?;
        socket.join(session, address, 0)?;
        let grant = session.grant(address, source, 1, 0, false)?;
        Ok(Self {
            session,
            bell,
            socket,
            grant,
        })
    }

    /// Submits one datagram. It is received by all members, this one included.
    ///
    /// # Errors
    ///
    /// [`GroupError::TooLong`], [`GroupError::Full`], [`GroupError::Minority`].
    pub fn submit(&self, bytes: &[u8]) -> Result<(), GroupError> {
        if bytes.len() > DATAGRAM_MAX {
            return Err(GroupError::TooLong { len: bytes.len() });
        }
        if self.session.refuses() {
            return Err(GroupError::Minority);
        }
        let me = thread_mark();
        self.session
            .submit(me, self.grant, bytes.len(), |area, position| {
                area.write(position, bytes);
            })
            .map_err(|Full| GroupError::Full)
    }

    /// Receives the next datagram if there is one.
    ///
    /// # Errors
    ///
    /// [`GroupError::Expelled`]; [`GroupError::Call`] when the monitor is gone.
    pub fn try_receive(&self, bytes: &mut [u8]) -> Result<Option<Received>, GroupError> {
        let received = self
            .socket
            .receive(self.session, self.bell.as_fd(), false, |incoming| {
                incoming.record.read(bytes);
                Received {
                    len: incoming.record.head.len as usize,
                    source: incoming.record.origin().source,
                    seq: incoming.record.head.seq,
                    time: incoming.record.head.time,
                    dropped: incoming
                        .membership
                        .dropped
                        .load(crate::sync::Ordering::Relaxed),
                }
            });
        if received.is_none() && is_expelled(self.socket.page()) {
            return Err(GroupError::Expelled);
        }
        // Looked again: the last of the order was written before the monitor's end was.
        if received.is_none() && self.socket.is_orphaned() && !self.socket.is_readable(self.session)
        {
            return Err(CallError::Away(Errno::NETDOWN).into());
        }
        Ok(received)
    }

    /// Receives the next datagram, sleeping until there is one.
    ///
    /// # Errors
    ///
    /// As [`try_receive`](Self::try_receive), or [`GroupError::Sleep`] if a signal interrupts the sleep
    /// (`EINTR`).
    pub fn receive(&self, bytes: &mut [u8]) -> Result<Received, GroupError> {
        loop {
            if let Some(received) = self.try_receive(bytes)? {
                return Ok(received);
            }
            let sleepers = self.socket.page().sleepers();
            let seen = sleepers.announce();
            let slept = if self.has_news() {
                Ok(())
            } else {
                sleepers.sleep(seen, None)
            };
            sleepers.retract();
            match slept {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(errno) => return Err(GroupError::Sleep(errno)),
            }
        }
    }

    fn has_news(&self) -> bool {
        self.socket.is_readable(self.session)
            || is_expelled(self.socket.page())
            || self.socket.is_orphaned()
    }
}

/// What marks the calling thread: the address of a variable of its own.
fn thread_mark() -> u64 {
    std::thread_local! {
        static MARK: u8 = const { 0 };
    }
    MARK.with(|mark| core::ptr::from_ref(mark).addr() as u64)
}
