//! The lane: one submit ring, one producer, one consumer.
//!
//! ```text
//! header (4 KiB)                                     data (capacity bytes, circular)
//! ┌ magic version capacity ┬ tail, turn  ┬ head ┐┌ record ┬ record ┬ … ┐
//! │ written once           │ application         │ monitor │ head:u64 bytes, padded to 8
//!
//! head  0  payload bytes:17  lap + 1:14  skip:1      with skip: no payload bytes, and
//!      32  grant:32                                  the record's length in units of 8 bytes
//! ```
//!
//! The producing end belongs to whichever thread of the application has the turn
//! (`client::turn`). A signal handler may submit while its own thread is in the middle of a
//! submission, which goes on writing afterwards. So the handler makes the interrupted bytes one
//! record to be skipped, puts its own behind it and publishes both; the interrupted thread sees
//! that, and submits again. A submission first claims its bytes and then looks whether the tail
//! is still where it was, so a handler either published before anything was written or sees the
//! claim. Heads are exchanged and differ from lap to lap, so none is written over a published one.
//! Publication is one compare-and-exchange of the tail; a thread killed before it leaves nothing.
//!
//! The draining end trusts nothing: it loads the tail once, checks it, copies the bytes out, and
//! looks only at its copy.

use core::ops::Deref;

use super::area::Area;
use super::{LayoutError, Preamble, align_record, circular_bytes};
use crate::ids::GrantId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Bytes before the data.
pub const HEADER_BYTES: usize = 4096;
/// Largest datagram: what UDP over IPv6 can carry.
pub const DATAGRAM_MAX: usize = 65_527;
/// Bytes before a record's payload.
const RECORD_HEADER_BYTES: u64 = 8;
/// In a head: these bytes were claimed and given up.
const SKIP: u64 = 1 << 31;
/// In a head: bits of the payload's length.
const LEN_MASK: u64 = (1 << 17) - 1;
const _: () = assert!(DATAGRAM_MAX as u64 <= LEN_MASK);
/// Smallest data capacity: several of the largest datagrams.
pub const CAPACITY_MIN: u64 = 256 * 1024;

/// First page of a lane.
#[derive(Debug)]
#[repr(C)]
pub struct LaneHeader {
    preamble: Preamble,
    capacity: AtomicU64,
    pad_a: [u64; 14],
    /// Bytes published since the lane was made. Application.
    tail: AtomicU64,
    /// The head as the application last saw it. Application.
    head_seen: AtomicU64,
    /// Which thread has the turn; 0 for none. Application.
    pub turn: AtomicU64,
    /// End of the bytes that are being written; at or before the tail when none are. Application.
    claimed: AtomicU64,
    pad_b: [u64; 12],
    /// Bytes taken since the lane was made. Monitor.
    head: AtomicU64,
    /// Not 0 once the session has ended. Monitor.
    pub ended: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    assert!(core::mem::offset_of!(LaneHeader, tail) == 128);
    assert!(core::mem::offset_of!(LaneHeader, head) == 256);
    assert!(size_of::<LaneHeader>() <= HEADER_BYTES);
};

impl LaneHeader {
    /// Writes the words that never change. Maker of the region only.
    pub fn initialise(&self, capacity: u64) {
        self.preamble.initialise();
        self.capacity.store(capacity, Ordering::Release);
    }

    /// Checks that this is a lane whose data fits into `region_bytes`, and returns its capacity.
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

    /// A header for a loom model; never mapped.
    #[cfg(loom)]
    #[must_use]
    pub fn for_model() -> Self {
        Self {
            preamble: Preamble::for_model(),
            capacity: AtomicU64::new(0),
            pad_a: [0; 14],
            tail: AtomicU64::new(0),
            head_seen: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            pad_b: [0; 12],
            head: AtomicU64::new(0),
            ended: AtomicU32::new(0),
        }
    }
}

/// The lane has no room for the record now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// Producing end. Application side.
#[derive(Debug)]
pub struct Submitter<H> {
    header: H,
    area: Area,
}

impl<H: Deref<Target = LaneHeader>> Submitter<H> {
    /// A producing end over a header and its data.
    pub const fn new(header: H, area: Area) -> Self {
        Self { header, area }
    }

    /// The shared header.
    pub fn header(&self) -> &LaneHeader {
        &self.header
    }

    /// Appends one record of `len` payload bytes, which `fill` writes at the position it is given.
    ///
    /// `fill` is called again when a signal handler of the same thread submitted meanwhile. The
    /// caller has the turn. `len` is at most [`DATAGRAM_MAX`].
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was appended.
    #[inline]
    pub fn submit(
        &self,
        grant: GrantId,
        len: usize,
        mut fill: impl FnMut(&Area, u64),
    ) -> Result<(), Full> {
        assert!(len <= DATAGRAM_MAX);
        let record_bytes = align_record(RECORD_HEADER_BYTES + len as u64);
        loop {
            let tail = self.header.tail.load(Ordering::Relaxed); // ours while we have the turn
            // Beyond the tail only inside an interrupted submission, or after one that was left.
            let start = self.header.claimed.load(Ordering::Relaxed).max(tail);
            let end = start + record_bytes;
            if end - self.header.head_seen.load(Ordering::Relaxed) > self.area.capacity() {
                let head = self.header.head.load(Ordering::Acquire); // pairs with `release`
                self.header.head_seen.store(head, Ordering::Relaxed);
                if end - head > self.area.capacity() {
                    return Err(Full);
                }
            }
            let interrupted = self.area.word(tail).load(Ordering::Relaxed);
            let before = self.area.word(start).load(Ordering::Relaxed);
            self.header.claimed.store(end, Ordering::Relaxed);
            // The order matters to handlers on this very thread, hence to the compiler only.
            core::sync::atomic::compiler_fence(Ordering::SeqCst);
            if self.header.tail.load(Ordering::Relaxed) != tail {
                continue; // a handler submitted before it could see the claim
            }
            fill(&self.area, start + RECORD_HEADER_BYTES);
            let head = len as u64 | self.lap_of(start) | u64::from(grant.0) << 32;
            if !exchange(self.area.word(start), before, head) {
                continue;
            }
            if start != tail {
                let skip = SKIP | self.lap_of(tail) | ((start - tail) / 8) << 32;
                if !exchange(self.area.word(tail), interrupted, skip) {
                    continue;
                }
            }
            // SeqCst: also the sender's half of the engine's wake-up (`board::Board::engine_asleep`).
            // Release pairs with the Acquire in `SubmitDrain::fetch`.
            if self
                .header
                .tail
                .compare_exchange(tail, end, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return Ok(());
            }
        }
    }

    /// The part of a head by which it differs from the one a lap before, and from fresh memory.
    const fn lap_of(&self, position: u64) -> u64 {
        let lap = (position >> self.area.capacity().trailing_zeros()) + 1;
        (lap & 0x3fff) << 17
    }

    /// Whether a record of `len` bytes would fit now.
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        let record_bytes = align_record(RECORD_HEADER_BYTES + len as u64);
        let tail = self.header.tail.load(Ordering::Relaxed);
        tail + record_bytes - self.header.head.load(Ordering::Acquire) <= self.area.capacity()
    }
}

/// Writes a head unless somebody wrote one meanwhile. Relaxed: only handlers on the same thread
/// can have, and the monitor looks at heads after the tail.
#[inline]
fn exchange(head: &AtomicU64, from: u64, to: u64) -> bool {
    head.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

/// What an application did to its lane that no correct shim does. Ends its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RingCorrupt {
    /// The tail is behind the head or further ahead than the ring is large.
    #[error("tail {tail} is not within {capacity_bytes} bytes after head {head}")]
    TailOutOfRange {
        /// The tail that was read.
        tail: u64,
        /// How far the monitor has read.
        head: u64,
        /// Size of the ring.
        capacity_bytes: u64,
    },
    /// A record says that it is longer than a datagram can be, or than what was published.
    #[error("record at {position} of {len} bytes does not fit into the {pending} published bytes")]
    RecordTooLong {
        /// Where the record begins.
        position: u64,
        /// The length it states.
        len: u32,
        /// Bytes published from there on.
        pending: u64,
    },
    /// A record names a grant that this session does not have.
    #[error("record at {position} names grant {grant}, which was never given")]
    UnknownGrant {
        /// Where the record begins.
        position: u64,
        /// The grant it names.
        grant: u32,
    },
}

/// Draining end. Monitor side.
#[derive(Debug)]
pub struct SubmitDrain<H> {
    header: H,
    area: Area,
    /// Bytes taken; ours alone, the shared head is only a copy of it.
    head: u64,
    /// The tail as last fetched.
    tail: u64,
    /// Copy of the ring's bytes from `head` on.
    batch: Vec<u8>,
    /// Bytes valid in `batch`.
    batch_bytes: usize,
    /// Bytes of `batch` that were taken.
    taken: usize,
    /// Whether more was published than `batch` holds.
    cut: bool,
}

/// Most bytes taken from one lane in one pass; more than one of the largest records.
const BATCH_BYTES: u64 = 128 * 1024;

/// One record of a batch: what an application wants to submit.
#[derive(Clone, Copy, Debug)]
pub struct LaneRecord<'a> {
    /// Under which grant; not yet known to exist.
    pub grant: GrantId,
    /// The datagram.
    pub bytes: &'a [u8],
    position: u64,
    record_bytes: usize,
}

impl LaneRecord<'_> {
    /// The error for a grant that does not exist.
    #[must_use]
    pub const fn unknown_grant(&self) -> RingCorrupt {
        RingCorrupt::UnknownGrant {
            position: self.position,
            grant: self.grant.0,
        }
    }
}

impl<H: Deref<Target = LaneHeader>> SubmitDrain<H> {
    /// A draining end that starts at the beginning.
    pub fn new(header: H, area: Area) -> Self {
        let batch = vec![0; usize::try_from(BATCH_BYTES.min(area.capacity())).expect("128 KiB")];
        Self {
            header,
            area,
            head: 0,
            tail: 0,
            batch,
            batch_bytes: 0,
            taken: 0,
            cut: false,
        }
    }

    /// The shared header.
    pub fn header(&self) -> &LaneHeader {
        &self.header
    }

    /// Size of the ring in bytes.
    pub const fn capacity_bytes(&self) -> u64 {
        self.area.capacity()
    }

    /// Bytes that the application has published and we have not taken.
    ///
    /// # Errors
    ///
    /// [`RingCorrupt`] ends the session; the lane is not read again.
    #[inline]
    pub fn pending_bytes(&self) -> Result<u64, RingCorrupt> {
        let tail = self.header.tail.load(Ordering::Acquire); // pairs with `Submitter::submit`
        let pending = tail.wrapping_sub(self.head);
        if pending > self.area.capacity() {
            let (head, capacity_bytes) = (self.head, self.area.capacity());
            return Err(RingCorrupt::TailOutOfRange {
                tail,
                head,
                capacity_bytes,
            });
        }
        Ok(pending)
    }

    /// Copies what is pending, up to a batch, out of the ring. Returns whether there is any.
    ///
    /// # Errors
    ///
    /// As [`pending_bytes`](Self::pending_bytes).
    #[inline]
    pub fn fetch(&mut self) -> Result<bool, RingCorrupt> {
        let pending = self.pending_bytes()?;
        self.taken = 0;
        self.tail = self.head + pending;
        self.batch_bytes = usize::try_from(pending)
            .unwrap_or(usize::MAX)
            .min(self.batch.len());
        self.cut = (self.batch_bytes as u64) < pending;
        if pending == 0 {
            return Ok(false);
        }
        self.area
            .read(self.head, &mut self.batch[..self.batch_bytes]);
        Ok(true)
    }

    /// The next record of the batch, without taking it.
    ///
    /// # Errors
    ///
    /// [`RingCorrupt`] for a record that cannot be one.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<LaneRecord<'_>>, RingCorrupt> {
        let word = loop {
            let rest = &self.batch[self.taken..self.batch_bytes];
            let Some(word) = rest.first_chunk::<8>() else {
                // Records are multiples of 8 bytes, and so is what a correct application publishes.
                return if rest.is_empty() || self.cut {
                    Ok(None)
                } else {
                    Err(self.too_long(0))
                };
            };
            let word = u64::from_le_bytes(*word);
            if word & SKIP == 0 {
                break word;
            }
            self.skip((word >> 32) * 8)?;
        };
        let rest = &self.batch[self.taken + 8..self.batch_bytes];
        let len = usize::try_from(word & LEN_MASK).expect("17 bits");
        let record_bytes = align_record(RECORD_HEADER_BYTES + len as u64);
        if len > DATAGRAM_MAX {
            return Err(self.too_long(len));
        }
        let end = usize::try_from(record_bytes - RECORD_HEADER_BYTES).expect("below 128 KiB");
        if end > rest.len() {
            return if self.cut {
                Ok(None)
            } else {
                Err(self.too_long(len))
            };
        }
        Ok(Some(LaneRecord {
            grant: GrantId(u32::try_from(word >> 32).expect("32 bits")),
            bytes: &rest[..len],
            position: self.head,
            record_bytes: end + 8,
        }))
    }

    /// Passes bytes that were given up, which may reach beyond the batch.
    #[cold]
    fn skip(&mut self, skip_bytes: u64) -> Result<(), RingCorrupt> {
        if skip_bytes == 0 || skip_bytes > self.tail - self.head {
            return Err(self.too_long(usize::try_from(skip_bytes).unwrap_or(usize::MAX)));
        }
        self.head += skip_bytes;
        let taken = usize::try_from(skip_bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(self.taken);
        self.taken = taken.min(self.batch_bytes);
        Ok(())
    }

    /// Takes the record that [`peek`](Self::peek) showed.
    #[inline]
    pub fn take(&mut self, record_bytes: usize) {
        self.taken += record_bytes;
        self.head += record_bytes as u64;
        assert!(self.taken <= self.batch_bytes);
    }

    /// Tells the application how far its bytes were taken.
    #[inline]
    pub fn release(&self) {
        self.header.head.store(self.head, Ordering::Release); // pairs with the Acquire in `submit`
    }

    #[cold]
    fn too_long(&self, len: usize) -> RingCorrupt {
        RingCorrupt::RecordTooLong {
            position: self.head,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            pending: (self.batch_bytes - self.taken) as u64,
        }
    }
}

impl LaneRecord<'_> {
    /// Bytes that the record occupies in the ring.
    #[must_use]
    pub const fn record_bytes(&self) -> usize {
        self.record_bytes
    }
}
