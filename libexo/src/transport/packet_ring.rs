#![allow(
    unsafe_code,
    reason = "the ring of a packet socket is memory that the kernel writes"
)]
//! The receive ring of a packet socket (`PACKET_MMAP`, `TPACKET_V2`).
//!
//! ```text
//! block 0               block 1
//! ┌────────┬────────┬───┬────────┬────────┬───┐   slot: tpacket2_hdr, sockaddr_ll, gap,
//! │ slot 0 │ slot 1 │ … │ slot k │        │ … │         Ethernet frame at tp_mac
//! └────────┴────────┴───┴────────┴────────┴───┘
//! ```
//!
//! Version 3 packs frames better but shows them only when a block is full or a timer of whole
//! milliseconds has passed; a ring that passes a token every few microseconds cannot wait for it.

use core::mem::{offset_of, size_of, zeroed};
use core::ptr::{self, NonNull, null_mut};

use libc::{TPACKET2_HDRLEN, packet_mreq, sockaddr_ll, tpacket_req, tpacket2_hdr};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::peers::MacAddress;
use super::system::{last_errno, read_option, set_option};
use crate::sync::{AtomicU32, Ordering};

/// A bound packet socket with its ring.
#[derive(Debug)]
pub(super) struct PacketRing {
    socket: OwnedFd,
    start: NonNull<u8>,
    shape: Shape,
    next: usize,
}

// SAFETY: the mapping belongs to this value alone and may be used from any one thread.
unsafe impl Send for PacketRing {}

/// A frame in the ring, header included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    /// Sent to this station, all, or a group; not tagged for a virtual LAN, not by ourselves.
    pub(super) is_for_us: bool,
    /// Longer than a slot.
    pub(super) is_cut: bool,
}

/// How the ring is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Shape {
    slot_bytes: usize,
    slots: usize,
    block_bytes: usize,
}

impl Shape {
    /// A ring of about `ring_bytes` for frames of `frame_bytes_max` bytes behind their header.
    fn for_frames(frame_bytes_max: usize, ring_bytes: usize) -> Self {
        // 14 of Ethernet; the system aligns the frame behind its header, at most 32 bytes.
        let needed = TPACKET2_HDRLEN + 14 + frame_bytes_max + 32;
        let slot_bytes = needed.next_power_of_two();
        // Blocks are runs of pages; a slot never straddles two, since both are powers of two.
        let block_bytes = slot_bytes.max(64 * 1024);
        let blocks = (ring_bytes / block_bytes).max(1);
        Self {
            slot_bytes,
            slots: blocks * (block_bytes / slot_bytes),
            block_bytes,
        }
    }

    fn bytes(self) -> usize {
        self.slots * self.slot_bytes
    }

    fn request(self) -> Result<tpacket_req, Errno> {
        let word = |value: usize| u32::try_from(value).map_err(|_| Errno::INVAL);
        Ok(tpacket_req {
            tp_block_size: word(self.block_bytes)?,
            tp_block_nr: word(self.bytes() / self.block_bytes)?,
            tp_frame_size: word(self.slot_bytes)?,
            tp_frame_nr: word(self.slots)?,
        })
    }
}

impl PacketRing {
    /// Gives `socket` a ring.
    pub(super) fn new(
        socket: OwnedFd,
        frame_bytes_max: usize,
        ring_bytes: usize,
    ) -> Result<Self, Errno> {
        let shape = Shape::for_frames(frame_bytes_max, ring_bytes);
        let version = libc::tpacket_versions::TPACKET_V2 as i32;
        set_option(
            socket.as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_VERSION,
            &version,
        )?;
        set_option(
            socket.as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_RX_RING,
            &shape.request()?,
        )?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of the ring at an address that the system chooses.
        let start = unsafe {
            mmap(
                null_mut(),
                shape.bytes(),
                protection,
                MapFlags::SHARED,
                &socket,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self {
            socket,
            start,
            shape,
            next: 0,
        })
    }

    /// How many frames it holds.
    pub(super) const fn slots(&self) -> usize {
        self.shape.slots
    }

    /// Shows the next frame, if one has come, to `look`; the slot is free again afterwards.
    pub(super) fn take(&mut self, look: impl FnOnce(Packet<'_>)) -> bool {
        // SAFETY: `next < slots`, and slots lie one behind the other within the mapping.
        let slot = unsafe { self.start.add(self.next * self.shape.slot_bytes) };
        // SAFETY: a slot begins with the header, whose first word is the status; the kernel
        // changes it at any time, so it is an atomic. Mapping and slots are aligned.
        let status = unsafe { slot.cast::<AtomicU32>().as_ref() };
        let state = status.load(Ordering::Acquire); // pairs with the kernel's write barrier
        if state & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: while the status says "user" the kernel does not write into the slot.
        let bytes = unsafe { core::slice::from_raw_parts(slot.as_ptr(), self.shape.slot_bytes) };
        look(packet(bytes, state));
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release); // what was read was read before
        self.next = (self.next + 1) % self.shape.slots;
        true
    }

    /// Frames that found the ring full since the last call.
    pub(super) fn drops(&self) -> u64 {
        let mut words = [0; 2]; // all frames, dropped ones
        let read = read_option(
            self.socket.as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            &mut words,
        );
        read.map_or(0, |_| u64::from(words[1]))
    }
}

impl AsFd for PacketRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PacketRing {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, with this length; nothing borrowed from it outlives `take`.
        // It fails only for a range that is none.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.shape.bytes()) };
    }
}

/// What a slot with the status `state` holds.
fn packet(slot: &[u8], state: u32) -> Packet<'_> {
    let word = |at: usize| slot.get(at..at + 4).and_then(|word| word.try_into().ok());
    let long = |at| word(at).map_or(0, u32::from_ne_bytes) as usize;
    let length = long(offset_of!(tpacket2_hdr, tp_len));
    let present = long(offset_of!(tpacket2_hdr, tp_snaplen));
    let at = offset_of!(tpacket2_hdr, tp_mac);
    let start = slot.get(at..at + 2).and_then(|word| word.try_into().ok());
    let start = usize::from(start.map_or(0, u16::from_ne_bytes));
    let bytes = slot.get(start..start + present).unwrap_or_default();
    let kind = TPACKET2_HDRLEN - size_of::<sockaddr_ll>() + offset_of!(sockaddr_ll, sll_pkttype);
    let is_foreign = matches!(slot[kind], libc::PACKET_OTHERHOST | libc::PACKET_OUTGOING);
    let is_tagged = state & libc::TP_STATUS_VLAN_VALID != 0;
    Packet {
        bytes,
        is_for_us: !is_foreign && !is_tagged,
        is_cut: bytes.len() < length,
    }
}

/// Binds `socket` to frames of `ethertype` on the link with number `index`.
pub(super) fn bind(socket: BorrowedFd<'_>, ethertype: u16, index: u32) -> Result<(), Errno> {
    // SAFETY: `sockaddr_ll` is made of integers, for which zero is a value.
    let mut name: sockaddr_ll = unsafe { zeroed() };
    name.sll_family = u16::try_from(libc::AF_PACKET).map_err(|_| Errno::INVAL)?;
    name.sll_protocol = ethertype.to_be();
    name.sll_ifindex = i32::try_from(index).map_err(|_| Errno::INVAL)?;
    let length = u32::try_from(size_of::<sockaddr_ll>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the system reads `length` bytes of `name`.
    let done = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&name).cast(), length) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Lets the interface with number `index` hear frames to the multicast address `group`.
pub(super) fn join(socket: BorrowedFd<'_>, index: u32, group: MacAddress) -> Result<(), Errno> {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group.0);
    let request = packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(|_| Errno::INVAL)?,
        mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).map_err(|_| Errno::INVAL)?,
        mr_alen: 6,
        mr_address: address,
    };
    set_option(
        socket,
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &request,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_holds_a_frame_and_divides_its_block() {
        for frame_bytes_max in [46, 1500, 9000, 65_535] {
            let shape = Shape::for_frames(frame_bytes_max, 8 << 20);
            assert!(shape.slot_bytes > frame_bytes_max + 14);
            assert_eq!(shape.block_bytes % shape.slot_bytes, 0);
            assert_eq!(shape.bytes() % shape.block_bytes, 0);
            assert!(shape.bytes() >= 1 << 20);
        }
        assert_eq!(Shape::for_frames(1500, 8 << 20).slots, 4096);
    }

    #[test]
    fn slot_with_lengths_beyond_its_end_shows_nothing() {
        let mut slot = [0xFF; 256];
        let shown = packet(&slot, libc::TP_STATUS_USER);
        assert!(shown.bytes.is_empty() && shown.is_cut);
        let kind = TPACKET2_HDRLEN - size_of::<sockaddr_ll>();
        slot[kind + offset_of!(sockaddr_ll, sll_pkttype)] = libc::PACKET_OTHERHOST;
        assert!(!packet(&slot, libc::TP_STATUS_USER).is_for_us);
    }
}
