//! One segment file: its name and its header.
//!
//! ```text
//!  0           8        12    16          24      32     40        48       56  60    64
//!  "EXOJRNL1"  version  ring  generation  number  first  previous  opening  0   check records …
//! ```
//!
//! `previous` is the length of the segment before when this one was begun, `opening` what of this
//! one was on stable storage before anybody could append to it: the header and, if there is one,
//! the latest state. Both are whole or the segment is damaged.

use super::Settings;
use super::damage::Found;
use super::record::{u32_at, u64_at};
use crate::ids::Position;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 64;
/// Version of segment, manifest and vote file.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"EXOJRNL1";
const ENDING: &str = ".journal";
const DAMAGED_ENDING: &str = ".damaged";

/// Name of the segment with this number.
pub(super) fn name(number: u64) -> String {
    format!("{number:016x}{ENDING}")
}

/// Name that a segment gets when its contents are given up.
pub(super) fn damaged_name(number: u64) -> String {
    format!("{number:016x}{DAMAGED_ENDING}")
}

/// Number of the segment with this name.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (self::name(number) == name).then_some(number)
}

/// Whether this is a segment that was given up.
pub(super) fn is_damaged(name: &str) -> bool {
    name.ends_with(DAMAGED_ENDING)
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) ring: u32,
    pub(super) generation: u64,
    pub(super) number: u64,
    /// The position after the log's tail when the segment was begun.
    pub(super) first: Position,
    pub(super) previous_bytes: u64,
    pub(super) opening_bytes: u64,
}

impl Header {
    /// The header's bytes and its check.
    pub(super) fn emit(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.ring.to_le_bytes());
        let words = [
            self.generation,
            self.number,
            self.first.0,
            self.previous_bytes,
            self.opening_bytes,
        ];
        for (place, word) in bytes[16..56].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let check = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&check.to_le_bytes());
        (bytes, check)
    }

    /// Reads the header of a segment file, and its check.
    pub(super) fn parse(file: &[u8]) -> Result<(Self, u32), Found> {
        let bytes = file.first_chunk::<HEADER_BYTES>();
        let bytes = bytes.ok_or(Found::ShortHeader)?;
        let (found, computed) = (u32_at(bytes, 60), crc32c::crc32c(&bytes[..60]));
        if found != computed || bytes[..8] != MAGIC {
            return Err(Found::HeaderCheck { found, computed });
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Found::Version { version });
        }
        let header = Self {
            ring: u32_at(bytes, 12),
            generation: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            first: Position(u64_at(bytes, 32)),
            previous_bytes: u64_at(bytes, 40),
            opening_bytes: u64_at(bytes, 48),
        };
        Ok((header, found))
    }

    /// Whether it belongs to this journal, as its number says.
    pub(super) fn expect(&self, settings: &Settings, number: u64) -> Result<(), Found> {
        super::expect_ring(settings, self.ring, self.generation)?;
        super::expect_number(self.first.0)?;
        if self.number != number {
            return Err(Found::OtherSegment {
                number: self.number,
            });
        }
        Ok(())
    }
}
