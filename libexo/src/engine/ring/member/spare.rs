//! Memory of frames that were sent, for later ones.

/// Most buffers that are kept: some of the longest turns.
const BUFFERS_MAX: usize = 512;
/// Most bytes that are kept.
const BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer, if there is room.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        if self.buffers.len() < BUFFERS_MAX && bytes <= BYTES_MAX {
            buffer.clear();
            self.bytes = bytes;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_the_bounds_allow() {
        let mut spare = Spare::default();
        for _ in 0..2 * BUFFERS_MAX {
            spare.give(Vec::with_capacity(1));
        }
        assert_eq!(spare.buffers.len(), BUFFERS_MAX);
        for _ in 0..BUFFERS_MAX {
            spare.take();
        }
        spare.give(Vec::with_capacity(BYTES_MAX));
        spare.give(vec![7]);
        assert_eq!(spare.buffers.len(), 1);
        assert_eq!(spare.take().capacity(), BYTES_MAX);
        assert_eq!((spare.take(), spare.bytes), (Vec::new(), 0));
    }
}
