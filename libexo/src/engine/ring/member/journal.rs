//! What a host with a journal writes, and how far that is on stable storage.
//!
//! Every step of the log is a unit of the journal. A turn, an INSTALL, a PREPARE and a PROMISE
//! leave this host only when everything that they stand for is on stable storage; so whoever reads
//! one may count on it after a power cut, too. What is queued behind them waits as well.

use std::collections::VecDeque;

use super::{Entry, Member};
use crate::engine::{LogRecord, Unit, UnitId};
use crate::ids::Position;
use crate::planted::{self, Mistake};
use crate::wire::memory::StoredState;

/// The state is written anew when so many bytes were trimmed since, so that the journal can give
/// up what lies below.
const TRIMMED_BYTES_MAX: usize = 1 << 20;

/// A unit that is not on stable storage yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: UnitId,
    /// How far the log is on stable storage once it is.
    position: Position,
    bytes: usize,
}

/// The way to the journal.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The unit under way.
    open: Vec<LogRecord>,
    units: VecDeque<Unit>,
    last: UnitId,
    pending: VecDeque<Pending>,
    synced: Position,
    /// Bytes of units that are not on stable storage yet.
    backlog_bytes: usize,
    trimmed_bytes: usize,
}

impl Journal {
    pub(super) fn new(synced: Position) -> Self {
        Self {
            synced,
            ..Self::default()
        }
    }

    /// Up to here the log is on stable storage.
    pub(super) const fn synced(&self) -> Position {
        self.synced
    }

    pub(super) const fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    fn shorten(&mut self, keep: Position) {
        if planted::is(Mistake::CutStaysSynced) {
            return;
        }
        self.synced = self.synced.min(keep);
        for pending in &mut self.pending {
            pending.position = pending.position.min(keep);
        }
    }

    fn commit(&mut self, tail: Position) -> Option<UnitId> {
        if self.open.is_empty() {
            return None;
        }
        self.last = UnitId(self.last.0 + 1);
        let bytes = self.open.iter().map(bytes_of).sum();
        self.backlog_bytes += bytes;
        self.pending.push_back(Pending {
            id: self.last,
            position: tail,
            bytes,
        });
        self.units.push_back(Unit {
            id: self.last,
            records: std::mem::take(&mut self.open),
        });
        Some(self.last)
    }

    fn on_synced(&mut self, id: UnitId) {
        while let Some(first) = self.pending.front().copied()
            && first.id <= id
        {
            self.synced = first.position;
            self.backlog_bytes -= first.bytes;
            self.pending.pop_front();
        }
    }

    pub(super) fn poll(&mut self) -> Option<Unit> {
        self.units.pop_front()
    }
}

/// What a record takes in memory, roughly.
fn bytes_of(record: &LogRecord) -> usize {
    let body = match record {
        LogRecord::Begin { .. } | LogRecord::Cut { .. } => 0,
        LogRecord::Entry { bytes, .. } | LogRecord::State { bytes, .. } => bytes.len(),
    };
    size_of::<LogRecord>() + body
}

impl Member {
    /// The disk is so far behind that nothing more is taken in (I12).
    pub(super) fn is_journal_full(&self) -> bool {
        let bytes = self.journal.as_ref().map(|journal| journal.backlog_bytes);
        bytes.is_some_and(|bytes| bytes > self.params.receive_bytes)
    }

    pub(super) fn record_begin(&mut self) {
        let generation = self.generation;
        if let Some(journal) = &mut self.journal {
            journal.open.clear();
            journal.open.push(LogRecord::Begin { generation });
            journal.shorten(Position(0));
        }
    }

    pub(super) fn record_entry(&mut self, entry: &Entry) {
        if let Some(journal) = &mut self.journal {
            let position = entry.position;
            let bytes = entry.stored();
            journal.open.push(LogRecord::Entry { position, bytes });
        }
    }

    pub(super) fn record_cut(&mut self, keep: Position) {
        if let Some(journal) = &mut self.journal {
            journal.open.push(LogRecord::Cut { keep });
            journal.shorten(keep);
        }
    }

    pub(super) fn record_state(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let ground = self.log.ground();
        let state = StoredState {
            generation: self.generation,
            promised: self.promised,
            joined: self.joined,
            position: ground.position,
            epoch: ground.epoch,
            digest: ground.digest,
            base: ground.base(),
            crash_vector: self.crash_vector.clone(),
            earliest: self.earliest.clone(),
        };
        let base = ground.position;
        let bytes = state.emit();
        journal.open.push(LogRecord::State { base, bytes });
        journal.trimmed_bytes = 0;
    }

    /// What was recorded counts together.
    pub(super) fn commit_records(&mut self) {
        let tail = self.log.tail();
        if let Some(journal) = &mut self.journal
            && let Some(unit) = journal.commit(tail)
        {
            self.outbox.last_unit = unit;
        }
    }

    /// So many bytes of the log were trimmed.
    pub(super) fn note_trimmed(&mut self, bytes: usize) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        journal.trimmed_bytes += bytes;
        if journal.trimmed_bytes >= TRIMMED_BYTES_MAX {
            self.record_state();
            self.commit_records();
        }
    }

    pub(in crate::engine::ring) fn poll_journal(&mut self) -> Option<Unit> {
        self.journal.as_mut()?.poll()
    }

    pub(in crate::engine::ring) fn on_synced(&mut self, now: crate::time::Time, id: UnitId) {
        self.now = now;
        let Some(journal) = &mut self.journal else {
            return;
        };
        journal.on_synced(id);
        self.outbox.on_synced(id);
        self.update_agreement();
        self.advance();
    }
}
