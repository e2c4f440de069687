//! Where received frames are put: a fixed number of slots, used again after each batch.

use core::fmt;
use core::ops::Range;

use crate::ids::HostId;

/// A batch of received frames, each with the host that it came from.
///
/// That host is the one that *sent* the frame to us; who wrote its content says the content.
pub struct Inbox {
    bytes: Vec<u8>,
    slot_bytes: usize,
    entries: Vec<Entry>,
    /// Slots in use, those of dropped frames included.
    used: usize,
    slots: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    from: HostId,
    slot: usize,
    len: usize,
}

impl Inbox {
    /// Room for `slots` frames of up to `frame_bytes_max` bytes, which must not be less than the
    /// transport's MTU: longer frames are dropped.
    ///
    /// # Panics
    ///
    /// If one of the two is 0.
    #[must_use]
    pub fn new(slots: usize, frame_bytes_max: usize) -> Self {
        assert!(slots > 0 && frame_bytes_max > 0, "an inbox has room");
        Self {
            bytes: vec![0; slots * frame_bytes_max],
            slot_bytes: frame_bytes_max,
            entries: Vec::with_capacity(slots),
            used: 0,
            slots,
        }
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.used = 0;
    }

    /// Number of frames.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Is there no room for another?
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.used == self.slots
    }

    /// The frames in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &[u8])> {
        self.entries.iter().map(|entry| {
            let start = entry.slot * self.slot_bytes;
            (entry.from, &self.bytes[start..start + entry.len])
        })
    }

    /// The frames from number `first` on, as [`iter`](Self::iter).
    pub(super) fn since(&self, first: usize) -> impl Iterator<Item = (HostId, &[u8])> {
        self.iter().skip(first)
    }

    /// Copies a frame in. False if it is longer than a slot or there is no room.
    pub fn push(&mut self, from: HostId, frame: &[u8]) -> bool {
        if self.is_full() || frame.len() > self.slot_bytes {
            return false;
        }
        let start = self.used * self.slot_bytes;
        self.bytes[start..start + frame.len()].copy_from_slice(frame);
        self.entries.push(Entry {
            from,
            slot: self.used,
            len: frame.len(),
        });
        self.used += 1;
        true
    }

    /// The free slots, for somebody who fills them and then calls [`keep`](Self::keep).
    pub(super) fn free(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let range = Range {
            start: self.used * self.slot_bytes,
            end: self.bytes.len(),
        };
        self.bytes[range].chunks_exact_mut(self.slot_bytes)
    }

    /// Takes the next free slot: `len` bytes came from a host, or nothing that is wanted.
    pub(super) fn keep(&mut self, frame: Option<(HostId, usize)>) {
        assert!(!self.is_full(), "only what fitted was received");
        if let Some((from, len)) = frame {
            assert!(len <= self.slot_bytes, "a frame was cut at its slot");
            self.entries.push(Entry {
                from,
                slot: self.used,
                len,
            });
        }
        self.used += 1;
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inbox")
            .field("frames", &self.len())
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_of_a_dropped_frame_is_free_again_after_clear() {
        let mut inbox = Inbox::new(2, 4);
        inbox.keep(None);
        assert!(inbox.push(HostId(1), b"abcd"));
        assert!(inbox.is_full() && !inbox.push(HostId(1), b"x"));
        assert_eq!(
            inbox.iter().collect::<Vec<_>>(),
            [(HostId(1), &b"abcd"[..])]
        );
        inbox.clear();
        assert!(inbox.push(HostId(2), b"") && inbox.push(HostId(3), b"y"));
        assert_eq!(inbox.since(1).collect::<Vec<_>>(), [(HostId(3), &b"y"[..])]);
    }

    #[test]
    fn frame_longer_than_a_slot_is_refused() {
        let mut inbox = Inbox::new(2, 4);
        assert!(!inbox.push(HostId(1), b"abcde"));
        assert!(inbox.is_empty());
    }
}
