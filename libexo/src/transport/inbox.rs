//! Where received frames are put: a fixed number of slots, used again after each batch.

use core::fmt;

use crate::ids::HostId;

/// A batch of received frames, each with the host that it came from.
///
/// That host is the one that *sent* the frame to us; who wrote its content says the content.
pub struct Inbox {
    bytes: Vec<u8>,
    slot_bytes: usize,
    /// One for each slot in use.
    entries: Vec<Entry>,
    slots: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    from: HostId,
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
            slots,
        }
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.entries.clear();
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
        self.entries.len() == self.slots
    }

    /// The frames in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &[u8])> {
        let slots = self.bytes.chunks_exact(self.slot_bytes);
        let filled = self.entries.iter().zip(slots);
        filled.map(|(entry, slot)| (entry.from, &slot[..entry.len]))
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
        let start = self.entries.len() * self.slot_bytes;
        self.bytes[start..start + frame.len()].copy_from_slice(frame);
        let len = frame.len();
        self.entries.push(Entry { from, len });
        true
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
    fn slots_are_free_again_after_clear() {
        let mut inbox = Inbox::new(2, 4);
        assert!(inbox.push(HostId(3), b"") && inbox.push(HostId(1), b"abcd"));
        assert!(inbox.is_full() && !inbox.push(HostId(1), b"x"));
        assert_eq!(
            inbox.iter().collect::<Vec<_>>(),
            [(HostId(3), &b""[..]), (HostId(1), &b"abcd"[..])]
        );
        inbox.clear();
        assert!(inbox.push(HostId(2), b"z") && inbox.push(HostId(3), b"y"));
        assert_eq!(inbox.since(1).collect::<Vec<_>>(), [(HostId(3), &b"y"[..])]);
    }

    #[test]
    fn frame_longer_than_a_slot_is_refused() {
        let mut inbox = Inbox::new(2, 4);
        assert!(!inbox.push(HostId(1), b"abcde"));
        assert!(inbox.is_empty());
    }
}
