//! What a host with a journal finds in it when it starts.

use super::log::{Entry, Ground, Log};
use super::parts::Whole;
use crate::ids::{Epoch, HostId, Position};
use crate::wire::memory::{MemoryFormError, StoredEntry, StoredState};
use crate::wire::{HEADER_BYTES, Header, Kind, RingId};

/// Everything that a host said or promised in its earlier lives: it comes back as one that
/// remembers.
#[derive(Debug)]
pub struct Memory {
    pub(super) generation: u64,
    pub(super) promised: Epoch,
    pub(super) joined: Epoch,
    pub(super) crash_vector: Vec<u64>,
    pub(super) earliest: Vec<u64>,
    pub(super) log: Log,
    pub(super) deliver_after: Position,
}

/// Why the bytes of a journal are no memory. The host must then be started without.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A record of another form.
    #[error(transparent)]
    Form(#[from] MemoryFormError),
    /// The state is of a ring with another number of hosts.
    #[error("the state is of {found} hosts where {expected} are configured")]
    Hosts {
        /// What was found.
        found: usize,
        /// What is configured.
        expected: usize,
    },
    /// The entries do not reach from the state's position on.
    #[error("the entries after {base:?} and up to {tail:?} do not go on from {state:?}")]
    Reach {
        /// The position before the first entry.
        base: Position,
        /// The last entry.
        tail: Position,
        /// What the state says.
        state: Position,
    },
    /// An entry that does not follow the one before it.
    #[error("the entry at {position:?} does not follow the one before it")]
    Chain {
        /// Its place.
        position: Position,
    },
}

impl Memory {
    /// The memory of a host of a ring of `hosts`: the latest `state` of its journal and the entries
    /// that follow position `base`.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if these bytes are not what an engine wrote.
    pub fn read(
        hosts: usize,
        state: &[u8],
        base: Position,
        entries: &[Vec<u8>],
    ) -> Result<Self, MemoryError> {
        let state = StoredState::parse(state)?;
        if state.crash_vector.len() != hosts {
            let found = state.crash_vector.len();
            let expected = hosts;
            return Err(MemoryError::Hosts { found, expected });
        }
        let ground = Ground {
            position: state.position,
            epoch: state.epoch,
            digest: state.digest,
            author: HostId(state.base.author),
            ring: state.base.ring,
            senders: state.base.senders,
        };
        let tail = Position(base.0 + entries.len() as u64);
        let state_at = ground.position;
        if state_at < base || tail < state_at {
            let state = state_at;
            return Err(MemoryError::Reach { base, tail, state });
        }
        let mut log = Log::new(ground);
        let below = usize::try_from(state_at.0 - base.0).unwrap_or(usize::MAX);
        for bytes in entries.iter().skip(below) {
            let position = log.tail().next();
            let entry = read_entry(position, bytes)?;
            let is_known = usize::from(entry.author.0) < hosts;
            let is_next = entry.prev == log.tail_digest() && entry.epoch >= log.tail_epoch();
            if !is_known || !is_next {
                return Err(MemoryError::Chain { position });
            }
            log.push(entry);
        }
        Ok(Self {
            generation: state.generation,
            promised: state.promised,
            joined: state.joined,
            crash_vector: state.crash_vector,
            earliest: state.earliest,
            log,
            deliver_after: Position(0),
        })
    }

    /// Nothing up to `position` is delivered again; without this everything is that the journal
    /// still holds.
    #[must_use]
    pub const fn deliver_after(mut self, position: Position) -> Self {
        self.deliver_after = position;
        self
    }

    /// The generation that it belongs to.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The last position held.
    #[must_use]
    pub fn tail(&self) -> Position {
        self.log.tail()
    }
}

fn read_entry(position: Position, bytes: &[u8]) -> Result<Entry, MemoryError> {
    let stored = StoredEntry::parse(bytes)?;
    let part_bytes = usize::try_from(stored.part_bytes).unwrap_or(usize::MAX);
    let header = Header {
        kind: stored.kind,
        flags: stored.flags,
        src: stored.author,
        dst: HostId(0),
        ring: RingId::default(),
        generation: 0,
        epoch: stored.epoch,
        seq: position,
        prev: stored.prev,
        behind: stored.behind,
        credit: stored.credit,
        part: 0,
        parts: 1,
        count: 0,
    };
    let whole = Whole {
        header,
        body: stored.body.to_vec(),
        part_bytes: part_bytes.clamp(1, usize::from(u16::MAX) - HEADER_BYTES),
    };
    let is_opening = stored.kind == Kind::Install;
    let entry = Entry::from_parts(whole).filter(|entry| !is_opening || entry.view.is_some());
    entry.ok_or(MemoryError::Chain { position })
}

impl Entry {
    /// As a record of the journal.
    pub(super) fn stored(&self) -> Vec<u8> {
        StoredEntry {
            kind: self.kind,
            author: self.author,
            flags: self.flags,
            part_bytes: u32::try_from(self.part_bytes).expect("shorter than a datagram"),
            epoch: self.epoch,
            prev: self.prev,
            behind: self.behind,
            credit: self.credit,
            body: &self.body,
        }
        .emit()
    }
}
