//! Disks: records and units of the journal reach them one after the other, slowly or not at all;
//! what a crash leaves.

use std::collections::VecDeque;

use libexo::engine::ring::{Memory, Ring};
use libexo::engine::{LogRecord, Record, Unit, UnitId};
use libexo::ids::Position;
use libexo::wire::memory::StoredEntry;
use libexo::wire::record::Record as SmallRecord;

use super::{Cluster, What};
use crate::checker::Broken;
use crate::fault::Fault;

/// The journal of one host.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Handed over, and not synced.
    pending: VecDeque<Unit>,
    is_syncing: bool,
    generation: u64,
    base: Position,
    entries: Vec<Vec<u8>>,
    state: Option<Vec<u8>>,
    /// Up to here the owner said that it needs nothing.
    needed_after: Position,
}

impl Journal {
    fn tail(&self) -> Position {
        Position(self.base.0 + self.entries.len() as u64)
    }

    /// Whether it makes a host of this generation one that remembers.
    const fn is_of(&self, generation: u64) -> bool {
        generation != 0 && self.generation == generation && self.state.is_some()
    }

    fn apply(&mut self, record: LogRecord) {
        match record {
            LogRecord::Begin { generation } => {
                let pending = std::mem::take(&mut self.pending);
                *self = Self {
                    pending,
                    is_syncing: self.is_syncing,
                    generation,
                    ..Self::default()
                };
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
        while self.pending.front().is_some_and(|unit| unit.id.0 <= id)
            && let Some(unit) = self.pending.pop_front()
        {
            let records = unit.records.into_iter();
            records.for_each(|record| self.apply(record));
        }
        // Old segments go.
        let gone = self.needed_after.0.saturating_sub(self.base.0);
        let gone =
            usize::try_from(gone).map_or(self.entries.len(), |gone| gone.min(self.entries.len()));
        self.entries.drain(..gone);
        self.base = Position(self.base.0 + gone as u64);
    }
}

impl Cluster<'_> {
    /// When a write that is handed to the disk now will be done.
    fn disk_done(&mut self, host: usize) -> u64 {
        let (least, most) = self.plan.sync;
        let drawn = least + self.prng.below(most - least);
        let own = &mut self.hosts[host];
        let (each, until) = own.disk_slow;
        let slow = if until > self.now { each } else { 0 };
        own.disk_free = own.disk_free.max(self.now) + drawn + slow;
        own.disk_free
    }

    pub(super) fn write(&mut self, host: usize, record: Record) {
        let at = self.disk_done(host);
        let life = self.hosts[host].life;
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

    /// Units for the journal; one sync is under way at a time, with all that came before it.
    pub(super) fn append(&mut self, host: usize, units: Vec<Unit>) {
        self.hosts[host].journal.pending.extend(units);
        self.begin_sync(host);
    }

    fn begin_sync(&mut self, host: usize) {
        let journal = &mut self.hosts[host].journal;
        let Some(last) = journal.pending.back().filter(|_| !journal.is_syncing) else {
            return;
        };
        let id = last.id.0;
        journal.is_syncing = true;
        let life = self.hosts[host].life;
        let at = self.disk_done(host);
        self.at(at, What::Synced { host, life, id });
    }

    /// Whether a write of this life is done.
    fn is_written(&mut self, host: usize, life: u64) -> bool {
        let own = &self.hosts[host];
        if own.life != life || own.ring.is_none() {
            return false;
        }
        if own.is_disk_broken && !self.is_healed {
            self.outcome.faults.count(Fault::DiskError);
            self.tell(Some(host), false, || "disk error, halts".to_owned());
            let at = self.hosts[host].repaired_at;
            self.crash(host);
            self.at(at, What::Restart { host });
            return false;
        }
        true
    }

    pub(super) fn durable(
        &mut self,
        host: usize,
        life: u64,
        id: u64,
        bytes: Vec<u8>,
    ) -> Result<(), Broken> {
        if !self.is_written(host, life) {
            return Ok(());
        }
        self.record(&[5, self.now, host as u64, id]);
        self.hosts[host].record = Some(bytes);
        self.on_durable(host, id);
        self.pump(host)
    }

    pub(super) fn synced(&mut self, host: usize, life: u64, id: u64) -> Result<(), Broken> {
        if !self.is_written(host, life) {
            return Ok(());
        }
        self.record(&[6, self.now, host as u64, id]);
        let own = &mut self.hosts[host];
        own.journal.is_syncing = false;
        own.journal.sync(id);
        self.note_journal(host);
        self.begin_sync(host);
        self.tell_ring(host, |ring, now| ring.on_synced(now, UnitId(id)));
        self.pump(host)
    }

    fn note_journal(&mut self, host: usize) {
        let journal = &self.hosts[host].journal;
        let Some(last) = journal.entries.last() else {
            return;
        };
        let last = StoredEntry::parse(last).expect("the engine wrote it");
        let (at, tail) = ((journal.generation, last.epoch, host), journal.tail());
        self.note_stored(at, tail);
    }

    /// The engine is gone, and with it what was not synced; some of what was under way to the
    /// journal has reached it.
    pub(super) fn crash(&mut self, host: usize) {
        self.count_life(host);
        let journal = &self.hosts[host].journal;
        let ids: Vec<u64> = journal.pending.iter().map(|unit| unit.id.0).collect();
        let reached = self.prng.index(ids.len() + 1);
        let lost = ids.len() - reached;
        let own = &mut self.hosts[host];
        own.ring = None;
        own.disk_free = self.now;
        if let Some(id) = ids[..reached].last() {
            own.journal.sync(*id);
        }
        own.journal.pending.clear();
        own.journal.is_syncing = false;
        self.note_journal(host);
        let generation = self.generation_of(host);
        let listens = self.plan.listens(host);
        let own = &mut self.hosts[host];
        own.has_forgotten = !listens && generation != 0 && !own.journal.is_of(generation);
        own.has_agreed &= !own.has_forgotten;
        self.record(&[7, self.now, host as u64, lost as u64]);
        if lost > 0 {
            self.outcome.faults.count(Fault::LostTail);
        }
        self.tell(Some(host), false, || format!("down, {lost} units lost"));
    }

    /// What the small record says at a start.
    pub(super) fn stored(&self, host: usize) -> Option<SmallRecord> {
        let bytes = self.hosts[host].record.as_ref();
        bytes.map(|bytes| SmallRecord::parse(bytes).expect("it was written whole"))
    }

    fn generation_of(&self, host: usize) -> u64 {
        self.stored(host).map_or(0, |stored| stored.generation)
    }

    /// What the journal holds at a start, if it is of the host's generation.
    pub(super) fn memory(&self, host: usize) -> Option<Memory> {
        let journal = &self.hosts[host].journal;
        let state = journal.state.as_ref()?;
        if !journal.is_of(self.generation_of(host)) {
            return None;
        }
        let memory = Memory::read(self.plan.voters(), state, journal.base, &journal.entries);
        Some(memory.expect("the engine wrote it"))
    }

    /// It forgot, and is admitted again: it counts as one that remembers, and will after a crash.
    pub(super) fn is_back(&self, host: usize, ring: &Ring) -> bool {
        let is_kept = || {
            let journal = &self.hosts[host].journal;
            !self.plan.has_journal || journal.is_of(self.generation_of(host))
        };
        ring.marks().agreed() > Position(0) && is_kept()
    }
}
