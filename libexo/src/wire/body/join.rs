//! Coming in.

use super::{BodyError, put_numbers, whole};
use crate::ids::Epoch;

/// What a host that asks to come in remembers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Mode {
    /// It never belonged to a generation.
    Virgin = 0,
    /// It lost its memory.
    Amnesiac = 1,
    /// Everything.
    Normal = 2,
}

/// A host asks to come in; the header carries the epoch that it is in, and its tail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Join {
    /// Its incarnation.
    pub inc: u64,
    /// What it remembers.
    pub mode: Mode,
    /// The highest epoch it promised.
    pub promised: Epoch,
    /// Epoch of its last entry.
    pub tail_epoch: Epoch,
    /// Its generation, or 0.
    pub generation: u64,
    /// Its memory reaches back to this incarnation; 0: to all that count.
    pub since: u64,
}

impl Join {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, [self.inc]);
        out.extend_from_slice(&[self.mode as u8, 0, 0, 0, 0, 0, 0, 0]);
        put_numbers(
            out,
            [
                self.promised.0,
                self.tail_epoch.0,
                self.generation,
                self.since,
            ],
        );
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("JOIN", bytes, |reader| {
            let inc = reader.u64()?;
            let mode = match reader.u8()? {
                0 => Mode::Virgin,
                1 => Mode::Amnesiac,
                2 => Mode::Normal,
                _ => return None,
            };
            reader.zeros(7)?;
            let (promised, tail_epoch) = (Epoch(reader.u64()?), Epoch(reader.u64()?));
            Some(Self {
                inc,
                mode,
                promised,
                tail_epoch,
                generation: reader.u64()?,
                since: reader.u64()?,
            })
        })
    }
}
