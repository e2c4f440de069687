//! One connection to one peer: the socket with what waits on either side of it.

use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use super::super::counters::Counters;
use super::super::inbox::Inbox;
use super::hello::{HELLO_BYTES, Hello};
use super::stream::{Inflow, Outbox};
use crate::ids::HostId;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// `connect` has not ended.
    Connecting,
    /// The peer's hello has not come.
    Greeting,
    /// Frames pass.
    Open,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The peer closed it, or the network did.
    Gone,
    /// What came through it makes no sense.
    Nonsense,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) state: State,
    inflow: Inflow,
    pub(super) outbox: Outbox,
    wants_write: bool,
}

impl Connection {
    pub(super) fn new(
        socket: OwnedFd,
        state: State,
        frame_bytes_max: usize,
        queue_bytes_max: usize,
    ) -> Self {
        Self {
            socket,
            state,
            inflow: Inflow::new(frame_bytes_max),
            outbox: Outbox::new(queue_bytes_max, frame_bytes_max),
            wants_write: state == State::Connecting,
        }
    }

    /// Adds the socket to `epoll` under the number `token`.
    pub(super) fn watch(&self, epoll: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        epoll::add(
            epoll,
            &self.socket,
            epoll::EventData::new_u64(token),
            self.interest(),
        )
    }

    /// Changes the number, and what is waited for.
    pub(super) fn rewatch(&self, epoll: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        epoll::modify(
            epoll,
            &self.socket,
            epoll::EventData::new_u64(token),
            self.interest(),
        )
    }

    fn interest(&self) -> epoll::EventFlags {
        if self.wants_write {
            epoll::EventFlags::IN | epoll::EventFlags::OUT
        } else {
            epoll::EventFlags::IN
        }
    }

    /// After the first readiness: did `connect` succeed?
    pub(super) fn connected(&mut self) -> Result<(), End> {
        match rustix::net::sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => {
                self.state = State::Greeting;
                Ok(())
            }
            _ => Err(End::Gone),
        }
    }

    /// Writes what waits, as far as there is room. True if `rewatch` is needed.
    pub(super) fn flush(&mut self, counters: &mut Counters) -> Result<bool, End> {
        let wanted = self.wants_write;
        self.wants_write = false;
        while !self.outbox.is_empty() {
            let sent = rustix::net::sendmsg(
                &self.socket,
                &self.outbox.parts(),
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            );
            match sent {
                Ok(count) => {
                    self.outbox
                        .consume(count, |frame_bytes| counters.sent.add(frame_bytes));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.wants_write = true;
                    break;
                }
                Err(_) => return Err(End::Gone),
            }
        }
        Ok(wanted != self.wants_write)
    }

    /// Reads once. True if something came.
    pub(super) fn read(&mut self) -> Result<bool, End> {
        let room = self.inflow.room();
        if room.is_empty() {
            return Ok(false); // whole frames wait for room in an inbox
        }
        loop {
            match rustix::net::recv(&self.socket, &mut *room, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(End::Gone),
                Ok((_, count)) => {
                    self.inflow.filled(count);
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(_) => return Err(End::Gone),
            }
        }
    }

    /// The peer's hello, once it is there.
    pub(super) fn hello(&mut self) -> Result<Option<Hello>, End> {
        match self.inflow.take::<HELLO_BYTES>() {
            None => Ok(None),
            Some(bytes) => Hello::parse(&bytes).map(Some).ok_or(End::Nonsense),
        }
    }

    /// Puts frames that were read into `inbox`. True if some had no room.
    pub(super) fn drain(
        &mut self,
        from: HostId,
        inbox: &mut Inbox,
        counters: &mut Counters,
    ) -> Result<bool, End> {
        while let Some(frame) = self.inflow.next_frame().map_err(|_| End::Nonsense)? {
            if inbox.is_full() {
                return Ok(true);
            }
            let frame_bytes = frame.len();
            if inbox.push(from, frame) {
                counters.received.add(frame_bytes);
            } else {
                counters.drop_frames(super::DropReason::TooLong, 1);
            }
            self.inflow.advance(frame_bytes);
        }
        Ok(false)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
