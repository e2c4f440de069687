//! Ranges of the log, and where a trimmed one begins.

use super::{BodyError, count_of, put_numbers, whole};
use crate::ids::Position;
use crate::wire::hosts::HostSet;
use crate::wire::reader::Reader;

/// Asks for a range of the log; with `from` 0 for the INSTALL of the receiver's epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// First position wanted.
    pub from: Position,
    /// Last position wanted.
    pub to: Position,
    /// D(to), so that only who holds the same log answers; 0 if the asker does not know it. With
    /// `from` 0 the incarnation that the asker's memory reaches back to.
    pub digest: u64,
    /// Whether the asker has no use for what every member holds: the answer may begin late.
    pub is_late: bool,
}

impl Fetch {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, [self.from.0, self.to.0, self.digest]);
        out.extend_from_slice(&[u8::from(self.is_late), 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("FETCH", bytes, |reader| {
            let (from, to) = (Position(reader.u64()?), Position(reader.u64()?));
            let digest = reader.u64()?;
            let is_late = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            reader.zeros(7)?;
            Some(Self {
                from,
                to,
                digest,
                is_late,
            })
        })
    }
}

/// Where a trimmed log begins: the header carries epoch, position and digest of the last trimmed
/// entry, this body what follows from the entries up to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// Who takes turns after the position.
    pub ring: HostSet,
    /// The author of the last trimmed entry.
    pub author: u8,
    /// Of each configured host: the incarnation whose messages the log holds, and the number of
    /// the last one at or below the position.
    pub senders: Vec<(u64, u64)>,
}

impl Base {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, self.ring.words());
        out.extend_from_slice(&[self.author, 0]);
        out.extend_from_slice(&count_of(&self.senders).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (inc, number) in &self.senders {
            put_numbers(out, [*inc, *number]);
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("BASE", bytes, |reader| {
            let ring = reader.hosts()?;
            let author = reader.u8()?;
            reader.zeros(1)?;
            let count = usize::from(reader.u16()?);
            reader.zeros(4)?;
            let numbers = reader.numbers(count * 2)?;
            let senders = numbers
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect();
            Some(Self {
                ring,
                author,
                senders,
            })
        })
    }
}

/// The frames inside a FETCHED body, each behind its length.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a>(pub &'a [u8]);

impl<'a> Iterator for Fetched<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut reader = Reader(self.0);
        let len = usize::from(reader.u16()?);
        let frame = reader.bytes(len)?;
        self.0 = reader.0;
        Some(frame)
    }
}

/// Appends one frame to a FETCHED body.
pub fn push_fetched(out: &mut Vec<u8>, frame: &[u8]) {
    let len = u16::try_from(frame.len()).expect("a frame is shorter than a datagram");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(frame);
}
