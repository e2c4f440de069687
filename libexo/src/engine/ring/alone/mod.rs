//! The ring of one: a single configured host, which always owns the token.
//!
//! Source: `docs/ring.md` (the Exo slides, with rules R1–R9). What is here is what those rules say
//! for n = 1: q = 1, the epoch is the first that this host can found, the owner of every position
//! is this host (R2), a turn is agreed and held by every member as soon as it is written (R3), and
//! no frames are sent. A turn packs whatever waits, up to `turn_bytes_max`, without delay.
//! Deviation from the handlers of section 6: a turn is taken when deliveries are polled, not at
//! each submit, so that a batch of submissions becomes one turn.
//!
//! Frames, epoch changes and recovery belong to rings of several hosts ([`super::member`]); a
//! frame that arrives is counted and dropped.

use std::collections::VecDeque;

use super::queue::Queue;
use crate::engine::marks::Marks;
use crate::engine::params::Params;
use crate::engine::{
    Admit, Delivery, Engine, Event, Frame, Hint, PersistId, Port, Record, Stage, Submission,
    Ticket, Transmit, View, Violation,
};
use crate::ids::{Epoch, HostId, Position, Seq};
use crate::time::Time;

/// One turn of the log that is not delivered whole yet.
#[derive(Clone, Copy, Debug)]
struct Turn {
    position: Position,
    epoch: Epoch,
    author: HostId,
    /// Messages of the turn that are still to be delivered.
    messages: usize,
}

/// The engine of the only host.
#[derive(Debug)]
pub(super) struct Alone {
    me: HostId,
    /// Members that take turns, in ring order.
    ring: Vec<HostId>,
    params: Params,
    promised: Epoch,
    joined: Epoch,
    marks: Marks,
    author_of_tail: HostId,
    /// Turns above what was delivered.
    log: VecDeque<Turn>,
    queue: Queue,
    /// Place of the last delivered message.
    seq: Seq,
    ticket: Ticket,
    events: VecDeque<Event>,
    frames_dropped: u64,
}

impl Alone {
    /// A ring of one: `me` is its only host.
    pub(super) fn new(me: HostId, params: Params) -> Self {
        params.assert_sound();
        let epoch = Epoch::first_of(me);
        let view = View::first(vec![me]);
        Self {
            me,
            ring: view.members.clone(),
            params,
            promised: epoch,
            joined: epoch,
            marks: Marks::default(),
            author_of_tail: me,
            log: VecDeque::with_capacity(2),
            queue: Queue::new(params.queue_bytes_max, params.queue_messages_max),
            seq: Seq(0),
            ticket: Ticket(0),
            events: VecDeque::from([Event::View(view)]),
            frames_dropped: 0,
        }
    }

    /// The log's marks.
    pub(super) const fn marks(&self) -> Marks {
        self.marks
    }

    /// Place of the last delivered message.
    pub(super) const fn seq(&self) -> Seq {
        self.seq
    }

    /// Frames that were dropped because a ring of one expects none.
    pub(super) const fn frames_dropped(&self) -> u64 {
        self.frames_dropped
    }

    fn can_work(&self) -> bool {
        self.promised == self.joined
    }

    /// The only host that may write the position after the tail (R2): the next ring member after
    /// the author of the tail, in cyclic order.
    fn owner_of_next(&self) -> HostId {
        let after = self.ring.iter().find(|host| **host > self.author_of_tail);
        *after
            .or_else(|| self.ring.first())
            .expect("a ring has at least a majority of members")
    }

    /// Writes the next turn if it is ours and there is something to send.
    fn take_turn(&mut self) {
        if !self.can_work() || self.owner_of_next() != self.me || self.queue.waiting() == 0 {
            return;
        }
        let messages = self.queue.pack(self.params.turn_bytes_max);
        let position = self.marks.extend();
        self.log.push_back(Turn {
            position,
            epoch: self.joined,
            author: self.me,
            messages,
        });
        self.author_of_tail = self.me;
        self.update_agreement();
    }

    /// With q = 1 a position is agreed, and held by every member, once it is written.
    fn update_agreement(&mut self) {
        let tail = self.marks.tail();
        self.marks.agree(tail);
        self.marks.secure(tail);
        assert!(self.marks.safe() <= self.marks.agreed());
        assert!(self.marks.agreed() <= self.marks.tail());
    }
}

impl Engine for Alone {
    fn on_submit(&mut self, _now: Time, submission: Submission<'_>) -> Admit {
        let ticket = Ticket(self.ticket.0 + 1);
        if !self.queue.push(ticket, submission) {
            return Admit::Busy;
        }
        self.ticket = ticket;
        Admit::Taken(ticket)
    }

    fn on_frame(&mut self, _now: Time, _from: Port, _frame: Frame<'_>) {
        self.frames_dropped += 1;
    }

    fn on_timeout(&mut self, _now: Time) {}

    fn on_view(&mut self, _now: Time, view: &View) {
        // A ring of one has no other members to learn of; the view is what it began with.
        assert_eq!(view.members, self.ring, "this engine orders for one host");
    }

    fn on_hint(&mut self, _now: Time, _hint: Hint) {}

    fn on_durable(&mut self, _now: Time, _record: PersistId) {}

    fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    fn reuse(&mut self, _frame: Transmit) {}

    fn poll_persist(&mut self) -> Option<Record> {
        None
    }

    fn poll_deliver(&mut self) -> Option<Delivery<'_>> {
        if self.log.is_empty() {
            self.take_turn();
        }
        let turn = self.log.front_mut()?;
        if turn.position > self.marks.agreed() {
            return None;
        }
        turn.messages -= 1;
        let (position, author, is_last) = (turn.position, turn.author, turn.messages == 0);
        if is_last {
            self.log.pop_front();
        }
        self.seq = self.seq.next();
        let message = self.queue.take_packed();
        Some(Delivery {
            seq: self.seq,
            position,
            group: message.group,
            host: author,
            ticket: message.ticket,
            origin: message.origin,
            stage: Stage::Agreed,
            bytes: message.bytes,
        })
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    fn check(&self) -> Result<(), Violation> {
        let broken = |rule, found: String| Err(Violation { rule, found });
        let Marks { .. } = self.marks;
        let (safe, agreed, tail) = (self.marks.safe(), self.marks.agreed(), self.marks.tail());
        if safe > agreed || agreed > tail {
            return broken(
                "I2",
                format!("safe {safe:?}, agreed {agreed:?}, tail {tail:?}"),
            );
        }
        if self.joined > self.promised {
            return broken(
                "I2",
                format!("joined {:?}, promised {:?}", self.joined, self.promised),
            );
        }
        if !self
            .log
            .iter()
            .is_sorted_by_key(|turn| (turn.epoch, turn.position))
        {
            return broken("I4", format!("{:?}", self.log));
        }
        let packed: usize = self.log.iter().map(|turn| turn.messages).sum();
        if packed != self.queue.packed() {
            return broken(
                "I9",
                format!("{packed} in the log, {} packed", self.queue.packed()),
            );
        }
        if self.queue.bytes() > self.params.queue_bytes_max {
            return broken("I12", format!("{} bytes queued", self.queue.bytes()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
