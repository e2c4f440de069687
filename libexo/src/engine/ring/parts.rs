//! Puts the parts of a turn or of a long control frame together.
//!
//! All parts but the last are equally long, so each knows its place when it arrives. Deviation
//! from the specification, which leaves the lengths open.

use std::collections::BTreeMap;

use crate::engine::params::TURN_BYTES_LIMIT;
use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};
use crate::wire::body::Missing;
use crate::wire::{Flags, Frame, Header, Kind};

/// All parts of something.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    /// Of its first part.
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
    pub(super) part_bytes: usize,
}

impl Whole {
    /// What has one part only.
    pub(super) fn of(frame: &Frame<'_>) -> Self {
        let body = frame.payload.to_vec();
        Self {
            header: frame.header,
            part_bytes: body.len(),
            body,
        }
    }
}

/// Some parts of something.
#[derive(Clone, Debug)]
struct Parts {
    header: Header,
    have: Vec<bool>,
    missing: usize,
    part_bytes: Option<usize>,
    body: Vec<u8>,
    last: Option<Vec<u8>>,
}

/// What must be equal in all parts.
const fn key(header: &Header) -> (Kind, HostId, Epoch, Position, u64, u16) {
    (
        header.kind,
        header.src,
        header.epoch,
        header.seq,
        header.prev,
        header.parts,
    )
}

impl Parts {
    fn new(frame: &Frame<'_>) -> Self {
        let parts = usize::from(frame.header.parts);
        let transit = Flags::RTX
            .with(Flags::RTX2)
            .with(Flags::RELAY)
            .with(Flags::UNICAST);
        let flags = frame.header.flags.without(transit).without(Flags::AUTH);
        Self {
            header: Header {
                flags,
                part: 0,
                count: 0,
                ..frame.header
            },
            have: vec![false; parts],
            missing: parts,
            part_bytes: None,
            body: Vec::new(),
            last: None,
        }
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.have.len() + self.last.as_ref().map_or(0, Vec::len)
    }

    /// Takes a part. False: it does not fit the others.
    fn put(&mut self, frame: &Frame<'_>) -> bool {
        if key(&frame.header) != key(&self.header) {
            return false;
        }
        let mut index = usize::from(frame.header.part);
        if self.have[index] {
            return true;
        }
        if planted::is(Mistake::PartsAsTheyCome) {
            index = self.have.iter().take_while(|have| **have).count();
        }
        if index + 1 == self.have.len() {
            self.last = Some(frame.payload.to_vec());
        } else {
            let part_bytes = *self.part_bytes.get_or_insert(frame.payload.len());
            let body_bytes = part_bytes * (self.have.len() - 1);
            if frame.payload.len() != part_bytes || body_bytes > TURN_BYTES_LIMIT {
                return false;
            }
            self.body.resize(body_bytes, 0);
            self.body[index * part_bytes..][..part_bytes].copy_from_slice(frame.payload);
        }
        self.have[index] = true;
        self.missing -= 1;
        true
    }

    fn into_whole(self) -> Whole {
        let mut body = self.body;
        let last = self.last.expect("all parts are here");
        let part_bytes = self.part_bytes.unwrap_or(last.len());
        if body.is_empty() {
            body = last;
        } else {
            body.extend_from_slice(&last);
        }
        Whole {
            header: self.header,
            body,
            part_bytes,
        }
    }
}

/// Turns beyond the tail: early, or not all there.
#[derive(Debug, Default)]
pub(super) struct Early {
    turns: BTreeMap<(Epoch, Position), Parts>,
    bytes: usize,
}

impl Early {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Keeps a part, and gives way from the far end while there is more than `bytes_max`.
    pub(super) fn put(&mut self, frame: &Frame<'_>, bytes_max: usize) -> bool {
        let at = (frame.header.epoch, frame.header.seq);
        let parts = self.turns.entry(at).or_insert_with(|| Parts::new(frame));
        let before = if parts.missing == parts.have.len() {
            0
        } else {
            parts.bytes()
        };
        let fits = parts.put(frame);
        if parts.missing == parts.have.len() {
            self.turns.remove(&at);
            return fits;
        }
        self.bytes += parts.bytes() - before;
        // The first of them always stays, or a turn longer than the bound could never pass.
        while self.bytes > bytes_max && self.turns.len() > 1 {
            let Some((_, last)) = self.turns.pop_last() else {
                break;
            };
            self.bytes -= last.bytes();
        }
        fits
    }

    /// Takes a complete turn out.
    pub(super) fn take(&mut self, epoch: Epoch, position: Position) -> Option<Whole> {
        let at = (epoch, position);
        let parts = self.turns.get(&at)?;
        let has_holes = parts.missing > 0;
        if has_holes && !(planted::is(Mistake::TurnWithHoles) && parts.last.is_some()) {
            return None;
        }
        let parts = self.turns.remove(&at)?;
        self.bytes -= parts.bytes();
        Some(parts.into_whole())
    }

    /// Forgets what is of an older epoch, or at or below `tail` in this one.
    pub(super) fn forget_up_to(&mut self, epoch: Epoch, tail: Position) {
        let kept = self.turns.split_off(&(epoch, tail.next()));
        let gone = std::mem::replace(&mut self.turns, kept);
        self.bytes -= gone.values().map(Parts::bytes).sum::<usize>();
    }

    /// The highest position of `epoch` of which something is here, and its author.
    pub(super) fn highest(&self, epoch: Epoch) -> Option<(Position, HostId)> {
        let mut turns = self
            .turns
            .range((epoch, Position(0))..=(epoch, Position(u64::MAX)));
        turns
            .next_back()
            .map(|((_, at), parts)| (*at, parts.header.src))
    }

    /// What is missing above `tail` and up to `to`, at most `count_max` pieces.
    pub(super) fn missing(
        &self,
        epoch: Epoch,
        tail: Position,
        to: Position,
        count_max: usize,
    ) -> Vec<Missing> {
        let mut list = Vec::new();
        let mut position = tail.next();
        while position <= to && list.len() < count_max {
            match self.turns.get(&(epoch, position)) {
                None => list.push(Missing {
                    position,
                    first: 0,
                    last: u16::MAX,
                }),
                Some(parts) => parts.push_missing(position, &mut list),
            }
            position = position.next();
        }
        list.truncate(count_max);
        list
    }
}

impl Parts {
    fn push_missing(&self, position: Position, list: &mut Vec<Missing>) {
        let mut index = 0;
        while index < self.have.len() {
            let run = self.have[index..].iter().take_while(|have| !**have).count();
            if run > 0 {
                let part = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
                list.push(Missing {
                    position,
                    first: part(index),
                    last: part(index + run - 1),
                });
            }
            index += run + 1;
        }
    }
}

/// Long control frames: the latest of each kind from each host.
#[derive(Debug, Default)]
pub(super) struct LongFrames {
    slots: BTreeMap<(HostId, Kind), Parts>,
}

impl LongFrames {
    /// Takes a frame in; gives the whole once all parts are here.
    pub(super) fn put(&mut self, frame: &Frame<'_>) -> Option<Whole> {
        if frame.header.parts == 1 {
            return Some(Whole::of(frame));
        }
        let slot = (frame.header.src, frame.header.kind);
        let parts = self.slots.entry(slot).or_insert_with(|| Parts::new(frame));
        if !parts.put(frame) {
            // Something newer has begun.
            *parts = Parts::new(frame);
            if !parts.put(frame) {
                self.slots.remove(&slot);
                return None;
            }
        }
        if parts.missing > 0 {
            return None;
        }
        self.slots.remove(&slot).map(Parts::into_whole)
    }
}
