#![allow(unsafe_code, reason = "shared memory is made of ordinary memory")]
//! Memory as the kernel gives it: zero, aligned, with a page before the data.

use std::sync::atomic::{AtomicU64, Ordering};

use libexo::shm::area::Area;

const HEADER_BYTES: usize = 4096;

/// A header's page and data behind it.
pub struct Memory(Box<[AtomicU64]>);

impl Memory {
    /// With so many bytes of data.
    pub fn new(capacity: usize) -> Self {
        let words = (HEADER_BYTES + capacity) / 8;
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    const fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }

    /// The header.
    pub fn header<T>(&self) -> &T {
        assert!(size_of::<T>() <= HEADER_BYTES);
        // SAFETY: a page precedes the data, aligned for words; headers are atomics and padding.
        unsafe { &*self.base().cast::<T>() }
    }

    /// The data.
    pub fn area(&self) -> Area {
        let capacity = self.0.len() * 8 - HEADER_BYTES;
        // SAFETY: so much lies behind the page, and lives as long as the harness uses it.
        unsafe { Area::new(self.base().add(HEADER_BYTES), capacity as u64) }
    }

    /// Writes a word, as whoever has the memory may at any moment. Counted from the header on.
    pub fn put(&self, index: usize, word: u64) {
        self.0[index % self.0.len()].store(word, Ordering::Relaxed);
    }
}
