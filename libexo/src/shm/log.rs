//! The group log: what was ordered, written once per host, read by every member in place.
//!
//! ```text
//! header (4 KiB)                    data (capacity bytes, circular)
//! ┌ magic version capacity ┬ tail ┐┌ record ┬ record ┬ … ┐
//!
//! record, all words little-endian, padded to 8 bytes
//!  0  len:u32  flags:u16  source port:u16
//!  8  seq:u64
//! 16  ordering time:u64, ns since 1970
//! 24  IPv4 source:4 bytes  ttl:u8  tos:u8  0:u16
//! 32  only with EXTENDED: IPv6 source:16 bytes  scope:u32  session:u32
//!     payload
//! ```
//!
//! The monitor is the only writer; members map the log read-only. Each reader has a cursor in its
//! own socket page. A reader copies the record first and then moves the cursor by one
//! compare-and-exchange: whoever succeeds has received the datagram. So threads and processes
//! that share a socket need no lock, and one that is killed in the middle has received nothing.
//! The monitor overwrites only what every cursor has passed, or what it has first put below a
//! reader's *floor* (slow member, policy `gap`); a reader looks at its floor again after copying.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::ops::Deref;

use super::area::Area;
use super::{LayoutError, Preamble, align_record, circular_bytes};
use crate::ids::{Seq, SessionId};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::time::Timestamp;

/// Bytes before the data.
pub const HEADER_BYTES: usize = 4096;
/// Smallest data capacity of a log.
pub const CAPACITY_MIN: u64 = 1 << 20;
/// Most bytes that one record can occupy.
pub const RECORD_MAX: u64 = align_record(56 + super::submit_ring::DATAGRAM_MAX as u64);

/// Bound on repeated looks at one cursor.
const LOOKS_MAX: u32 = 100;

const EXTENDED: u16 = 1;
const NO_LOOP: u16 = 2;
const INET6: u16 = 4;

/// First page of a log.
#[derive(Debug)]
#[repr(C)]
pub struct LogHeader {
    preamble: Preamble,
    capacity: AtomicU64,
    pad_a: [u64; 14],
    /// Bytes published since the log was made. Monitor.
    tail: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(core::mem::offset_of!(LogHeader, tail) == 128);

impl LogHeader {
    /// Writes the words that never change. Maker of the region only.
    pub fn initialise(&self, capacity: u64) {
        self.preamble.initialise();
        self.capacity.store(capacity, Ordering::Release);
    }

    /// Checks that this is a log whose data fits into `region_bytes`, and returns its capacity.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] with what was found.
    pub fn capacity(&self, region_bytes: u64) -> Result<u64, LayoutError> {
        let capacity = self.capacity.load(Ordering::Relaxed);
        self.preamble
            .check(region_bytes, circular_bytes(HEADER_BYTES, capacity))?;
        Ok(capacity)
    }

    /// Bytes published so far.
    #[inline]
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire) // pairs with `LogWriter::publish`
    }

    /// A header for a loom model; never mapped.
    #[cfg(loom)]
    #[must_use]
    pub fn for_model() -> Self {
        Self {
            preamble: Preamble::for_model(),
            capacity: AtomicU64::new(0),
            pad_a: [0; 14],
            tail: AtomicU64::new(0),
        }
    }
}

/// Where a datagram came from, as its receiver is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The sender's address and port.
    pub source: SocketAddr,
    /// The sender's multicast time to live or hop limit.
    pub ttl: u8,
    /// The sender's type of service or traffic class.
    pub tos: u8,
    /// With `IP_MULTICAST_LOOP` off: the session whose sockets must not receive it.
    pub no_loop: Option<SessionId>,
}

/// A record's head: everything but the payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordHead {
    /// Payload bytes.
    pub len: u32,
    /// Place in the total order.
    pub seq: Seq,
    /// When it was ordered.
    pub time: Timestamp,
    flags: u16,
    port: u16,
    inet: u32,
    ttl: u8,
    tos: u8,
}

impl RecordHead {
    const fn head_bytes(&self) -> u64 {
        if self.flags & EXTENDED != 0 { 56 } else { 32 }
    }

    /// Bytes that the record occupies.
    #[inline]
    #[must_use]
    pub const fn record_bytes(&self) -> u64 {
        align_record(self.head_bytes() + self.len as u64)
    }

    #[inline]
    fn parse(bytes: &[u8; 32]) -> Self {
        let word = |at: usize| {
            u64::from_le_bytes([
                bytes[at],
                bytes[at + 1],
                bytes[at + 2],
                bytes[at + 3],
                bytes[at + 4],
                bytes[at + 5],
                bytes[at + 6],
                bytes[at + 7],
            ])
        };
        let (first, last) = (word(0), word(24).to_le_bytes());
        #[allow(clippy::cast_possible_truncation, reason = "parts of a word")]
        Self {
            len: first as u32,
            flags: (first >> 32) as u16,
            port: (first >> 48) as u16,
            seq: Seq(word(8)),
            time: Timestamp(word(16)),
            inet: u32::from_be_bytes([last[0], last[1], last[2], last[3]]),
            ttl: last[4],
            tos: last[5],
        }
    }
}

/// One record that a reader looks at: head, and access to the payload.
#[derive(Debug)]
pub struct Record<'a> {
    /// The head.
    pub head: RecordHead,
    area: &'a Area,
    position: u64,
}

impl Record<'_> {
    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let head = &self.head;
        let mut extension = [0; 24];
        if head.flags & EXTENDED != 0 {
            self.area.read(self.position + 32, &mut extension);
        }
        let (address, rest) = extension.split_first_chunk::<16>().expect("24 bytes");
        let number =
            |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let source = if head.flags & INET6 != 0 {
            let address = Ipv6Addr::from(*address);
            SocketAddr::V6(SocketAddrV6::new(address, head.port, 0, number(0)))
        } else {
            SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(head.inet), head.port))
        };
        let no_loop = (head.flags & NO_LOOP != 0).then(|| SessionId(number(4)));
        Origin {
            source,
            ttl: head.ttl,
            tos: head.tos,
            no_loop,
        }
    }

    /// Copies the payload to the front of `target`, as much as fits.
    pub fn read(&self, target: &mut [u8]) {
        // SAFETY: a mutable slice is writable for its length.
        unsafe { self.copy_to(0, target.as_mut_ptr(), target.len()) };
    }

    /// Whether the origin says anything beyond an IPv4 source.
    #[inline]
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        self.head.flags & EXTENDED != 0
    }

    /// Copies payload bytes `from .. from + len` to `target`; less if the payload ends before.
    /// Returns how many were copied.
    ///
    /// # Safety
    ///
    /// `target..target + len` must be writable.
    #[inline]
    pub unsafe fn copy_to(&self, from: usize, target: *mut u8, len: usize) -> usize {
        let len = len.min((self.head.len as usize).saturating_sub(from));
        let position = self.position + self.head.head_bytes() + from as u64;
        // SAFETY: writable by contract, and `len` only shrank.
        unsafe { self.area.read_into(position, target, len) };
        len
    }
}

/// Writing end. Monitor side.
#[derive(Debug)]
pub struct LogWriter<H> {
    header: H,
    area: Area,
    tail: u64,
    published: u64,
}

impl<H: Deref<Target = LogHeader>> LogWriter<H> {
    /// A writing end at the beginning of an empty log.
    pub const fn new(header: H, area: Area) -> Self {
        Self {
            header,
            area,
            tail: 0,
            published: 0,
        }
    }

    /// Size of the data in bytes.
    pub const fn capacity_bytes(&self) -> u64 {
        self.area.capacity()
    }

    /// Bytes appended since the log was made, published or not.
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes published since the log was made.
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// Whether a record of the largest kind fits while readers stand at `slowest` or later.
    #[inline]
    pub const fn has_room(&self, slowest: u64, len: usize) -> bool {
        self.tail + align_record(56 + len as u64) - slowest <= self.area.capacity()
    }

    /// Appends one record. The caller made sure that there [is room](Self::has_room).
    #[inline]
    pub fn append(&mut self, seq: Seq, time: Timestamp, origin: &Origin, payload: &[u8]) {
        let mut head = [0; 56];
        let mut flags = 0;
        if let Some(session) = origin.no_loop {
            flags |= EXTENDED | NO_LOOP;
            head[52..56].copy_from_slice(&session.0.to_le_bytes());
        }
        match origin.source {
            SocketAddr::V4(source) => head[24..28].copy_from_slice(&source.ip().octets()),
            SocketAddr::V6(source) => {
                flags |= EXTENDED | INET6;
                head[32..48].copy_from_slice(&source.ip().octets());
                head[48..52].copy_from_slice(&source.scope_id().to_le_bytes());
            }
        }
        let len = u32::try_from(payload.len()).expect("a datagram is below 64 KiB");
        head[0..4].copy_from_slice(&len.to_le_bytes());
        head[4..6].copy_from_slice(&flags.to_le_bytes());
        head[6..8].copy_from_slice(&origin.source.port().to_le_bytes());
        head[8..16].copy_from_slice(&seq.0.to_le_bytes());
        head[16..24].copy_from_slice(&time.0.to_le_bytes());
        head[28] = origin.ttl;
        head[29] = origin.tos;
        let head_bytes = if flags & EXTENDED != 0 { 56 } else { 32 };
        self.area.write(self.tail, &head[..head_bytes]);
        self.area.write(self.tail + head_bytes as u64, payload);
        self.tail += align_record(head_bytes as u64 + u64::from(len));
    }

    /// Makes everything appended so far visible. Returns whether that was anything.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.published = self.tail;
        self.header.tail.store(self.tail, Ordering::Release); // pairs with `LogHeader::tail`
        true
    }

    /// The head of the record at `position`, which must be one's beginning and not overwritten.
    pub fn head_at(&self, position: u64) -> RecordHead {
        read_head(&self.area, position)
    }

    /// The whole record at `position`, as above.
    pub fn record_at(&self, position: u64) -> Record<'_> {
        Record {
            head: read_head(&self.area, position),
            area: &self.area,
            position,
        }
    }
}

#[inline]
fn read_head(area: &Area, position: u64) -> RecordHead {
    let mut head = [0; 32];
    area.read(position, &mut head);
    RecordHead::parse(&head)
}

/// One reader's place in one log: words of its socket page.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    /// Position of the next record to receive. Application.
    pub next: &'a AtomicU64,
    /// Records below this are gone. Monitor.
    pub floor: &'a AtomicU64,
    /// Nothing from here on is for this reader; `u64::MAX` while it is a member. Monitor.
    pub end: &'a AtomicU64,
}

/// What a look at the log found.
#[derive(Debug)]
pub enum Look<'a> {
    /// Nothing to receive.
    Empty,
    /// A record at this position.
    Found(u64, Record<'a>),
}

/// Reading end. Application side.
#[derive(Debug)]
pub struct LogReader<H> {
    header: H,
    area: Area,
    /// A tail that was seen; the real one is never behind it.
    tail_seen: AtomicU64,
}

impl<H: Deref<Target = LogHeader>> LogReader<H> {
    /// A reading end.
    pub fn new(header: H, area: Area) -> Self {
        Self {
            header,
            area,
            tail_seen: AtomicU64::new(0),
        }
    }

    /// Bytes published so far.
    pub fn tail(&self) -> u64 {
        self.header.tail()
    }

    /// Whether the reader would find nothing. Loads the tail afresh.
    #[inline]
    pub fn is_empty(&self, cursor: Cursor<'_>) -> bool {
        let next = cursor
            .next
            .load(Ordering::Acquire)
            .max(cursor.floor.load(Ordering::Acquire));
        next >= self.header.tail().min(cursor.end.load(Ordering::Acquire))
    }

    /// The record at the cursor. What it shows may be overwritten at any moment; only
    /// [`advance`](Self::advance) tells whether it was whole.
    #[inline]
    pub fn look(&self, cursor: Cursor<'_>) -> Look<'_> {
        // A correct monitor laps a reader at most once in the time of a look; who scribbles over
        // his own cursor finds nothing.
        for _ in 0..LOOKS_MAX {
            let mut next = cursor.next.load(Ordering::Acquire);
            let floor = cursor.floor.load(Ordering::Acquire);
            if next < floor {
                // A failure means that another thread moved the cursor, which is as good.
                let _ =
                    cursor
                        .next
                        .compare_exchange(next, floor, Ordering::AcqRel, Ordering::Acquire);
                next = floor.max(cursor.next.load(Ordering::Acquire));
            }
            let mut tail = self.tail_seen.load(Ordering::Relaxed);
            // Another sharer of the cursor may be ahead of the tail that we saw last.
            if next >= tail {
                tail = self.header.tail();
                self.tail_seen.store(tail, Ordering::Relaxed); // only a hint
                if next >= tail {
                    return Look::Empty;
                }
            }
            if next >= cursor.end.load(Ordering::Relaxed) {
                return Look::Empty;
            }
            // The tail was loaded by Acquire when `tail_seen` was set, perhaps by another thread.
            fence(Ordering::Acquire);
            let head = read_head(&self.area, next);
            if head.record_bytes() <= RECORD_MAX && next + head.record_bytes() <= self.header.tail()
            {
                return Look::Found(
                    next,
                    Record {
                        head,
                        area: &self.area,
                        position: next,
                    },
                );
            }
            // Torn: overwritten after we were lapped, or taken by a sharer. Look again.
        }
        Look::Empty
    }

    /// Moves the cursor over the record at `position`. False: it was not ours any more, and what
    /// was copied from it must be thrown away.
    #[inline]
    pub fn advance(&self, cursor: Cursor<'_>, position: u64, head: &RecordHead) -> bool {
        // The copy must be over before the floor is looked at; pairs with the fence in
        // `raise_floor`.
        fence(Ordering::Acquire);
        if cursor.floor.load(Ordering::Relaxed) > position {
            return false;
        }
        // Release: the monitor overwrites the record after it sees the cursor behind it.
        cursor
            .next
            .compare_exchange(
                position,
                position + head.record_bytes(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Whether the record at `position` was still whole when it was copied, without taking it.
    #[inline]
    pub fn is_whole(&self, cursor: Cursor<'_>, position: u64) -> bool {
        fence(Ordering::Acquire);
        cursor.floor.load(Ordering::Relaxed) <= position
            && cursor.next.load(Ordering::Relaxed) == position
    }
}

/// Puts everything below `position` out of a reader's reach, before it is overwritten.
pub fn raise_floor(floor: &AtomicU64, position: u64) {
    floor.store(position, Ordering::Release);
    fence(Ordering::SeqCst); // pairs with the fence in `advance`: floor first, then new bytes
}
