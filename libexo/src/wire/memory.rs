//! What a host with a journal keeps in it: an entry of the log, and the state beside the log.
//!
//! ```text
//!  entry  0     1       2      4           8      16    24      26      28    32
//!         kind  author  flags  part bytes  epoch  prev  behind  credit  zero  body
//!
//!  state  0        4      8           16        24      32        40     48      56
//!         version  hosts  generation  promised  joined  position  epoch  digest  BASE body, then
//!         hosts × highest incarnation, hosts × lowest incarnation
//! ```
//!
//! The journal's own check covers these bytes; what they say is looked at all the same.

use super::body::Base;
use super::header::{Flags, Kind};
use super::reader::Reader;
use crate::ids::{Epoch, HostId, Position};

const STATE_VERSION: u32 = 2;

/// Bytes that are no entry or no state of this version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{len_bytes} bytes are no {kind} of this version")]
pub struct MemoryFormError {
    /// What was expected.
    pub kind: &'static str,
    /// How many bytes there were.
    pub len_bytes: usize,
}

/// An entry of the log; its position is the record's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredEntry<'a> {
    /// A turn, or an INSTALL.
    pub kind: Kind,
    /// Who wrote it.
    pub author: HostId,
    /// As in its frames.
    pub flags: Flags,
    /// Bytes of each part but the last.
    pub part_bytes: u32,
    /// Its epoch.
    pub epoch: Epoch,
    /// Digest of the log below.
    pub prev: u64,
    /// As in its frames.
    pub behind: u16,
    /// As in its frames.
    pub credit: u16,
    /// All parts.
    pub body: &'a [u8],
}

impl<'a> StoredEntry<'a> {
    /// The entry's bytes.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.body.len());
        out.extend_from_slice(&[self.kind as u8, self.author.0]);
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        out.extend_from_slice(&self.part_bytes.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.prev.to_le_bytes());
        out.extend_from_slice(&self.behind.to_le_bytes());
        out.extend_from_slice(&self.credit.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.body);
        out
    }

    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// [`MemoryFormError`] if it does not have the form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MemoryFormError> {
        let read = || {
            let mut reader = Reader(bytes);
            let kind = match reader.u8()? {
                1 => Kind::Turn,
                10 => Kind::Install,
                _ => return None,
            };
            let author = HostId(reader.u8()?);
            let flags = Flags(reader.u16()?);
            let part_bytes = reader.u32()?;
            let epoch = Epoch(reader.u64()?);
            let prev = reader.u64()?;
            let (behind, credit) = (reader.u16()?, reader.u16()?);
            reader.zeros(4)?;
            Some(Self {
                kind,
                author,
                flags,
                part_bytes,
                epoch,
                prev,
                behind,
                credit,
                body: reader.0,
            })
        };
        read().ok_or(MemoryFormError {
            kind: "entry",
            len_bytes: bytes.len(),
        })
    }
}

/// What a host must know beside its log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredState {
    /// Its generation.
    pub generation: u64,
    /// The highest epoch that it promised.
    pub promised: Epoch,
    /// The epoch that it entered last.
    pub joined: Epoch,
    /// The last position that its log needs no more.
    pub position: Position,
    /// Epoch of the entry there.
    pub epoch: Epoch,
    /// Digest of the log up to there.
    pub digest: u64,
    /// What follows from the entries up to there.
    pub base: Base,
    /// Highest incarnation known of each host.
    pub crash_vector: Vec<u64>,
    /// Lowest incarnation known of each host, as many; 0 for none.
    pub earliest: Vec<u64>,
}

impl StoredState {
    /// The state's bytes.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let hosts = u32::try_from(self.crash_vector.len()).expect("at most 256 hosts");
        let mut out = Vec::new();
        out.extend_from_slice(&STATE_VERSION.to_le_bytes());
        out.extend_from_slice(&hosts.to_le_bytes());
        for number in [
            self.generation,
            self.promised.0,
            self.joined.0,
            self.position.0,
            self.epoch.0,
            self.digest,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.base.emit(&mut out);
        for inc in self.crash_vector.iter().chain(&self.earliest) {
            out.extend_from_slice(&inc.to_le_bytes());
        }
        out
    }

    /// Reads a state.
    ///
    /// # Errors
    ///
    /// [`MemoryFormError`] if it does not have the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, MemoryFormError> {
        let read = || {
            let mut reader = Reader(bytes);
            let (version, hosts) = (reader.u32()?, usize::try_from(reader.u32()?).ok()?);
            if version != STATE_VERSION || hosts > crate::quorum::HOSTS_MAX {
                return None;
            }
            let generation = reader.u64()?;
            let (promised, joined) = (Epoch(reader.u64()?), Epoch(reader.u64()?));
            let (position, epoch) = (Position(reader.u64()?), Epoch(reader.u64()?));
            let digest = reader.u64()?;
            let base_bytes = reader.0.len().checked_sub(hosts * 16)?;
            let base = Base::parse(reader.bytes(base_bytes)?).ok()?;
            let (crash_vector, earliest) = (reader.numbers(hosts)?, reader.numbers(hosts)?);
            reader.end()?;
            (base.senders.len() == hosts).then_some(Self {
                generation,
                promised,
                joined,
                position,
                epoch,
                digest,
                base,
                crash_vector,
                earliest,
            })
        };
        read().ok_or(MemoryFormError {
            kind: "state",
            len_bytes: bytes.len(),
        })
    }
}
