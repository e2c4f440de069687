//! Frames that leave: control frames in parts, entries as they were written.

use super::{Entry, Guard, Member, Outbox};
use crate::engine::Transmit;
use crate::ids::{Epoch, HostId, Position};
use crate::wire::{Flags, HEADER_BYTES, Header, Kind, emit};

fn put_out(guard: &mut Guard, outbox: &mut Outbox, to: Option<HostId>, mut bytes: Vec<u8>) {
    guard.seal(&mut bytes);
    outbox.send(Transmit { to, bytes });
}

impl Member {
    /// The header of a control frame: where this host stands.
    pub(super) fn own_header(&self, kind: Kind, epoch: Epoch) -> Header {
        Header {
            kind,
            flags: Flags::default(),
            src: self.me,
            dst: HostId(0),
            ring: self.ring_id,
            generation: self.generation_low(),
            epoch,
            seq: self.tail(),
            prev: self.log.tail_digest(),
            behind: self.behind(self.tail()),
            credit: 0,
            part: 0,
            parts: 1,
            count: 0,
        }
    }

    /// How far `position` lies above what is agreed, as headers carry it.
    pub(super) fn behind(&self, position: Position) -> u16 {
        u16::try_from(position.0 - self.marks.agreed().0).unwrap_or(u16::MAX)
    }

    /// Sends a control frame, in parts if it is long.
    pub(super) fn send(&mut self, to: Option<HostId>, mut header: Header, body: &[u8]) {
        if let Some(to) = to {
            header.flags = header.flags.with(Flags::UNICAST);
            header.dst = to;
        }
        let part_bytes = self.params.frame_bytes_max - HEADER_BYTES;
        header.parts = u16::try_from(body.len().div_ceil(part_bytes).max(1))
            .expect("bodies are far below 65535 parts");
        for part in 0..header.parts {
            let from = usize::from(part) * part_bytes;
            let payload = &body[from..body.len().min(from + part_bytes)];
            let bytes = emit(&Header { part, ..header }, payload);
            self.put_out(to, bytes);
        }
    }

    pub(super) fn put_out(&mut self, to: Option<HostId>, bytes: Vec<u8>) {
        put_out(&mut self.guard, &mut self.outbox, to, bytes);
    }

    /// Sends the last entry of the log.
    pub(super) fn send_tail(&mut self, to: Option<HostId>, transit: Flags) {
        let (ring, generation) = (self.ring_id, self.generation_low());
        let transit = if to.is_some() {
            transit.with(Flags::UNICAST)
        } else {
            transit
        };
        let Some(entry) = self.log.get(self.log.tail()) else {
            return;
        };
        for bytes in entry.frames(ring, generation, transit, to.unwrap_or(HostId(0))) {
            put_out(&mut self.guard, &mut self.outbox, to, bytes);
        }
    }

    /// Sends the frames of an entry that this host holds.
    pub(super) fn send_entry(&mut self, to: Option<HostId>, entry: &Entry, transit: Flags) {
        let transit = if to.is_some() {
            transit.with(Flags::UNICAST)
        } else {
            transit
        };
        let dst = to.unwrap_or(HostId(0));
        let (ring, generation) = (self.ring_id, self.generation_low());
        for bytes in entry.frames(ring, generation, transit, dst) {
            self.put_out(to, bytes);
        }
    }
}
