//! The members from a position on; what opens an epoch.

use super::{BodyError, count_of, put_numbers, whole};
use crate::ids::{Epoch, Position};
use crate::wire::hosts::HostSet;

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
