//! The disk of a host: its small record and its journal. A crash loses what was not synced, but
//! perhaps not all of it.

use std::collections::VecDeque;

use libexo::engine::ring::{Memory, Ring};
use libexo::engine::{LogRecord, Record, Unit};
use libexo::ids::Position;

use super::{Cluster, What};
use crate::checker::Broken;

/// The journal of one host.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Handed over, and not synced.
    pending: VecDeque<Unit>,
    free: u64,
    generation: u64,
    base: Position,
    entries: Vec<Vec<u8>>,
    state: Option<Vec<u8>>,
    /// Below here the owner said that it needs nothing.
    needed_after: Position,
}

impl Journal {
    fn tail(&self) -> Position {
        Position(self.base.0 + self.entries.len() as u64)
    }

    fn apply(&mut self, record: LogRecord) {
        match record {
            LogRecord::Begin { generation } => {
                self.generation = generation;
                self.base = Position(0);
                self.entries.clear();
                self.state = None;
            }
            LogRecord::Entry { position, bytes } => {
                assert_eq!(position, self.tail().next(), "an entry follows the tail");
                self.entries.push(bytes);
            }
            LogRecord::Cut { keep } => {
                let kept = keep.0.checked_sub(self.base.0);
                match kept.and_then(|kept| usize::try_from(kept).ok()) {
                    Some(kept) if kept <= self.entries.len() => self.entries.truncate(kept),
                    _ => {
                        self.entries.clear();
                        self.base = keep;
                    }
                }
            }
            LogRecord::State { base, bytes } => {
                self.state = Some(bytes);
                self.needed_after = base;
            }
        }
    }

    fn sync(&mut self, id: u64) {
        while self.pending.front().is_some_and(|unit| unit.id.0 <= id) {
            let unit = self.pending.pop_front().expect("it is there");
            unit.records
                .into_iter()
                .for_each(|record| self.apply(record));
        }
        // Old segments go.
        let gone = self.needed_after.0.saturating_sub(self.base.0);
        let gone = usize::try_from(gone)
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        self.entries.drain(..gone);
        self.base = Position(self.base.0 + gone as u64);
    }
}

impl Cluster<'_> {
    /// Records reach the disk one after the other.
    pub(super) fn write(&mut self, host: usize, life: u64, record: Record) {
        let begins = self.hosts[host].disk_free.max(self.now);
        let at = begins + 10_000 + self.prng.below(3_000_000);
        self.hosts[host].disk_free = at;
        let (id, bytes) = (record.id.0, record.bytes);
        self.at(
            at,
            What::Durable {
                host,
                life,
                id,
                bytes,
            },
        );
    }

    /// Units reach the journal in order, several with one sync.
    pub(super) fn journal(&mut self, host: usize, life: u64, ring: &mut Ring) {
        let journal = &mut self.hosts[host].journal;
        let before = journal.pending.len();
        while let Some(unit) = ring.poll_journal() {
            journal.pending.push_back(unit);
        }
        if journal.pending.len() == before {
            return;
        }
        let id = journal.pending.back().expect("just handed over").id.0;
        let at = journal.free.max(self.now) + 10_000 + self.prng.below(self.plan.sync_most);
        self.hosts[host].journal.free = at;
        self.at(at, What::Synced { host, life, id });
    }

    pub(super) fn synced(&mut self, host: usize, life: u64, id: u64) -> Result<(), Broken> {
        if self.hosts[host].life != life || self.hosts[host].ring.is_none() {
            return Ok(());
        }
        self.hosts[host].journal.sync(id);
        let now = self.hosts[host].clock(self.now);
        if let Some(ring) = &mut self.hosts[host].ring {
            ring.on_synced(now, libexo::engine::UnitId(id));
        }
        self.pump(host)
    }

    /// The host's power is cut. Some of what was under way to its journal has reached it.
    pub(super) fn cut_power(&mut self, host: usize) {
        if self.hosts[host].ring.is_none() {
            return;
        }
        self.count_life(host);
        let journal = &self.hosts[host].journal;
        let ids: Vec<u64> = journal.pending.iter().map(|unit| unit.id.0).collect();
        let reached = self.prng.index(ids.len() + 1);
        let own = &mut self.hosts[host];
        own.ring = None;
        if let Some(id) = ids[..reached].last() {
            own.journal.sync(*id);
        }
        own.journal.pending.clear();
        own.journal.free = 0;
    }

    /// What the journal holds at a start, if the host has one and it is of this generation.
    pub(super) fn memory(&self, host: usize, generation: u64) -> Option<Memory> {
        let journal = &self.hosts[host].journal;
        let state = journal.state.as_ref()?;
        if journal.generation != generation || generation == 0 {
            return None;
        }
        let memory = Memory::read(self.plan.hosts, state, journal.base, &journal.entries);
        Some(memory.expect("the engine wrote it"))
    }

    pub(super) fn lose_disk(&mut self, host: usize) {
        self.hosts[host].journal = Journal::default();
    }
}
