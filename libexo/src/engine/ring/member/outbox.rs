//! What waits to be polled. While a record is on its way to stable storage nothing leaves.

use std::collections::VecDeque;

use crate::engine::{Event, Notice, PersistId, Record, Transmit};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Transmit>,
    records: VecDeque<Record>,
    pub(super) events: VecDeque<Event>,
    pub(super) notices: VecDeque<Notice>,
    last_record: PersistId,
    durable: PersistId,
}

impl Outbox {
    /// Whether outputs must wait for a record.
    pub(super) fn is_held(&self) -> bool {
        self.durable < self.last_record
    }

    pub(super) fn persist(&mut self, bytes: Vec<u8>) {
        self.last_record = PersistId(self.last_record.0 + 1);
        self.records.push_back(Record {
            id: self.last_record,
            bytes,
        });
    }

    pub(super) fn on_durable(&mut self, record: PersistId) {
        self.durable = self.durable.max(record);
    }

    pub(super) fn send(&mut self, frame: Transmit) {
        self.frames.push_back(frame);
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn poll_frame(&mut self) -> Option<Transmit> {
        self.frames.pop_front()
    }

    pub(super) fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }
}
