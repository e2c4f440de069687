//! A circular byte area in memory that another process may write at the same time.
//!
//! Positions grow for ever; `position & (capacity - 1)` is the offset. A copy that runs over the
//! end goes on at the beginning. No reference to the bytes is ever formed, and a length is always
//! bounded by the capacity, so a wrong position can at worst move wrong bytes, never leave the
//! area. Under loom the bytes are atomic words, and a torn read shows as a wrong value.

use crate::sync::AtomicU64;
#[cfg(loom)]
use crate::sync::Ordering;

/// A circular area of `capacity` bytes, a power of two.
#[derive(Debug)]
pub struct Area {
    #[cfg(not(loom))]
    base: *mut u8,
    #[cfg(loom)]
    cells: std::sync::Arc<Vec<AtomicU64>>,
    mask: u64,
}

// SAFETY: `base` points into a mapping that outlives the area (see `Area::new`) and is accessed by
// copies of plain bytes only; concurrent access is what the area is made for.
#[cfg(not(loom))]
unsafe impl Send for Area {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl Sync for Area {}

impl Area {
    /// An area over `capacity` bytes at `base`.
    ///
    /// # Safety
    ///
    /// `base..base + capacity` must be mapped for as long as the area lives, writable if
    /// [`write`](Self::write) is called, and aligned to 8. `capacity` must be a power of two.
    #[cfg(not(loom))]
    #[must_use]
    pub unsafe fn new(base: *mut u8, capacity: u64) -> Self {
        assert!(capacity.is_power_of_two() && capacity >= 8);
        Self {
            base,
            mask: capacity - 1,
        }
    }

    /// An area of `capacity` bytes in loom's atomics, one for each word: one for each byte would
    /// multiply the interleavings and show nothing more.
    #[cfg(loom)]
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        assert!(capacity.is_power_of_two() && capacity >= 8);
        let cells = (0..capacity / 8).map(|_| AtomicU64::new(0)).collect();
        Self {
            cells: std::sync::Arc::new(cells),
            mask: capacity - 1,
        }
    }

    /// A second handle on the same bytes, for the other side of a ring.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            #[cfg(not(loom))]
            base: self.base,
            #[cfg(loom)]
            cells: self.cells.clone(),
            mask: self.mask,
        }
    }

    /// Size of the area in bytes.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Copies `bytes` to `position`. At most `capacity` bytes.
    #[inline]
    pub fn write(&self, position: u64, bytes: &[u8]) {
        // SAFETY: a slice is readable for its length.
        unsafe { self.write_from(position, bytes.as_ptr(), bytes.len()) }
    }

    /// Copies `len` bytes from `source` to `position`. At most `capacity` bytes.
    ///
    /// # Safety
    ///
    /// `source..source + len` must be readable.
    #[inline]
    pub unsafe fn write_from(&self, position: u64, source: *const u8, len: usize) {
        assert!(len as u64 <= self.capacity());
        #[cfg(not(loom))]
        {
            let (offset, first) = self.split(position, len);
            // SAFETY: `offset + first <= capacity` and `len - first <= offset` by `split`, the
            // source is readable by contract. The bytes may be read meanwhile by the peer, who
            // looks at them only after the index that publishes them.
            unsafe {
                core::ptr::copy_nonoverlapping(source, self.base.add(offset), first);
                if first < len {
                    core::ptr::copy_nonoverlapping(source.add(first), self.base, len - first);
                }
            }
        }
        #[cfg(loom)]
        for from in (0..len).step_by(8) {
            let mut word = [0; 8];
            let part = (len - from).min(8);
            // SAFETY: `from + part <= len`, readable by contract; 8 bytes are behind `word`.
            unsafe {
                core::ptr::copy_nonoverlapping(source.add(from), word.as_mut_ptr(), part);
            }
            // What follows a part of a word is padding up to the next record.
            self.word(position + from as u64)
                .store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    /// Copies `bytes.len()` bytes at `position` out. At most `capacity` bytes.
    #[inline]
    pub fn read(&self, position: u64, bytes: &mut [u8]) {
        // SAFETY: a mutable slice is writable for its length.
        unsafe { self.read_into(position, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies `len` bytes at `position` to `target`. At most `capacity` bytes.
    ///
    /// # Safety
    ///
    /// `target..target + len` must be writable.
    #[inline]
    pub unsafe fn read_into(&self, position: u64, target: *mut u8, len: usize) {
        assert!(len as u64 <= self.capacity());
        #[cfg(not(loom))]
        {
            let (offset, first) = self.split(position, len);
            // SAFETY: bounds by `split`, the target is writable by contract. The peer may write
            // these bytes meanwhile; whoever reads checks afterwards that they were still his.
            unsafe {
                core::ptr::copy_nonoverlapping(self.base.add(offset), target, first);
                if first < len {
                    core::ptr::copy_nonoverlapping(self.base, target.add(first), len - first);
                }
            }
        }
        #[cfg(loom)]
        for from in (0..len).step_by(8) {
            let word = self
                .word(position + from as u64)
                .load(Ordering::Relaxed)
                .to_le_bytes();
            let part = (len - from).min(8);
            // SAFETY: `from + part <= len`, writable by contract; 8 bytes are behind `word`.
            unsafe { core::ptr::copy_nonoverlapping(word.as_ptr(), target.add(from), part) };
        }
    }

    /// The word at `position`, a multiple of 8, as an atomic in native byte order.
    #[inline]
    #[must_use]
    pub fn word(&self, position: u64) -> &AtomicU64 {
        assert!(position.is_multiple_of(8), "records begin on words");
        #[cfg(not(loom))]
        {
            let (offset, _) = self.split(position, 8);
            // SAFETY: a multiple of 8 below the capacity, itself a power of two of at least 8, in
            // a mapping that begins on a page; an atomic may be written by the peer meanwhile.
            unsafe { AtomicU64::from_ptr(self.base.add(offset).cast()) }
        }
        #[cfg(loom)]
        &self.cells[usize::try_from((position & self.mask) / 8).expect("a small area")]
    }

    /// One little-endian word at `position`, which must be a multiple of 8.
    #[inline]
    #[must_use]
    pub fn read_word(&self, position: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(position, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[cfg(not(loom))]
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "masked by a capacity that was mapped"
    )]
    fn split(&self, position: u64, len: usize) -> (usize, usize) {
        let offset = (position & self.mask) as usize;
        (offset, len.min(self.mask as usize + 1 - offset))
    }
}
