//! Bytes between monitors.
//!
//! A transport carries frames: short runs of bytes that arrive whole or not at all. It knows
//! addresses and lengths and never what a frame means; it may lose, repeat and reorder frames, and
//! the protocol above repairs that.
//!
//! | module | medium | a frame to all others |
//! | --- | --- | --- |
//! | [`udp`] | datagrams, one frame each | multicast, broadcast, or one copy for each peer |
//! | [`tcp`] | a connection per pair, frames with a length in front | one copy for each peer |
//! | [`raw`] | Ethernet frames without IP | multicast, broadcast, or one copy for each peer |
//! | [`faulty`] | wraps another; adds faults from a seed | |
//! | [`capture`] | wraps another; writes what passes as pcapng | |
//!
//! No thread, no clock and no sleep in here: who drives a transport brings the time along, polls
//! [`Transport::descriptor`], and calls [`Transport::recv`] until it returns 0. Nothing is
//! allocated while frames flow. What is dropped is counted under its reason ([`counters`]).
//! `docs/transport.md` has sizes, ports and bytes.

mod arrivals;
pub mod capture;
pub mod counters;
pub mod faulty;
pub mod inbox;
mod mmsg;
mod packet_ring;
pub mod peers;
pub mod raw;
mod runs;
mod system;
mod targets;
pub mod tcp;
pub mod udp;

use rustix::fd::BorrowedFd;

pub use counters::{Counters, DropReason};
pub use inbox::Inbox;
pub use peers::{Destination, MacAddress, Peers};
pub use system::OpenError;

use crate::ids::HostId;
use crate::time::Time;

/// The way to the other hosts of a ring.
pub trait Transport {
    /// This host.
    fn me(&self) -> HostId;

    /// Length of the longest frame, in bytes.
    fn mtu(&self) -> usize;

    /// Sends `frames` in order. A frame that the system has no room for is dropped and counted.
    ///
    /// # Errors
    ///
    /// For what only the caller can mend; then none of `frames` was sent.
    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError>;

    /// Puts frames that have arrived into `inbox`, behind what is there, without waiting.
    ///
    /// Returns how many. 0 means none for the moment, only unwanted ones, or that `inbox` has no
    /// room.
    fn recv(&mut self, inbox: &mut Inbox) -> usize;

    /// Tells the time and does what is due. Returns when to be called again at the latest.
    ///
    /// To be called before everything else and in every round of the caller's loop: what happens
    /// in [`recv`](Self::recv) can make an earlier moment due.
    fn on_time(&mut self, now: Time) -> Option<Time>;

    /// Readable when [`recv`](Self::recv) has something to do; the same for life.
    ///
    /// To be waited for level-triggered: an edge may have passed.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// What passed and what was dropped since the start.
    fn counters(&mut self) -> Counters;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn me(&self) -> HostId {
        (**self).me()
    }

    fn mtu(&self) -> usize {
        (**self).mtu()
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        (**self).send(to, frames)
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        (**self).recv(inbox)
    }

    fn on_time(&mut self, now: Time) -> Option<Time> {
        (**self).on_time(now)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        (**self).descriptor()
    }

    fn counters(&mut self) -> Counters {
        (**self).counters()
    }
}

/// Why frames were not taken. The network causes none of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// A frame does not fit; cut it at [`Transport::mtu`].
    #[error(
        "frame of {len_bytes} bytes is longer than {mtu_bytes}: cut it, or raise the link's MTU on every host"
    )]
    TooLong {
        /// Length of the frame.
        len_bytes: usize,
        /// Length of the longest.
        mtu_bytes: usize,
    },
    /// The table of peers has no address for this host, or it is this host.
    #[error("host {} is not among the peers of this transport: add its address on every host", host.0)]
    UnknownHost {
        /// The host that was named.
        host: HostId,
    },
}

/// The first check of every `send`.
fn check_lengths(frames: &[&[u8]], mtu_bytes: usize) -> Result<(), SendError> {
    match frames.iter().find(|frame| frame.len() > mtu_bytes) {
        None => Ok(()),
        Some(frame) => Err(SendError::TooLong {
            len_bytes: frame.len(),
            mtu_bytes,
        }),
    }
}
