//! Frames that leave: control frames in parts, entries as they were written.

use super::spare::Spare;
use super::{Entry, Guard, Member, Outbox};
use crate::engine::Transmit;
use crate::ids::{Epoch, HostId, Position};
use crate::wire::{Flags, HEADER_BYTES, Header, Kind, draft};

/// What a frame passes before it is polled, while its content is lent from elsewhere in the host.
pub(super) struct Way<'a> {
    pub(super) guard: &'a mut Guard,
    pub(super) spare: &'a mut Spare,
    pub(super) outbox: &'a mut Outbox,
}

impl Way<'_> {
    pub(super) fn put_out(&mut self, to: Option<HostId>, header: &Header, payload: &[u8]) {
        let mut bytes = self.spare.take();
        draft(header, payload, &mut bytes);
        self.guard.seal(&mut bytes);
        self.outbox.send(Transmit { to, bytes });
    }
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
        let mut way = self.way();
        for part in 0..header.parts {
            let from = usize::from(part) * part_bytes;
            let payload = &body[from..body.len().min(from + part_bytes)];
            way.put_out(to, &Header { part, ..header }, payload);
        }
    }

    fn way(&mut self) -> Way<'_> {
        Way {
            guard: &mut self.guard,
            spare: &mut self.spare,
            outbox: &mut self.outbox,
        }
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
        let mut way = Way {
            guard: &mut self.guard,
            spare: &mut self.spare,
            outbox: &mut self.outbox,
        };
        for (header, payload) in entry.frames(ring, generation, transit, to.unwrap_or(HostId(0))) {
            way.put_out(to, &header, payload);
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
        let mut way = self.way();
        for (header, payload) in entry.frames(ring, generation, transit, dst) {
            way.put_out(to, &header, payload);
        }
    }
}
