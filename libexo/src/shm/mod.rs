#![allow(
    unsafe_code,
    reason = "the one room that maps memory shared with other processes"
)]
//! Memory shared between the monitor and applications.
//!
//! | memory | who writes | who reads | module |
//! | --- | --- | --- | --- |
//! | lane (submit ring), one per session | application; head: monitor | monitor, trusts nothing | [`submit_ring`] |
//! | log, one per group | monitor | members, mapped read-only | [`log`] |
//! | socket page, one per open file description | application and monitor | both; monitor trusts nothing | [`socket_page`] |
//! | board, one per monitor | monitor | everybody, mapped read-only | [`board`] |
//!
//! Every region is a sealed memfd that the monitor made ([`region`]). `docs/shm.md` draws the
//! bytes. Never here: what the bytes of a message mean, who may do what.

pub mod area;
pub mod board;
pub mod doorbell;
pub mod log;
pub mod region;
pub mod socket_page;
pub mod submit_ring;

use crate::sync::{AtomicU32, Ordering};

/// First word of every region: "EXO1" in little-endian order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"EXO1");
/// Version of the layouts in this room; both sides must have the same.
pub const LAYOUT_VERSION: u32 = 2;

/// `len` rounded up to the 8 bytes on which records begin.
#[must_use]
pub const fn align_record(len: u64) -> u64 {
    (len + 7) & !7
}

/// The first words of every region.
#[derive(Debug)]
#[repr(C)]
struct Preamble {
    magic: AtomicU32,
    version: AtomicU32,
}

impl Preamble {
    /// Writes the words. Maker of the region only, before anybody gets its descriptor.
    fn initialise(&self) {
        // Relaxed: the region is handed over by a message, which orders everything before it.
        self.magic.store(MAGIC, Ordering::Relaxed);
        self.version.store(LAYOUT_VERSION, Ordering::Relaxed);
    }

    /// Checks that a region of `region_bytes` is one of ours and as long as it must be;
    /// `None` for a length that the layout does not allow.
    fn check(&self, region_bytes: u64, expected_bytes: Option<u64>) -> Result<(), LayoutError> {
        let found = self.magic.load(Ordering::Relaxed);
        if found != MAGIC {
            return Err(LayoutError::Magic { found });
        }
        let found = self.version.load(Ordering::Relaxed);
        if found != LAYOUT_VERSION {
            return Err(LayoutError::Version { found });
        }
        if expected_bytes != Some(region_bytes) {
            return Err(LayoutError::Size {
                len_bytes: region_bytes,
            });
        }
        Ok(())
    }

    /// For a loom model.
    #[cfg(loom)]
    fn for_model() -> Self {
        Self {
            magic: AtomicU32::new(MAGIC),
            version: AtomicU32::new(LAYOUT_VERSION),
        }
    }
}

/// Bytes of a region whose header is followed by a circular area; `None` for a capacity that no
/// circular area has.
fn circular_bytes(header_bytes: usize, capacity: u64) -> Option<u64> {
    capacity
        .is_power_of_two()
        .then(|| capacity + header_bytes as u64)
}

/// Why a mapped region was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The region does not begin with the magic number: it is not one of ours.
    #[error("region begins with {found:#010x}, not with EXO1")]
    Magic {
        /// The word that was found.
        found: u32,
    },
    /// The other side has another version of the layout.
    #[error("region has layout version {found}, this side has {LAYOUT_VERSION}")]
    Version {
        /// The version that was found.
        found: u32,
    },
    /// The region is shorter than it says, or a size is not what the layout allows.
    #[error("region of {len_bytes} bytes cannot hold what its header says")]
    Size {
        /// Length of the region in bytes.
        len_bytes: u64,
    },
}
