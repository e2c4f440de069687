//! The log of one host: entries above `base`, what was trimmed below it, and what follows from
//! them (digest, ring, owner).

use std::collections::VecDeque;

use super::parts::Whole;
use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};
use crate::quorum::majority;
use crate::wire::body::{Base, View};
use crate::wire::{Flags, HEADER_BYTES, Header, HostSet, Kind, RingId, batch, digest, emit};

/// What an entry takes besides its body.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// One position of the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    pub(super) author: HostId,
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    /// Digest of the log below.
    pub(super) prev: u64,
    /// Digest of the log up to here.
    pub(super) digest: u64,
    pub(super) behind: u16,
    pub(super) credit: u16,
    /// Bytes of each part but the last.
    pub(super) part_bytes: usize,
    pub(super) body: Vec<u8>,
    /// The body of a change of members.
    pub(super) view: Option<Box<View>>,
    /// Bytes of the log up to and with this entry, counted from anywhere.
    pub(super) bytes_up_to: usize,
    /// No message of several entries is open after this one; known once it was delivered.
    pub(super) is_clean: bool,
}

impl Entry {
    /// Gives the assembled parts of a turn or an INSTALL their type. `None`: malformed.
    pub(super) fn from_parts(whole: Whole) -> Option<Self> {
        let Whole {
            header,
            body,
            part_bytes,
        } = whole;
        let flags = Flags::WOKEN
            .with(Flags::VIEW)
            .with(Flags::EMPTY)
            .with(Flags::SYNCED);
        let flags = Flags(header.flags.0 & flags.0);
        let is_view = header.kind == Kind::Install || flags.has(Flags::VIEW);
        let view = if is_view {
            Some(Box::new(View::parse(&body).ok()?))
        } else {
            batch::check(&body).ok()?;
            None
        };
        if header.seq == Position(0) || (flags.has(Flags::EMPTY) && !body.is_empty()) {
            return None;
        }
        let digest = digest::next(header.prev, header.epoch, header.seq, header.src, &body);
        Some(Self {
            position: header.seq,
            epoch: header.epoch,
            author: header.src,
            kind: header.kind,
            flags,
            prev: header.prev,
            digest,
            behind: header.behind,
            credit: header.credit,
            part_bytes,
            body,
            view,
            bytes_up_to: 0,
            is_clean: false,
        })
    }

    /// Whether the ring after it, if it changes the ring, is a majority of the configured hosts and
    /// none but them. A ring of one would take its turns for ever.
    pub(super) fn is_of(&self, hosts: usize) -> bool {
        self.view
            .as_ref()
            .is_none_or(|view| is_ring_of(&view.ring, hosts))
    }

    /// Whether it moves messages or members.
    pub(super) fn is_payload(&self) -> bool {
        !self.body.is_empty()
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.body.len()
    }

    /// Header and payload of each of its frames.
    pub(super) fn frames(
        &self,
        ring: RingId,
        generation: u32,
        transit: Flags,
        dst: HostId,
    ) -> impl Iterator<Item = (Header, &[u8])> + '_ {
        let part_bytes = self.part_bytes.max(1);
        let parts = self.body.len().div_ceil(part_bytes).max(1);
        let parts = u16::try_from(parts).expect("a turn has at most 65535 parts");
        let mut at = 0;
        (0..parts).map(move |part| {
            let from = usize::from(part) * part_bytes;
            let to = (from + part_bytes).min(self.body.len());
            let header = Header {
                kind: self.kind,
                flags: self.flags.with(transit),
                src: self.author,
                dst,
                ring,
                generation,
                epoch: self.epoch,
                seq: self.position,
                prev: self.prev,
                behind: self.behind,
                credit: self.credit,
                part,
                parts,
                count: self.pass_entries(&mut at, to),
            };
            (header, &self.body[from..to])
        })
    }

    /// Moves `at` over the batch entries that begin before `end`. Returns how many.
    fn pass_entries(&self, at: &mut usize, end: usize) -> u16 {
        let mut count = 0;
        while *at < end
            && self.view.is_none()
            && let Ok(Some((_, next))) = batch::entry_at(&self.body, *at)
        {
            *at = next;
            count += 1;
        }
        count
    }

    /// Bytes of a part for frames of at most `frame_bytes_max`.
    pub(super) const fn part_bytes(frame_bytes_max: usize) -> usize {
        frame_bytes_max - HEADER_BYTES
    }
}

/// What is known of a position without its entry.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    pub(super) digest: u64,
    pub(super) author: HostId,
    /// Who takes turns after it.
    pub(super) ring: HostSet,
    /// Of each host: incarnation and number of its last message at or below.
    pub(super) senders: Vec<(u64, u64)>,
}

impl Ground {
    /// Before the first position.
    pub(super) fn first(hosts: usize, digest: u64) -> Self {
        Self {
            position: Position(0),
            epoch: Epoch(0),
            digest,
            author: HostId(0),
            ring: HostSet::default(),
            senders: vec![(0, 0); hosts],
        }
    }

    /// Moves on over one entry.
    pub(super) fn pass(&mut self, entry: &Entry) {
        self.position = entry.position;
        self.epoch = entry.epoch;
        self.digest = entry.digest;
        self.author = entry.author;
        if let Some(view) = &entry.view {
            if !planted::is(Mistake::TrimForgetsRing) {
                self.ring = view.ring;
            }
            for (sender, inc) in self.senders.iter_mut().zip(&view.crash_vector) {
                if *inc > sender.0 {
                    *sender = (*inc, 0);
                }
            }
            return;
        }
        let mut at = 0;
        let number = &mut self.senders[usize::from(entry.author.0)].1;
        while let Ok(Some((piece, next))) = batch::entry_at(&entry.body, at) {
            if piece.is_last() && !planted::is(Mistake::BaseWithoutNumbers) {
                *number = near(*number, piece.number);
            }
            at = next;
        }
    }

    /// As frames and journals carry it.
    pub(super) fn base(&self) -> Base {
        Base {
            ring: self.ring,
            author: self.author.0,
            senders: self.senders.clone(),
        }
    }

    /// As the frame in front of a FETCHED body.
    pub(super) fn frame(&self, ring: RingId, generation: u32, src: HostId) -> Vec<u8> {
        let mut body = Vec::new();
        self.base().emit(&mut body);
        let header = Header {
            kind: Kind::Base,
            flags: Flags::default(),
            src,
            dst: src,
            ring,
            generation,
            epoch: self.epoch,
            seq: self.position,
            prev: self.digest,
            behind: 0,
            credit: 0,
            part: 0,
            parts: 1,
            count: 0,
        };
        emit(&header, &body)
    }

    /// From the frame of [`frame`](Self::frame). `None`: malformed.
    pub(super) fn from_frame(header: &Header, payload: &[u8], hosts: usize) -> Option<Self> {
        let base = Base::parse(payload).ok()?;
        let is_of_hosts = base.senders.len() == hosts
            && usize::from(base.author) < hosts
            && is_ring_of(&base.ring, hosts);
        is_of_hosts.then_some(Self {
            position: header.seq,
            epoch: header.epoch,
            digest: header.prev,
            author: HostId(base.author),
            ring: base.ring,
            senders: base.senders,
        })
    }
}

fn is_ring_of(ring: &HostSet, hosts: usize) -> bool {
    ring.len() >= majority(hosts) && HostSet::first(hosts).covers(ring)
}

/// The number next after `known` (or near it) whose low half is `low`.
pub(super) fn near(known: u64, low: u32) -> u64 {
    let same = known & !u64::from(u32::MAX) | u64::from(low);
    if same < known && known - same > u64::from(u32::MAX / 2) {
        same + (1 << 32)
    } else {
        same
    }
}

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    base: Ground,
    entries: VecDeque<Entry>,
    /// Changes of the ring above the base: position and the ring after it.
    rings: VecDeque<(Position, HostSet)>,
    /// Who may write the position after the tail.
    owner: Option<HostId>,
    bytes: usize,
    /// Entries at the end that move nothing.
    quiet: u64,
}

impl Log {
    pub(super) fn new(base: Ground) -> Self {
        Self {
            owner: base.ring.next_after(base.author),
            base,
            entries: VecDeque::new(),
            rings: VecDeque::new(),
            bytes: 0,
            quiet: 0,
        }
    }

    pub(super) const fn base(&self) -> Position {
        self.base.position
    }

    pub(super) const fn base_digest(&self) -> u64 {
        self.base.digest
    }

    /// What the log begins behind.
    pub(super) const fn ground(&self) -> &Ground {
        &self.base
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the entries above `position`.
    pub(super) fn bytes_above(&self, position: Position) -> usize {
        let up_to = self.entries.back().map_or(0, |entry| entry.bytes_up_to);
        let below = self.get(position).map(|entry| entry.bytes_up_to);
        below.map_or(self.bytes, |below| up_to - below)
    }

    pub(super) const fn quiet(&self) -> u64 {
        self.quiet
    }

    pub(super) fn tail(&self) -> Position {
        self.entries
            .back()
            .map_or(self.base.position, |entry| entry.position)
    }

    pub(super) fn tail_epoch(&self) -> Epoch {
        self.entries
            .back()
            .map_or(self.base.epoch, |entry| entry.epoch)
    }

    pub(super) fn tail_digest(&self) -> u64 {
        self.entries
            .back()
            .map_or(self.base.digest, |entry| entry.digest)
    }

    pub(super) fn ring(&self) -> HostSet {
        self.rings.back().map_or(self.base.ring, |(_, ring)| *ring)
    }

    /// The only host that may write the position after the tail (R2).
    pub(super) const fn owner_of_next(&self) -> Option<HostId> {
        self.owner
    }

    /// To be called whenever the tail is another.
    fn note_owner(&mut self) {
        let author = self
            .entries
            .back()
            .map_or(self.base.author, |entry| entry.author);
        let is_change = self
            .entries
            .back()
            .is_some_and(|entry| entry.view.is_some());
        let mut ring = self.ring();
        if planted::is(Mistake::OwnerOfOldRing) && is_change && self.rings.len() > 1 {
            ring = self.rings[self.rings.len() - 2].1;
        }
        self.owner = ring.next_after(author);
    }

    pub(super) fn get(&self, position: Position) -> Option<&Entry> {
        let index = position.0.checked_sub(self.base.position.0 + 1)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    pub(super) fn get_mut(&mut self, position: Position) -> Option<&mut Entry> {
        let index = position.0.checked_sub(self.base.position.0 + 1)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn digest_at(&self, position: Position) -> Option<u64> {
        if position == self.base.position {
            return Some(self.base.digest);
        }
        self.get(position).map(|entry| entry.digest)
    }

    pub(super) fn epoch_at(&self, position: Position) -> Option<Epoch> {
        if position == self.base.position {
            return Some(self.base.epoch);
        }
        self.get(position).map(|entry| entry.epoch)
    }

    /// Appends what fits the tail.
    pub(super) fn push(&mut self, mut entry: Entry) {
        assert_eq!(
            entry.position,
            self.tail().next(),
            "the log has no gaps (I6)"
        );
        assert!(
            entry.epoch >= self.tail_epoch(),
            "epochs never decrease along the log (I4)"
        );
        assert_eq!(
            entry.prev,
            self.tail_digest(),
            "an entry extends the log it names (R2)"
        );
        if let Some(view) = &entry.view {
            self.rings.push_back((entry.position, view.ring));
        }
        let moves = entry.is_payload() || entry.flags.has(Flags::WOKEN);
        self.quiet = if moves { 0 } else { self.quiet + 1 };
        self.bytes += entry.bytes();
        let below = self.entries.back().map_or(0, |entry| entry.bytes_up_to);
        entry.bytes_up_to = below + entry.bytes();
        self.entries.push_back(entry);
        self.note_owner();
    }

    /// Takes everything above `position` away.
    pub(super) fn cut(&mut self, position: Position) {
        while self.tail() > position {
            let entry = self.entries.pop_back().expect("the tail is above the base");
            self.bytes -= entry.bytes();
        }
        while self.rings.back().is_some_and(|(at, _)| *at > position) {
            self.rings.pop_back();
        }
        self.note_owner();
        self.quiet = 0;
    }

    /// Trims the oldest entry. Returns whether no message is open after it.
    pub(super) fn trim_one(&mut self) -> bool {
        let entry = self
            .entries
            .pop_front()
            .expect("only what is held is trimmed");
        self.bytes -= entry.bytes();
        self.base.pass(&entry);
        while self
            .rings
            .front()
            .is_some_and(|(at, _)| *at <= self.base.position)
        {
            self.rings.pop_front();
        }
        entry.is_clean
    }

    /// What is known at `position`, which is not below the base.
    pub(super) fn ground_at(&self, position: Position) -> Ground {
        let mut ground = self.base.clone();
        for entry in self
            .entries
            .iter()
            .take_while(|entry| entry.position <= position)
        {
            ground.pass(entry);
        }
        ground
    }

    /// Epochs above the base, each with its first position there.
    pub(super) fn bounds(&self) -> Vec<(Epoch, Position)> {
        let mut bounds: Vec<(Epoch, Position)> = Vec::new();
        for entry in &self.entries {
            if bounds.last().is_none_or(|(epoch, _)| *epoch != entry.epoch) {
                bounds.push((entry.epoch, entry.position));
            }
        }
        bounds
    }

    /// The highest position at which this log and the one that an INSTALL at `start` describes
    /// are the same, if one is known.
    pub(super) fn common_with(&self, view: &View, start: Position) -> Option<Position> {
        let mut position = self.tail().min(start.before());
        while position >= self.base.position.max(view.base) {
            let is_same = if position == view.base {
                self.digest_at(position) == Some(view.base_digest)
            } else {
                let bound = view
                    .bounds
                    .iter()
                    .rev()
                    .find(|(_, first)| *first <= position);
                bound.is_some_and(|(epoch, _)| self.epoch_at(position) == Some(*epoch))
            };
            if is_same || planted::is(Mistake::CommonByLength) {
                return Some(position);
            }
            if position == Position(0) {
                return None;
            }
            position = position.before();
        }
        None
    }
}
