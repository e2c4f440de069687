//! Around turns: what is missing of them, and the token at rest.

use super::{BodyError, count_of, put_numbers, whole};
use crate::ids::Position;
use crate::wire::reader::Reader;

/// Missing parts of one position.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missing {
    /// The position.
    pub position: Position,
    /// First missing part.
    pub first: u16,
    /// Last missing part; 65535 if the number of parts is not known.
    pub last: u16,
}

/// Appends a NACK body to `out`.
pub fn emit_nack(list: &[Missing], out: &mut Vec<u8>) {
    out.extend_from_slice(&count_of(list).to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    for missing in list {
        put_numbers(out, [missing.position.0]);
        out.extend_from_slice(&missing.first.to_le_bytes());
        out.extend_from_slice(&missing.last.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
}

/// Reads a NACK body.
///
/// # Errors
///
/// [`BodyError`] if it does not have the form.
pub fn parse_nack(bytes: &[u8]) -> Result<Vec<Missing>, BodyError> {
    whole("NACK", bytes, |reader| {
        let count = usize::from(reader.u16()?);
        reader.zeros(6)?;
        let mut rest = Reader(reader.bytes(count * 16)?);
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            let position = Position(rest.u64()?);
            let (first, last) = (rest.u16()?, rest.u16()?);
            rest.zeros(4)?;
            list.push(Missing {
                position,
                first,
                last,
            });
        }
        Some(list)
    })
}

/// A host sees no progress and asks whether the others do; or the answer that they do not, either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Its memory reaches back to this incarnation; 0: to all that count.
    pub since: u64,
}

impl Probe {
    /// Appends the body to `out`.
    pub fn emit(self, out: &mut Vec<u8>) {
        put_numbers(out, [self.since]);
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("PROBE", bytes, |reader| {
            Some(Self {
                since: reader.u64()?,
            })
        })
    }
}

/// How long a parked owner expects to stay silent, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Park {
    /// Until its next PARK.
    pub until_ms: u32,
}

impl Park {
    /// Appends the body to `out`.
    pub fn emit(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.until_ms.to_le_bytes());
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("PARK", bytes, |reader| {
            Some(Self {
                until_ms: reader.u32()?,
            })
        })
    }
}
