//! Writes what passes through a transport as pcapng, for Wireshark and tshark.
//!
//! Each frame gets an Ethernet header in front, whatever the medium was: type 88B5, sender
//! 02:45:58:4f:00:*host*, receiver the same or 03:45:58:4f:00:00 for all; so one dissector does for
//! all media. The direction stands in the packet's flags. Times are nanoseconds.
//!
//! Format: draft-ietf-opsawg-pcapng; one section, one interface, enhanced packet blocks.

use std::io::{self, Write};

use rustix::fd::BorrowedFd;

use super::counters::Counters;
use super::inbox::Inbox;
use super::peers::{Destination, MacAddress};
use super::raw::ETHERTYPE;
use super::{SendError, Transport};
use crate::ids::HostId;
use crate::time::{Time, Timestamp};

const LINKTYPE_ETHERNET: u16 = 1;
const HEADER_BYTES: usize = 14;

/// Which way a frame went, as the packet's flags say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
enum Direction {
    In = 1,
    Out = 2,
}

/// Another transport, with a record of its frames.
///
/// A transport never fails because of its capture: after an error, or at the limit of its size,
/// nothing more is written, and frames are counted instead.
#[derive(Debug)]
pub struct Capture<T, W> {
    inner: T,
    file: Option<W>,
    /// What has to be added to a monotonic time for the time of day.
    origin_ns: i128,
    now: Time,
    bytes_left: u64,
    written: u64,
    skipped: u64,
    error: Option<io::ErrorKind>,
}

impl<T: Transport, W: Write> Capture<T, W> {
    /// Wraps `inner` and writes at most about `bytes_max` bytes to `file`, which should be buffered.
    ///
    /// `now` and `wall` are the same moment on both clocks.
    pub fn new(inner: T, file: W, bytes_max: u64, now: Time, wall: Timestamp) -> Self {
        let mut capture = Self {
            inner,
            file: Some(file),
            origin_ns: i128::from(wall.0) - i128::from(now.0),
            now,
            bytes_left: bytes_max,
            written: 0,
            skipped: 0,
            error: None,
        };
        let preamble = preamble(capture.inner.me());
        capture.write(&[&preamble]);
        capture
    }

    /// Frames in the file.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Frames that are not in the file: it had reached its size, or could not be written.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Why writing stopped before the limit.
    #[must_use]
    pub const fn error(&self) -> Option<io::ErrorKind> {
        self.error
    }

    /// The transport below.
    pub const fn inner(&mut self) -> &mut T {
        &mut self.inner
    }

    fn record(&mut self, direction: Direction, from: HostId, to: Destination, frame: &[u8]) {
        let wall = i128::from(self.now.0) + self.origin_ns;
        let wall = Timestamp(u64::try_from(wall.max(0)).unwrap_or(u64::MAX));
        let head = packet_head(wall, from, to, frame.len());
        let tail = packet_tail(direction, frame.len());
        if self.write(&[&head, frame, tail.bytes()]) {
            self.written += 1;
        } else {
            self.skipped += 1;
        }
    }

    /// Writes a whole block, or stops writing.
    fn write(&mut self, parts: &[&[u8]]) -> bool {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let Some(file) = &mut self.file else {
            return false;
        };
        if length > self.bytes_left {
            let ended = file.flush();
            self.stop(ended.err());
            return false;
        }
        for part in parts {
            if let Err(error) = file.write_all(part) {
                self.stop(Some(error));
                return false;
            }
        }
        self.bytes_left -= length;
        true
    }

    fn stop(&mut self, error: Option<io::Error>) {
        self.file = None;
        self.error = error.map(|error| error.kind());
    }
}

impl<T: Transport, W: Write> Transport for Capture<T, W> {
    fn me(&self) -> HostId {
        self.inner.me()
    }

    fn mtu(&self) -> usize {
        self.inner.mtu()
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        self.inner.send(to, frames)?;
        for frame in frames {
            self.record(Direction::Out, self.inner.me(), to, frame);
        }
        Ok(())
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        let before = inbox.len();
        let count = self.inner.recv(inbox);
        // Whether a frame was for all, no transport tells.
        let to = Destination::Host(self.inner.me());
        for (from, frame) in inbox.since(before) {
            self.record(Direction::In, from, to, frame);
        }
        count
    }

    /// Also empties the file's buffer, so that a reader is never further behind than a round.
    fn on_time(&mut self, now: Time) -> Option<Time> {
        self.now = self.now.max(now);
        if let Some(file) = &mut self.file
            && let Err(error) = file.flush()
        {
            self.stop(Some(error));
        }
        self.inner.on_time(now)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn counters(&mut self) -> Counters {
        self.inner.counters()
    }
}

/// Section header and description of the one interface.
fn preamble(me: HostId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let section = [
        &0x1A2B_3C4D_u32.to_le_bytes()[..], // byte order
        &1_u16.to_le_bytes(),
        &0_u16.to_le_bytes(),    // version 1.0
        &u64::MAX.to_le_bytes(), // length not known
        &option(4, b"exo"),
        &[0; 4],
    ];
    push_block(&mut bytes, 0x0A0D_0D0A, &section.concat());
    let interface = [
        &LINKTYPE_ETHERNET.to_le_bytes()[..],
        &[0; 2],
        &0_u32.to_le_bytes(), // no limit of length
        &option(2, format!("exo-host-{}", me.0).as_bytes()),
        &option(9, &[9]), // times are in 10⁻⁹ s
        &[0; 4],
    ];
    push_block(&mut bytes, 1, &interface.concat());
    bytes
}

fn push_block(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).expect("these blocks are short");
    bytes.extend(kind.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    bytes.extend(length.to_le_bytes());
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("these options are short");
    let mut bytes = [code.to_le_bytes(), length.to_le_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An enhanced packet block up to the frame: 28 bytes, then the Ethernet header.
fn packet_head(
    wall: Timestamp,
    from: HostId,
    to: Destination,
    frame_bytes: usize,
) -> [u8; 28 + HEADER_BYTES] {
    let captured = word(HEADER_BYTES + frame_bytes);
    let words = [
        6,
        block_bytes(frame_bytes),
        0, // interface
        (wall.0 >> 32) & 0xFFFF_FFFF,
        wall.0 & 0xFFFF_FFFF,
        u64::from(captured),
        u64::from(captured),
    ];
    let mut head = [0; 28 + HEADER_BYTES];
    for (place, value) in head.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&value.to_le_bytes()[..4]);
    }
    let to = match to {
        Destination::All | Destination::Each => MacAddress::EXO,
        Destination::Host(host) => station(host),
    };
    head[28..34].copy_from_slice(&to.0);
    head[34..40].copy_from_slice(&station(from).0);
    head[40..].copy_from_slice(&ETHERTYPE.to_be_bytes());
    head
}

fn station(host: HostId) -> MacAddress {
    MacAddress([0x02, b'E', b'X', b'O', 0, host.0])
}

fn word(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Bytes between a frame's end and the next multiple of four.
const fn padding(frame_bytes: usize) -> usize {
    (HEADER_BYTES + frame_bytes).next_multiple_of(4) - (HEADER_BYTES + frame_bytes)
}

/// Length of a packet's block: 28 in front; flags, end of options and the length again behind.
fn block_bytes(frame_bytes: usize) -> u64 {
    (28 + HEADER_BYTES + frame_bytes + padding(frame_bytes) + 16) as u64
}

/// What follows the frame, padding first.
#[derive(Debug)]
struct PacketTail {
    bytes: [u8; 3 + 16],
    start: usize,
}

impl PacketTail {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

fn packet_tail(direction: Direction, frame_bytes: usize) -> PacketTail {
    let mut bytes = [0; 3 + 16];
    bytes[3..5].copy_from_slice(&2_u16.to_le_bytes()); // flags of the packet
    bytes[5..7].copy_from_slice(&4_u16.to_le_bytes());
    bytes[7..11].copy_from_slice(&(direction as u32).to_le_bytes());
    bytes[15..].copy_from_slice(&block_bytes(frame_bytes).to_le_bytes()[..4]);
    PacketTail {
        bytes,
        start: 3 - padding(frame_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_begins_as_the_format_says() {
        let expected = b"\x0a\x0d\x0d\x0a\x28\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\
            \xff\xff\xff\xff\xff\xff\xff\xff\x04\0\x03\0exo\0\0\0\0\0\x28\0\0\0\
            \x01\0\0\0\x30\0\0\0\x01\0\0\0\0\0\0\0\
            \x02\0\x0a\0exo-host-3\0\0\x09\0\x01\0\x09\0\0\0\0\0\0\0\x30\0\0\0";
        assert_eq!(preamble(HostId(3)), expected);
    }

    #[test]
    fn packet_is_a_block_whose_lengths_agree() {
        for frame in [&b""[..], b"a", b"ab", b"abc", b"abcd"] {
            let wall = Timestamp(0x0102_0304_0506_0708);
            let head = packet_head(wall, HostId(1), Destination::All, frame.len());
            let tail = packet_tail(Direction::Out, frame.len());
            let block = [&head[..], frame, tail.bytes()].concat();
            let length = word(block.len()).to_le_bytes();
            assert_eq!(block.len() % 4, 0);
            assert_eq!(
                (&block[4..8], &block[block.len() - 4..]),
                (&length[..], &length[..])
            );
            assert_eq!(block[12..20], *b"\x04\x03\x02\x01\x08\x07\x06\x05");
            assert_eq!(block[28..42], *b"\x03EXO\0\0\x02EXO\0\x01\x88\xb5");
            assert_eq!(
                block[block.len() - 16..block.len() - 4],
                *b"\x02\0\x04\0\x02\0\0\0\0\0\0\0"
            );
        }
    }
}
