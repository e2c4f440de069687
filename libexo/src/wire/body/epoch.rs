//! Asking for promises, and the answers.

use super::{BodyError, count_of, put_numbers, whole};
use crate::ids::{Epoch, Position};
use crate::wire::reader::Reader;

/// How many hosts, then both numbers of each.
fn put_vectors(out: &mut Vec<u8>, highest: &[u64], lowest: &[u64]) {
    out.extend_from_slice(&count_of(highest).to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    put_numbers(out, highest.iter().chain(lowest).copied());
}

fn vectors(reader: &mut Reader<'_>) -> Option<(Vec<u64>, Vec<u64>)> {
    let count = usize::from(reader.u16()?);
    reader.zeros(6)?;
    Some((reader.numbers(count)?, reader.numbers(count)?))
}

/// A founder asks for promises of the header's epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prepare {
    /// The founder's incarnation.
    pub inc: u64,
    /// Epoch of its last entry.
    pub tail_epoch: Epoch,
    /// Its memory reaches back to this incarnation; 0: to all that count.
    pub since: u64,
    /// Its crash vector.
    pub crash_vector: Vec<u64>,
    /// The lowest incarnations that it knows, as many; 0 for none.
    pub earliest: Vec<u64>,
}

impl Prepare {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, [self.inc, self.tail_epoch.0, self.since]);
        put_vectors(out, &self.crash_vector, &self.earliest);
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("PREPARE", bytes, |reader| {
            let (inc, tail_epoch) = (reader.u64()?, Epoch(reader.u64()?));
            let since = reader.u64()?;
            let (crash_vector, earliest) = vectors(reader)?;
            Some(Self {
                inc,
                tail_epoch,
                since,
                crash_vector,
                earliest,
            })
        })
    }
}

/// The answer to a PREPARE; the header carries epoch, tail and its digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Promise {
    /// Incarnation of the founder that asked.
    pub to_inc: u64,
    /// The sender's incarnation.
    pub inc: u64,
    /// Epoch of its last entry.
    pub tail_epoch: Epoch,
    /// Its log begins after this position.
    pub base: Position,
    /// What it has agreed on.
    pub agreed: Position,
    /// Its memory reaches back to this incarnation; 0: to all that count.
    pub since: u64,
    /// Its crash vector.
    pub crash_vector: Vec<u64>,
    /// The lowest incarnations that it knows, as many; 0 for none.
    pub earliest: Vec<u64>,
}

impl Promise {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(
            out,
            [
                self.to_inc,
                self.inc,
                self.tail_epoch.0,
                self.base.0,
                self.agreed.0,
                self.since,
            ],
        );
        put_vectors(out, &self.crash_vector, &self.earliest);
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("PROMISE", bytes, |reader| {
            let (to_inc, inc) = (reader.u64()?, reader.u64()?);
            let tail_epoch = Epoch(reader.u64()?);
            let (base, agreed) = (Position(reader.u64()?), Position(reader.u64()?));
            let since = reader.u64()?;
            let (crash_vector, earliest) = vectors(reader)?;
            Some(Self {
                to_inc,
                inc,
                tail_epoch,
                base,
                agreed,
                since,
                crash_vector,
                earliest,
            })
        })
    }
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refuse {
    /// A higher epoch was promised.
    Promised(Epoch),
    /// An incarnation of the asker is known that is above its own, or that its memory does not
    /// reach back to.
    Incarnation(u64),
}

impl Refuse {
    /// Appends the body to `out`.
    pub fn emit(self, out: &mut Vec<u8>) {
        let (number, reason) = match self {
            Self::Promised(epoch) => (epoch.0, 1),
            Self::Incarnation(inc) => (inc, 2),
        };
        put_numbers(out, [number]);
        out.extend_from_slice(&[reason, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("REFUSE", bytes, |reader| {
            let number = reader.u64()?;
            let reason = reader.u8()?;
            reader.zeros(7)?;
            match reason {
                1 => Some(Self::Promised(Epoch(number))),
                2 => Some(Self::Incarnation(number)),
                _ => None,
            }
        })
    }
}
