//! What waits to be polled. While a record is on its way to stable storage nothing leaves; frames
//! that stand for what the journal must hold, and those behind them, wait for their unit.

use std::collections::VecDeque;

use crate::engine::{Event, Notice, PersistId, Record, Transmit, UnitId};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<(UnitId, Transmit)>,
    records: VecDeque<(UnitId, Record)>,
    pub(super) events: VecDeque<Event>,
    pub(super) notices: VecDeque<Notice>,
    last_record: PersistId,
    durable: PersistId,
    /// The last unit for the journal.
    pub(super) last_unit: UnitId,
    /// The last unit that frames wait for.
    awaited: UnitId,
    synced: UnitId,
}

impl Outbox {
    /// Whether outputs must wait for a record.
    pub(super) fn is_held(&self) -> bool {
        self.durable < self.last_record
    }

    pub(super) fn persist(&mut self, bytes: Vec<u8>) {
        self.last_record = PersistId(self.last_record.0 + 1);
        let id = self.last_record;
        self.records.push_back((self.awaited, Record { id, bytes }));
    }

    pub(super) fn on_durable(&mut self, record: PersistId) {
        self.durable = self.durable.max(record);
    }

    pub(super) fn on_synced(&mut self, unit: UnitId) {
        self.synced = self.synced.max(unit);
    }

    /// Frames sent from here on wait until all that was recorded is on stable storage.
    pub(super) fn await_journal(&mut self) {
        self.awaited = self.last_unit;
    }

    /// Whether frames wait for the journal.
    pub(super) fn awaits_journal(&self) -> bool {
        self.synced < self.awaited
    }

    pub(super) fn send(&mut self, frame: Transmit) {
        self.frames.push_back((self.awaited, frame));
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn poll_frame(&mut self) -> Option<Transmit> {
        let (unit, _) = self.frames.front()?;
        if *unit > self.synced {
            return None;
        }
        self.frames.pop_front().map(|(_, frame)| frame)
    }

    pub(super) fn poll_record(&mut self) -> Option<Record> {
        let (unit, _) = self.records.front()?;
        if *unit > self.synced {
            return None;
        }
        self.records.pop_front().map(|(_, record)| record)
    }
}
