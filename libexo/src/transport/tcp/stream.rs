//! Frames in a stream of bytes: four bytes of length, little-endian, then the frame.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes in front of each frame.
pub(super) const PREFIX_BYTES: usize = 4;

/// What waits to be written to one connection, bounded: a frame that finds no room replaces the
/// oldest that have not begun to leave.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Rest of a frame (or hello) that has begun to leave, from `begun_at` on.
    begun: Vec<u8>,
    begun_at: usize,
    /// Whole frames with their prefixes.
    queue: VecDeque<u8>,
    frames: u64,
    bytes_max: usize,
}

impl Outbox {
    /// Room for `bytes_max` bytes, frames of up to `frame_bytes_max`.
    pub(super) fn new(bytes_max: usize, frame_bytes_max: usize) -> Self {
        let frame_bytes = frame_bytes_max + PREFIX_BYTES;
        let bytes_max = bytes_max.max(frame_bytes);
        Self {
            begun: Vec::with_capacity(frame_bytes),
            begun_at: 0,
            queue: VecDeque::with_capacity(bytes_max),
            frames: 0,
            bytes_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun_at == self.begun.len() && self.queue.is_empty()
    }

    /// Whole frames that wait.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Puts bytes in front of all frames; before anything else only.
    pub(super) fn begin_with(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
    }

    /// Adds a frame; returns how many old ones had to go.
    pub(super) fn push(&mut self, frame: &[u8]) -> u64 {
        let needed = PREFIX_BYTES + frame.len();
        assert!(
            needed <= self.bytes_max,
            "the length was checked against the MTU"
        );
        let mut dropped = 0;
        while self.queue.len() + needed > self.bytes_max {
            self.queue.drain(..self.first_bytes());
            self.frames -= 1;
            dropped += 1;
        }
        let length = u32::try_from(frame.len()).expect("frames are shorter than 4 GiB");
        self.queue.extend(length.to_le_bytes());
        self.queue.extend(frame);
        self.frames += 1;
        dropped
    }

    /// Length of the oldest whole frame with its prefix.
    fn first_bytes(&self) -> usize {
        let mut prefix = [0; PREFIX_BYTES];
        for (byte, queued) in prefix.iter_mut().zip(&self.queue) {
            *byte = *queued;
        }
        PREFIX_BYTES + u32::from_le_bytes(prefix) as usize
    }

    /// What to write next.
    pub(super) fn parts(&self) -> [IoSlice<'_>; 3] {
        let (first, second) = self.queue.as_slices();
        [
            IoSlice::new(&self.begun[self.begun_at..]),
            IoSlice::new(first),
            IoSlice::new(second),
        ]
    }

    /// `count` bytes of [`parts`](Self::parts) were written. `sent` hears the length of each frame
    /// that began to leave.
    pub(super) fn consume(&mut self, mut count: usize, mut sent: impl FnMut(usize)) {
        let of_begun = count.min(self.begun.len() - self.begun_at);
        self.begun_at += of_begun;
        count -= of_begun;
        while count > 0 {
            let first_bytes = self.first_bytes();
            sent(first_bytes - PREFIX_BYTES);
            self.frames -= 1;
            let now = count.min(first_bytes);
            self.queue.drain(..now);
            count -= now;
            if now < first_bytes {
                self.keep_begun(first_bytes - now);
            }
        }
    }

    /// Moves the rest of a frame, `count` bytes, out of the queue.
    fn keep_begun(&mut self, count: usize) {
        self.begun.clear();
        self.begun_at = 0;
        self.begun.extend(self.queue.drain(..count));
    }
}

/// What was read from one connection and not taken yet.
#[derive(Debug)]
pub(super) struct Inflow {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    frame_bytes_max: usize,
}

/// A length that no frame has; the stream cannot be understood any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BadLength;

impl Inflow {
    /// At least 64 KiB, so that one system call reads many small frames.
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        Self {
            bytes: vec![0; (frame_bytes_max + PREFIX_BYTES).max(64 * 1024)],
            start: 0,
            end: 0,
            frame_bytes_max,
        }
    }

    /// Where to read to. Never empty while no whole frame lies in front.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were read to [`room`](Self::room).
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(
            self.end <= self.bytes.len(),
            "no more was read than there was room"
        );
    }

    /// Takes `N` bytes, if they are there.
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.bytes[self.start..self.end].first_chunk()?;
        self.start += N;
        Some(bytes)
    }

    /// The next whole frame, if it is there.
    pub(super) fn next_frame(&self) -> Result<Option<&[u8]>, BadLength> {
        let waiting = &self.bytes[self.start..self.end];
        let Some((prefix, rest)) = waiting.split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.frame_bytes_max {
            return Err(BadLength);
        }
        Ok(rest.get(..length))
    }

    /// Goes on behind the frame of `frame_bytes` that `next_frame` showed.
    pub(super) fn advance(&mut self, frame_bytes: usize) {
        self.start += PREFIX_BYTES + frame_bytes;
        assert!(self.start <= self.end, "only whole frames are shown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Moves up to `count` bytes from one end to the other.
    fn move_bytes(outbox: &mut Outbox, inflow: &mut Inflow, count: usize) {
        let bytes: Vec<u8> = outbox
            .parts()
            .iter()
            .flat_map(|part| part.to_vec())
            .collect();
        let room = inflow.room();
        let count = count.min(bytes.len()).min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        inflow.filled(count);
        outbox.consume(count, |_| ());
    }

    fn frames(inflow: &mut Inflow) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(frame) = inflow.next_frame().expect("our own lengths") {
            let frame = frame.to_vec();
            inflow.advance(frame.len());
            all.push(frame);
        }
        all
    }

    proptest! {
        #[test]
        fn frames_survive_any_tearing(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..30),
            tears in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let mut outbox = Outbox::new(4096, 64);
            let mut inflow = Inflow::new(64);
            for frame in &sent {
                prop_assert_eq!(outbox.push(frame), 0);
            }
            let mut received = Vec::new();
            for tear in tears.iter().cycle() {
                if outbox.is_empty() {
                    break;
                }
                move_bytes(&mut outbox, &mut inflow, *tear);
                received.extend(frames(&mut inflow));
            }
            prop_assert_eq!(received, sent);
            prop_assert_eq!(outbox.frames(), 0);
        }

        #[test]
        fn any_bytes_are_frames_or_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut inflow = Inflow::new(64);
            inflow.room()[..bytes.len()].copy_from_slice(&bytes);
            inflow.filled(bytes.len());
            while let Ok(Some(frame)) = inflow.next_frame() {
                let length = frame.len();
                prop_assert!(length <= 64);
                inflow.advance(length);
            }
        }
    }

    #[test]
    fn full_outbox_drops_the_oldest_whole_frames_and_never_half_of_one() {
        let mut outbox = Outbox::new(30, 20);
        let mut inflow = Inflow::new(20);
        assert_eq!(outbox.push(b"aaaaaaaa"), 0);
        move_bytes(&mut outbox, &mut inflow, 5); // has begun to leave, so it stays
        assert_eq!(outbox.push(b"bbbbbbbb"), 0);
        assert_eq!(outbox.push(b"cccccccc"), 0);
        assert_eq!(outbox.push(b"dddddddd"), 1);
        assert_eq!(outbox.frames(), 2);
        move_bytes(&mut outbox, &mut inflow, usize::MAX);
        assert_eq!(frames(&mut inflow), [b"aaaaaaaa", b"cccccccc", b"dddddddd"]);
    }
}
