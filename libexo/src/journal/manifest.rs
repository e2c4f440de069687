//! The manifest: which segments belong to the journal.
//!
//! ```text
//!  0           8        12    16          24     32    40  44     48
//!  "EXOJMAN1"  version  ring  generation  first  last  0   check
//! ```
//!
//! Replaced when a segment is begun and before one is removed. Without it a segment that somebody
//! deleted, oldest or newest, would look like one that never was.

use super::damage::Found;
use super::record::{u32_at, u64_at};
use super::segment_file::VERSION;
use super::storage::Storage;
use super::{JournalError, Settings, small_file};

/// Name of the file that says which segments belong to the journal; without it there is none.
pub const MANIFEST_NAME: &str = "manifest";
const MAGIC: [u8; 8] = *b"EXOJMAN1";
const MANIFEST_BYTES: usize = 48;

/// Numbers of the first and the last segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Manifest {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Manifest {
    pub(super) fn emit(&self, settings: &Settings) -> [u8; MANIFEST_BYTES] {
        let mut bytes = [0; MANIFEST_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&settings.ring.to_le_bytes());
        let words = [settings.generation, self.first, self.last];
        for (place, word) in bytes[16..40].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let check = crc32c::crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The last segment that a manifest names, of whatever ring or version.
    pub(super) fn last_of(file: &[u8]) -> Option<u64> {
        let bytes = <&[u8; MANIFEST_BYTES]>::try_from(file).ok()?;
        let last = u64_at(bytes, 32);
        let is_ours = u32_at(bytes, 44) == crc32c::crc32c(&bytes[..44]);
        (is_ours && super::expect_number(last).is_ok()).then_some(last)
    }

    pub(super) fn parse(file: &[u8], settings: &Settings) -> Result<Self, Found> {
        let bytes = <&[u8; MANIFEST_BYTES]>::try_from(file).map_err(|_| Found::ShortHeader)?;
        let (found, computed) = (u32_at(bytes, 44), crc32c::crc32c(&bytes[..44]));
        if found != computed || bytes[..8] != MAGIC {
            return Err(Found::HeaderCheck { found, computed });
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Found::Version { version });
        }
        super::expect_ring(settings, u32_at(bytes, 12), u64_at(bytes, 16))?;
        let (first, last) = (u64_at(bytes, 24), u64_at(bytes, 32));
        super::expect_number(last)?;
        if first > last {
            return Err(Found::Number { number: first });
        }
        Ok(Self { first, last })
    }

    pub(super) fn write<S: Storage>(
        &self,
        storage: &S,
        settings: &Settings,
    ) -> Result<(), JournalError> {
        small_file::replace(storage, MANIFEST_NAME, &self.emit(settings))
    }
}
