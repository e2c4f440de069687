//! From agreed positions to messages: takes batches apart and puts fragments together.
//!
//! A message is delivered at the position of its last fragment; its place in the order is
//! `position << 16 | index`, where `index` counts the messages that end in that turn. A message
//! whose sender is not in a new view, or returns as another incarnation, is dropped at that
//! position by every host.

use std::collections::BTreeMap;

use super::Member;
use crate::engine::ring::log::{Entry, Ground, near};
use crate::engine::{Delivery, Event, Stage, Ticket, View};
use crate::ids::{GroupId, HostId, Position, Seq};
use crate::planted::{self, Mistake};
use crate::wire::HostSet;
use crate::wire::batch;
use crate::wire::body;

/// Bits of a place that count messages inside a turn.
const INDEX_BITS: u32 = 16;
/// Most messages that one turn may end.
pub(super) const MESSAGES_PER_TURN_MAX: usize = 1 << INDEX_BITS;

/// Fragments of a message that are here.
#[derive(Debug)]
struct Partial {
    number: u64,
    bytes: Vec<u8>,
}

/// How far delivery has come.
#[derive(Debug)]
pub(super) struct Deliverer {
    /// Everything up to here was delivered.
    done: Position,
    /// Where in the next entry's body delivery stands.
    offset: usize,
    /// Messages that ended in the next entry so far.
    index: u64,
    open: BTreeMap<HostId, Partial>,
    /// Of each host: incarnation and number of its last delivered message.
    senders: Vec<(u64, u64)>,
    ring: HostSet,
    /// Messages up to here are none of this host's business.
    skip_to: Position,
    seq: Seq,
    /// The message that was put together last.
    whole: Vec<u8>,
}

/// A message that is ready.
struct Ready {
    group: GroupId,
    author: HostId,
    number: u64,
    origin: u32,
    /// Where in the entry's body; `None`: it was put together.
    place: Option<core::ops::Range<usize>>,
    position: Position,
    seq: Seq,
    /// It was submitted to this incarnation of this host.
    is_own: bool,
}

impl Deliverer {
    pub(super) fn new(ground: &Ground) -> Self {
        Self {
            done: ground.position,
            offset: 0,
            index: 0,
            open: BTreeMap::new(),
            senders: ground.senders.clone(),
            ring: ground.ring,
            skip_to: Position(0),
            seq: Seq(0),
            whole: Vec::new(),
        }
    }

    pub(super) const fn done(&self) -> Position {
        self.done
    }

    pub(super) const fn seq(&self) -> Seq {
        self.seq
    }

    /// Begins again behind what nobody keeps.
    pub(super) fn begin_after(&mut self, ground: &Ground) {
        let (skip_to, seq) = (self.skip_to, self.seq);
        *self = Self::new(ground);
        self.skip_to = skip_to;
        self.seq = seq;
    }

    /// Incarnation of a host whose messages come next.
    pub(super) fn incarnation(&self, host: HostId) -> u64 {
        self.senders[usize::from(host.0)].0
    }

    /// Nothing up to `position` is delivered.
    pub(super) fn skip_to(&mut self, position: Position) {
        self.skip_to = self.skip_to.max(position);
    }

    /// Takes one piece in. Returns whether it completes a message, and that message's number.
    fn take(&mut self, author: HostId, piece: &batch::Entry<'_>) -> Option<u64> {
        let last = self.senders[usize::from(author.0)].1;
        let number = near(last, piece.number);
        if piece.is_first() && piece.is_last() {
            self.open.remove(&author);
            return Some(number);
        }
        let keeps = planted::is(Mistake::FirstDoesNotDiscard);
        if piece.is_first() && !(keeps && self.open.contains_key(&author)) {
            self.open.insert(
                author,
                Partial {
                    number,
                    bytes: Vec::new(),
                },
            );
        }
        let partial = self
            .open
            .get_mut(&author)
            .filter(|partial| partial.number == number)?;
        partial.bytes.extend_from_slice(piece.data);
        if !piece.is_last() && !planted::is(Mistake::LastIgnored) {
            return None;
        }
        self.whole = self.open.remove(&author).map(|partial| partial.bytes)?;
        Some(number)
    }

    /// The next entry is a change of members. Returns the event.
    fn change(&mut self, entry: &Entry, view: &body::View) -> View {
        for (sender, inc) in self.senders.iter_mut().zip(&view.crash_vector) {
            if *inc > sender.0 {
                let goes_on = planted::is(Mistake::NumbersGoOn);
                *sender = (*inc, if goes_on { sender.1 } else { 0 });
            }
        }
        // An INSTALL ends every open message: its sender begins it again, or is gone. A change
        // inside an epoch ends those of who left.
        let is_install = !view.bounds.is_empty() || entry.kind == crate::wire::Kind::Install;
        let ends_all = is_install && !planted::is(Mistake::FirstDoesNotDiscard);
        self.open
            .retain(|host, _| !ends_all && view.ring.contains(*host));
        let before = std::mem::replace(&mut self.ring, view.ring);
        View {
            members: view.ring.iter().collect(),
            epoch: entry.epoch,
            position: entry.position,
            joined: view.ring.minus(&before).iter().collect(),
            left: before.minus(&view.ring).iter().collect(),
        }
    }

    fn finish_entry(&mut self) -> bool {
        self.done = self.done.next();
        self.offset = 0;
        self.index = 0;
        self.open.is_empty()
    }
}

impl Member {
    /// The next message whose level is reached.
    pub(in crate::engine::ring) fn poll_deliver(&mut self) -> Option<Delivery<'_>> {
        if self.outbox.is_held() || self.fatal.is_some() {
            return None;
        }
        let ready = self.next_ready()?;
        let mut origin = u64::from(ready.origin);
        if ready.is_own {
            let own = self.queue.take_packed();
            assert_eq!(
                own.ticket,
                Ticket(ready.number),
                "own messages keep their order (I9)"
            );
            origin = own.origin;
        }
        let bytes = match ready.place {
            None => &self.deliverer.whole[..],
            Some(place) => {
                let entry = self
                    .log
                    .get(ready.position)
                    .expect("what is delivered is held");
                &entry.body[place]
            }
        };
        Some(Delivery {
            seq: ready.seq,
            position: ready.position,
            group: ready.group,
            host: ready.author,
            ticket: Ticket(ready.number),
            origin,
            stage: self.params.level,
            bytes,
        })
    }

    /// The position up to which messages may be delivered.
    pub(super) fn deliverable(&self) -> Position {
        match self.params.level {
            _ if planted::is(Mistake::DeliversTail) => self.tail(),
            Stage::Durable => self.marks.durable(),
            Stage::Safe if !planted::is(Mistake::SafeIsAgreed) => self.marks.safe(),
            Stage::Tail | Stage::Agreed | Stage::Safe => self.marks.agreed(),
        }
    }

    fn next_ready(&mut self) -> Option<Ready> {
        let up_to = self.deliverable();
        loop {
            let position = self.deliverer.done.next();
            if position > up_to {
                self.trim();
                return None;
            }
            let entry = self
                .log
                .get(position)
                .expect("what is agreed is held or delivered");
            if let Some(view) = &entry.view {
                let view = self.deliverer.change(entry, view);
                if position > self.deliverer.skip_to {
                    self.outbox.events.push_back(Event::View(view));
                }
                self.end_entry(position);
                continue;
            }
            let at = self.deliverer.offset;
            let piece = batch::entry_at(&entry.body, at).expect("checked when it came");
            let Some((piece, next)) = piece else {
                self.end_entry(position);
                continue;
            };
            let author = entry.author;
            let completed = self.deliverer.take(author, &piece);
            let place = piece.is_first().then_some(at + batch::ENTRY_HEAD_BYTES);
            let place = place.map(|from| from..from + piece.data.len());
            let (group, origin) = (piece.group, piece.origin);
            self.deliverer.offset = next;
            let Some(number) = completed else { continue };
            let (inc, sender) = &mut self.deliverer.senders[usize::from(author.0)];
            let is_own = author == self.me && *inc == self.inc;
            if number != *sender + 1 {
                let found = format!("{author:?} {number} after {sender} at {position:?}");
                self.fail("I9", found);
                return None;
            }
            *sender = number;
            let seq = Seq(position.0 << INDEX_BITS | self.deliverer.index);
            self.deliverer.index += 1;
            if position <= self.deliverer.skip_to {
                continue;
            }
            self.deliverer.seq = seq;
            return Some(Ready {
                group,
                author,
                number,
                origin,
                place,
                position,
                seq,
                is_own,
            });
        }
    }

    fn end_entry(&mut self, position: Position) {
        let is_clean = self.deliverer.finish_entry();
        if let Some(entry) = self.log.get_mut(position) {
            entry.is_clean = is_clean;
        }
    }

    /// The highest position whose loss nobody would notice: delivered here, held by every member,
    /// and with no message half below it.
    pub(super) fn trimmable(&self) -> Position {
        let held = if planted::is(Mistake::TrimsAgreed) {
            self.marks.agreed()
        } else {
            self.marks.safe()
        };
        let mut position = held.min(self.deliverer.done);
        while self.log.get(position).is_some_and(|entry| !entry.is_clean) {
            position = position.before();
        }
        position.max(self.log.base())
    }

    /// Trims what exceeds the bytes to retain.
    pub(super) fn trim(&mut self) {
        if self.log.bytes() <= self.params.retain_bytes {
            return;
        }
        let up_to = self.trimmable();
        let before = self.log.bytes();
        let mut is_clean = true;
        while self.log.base() < up_to {
            if is_clean && self.log.bytes() <= self.params.retain_bytes {
                break;
            }
            is_clean = self.log.trim_one();
        }
        self.note_trimmed(before - self.log.bytes());
    }
}
