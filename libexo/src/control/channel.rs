#![allow(unsafe_code, reason = "received descriptors are taken over by number")]
//! One end of a sequenced-packet Unix socket that also carries descriptors.

use core::mem::MaybeUninit;
use std::io::{IoSlice, IoSliceMut};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::message::PACKET_MAX;
use crate::shm::region::Descriptor;

/// Most descriptors in one packet.
pub const DESCRIPTORS_MAX: usize = 4;

/// Descriptors that came with a packet, in order.
pub type Descriptors = [Option<Descriptor>; DESCRIPTORS_MAX];

/// A connected sequenced-packet socket.
#[derive(Debug)]
pub struct Channel(Descriptor);

impl Channel {
    /// Connects to the monitor's socket at `path`.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ECONNREFUSED` when no monitor listens there, or what `socket` says.
    pub fn connect(path: &[u8]) -> Result<Self, Errno> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let socket = Descriptor::from_owned(socket);
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// Takes over a connected socket.
    #[must_use]
    pub const fn from_descriptor(socket: Descriptor) -> Self {
        Self(socket)
    }

    /// The socket.
    #[must_use]
    pub const fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    /// Replaces the socket's number by one above those that programs use, so that loops over low
    /// numbers and `select` sets are not disturbed.
    ///
    /// # Errors
    ///
    /// What `fcntl` says; the old number stays then.
    pub fn move_high(&mut self, lowest: i32) -> Result<(), Errno> {
        let moved = rustix::io::fcntl_dupfd_cloexec(&self.0, lowest)?;
        self.0 = Descriptor::from_owned(moved);
        Ok(())
    }

    /// Limits how long [`receive`](Self::receive) and [`send`](Self::send) wait.
    ///
    /// # Errors
    ///
    /// What `setsockopt` says.
    pub fn set_timeout(&self, timeout: core::time::Duration) -> Result<(), Errno> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&self.0, Timeout::Recv, Some(timeout))?;
        set_socket_timeout(&self.0, Timeout::Send, Some(timeout))
    }

    /// Sends one packet with descriptors.
    ///
    /// # Errors
    ///
    /// `EPIPE` or `ECONNRESET` when the peer is gone, or what `sendmsg` says.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(Errno::MSGSIZE);
        }
        loop {
            let sent = rustix::net::sendmsg(
                &self.0,
                &[IoSlice::new(bytes)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            );
            match sent {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Receives one packet into `bytes` and returns its length; 0 when the peer has closed.
    ///
    /// # Errors
    ///
    /// `EAGAIN` after the timeout or on a non-blocking socket, `EMSGSIZE` for a packet that was
    /// cut or came with too many descriptors, or what `recvmsg` says.
    pub fn receive(
        &self,
        bytes: &mut [u8; PACKET_MAX],
        descriptors: &mut Descriptors,
    ) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let received = rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            match received {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut count = 0;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                for descriptor in received {
                    let descriptor = Descriptor::from_owned(descriptor);
                    if let Some(slot) = descriptors.get_mut(count) {
                        *slot = Some(descriptor);
                    }
                    count += 1;
                }
            }
        }
        let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
        if message.flags.intersects(cut) || count > DESCRIPTORS_MAX {
            return Err(Errno::MSGSIZE);
        }
        Ok(message.bytes)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
