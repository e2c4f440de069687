//! Turns: taking others' in, writing one's own, counting agreement, parking the token.

use super::delivery::MESSAGES_PER_TURN_MAX;
use super::timers::Timer;
use super::{DropReason, HostSet, Member, Notice};
use crate::engine::ring::agreement::{agreed_position, safe_position};
use crate::engine::ring::log::Entry;
use crate::engine::ring::parts::Whole;
use crate::ids::{HostId, Position};
use crate::planted::{self, Mistake};
use crate::time::Time;
use crate::wire::body::{Cause, Mode, View};
use crate::wire::{Flags, Frame, Kind, batch};

/// The unit of credit.
const CREDIT_BYTES: usize = 4096;

impl Member {
    pub(super) fn on_turn(&mut self, from: HostId, frame: &Frame<'_>) {
        let header = &frame.header;
        if header.epoch < self.joined || header.seq <= self.log.base() {
            return self.counters.drop_frame(DropReason::OldEpoch);
        }
        if header.epoch > self.joined {
            if !self.is_amnesiac {
                self.early.put(frame, self.params.early_bytes_max);
            }
            return self.counters.drop_frame(DropReason::NewEpoch);
        }
        let is_first_hand = !header.flags.has(Flags::RTX);
        self.hop.hear(header.seq, self.now, is_first_hand);
        if header.seq <= self.tail() {
            return self.on_held(frame);
        }
        if !self.can_work() {
            return self.counters.drop_frame(DropReason::NotWorking);
        }
        let is_next = header.parts == 1 && header.seq == self.tail().next();
        if is_next && self.early.is_empty() && !self.is_full() {
            self.take_in(Whole::of(frame));
        } else if !self.early.put(frame, self.params.early_bytes_max) {
            self.counters.drop_frame(DropReason::Fork);
        }
        self.advance();
        if let Some((highest, _)) = self.early.highest(self.joined) {
            self.hear_tail(from, highest);
        }
    }

    /// A turn that this host has.
    fn on_held(&mut self, frame: &Frame<'_>) {
        let header = &frame.header;
        self.counters.drop_frame(DropReason::Held);
        let Some(entry) = self.log.get(header.seq) else {
            return;
        };
        if entry.epoch == header.epoch && (entry.author, entry.prev) != (header.src, header.prev) {
            let found = format!("{:?} and {:?} of {:?}", entry.position, header, entry.epoch);
            return self.fail("I3", found);
        }
        let owner = self.log.owner_of_next();
        // Once a resend, whatever the number of its parts: the relay has all of them.
        let is_stuck =
            header.flags.has(Flags::RTX2) && header.part == 0 && header.seq == self.tail();
        if let Some(owner) = owner.filter(|owner| is_stuck && *owner != self.me)
            && self.log.ring().next_after(owner) == Some(self.me)
            && header.src != self.me
        {
            self.counters.relays += 1;
            self.send_tail(Some(owner), Flags::RTX.with(Flags::RELAY));
        }
    }

    /// Appends what has become complete.
    pub(super) fn advance(&mut self) {
        while self.can_work()
            && !self.is_full()
            && let Some(whole) = self.early.take(self.joined, self.tail().next())
        {
            if !self.take_in(whole) {
                return;
            }
        }
    }

    /// Appends a turn of which all parts are here. False: it is none that comes next.
    fn take_in(&mut self, whole: Whole) -> bool {
        let entry = Entry::from_parts(whole).filter(|entry| entry.is_of(self.hosts));
        let Some(entry) = entry else {
            self.counters.drop_frame(DropReason::Malformed);
            return false;
        };
        self.append(entry)
    }

    /// Appends another's turn. False: it is not the owner's, or not on top of this log.
    pub(super) fn append(&mut self, entry: Entry) -> bool {
        let is_owners =
            self.log.owner_of_next() == Some(entry.author) || planted::is(Mistake::AssumesToken);
        let is_next = entry.position == self.tail().next() && entry.prev == self.log.tail_digest();
        if !self.can_work() || !is_owners || !is_next || entry.epoch != self.joined {
            self.counters.drop_frame(DropReason::Fork);
            return false;
        }
        let author = usize::from(entry.author.0);
        self.credit[author] = Some(entry.credit);
        let claim = (entry.author, entry.position, entry.behind);
        let left = entry
            .view
            .as_ref()
            .is_some_and(|view| view.left.contains(self.me));
        self.push(entry);
        if left {
            self.sent_bytes = 0;
        }
        self.resends = 0;
        self.nack_tries = 0;
        // What is missing now may be on its way: its wait begins here.
        self.timers.disarm(Timer::Nack);
        self.await_missing();
        self.timers.disarm(Timer::Resend);
        if self.is_parked {
            self.unpark();
        }
        self.wants_wake = false;
        self.hears_rest = false;
        self.timers.disarm(Timer::Wake);
        self.note_progress();
        self.update_agreement();
        self.compare_agreement(claim);
        self.wake_if_quiet();
        true
    }

    /// I10: whoever holds the same turns counts the same.
    fn compare_agreement(&mut self, (author, position, behind): (HostId, Position, u16)) {
        self.appended += 1;
        let claimed = Position(position.0.saturating_sub(u64::from(behind)));
        let counted = self.marks.agreed();
        let is_new_here = self.appended <= self.log.ring().len() as u64;
        if behind == u16::MAX || claimed <= counted || is_new_here || self.is_warned {
            return;
        }
        self.is_warned = true;
        self.outbox.notices.push_back(Notice::Unagreed {
            author,
            claimed,
            counted,
        });
    }

    /// I5: nothing is written twice at one position of an epoch.
    pub(super) fn note_written(&mut self, entry: &Entry) {
        let at = (entry.epoch, entry.position);
        assert!(self.written < at, "{at:?} after {:?} (I5)", self.written);
        self.written = at;
    }

    fn push(&mut self, entry: Entry) {
        let author = usize::from(entry.author.0);
        let was_removed = entry
            .view
            .as_ref()
            .is_some_and(|view| self.is_removed_by(view));
        if was_removed {
            self.note_removal();
        }
        if let Some(view) = &entry.view {
            let crash_vector = view.crash_vector.clone();
            self.learn_incarnations(&crash_vector);
            let ring = view.ring;
            let joined = self.joined;
            self.joiners
                .retain(|host, joiner| !ring.contains(*host) || joiner.is_ahead(joined));
            if !ring.contains(self.me) && !self.is_leaving {
                let wait = self.join_delay.max(self.removal_wait());
                self.timers.arm_first(Timer::Join, self.now.after(wait));
            }
        }
        let is_synced = entry.flags.has(Flags::SYNCED);
        self.record_entry(&entry);
        self.log.push(entry);
        let tail = self.marks.extend();
        self.last[author] = tail;
        if is_synced {
            self.stored[author] = tail;
        }
        self.commit_records();
    }

    /// What this host says of its own log in a turn.
    pub(super) fn synced_flag(&self) -> Flags {
        match self.journal {
            Some(_) => Flags::SYNCED,
            None => Flags::default(),
        }
    }

    /// Up to where this host counts itself (R3'): with a journal, what is on stable storage.
    fn own_vote(&self) -> Position {
        let held = match &self.journal {
            Some(journal) if !planted::is(Mistake::UnsyncedCounts) => journal.synced(),
            Some(_) | None => self.tail(),
        };
        if self.log.epoch_at(held) == Some(self.joined) {
            held
        } else {
            Position(0)
        }
    }

    /// R3 and R3': what a majority has built on, and what every member has.
    pub(super) fn update_agreement(&mut self) {
        if !self.can_work() {
            return;
        }
        if !self.is_listener() {
            let (me, vote) = (usize::from(self.me.0), self.own_vote());
            self.last[me] = vote;
            if self.journal.is_some() {
                self.stored[me] = vote;
            }
        }
        if let Some(agreed) = agreed_position(&self.last, self.quorum, &mut self.scratch) {
            self.marks.agree(agreed);
        }
        if let Some(durable) = agreed_position(&self.stored, self.quorum, &mut self.scratch) {
            self.marks.store(durable);
        }
        let safe = safe_position(&self.last, &self.log.ring());
        self.marks.secure(safe);
        assert!(
            self.log.base() <= self.marks.agreed(),
            "only what is agreed is trimmed (I2)"
        );
        assert!(
            self.marks.agreed() <= self.tail(),
            "only what is held is agreed (I2)"
        );
    }

    /// Writes this host's turn, if it is its turn and there is a reason to.
    pub(super) fn take_turn(&mut self) {
        if !self.can_work() || !self.is_owner() {
            return;
        }
        self.prune_joiners();
        if self.wants_planned_epoch() {
            self.last_planned = Some(self.now);
            return self.campaign(true);
        }
        let view = self.change_inside();
        let waiting = self.tail().0 - self.marks.agreed().0;
        let members = self.log.ring().len() as u64;
        let mut body = Vec::new();
        if let Some(view) = &view {
            view.emit(&mut body);
        } else if waiting < 2 * members {
            body = self.pack();
        } else if self.queue.waiting() > 0 {
            self.counters.throttled += 1;
        }
        if body.is_empty() && self.is_idle(members) {
            return self.park();
        }
        self.write(body, view.as_ref());
    }

    /// The ring after a change that this turn makes inside the epoch, if it makes one.
    fn change_inside(&mut self) -> Option<View> {
        let ring = self.log.ring();
        let joiner = self.joiners.iter().find(|(host, joiner)| {
            let behind = self.tail().0.saturating_sub(joiner.tail.0);
            !ring.contains(**host)
                && joiner.mode == Mode::Normal
                && !joiner.is_later
                && (joiner.epoch, joiner.promised) == (self.joined, self.joined)
                && behind <= self.params.join_window
        });
        let after = if let Some((host, _)) = joiner {
            self.counters.admitted += 1;
            ring.with(*host)
        } else if self.is_leaving && ring.contains(self.me) && self.may_leave(&ring) {
            self.counters.leaves += 1;
            ring.without(self.me)
        } else {
            return None;
        };
        Some(View {
            author_inc: self.inc,
            cause: Cause::Inside,
            generation_high: 0,
            tail_epoch: self.log.tail_epoch(),
            base: Position(0),
            base_digest: 0,
            ring: after,
            admitted: HostSet::default(),
            joined: after.minus(&ring),
            left: ring.minus(&after),
            bounds: Vec::new(),
            crash_vector: self.crash_vector.clone(),
        })
    }

    /// Whether a majority stays.
    fn may_leave(&self, ring: &HostSet) -> bool {
        ring.len() > self.quorum - usize::from(planted::is(Mistake::LeaveBelowQuorum))
    }

    fn write(&mut self, body: Vec<u8>, view: Option<&View>) {
        let mut flags = self.synced_flag();
        if view.is_some() {
            flags = flags.with(Flags::VIEW);
        }
        if std::mem::take(&mut self.is_woken) {
            flags = flags.with(Flags::WOKEN);
        }
        let header = super::Header {
            flags,
            seq: self.tail().next(),
            behind: self.behind(self.tail().next()),
            credit: self.own_credit(),
            ..self.own_header(Kind::Turn, self.joined)
        };
        let is_leaving_now = view.is_some_and(|view| view.left.contains(self.me));
        let part_bytes = Entry::part_bytes(self.params.frame_bytes_max);
        let entry = Entry::from_parts(Whole {
            header,
            body,
            part_bytes,
        })
        .expect("what this host writes is well formed");
        assert!(
            self.can_work() && self.is_owner(),
            "written as owner only (I5, I7)"
        );
        self.note_written(&entry);
        self.unpark();
        self.push(entry);
        self.counters.turns += 1;
        if is_leaving_now {
            self.sent_bytes = 0;
        }
        self.resends = 0;
        if !planted::is(Mistake::TurnBeforeSync) {
            self.outbox.await_journal();
        }
        self.send_tail(None, Flags::default());
        let resend = self.hop.resend(&self.params.times);
        self.timers.arm(Timer::Resend, self.now.after(resend));
        self.hop.write(self.now);
        self.arm_loss();
        self.update_agreement();
    }

    /// Payload that every member has credit for.
    fn limit(&self) -> usize {
        let credits = self.log.ring().iter().filter(|host| *host != self.me);
        let credits = credits.filter_map(|host| self.credit[usize::from(host.0)]);
        let least = credits
            .min()
            .map_or(usize::MAX, |credit| usize::from(credit) * CREDIT_BYTES);
        least.min(self.params.turn_bytes_max)
    }

    /// What this host can take in a turn of each member.
    fn own_credit(&self) -> u16 {
        let waiting = self.log.bytes_above(self.deliverer.done()) + self.early.bytes();
        let free = self.params.receive_bytes.saturating_sub(waiting);
        let each = free / self.log.ring().len().max(1) / CREDIT_BYTES;
        u16::try_from(each).unwrap_or(u16::MAX)
    }

    /// Packs waiting messages into a body, the last one perhaps in part.
    fn pack(&mut self) -> Vec<u8> {
        let limit = self.limit();
        // Grows to the longest turn once; the body is copied out at its length.
        let mut body = std::mem::take(&mut self.packing);
        body.clear();
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(message) = self.queue.message(self.queue.packed()) else {
                break;
            };
            let rest = &message.bytes[self.sent_bytes..];
            let room = limit.saturating_sub(body.len() + batch::ENTRY_HEAD_BYTES);
            let fits = batch::entry_bytes(rest.len()) <= limit;
            let take = rest.len().min(room & !3).min(65_532);
            let is_cut = take < rest.len();
            // What a whole turn can hold is not cut for the sake of a full one.
            if limit < body.len() + batch::ENTRY_HEAD_BYTES
                || is_cut && (take == 0 || fits && !body.is_empty())
            {
                break;
            }
            let first = if self.sent_bytes == 0 {
                batch::FIRST
            } else {
                0
            };
            let last = if is_cut { 0 } else { batch::LAST };
            let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).expect("masked");
            let entry = batch::Entry {
                group: message.group,
                number: low(message.ticket.0),
                flags: first | last,
                origin: low(message.origin),
                data: &rest[..take],
            };
            batch::push(&mut body, &entry);
            if is_cut {
                self.counters.fragmented += u64::from(self.sent_bytes == 0);
                self.sent_bytes += take;
                break;
            }
            self.sent_bytes = 0;
            self.queue.pack_one();
        }
        let packed = body.to_vec();
        self.packing = body;
        packed
    }

    // The token at rest.

    /// Two rotations moved nothing, and nobody wants anything.
    fn is_idle(&self, members: u64) -> bool {
        // A ring of one with listeners would take its turns for ever.
        (!self.params.spin || members == 1)
            && (self.log.quiet() >= 2 * members || planted::is(Mistake::ParksEarly))
            && self.queue.waiting() == 0
            && !self.is_woken
            && self.joiners.is_empty()
    }

    /// Whether the token rests somewhere, as far as this host can tell.
    pub(super) fn is_quiet(&self) -> bool {
        !self.params.spin && self.can_work() && self.log.quiet() >= 2 * self.log.ring().len() as u64
    }

    pub(in crate::engine::ring) fn is_at_rest(&self, now: Time) -> bool {
        let is_told = self.is_parked || now.since(self.last_progress) < self.loss_time();
        self.is_quiet() && self.queue.waiting() == 0 && !self.wants_wake && is_told
    }

    fn park(&mut self) {
        if !self.is_parked {
            self.is_parked = true;
            self.hop.rest();
            self.counters.parks += 1;
            self.announce_park();
        }
    }

    pub(super) fn unpark(&mut self) {
        self.is_parked = false;
        self.timers.disarm(Timer::Park);
    }

    pub(super) fn announce_park(&mut self) {
        if !self.is_parked || !self.can_work() || !self.is_owner() {
            return self.unpark();
        }
        self.timers.disarm(Timer::Loss);
        self.send_park(None);
        self.timers
            .arm(Timer::Park, self.now.after(self.params.times.park));
    }

    pub(super) fn send_park(&mut self, to: Option<HostId>) {
        let header = self.own_header(Kind::Park, self.joined);
        let until_ms = u32::try_from(self.params.times.park.as_millis()).unwrap_or(u32::MAX);
        let mut body = Vec::new();
        crate::wire::body::Park { until_ms }.emit(&mut body);
        self.send(to, header, &body);
    }
}
