#![allow(
    unsafe_code,
    reason = "recvmmsg takes arrays of pointers, and rustix does not have it"
)]
//! Datagrams that arrive: many in one system call, and runs of equally long ones as one, which are
//! cut into frames here (`UDP_GRO`, Linux 5.0). Where the system has no runs, each datagram comes
//! by itself; nothing else changes.

use core::fmt;
use core::mem::{size_of, zeroed};
use core::ptr::{from_mut, null_mut};
use std::io;
use std::net::SocketAddr;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::counters::{Counters, DropReason};
use super::inbox::Inbox;
use super::mmsg::read_address;
use super::system::set_option;
use crate::ids::HostId;

/// Most datagrams of one system call. Sixteen runs hold six of the longest turns.
const SLOTS: usize = 16;
/// Datagrams of the first call: enough for what the token brings, and cheap to ask for.
const FIRST: usize = 2;
/// Behind a datagram of this length the rest of a long turn is likely; behind shorter ones nothing,
/// and asking for nothing costs as much as asking for something.
const LONG_BYTES: u32 = 1024;
/// Calls after the first; what is not taken by then waits for the next look.
const MORE_CALLS: usize = 4;
/// What the longest datagram or run has, and some lines more: slots whose distance is a power of two
/// would push each other out of the processor's cache.
const SLOT_BYTES: usize = 65_536 + 192;

/// Room for one control message with an `int`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

const CONTROL_BYTES: usize = {
    // SAFETY: arithmetic.
    let bytes = unsafe { libc::CMSG_SPACE(4) };
    bytes as usize
};

/// Lets the system hand over runs as one, if it can.
pub(super) fn take_runs(socket: BorrowedFd<'_>) {
    let _ = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, &1_i32);
}

/// The slots and the arrays of the call, made once.
pub(super) struct Arrivals {
    bytes: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    pieces: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    /// Slots that the last call filled.
    filled: usize,
    /// Where cutting stands: a slot, and the bytes of it that are cut.
    slot: usize,
    at: usize,
}

// SAFETY: the pointers are written anew before each system call and not used after it.
unsafe impl Send for Arrivals {}

impl fmt::Debug for Arrivals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Arrivals")
    }
}

/// What is known of frames before they are taken.
pub(super) struct Gate<'a, H> {
    /// Length of the longest frame.
    pub(super) mtu_bytes: usize,
    pub(super) counters: &'a mut Counters,
    /// Who has an address, or why frames from it are dropped.
    pub(super) host: H,
}

impl Arrivals {
    pub(super) fn new() -> Self {
        // SAFETY: zero is a value of these integers and pointers.
        let (header, name) = unsafe { (zeroed::<libc::mmsghdr>(), zeroed()) };
        let none = libc::iovec {
            iov_base: null_mut(),
            iov_len: 0,
        };
        Self {
            bytes: vec![0; SLOTS * SLOT_BYTES],
            headers: vec![header; SLOTS],
            pieces: vec![none; SLOTS],
            names: vec![name; SLOTS],
            controls: vec![Control([0; CONTROL_BYTES]); SLOTS],
            filled: 0,
            slot: 0,
            at: 0,
        }
    }

    /// Receives into `inbox` until nothing is left, there is no room, or much was looked at.
    pub(super) fn receive<H>(
        &mut self,
        socket: BorrowedFd<'_>,
        inbox: &mut Inbox,
        gate: &mut Gate<'_, H>,
    ) where
        H: Fn(SocketAddr) -> Result<HostId, DropReason>,
    {
        let calls = core::iter::once(FIRST).chain([SLOTS; MORE_CALLS]);
        for slots in calls {
            if inbox.is_full() || !self.cut(inbox, gate) {
                return;
            }
            (self.slot, self.at) = (0, 0);
            self.filled = self.fill(socket, slots, gate.counters);
            let filled = &self.headers[..self.filled];
            let is_long = filled.iter().any(|it| it.msg_len >= LONG_BYTES);
            let is_all = self.filled < slots || !is_long;
            if !self.cut(inbox, gate) || is_all {
                return;
            }
        }
    }

    /// Cuts what was received into frames. False if `inbox` had no room for all.
    pub(super) fn cut<H>(&mut self, inbox: &mut Inbox, gate: &mut Gate<'_, H>) -> bool
    where
        H: Fn(SocketAddr) -> Result<HostId, DropReason>,
    {
        while self.slot < self.filled {
            let header = &self.headers[self.slot];
            let start = self.slot * SLOT_BYTES;
            let run = &self.bytes[start..][..(header.msg_len as usize).min(SLOT_BYTES)];
            let frame_bytes = frame_bytes(&header.msg_hdr).unwrap_or(run.len()).max(1);
            let from = read_address(&self.names[self.slot]).ok_or(DropReason::UnknownSource);
            let from = from.and_then(&gate.host).and_then(|host| {
                let is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
                let is_long = run.len().min(frame_bytes) > gate.mtu_bytes;
                if is_cut || is_long {
                    Err(DropReason::TooLong)
                } else {
                    Ok(host)
                }
            });
            let from = match from {
                Ok(host) => host,
                Err(reason) => {
                    let frames = run.len().div_ceil(frame_bytes).max(1);
                    gate.counters.drop_frames(reason, frames as u64);
                    self.slot += 1;
                    continue;
                }
            };
            loop {
                if inbox.is_full() {
                    return false;
                }
                let end = run.len().min(self.at + frame_bytes);
                let frame = &run[self.at..end];
                if inbox.push(from, frame) {
                    gate.counters.received.add(frame.len());
                } else {
                    gate.counters.drop_frames(DropReason::TooLong, 1);
                }
                self.at = end;
                if end == run.len() {
                    break;
                }
            }
            (self.slot, self.at) = (self.slot + 1, 0);
        }
        true
    }

    /// Receives into the first `slots` slots. Returns how many were filled.
    fn fill(&mut self, socket: BorrowedFd<'_>, slots: usize, counters: &mut Counters) -> usize {
        for (index, slot) in self
            .bytes
            .chunks_exact_mut(SLOT_BYTES)
            .take(slots)
            .enumerate()
        {
            self.pieces[index] = libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = from_mut(&mut self.names[index]).cast();
            header.msg_namelen = NAME_BYTES;
            header.msg_iov = from_mut(&mut self.pieces[index]);
            header.msg_iovlen = 1;
            header.msg_control = from_mut(&mut self.controls[index]).cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        let length = u32::try_from(slots).expect("at most SLOTS");
        loop {
            // SAFETY: the first `length` headers point to slots, names and controls that outlive
            // this call and that nobody else uses meanwhile.
            let received = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    length,
                    libc::MSG_DONTWAIT,
                    null_mut(),
                )
            };
            if let Ok(received) = usize::try_from(received) {
                return received;
            }
            match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::EINTR => {}
                libc::EAGAIN => return 0,
                errno => {
                    counters.last_errno = errno;
                    return 0;
                }
            }
        }
    }
}

/// The length of a run's frames, all but the last, as the system told it; `None`: it is no run.
fn frame_bytes(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the header and the control buffer it names were filled by the system, and live.
    let control = unsafe { libc::CMSG_FIRSTHDR(header) };
    if control.is_null() {
        return None;
    }
    // SAFETY: not null, so it lies inside the control buffer, which is aligned for it.
    let (level, kind) = unsafe { ((*control).cmsg_level, (*control).cmsg_type) };
    if (level, kind) != (libc::SOL_UDP, libc::UDP_GRO) {
        return None;
    }
    // SAFETY: a message of this type holds an `int`, for which the control buffer has room.
    let bytes = unsafe { libc::CMSG_DATA(control).cast::<i32>().read_unaligned() };
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

const NAME_BYTES: libc::socklen_t = 128;
const _: () = assert!(size_of::<libc::sockaddr_storage>() == NAME_BYTES as usize);
const _: () = assert!(size_of::<Control>() == CONTROL_BYTES);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::super::mmsg::Target;
    use super::super::runs::{Outcome, Runs};
    use super::*;

    const FRAMES: u8 = 100;
    const LONG: usize = 1000;

    /// Sends runs to a socket of its own; what comes of them, and what was counted.
    fn pass(
        mtu_bytes: usize,
        slots: usize,
        host: Result<HostId, DropReason>,
    ) -> (Vec<Vec<u8>>, Counters) {
        let [to, from] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        take_runs(to.as_fd());
        let target = Target::address(to.local_addr().expect("bound"));
        let mut frames: Vec<Vec<u8>> = (0..FRAMES).map(|byte| vec![byte; LONG]).collect();
        frames.push(vec![200; 7]);
        frames.push(Vec::new());
        let lent: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
        let mut sent = Counters::default();
        let outcome = Runs::new().send(from.as_fd(), &[target], &lent, &mut sent);
        assert_eq!(outcome, Outcome::Done, "{sent:?}");
        let (mut arrivals, mut counters) = (Arrivals::new(), Counters::default());
        let mut inbox = Inbox::new(slots, mtu_bytes);
        let mut heard = Vec::new();
        let mut is_quiet = false;
        // What is sent on this machine is there when the call returns; twice nothing is the end.
        loop {
            inbox.clear();
            let before = counters;
            let mut gate = Gate {
                mtu_bytes,
                counters: &mut counters,
                host: |_| host,
            };
            if arrivals.cut(&mut inbox, &mut gate) {
                arrivals.receive(to.as_fd(), &mut inbox, &mut gate);
            }
            heard.extend(inbox.iter().map(|(_, frame)| frame.to_vec()));
            if std::mem::replace(&mut is_quiet, before == counters) && is_quiet {
                break;
            }
        }
        if host.is_ok() && mtu_bytes >= LONG {
            assert_eq!(heard, frames, "in order, none twice");
        }
        (heard, counters)
    }

    #[test]
    fn runs_are_cut_into_their_frames_whatever_room_there_is() {
        for slots in [1, 3, 64, 500] {
            let (heard, counters) = pass(LONG, slots, Ok(HostId(1)));
            assert_eq!(counters.received.frames, heard.len() as u64);
            assert_eq!(counters.received.bytes, u64::from(FRAMES) * 1000 + 7);
        }
    }

    #[test]
    fn frames_of_a_run_that_are_not_wanted_are_counted_one_by_one() {
        let (heard, counters) = pass(LONG - 1, 64, Ok(HostId(1)));
        // The short one may have come as the end of a run of long ones, and goes with it.
        let long = counters.dropped(DropReason::TooLong);
        assert!(heard.iter().all(|frame| frame.len() < LONG), "{counters:?}");
        assert_eq!(long + counters.received.frames, u64::from(FRAMES) + 2);
        assert!(long >= u64::from(FRAMES));
        let (heard, counters) = pass(LONG, 64, Err(DropReason::UnknownSource));
        assert!(heard.is_empty());
        assert_eq!(
            counters.dropped(DropReason::UnknownSource),
            u64::from(FRAMES) + 2
        );
    }
}
