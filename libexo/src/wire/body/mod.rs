//! Typed bodies of the frames that are not batches.

use super::hosts::HostSet;
use super::reader::Reader;
use crate::ids::{Epoch, Position};

/// A body that does not have the form of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a {kind} body of {len_bytes} bytes does not have its form")]
pub struct BodyError {
    /// Which body was expected.
    pub kind: &'static str,
    /// How long it was.
    pub len_bytes: usize,
}

fn whole<'a, T>(
    kind: &'static str,
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Result<T, BodyError> {
    let mut reader = Reader(bytes);
    let body = read(&mut reader).filter(|_| reader.end().is_some());
    body.ok_or(BodyError {
        kind,
        len_bytes: bytes.len(),
    })
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn count_of<T>(list: &[T]) -> u16 {
    u16::try_from(list.len()).expect("lists of frames have fewer than 65536 members")
}

/// Why the members changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Cause {
    /// No progress was seen.
    Loss = 0,
    /// To let a host in.
    Planned = 1,
    /// The generation begins.
    Formation = 2,
    /// A host came or went inside the epoch.
    Inside = 3,
}

/// The members from here on. In an INSTALL also where the epoch's log comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    /// Incarnation of the author.
    pub author_inc: u64,
    /// Why.
    pub cause: Cause,
    /// High half of the generation.
    pub generation_high: u32,
    /// Epoch of the last entry before an INSTALL.
    pub tail_epoch: Epoch,
    /// The author's log begins after this position.
    pub base: Position,
    /// D(base).
    pub base_digest: u64,
    /// Who takes turns.
    pub ring: HostSet,
    /// Whose incarnation the author knew before it asked for promises (R7).
    pub admitted: HostSet,
    /// Who is in `ring` and was not before.
    pub joined: HostSet,
    /// Who was in the ring before and is not in `ring`.
    pub left: HostSet,
    /// Epochs of the log after `base`, each with its first position there; empty inside an epoch.
    pub bounds: Vec<(Epoch, Position)>,
    /// The crash vector, one number for each configured host; empty inside an epoch.
    pub crash_vector: Vec<u64>,
}

impl View {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, [self.author_inc]);
        out.extend_from_slice(&[self.cause as u8, 0, 0, 0]);
        out.extend_from_slice(&self.generation_high.to_le_bytes());
        put_numbers(out, [self.tail_epoch.0, self.base.0, self.base_digest]);
        for set in [self.ring, self.admitted, self.joined, self.left] {
            put_numbers(out, set.words());
        }
        out.extend_from_slice(&count_of(&self.bounds).to_le_bytes());
        out.extend_from_slice(&count_of(&self.crash_vector).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (epoch, first) in &self.bounds {
            put_numbers(out, [epoch.0, first.0]);
        }
        put_numbers(out, self.crash_vector.iter().copied());
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("VIEW", bytes, |reader| {
            let author_inc = reader.u64()?;
            let cause = match reader.u8()? {
                0 => Cause::Loss,
                1 => Cause::Planned,
                2 => Cause::Formation,
                3 => Cause::Inside,
                _ => return None,
            };
            reader.zeros(3)?;
            let generation_high = reader.u32()?;
            let tail_epoch = Epoch(reader.u64()?);
            let base = Position(reader.u64()?);
            let base_digest = reader.u64()?;
            let (ring, admitted) = (reader.hosts()?, reader.hosts()?);
            let (joined, left) = (reader.hosts()?, reader.hosts()?);
            let (bound_count, host_count) =
                (usize::from(reader.u16()?), usize::from(reader.u16()?));
            reader.zeros(4)?;
            let numbers = reader.numbers(bound_count * 2)?;
            let bounds = numbers
                .chunks_exact(2)
                .map(|pair| (Epoch(pair[0]), Position(pair[1])))
                .collect();
            Some(Self {
                author_inc,
                cause,
                generation_high,
                tail_epoch,
                base,
                base_digest,
                ring,
                admitted,
                joined,
                left,
                bounds,
                crash_vector: reader.numbers(host_count)?,
            })
        })
    }
}

/// A founder asks for promises of the header's epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prepare {
    /// The founder's incarnation.
    pub inc: u64,
    /// Epoch of its last entry.
    pub tail_epoch: Epoch,
    /// Its crash vector.
    pub crash_vector: Vec<u64>,
}

impl Prepare {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, [self.inc, self.tail_epoch.0]);
        out.extend_from_slice(&count_of(&self.crash_vector).to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        put_numbers(out, self.crash_vector.iter().copied());
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        whole("PREPARE", bytes, |reader| {
            let (inc, tail_epoch) = (reader.u64()?, Epoch(reader.u64()?));
            let count = usize::from(reader.u16()?);
            reader.zeros(6)?;
            Some(Self {
                inc,
                tail_epoch,
                crash_vector: reader.numbers(count)?,
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
    /// Its crash vector.
    pub crash_vector: Vec<u64>,
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
            ],
        );
        out.extend_from_slice(&count_of(&self.crash_vector).to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        put_numbers(out, self.crash_vector.iter().copied());
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
            let count = usize::from(reader.u16()?);
            reader.zeros(6)?;
            let crash_vector = reader.numbers(count)?;
            Some(Self {
                to_inc,
                inc,
                tail_epoch,
                base,
                agreed,
                crash_vector,
            })
        })
    }
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refuse {
    /// A higher epoch was promised.
    Promised(Epoch),
    /// A higher incarnation of the asker is known.
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
}

impl Join {
    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        put_numbers(out, [self.inc]);
        out.extend_from_slice(&[self.mode as u8, 0, 0, 0, 0, 0, 0, 0]);
        put_numbers(out, [self.promised.0, self.tail_epoch.0, self.generation]);
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
            })
        })
    }
}

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

/// Asks for a range of the log; with `from` 0 for the INSTALL of the receiver's epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// First position wanted.
    pub from: Position,
    /// Last position wanted.
    pub to: Position,
    /// D(to), so that only who holds the same log answers; 0 if the asker does not know it.
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
