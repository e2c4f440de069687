//! The small record that a host keeps on stable storage: what it must know after it forgot all
//! else. Written before the first generation, when one is entered and at a start; never while
//! messages flow.
//!
//! ```text
//!  0      2        4      8         16   24   32     40
//!  magic  version  check  promised  gen  inc  since
//! ```

use super::reader::Reader;
use crate::ids::Epoch;

/// Bytes of the record.
pub const RECORD_BYTES: usize = 40;
const RECORD_MAGIC: u16 = 0x7872;
const RECORD_VERSION: u16 = 2;

/// Promise, generation and incarnation of a host.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// The highest epoch that it promised before it belonged to a generation.
    pub promised: Epoch,
    /// Its generation, or 0.
    pub generation: u64,
    /// Its last incarnation.
    pub inc: u64,
    /// The incarnation since which no record of this host was lost; 0 if that is not known.
    pub since: u64,
}

/// Bytes that are no record: torn, altered or of another version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{len_bytes} bytes are no record of this version")]
pub struct RecordError {
    /// How many there were.
    pub len_bytes: usize,
}

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&RECORD_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for number in [self.promised.0, self.generation, self.inc, self.since] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let check = crc32c::crc32c(&bytes);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; the host must then be started as one that lost its memory.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let read = || {
            let mut reader = Reader(bytes);
            let (magic, version) = (reader.u16()?, reader.u16()?);
            let _check = reader.u32()?;
            let promised = Epoch(reader.u64()?);
            let record = Self {
                promised,
                generation: reader.u64()?,
                inc: reader.u64()?,
                since: reader.u64()?,
            };
            reader.end()?;
            let is_whole = magic == RECORD_MAGIC && version == RECORD_VERSION;
            (is_whole && record.emit() == bytes).then_some(record)
        };
        read().ok_or(RecordError {
            len_bytes: bytes.len(),
        })
    }
}
