//! Small failures: gaps, lost turns, a silent owner. Nothing here can change what is agreed.

use core::time::Duration;

use super::send::Way;
use super::timers::{Timer, nanoseconds};
use super::{DropReason, Event, Header, HostSet, Member};
use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};
use crate::wire::body::{Missing, Probe, Refuse, emit_nack};
use crate::wire::{Flags, HEADER_BYTES, Kind};

/// Most pieces that one NACK names.
const NACK_COUNT_MAX: usize = 32;
/// A gap of more positions than this is fetched as a range.
const NACK_WINDOW: u64 = 64;
/// After so many NACKs without an answer the gap is fetched as a range.
const NACK_TRIES: u32 = 4;
/// How often an own turn is sent again.
const RESENDS_MAX: u32 = 4;
/// Probes without a majority until the host says that it is halted.
const PROBES_UNTIL_HALTED: u32 = 3;
/// The candidates' delay grows with their distance from the silent owner up to here.
const RANK_MAX: usize = 16;

impl Member {
    /// What every frame tells of its sender: its epoch and how far it is.
    pub(super) fn hear(&mut self, header: &Header, from: HostId) {
        let speaks_of_epoch = matches!(
            header.kind,
            Kind::Turn
                | Kind::Park
                | Kind::Wake
                | Kind::Nack
                | Kind::Join
                | Kind::Probe
                | Kind::ProbeAck
        );
        if !speaks_of_epoch {
            return;
        }
        if header.epoch > self.joined {
            self.ask_install(from, header.epoch);
        } else if header.epoch < self.joined {
            // A host without a generation must say what it remembers.
            if header.kind != Kind::Join && header.generation != 0 {
                self.tell_install(from);
            }
        } else if header.kind != Kind::Turn && self.joined > Epoch(0) {
            self.hear_tail(from, header.seq);
        }
    }

    /// Somebody in this epoch holds everything up to `tail`.
    pub(super) fn hear_tail(&mut self, from: HostId, tail: Position) {
        if tail <= self.tail() || !self.can_work() {
            return;
        }
        if tail >= self.heard_tail {
            self.heard_tail = tail;
            self.heard_from = Some(from);
        }
        self.await_missing();
    }

    /// If something is known to be missing, it is asked for a little later.
    pub(super) fn await_missing(&mut self) {
        if self.heard_tail > self.tail() {
            let wait = self.nack_wait() + self.spread();
            self.timers.arm_first(Timer::Nack, self.now.after(wait));
        }
    }

    /// Time until a gap is asked for.
    pub(super) fn nack_wait(&self) -> Duration {
        let wait = self.hop.mean().max(self.params.times.nack_min);
        wait.min(self.params.times.nack_max)
    }

    pub(super) fn nack(&mut self) {
        if self.is_listener() {
            self.advance();
            if self.is_full() {
                let wait = self.params.times.nack_max;
                return self.timers.arm(Timer::Nack, self.now.after(wait));
            }
        }
        if !self.can_work() || self.heard_tail <= self.tail() {
            self.nack_tries = 0;
            return;
        }
        let tries = self.nack_tries;
        self.nack_tries += 1;
        let wait = self.params.times.nack_min * 2_u32.saturating_pow(tries.min(16));
        let wait = wait.max(self.hop.mean()).min(self.params.times.nack_max);
        self.timers.arm(Timer::Nack, self.now.after(wait));
        let gap = self.heard_tail.0 - self.tail().0;
        if gap > NACK_WINDOW || tries >= NACK_TRIES {
            return self.start_catch_up();
        }
        let Some(target) = self.nack_target(tries) else {
            return;
        };
        let list = self
            .early
            .missing(self.joined, self.tail(), self.heard_tail, NACK_COUNT_MAX);
        let mut body = Vec::new();
        emit_nack(&list, &mut body);
        self.counters.nacks += 1;
        let header = self.own_header(Kind::Nack, self.joined);
        self.send(Some(target), header, &body);
    }

    /// Who was heard of last, then the members in turn.
    fn nack_target(&self, tries: u32) -> Option<HostId> {
        let mut target = self.heard_from?;
        for _ in 0..tries {
            target = self.log.ring().without(self.me).next_after(target)?;
        }
        Some(target)
    }

    pub(super) fn on_nack(&mut self, header: &Header, list: &[Missing]) {
        if header.epoch != self.joined {
            return self.counters.drop_frame(DropReason::OldEpoch);
        }
        let asker = header.src;
        let again = self.params.times.nack_min;
        let generation = self.generation_low();
        self.served.retain(|_, at| self.now.since(*at) < again);
        for missing in list.iter().take(NACK_COUNT_MAX) {
            if self.served.contains_key(&(asker, missing.position)) {
                continue;
            }
            if !self.may_answer(asker) {
                return;
            }
            let Some(entry) = self.log.get(missing.position) else {
                continue;
            };
            let transit = Flags::RTX.with(Flags::UNICAST);
            let frames = entry
                .frames(self.ring_id, generation, transit, asker)
                .skip(usize::from(missing.first))
                .take(usize::from(missing.last - missing.first.min(missing.last)) + 1);
            let mut way = Way {
                guard: &mut self.guard,
                spare: &mut self.spare,
                outbox: &mut self.outbox,
            };
            let mut bytes = 0;
            for (header, payload) in frames {
                bytes += HEADER_BYTES + payload.len();
                way.put_out(Some(asker), &header, payload);
            }
            if missing.first == 0 {
                self.served.insert((asker, missing.position), self.now);
            }
            self.counters.repairs += 1;
            self.note_answer(asker, bytes);
        }
    }

    /// The last turn is still ours: perhaps the next owner missed it.
    pub(super) fn resend(&mut self) {
        let Some(entry) = self.log.get(self.tail()) else {
            return;
        };
        if entry.author != self.me || !self.can_work() || self.resends >= RESENDS_MAX {
            return;
        }
        if self.outbox.awaits_journal() {
            // It has not left yet.
            let resend = self.hop.resend(&self.params.times);
            return self.timers.arm(Timer::Resend, self.now.after(resend));
        }
        self.resends += 1;
        self.counters.resends += 1;
        let again = if self.resends >= 2 {
            Flags::RTX2
        } else {
            Flags::default()
        };
        self.send_tail(None, Flags::RTX.with(again));
        let resend = self.hop.resend(&self.params.times);
        self.timers.arm(Timer::Resend, self.now.after(resend));
    }

    // Progress and its absence.

    pub(super) fn note_progress(&mut self) {
        self.last_progress = self.now;
        self.probe_rounds = 0;
        self.acks = HostSet::default();
        self.elsewhere.1 = HostSet::default();
        if std::mem::take(&mut self.is_halted) {
            self.outbox.events.push_back(Event::Resumed);
        }
        self.arm_loss();
    }

    /// Time without progress after which this host asks the others.
    pub(super) fn loss_time(&self) -> Duration {
        let rests = self.is_quiet() || self.hears_rest;
        let rests = rests && self.queue.waiting() == 0 && !self.wants_wake;
        let busy = self.hop.loss(&self.params.times);
        if rests {
            busy.max(self.params.times.park * 21 / 5)
        } else {
            busy
        }
    }

    pub(super) fn arm_loss(&mut self) {
        if self.is_amnesiac || self.is_parked {
            return self.timers.disarm(Timer::Loss);
        }
        let loss = nanoseconds(self.loss_time());
        let rank = self.rank().min(RANK_MAX) as u64;
        let delay = loss.saturating_mul(rank) / 8;
        let jitter = self.jitter.below(Duration::from_nanos(loss / 8));
        let wait = Duration::from_nanos(loss.saturating_add(delay)) + jitter;
        self.timers.arm(Timer::Loss, self.now.after(wait));
    }

    /// Ring distance from the silent owner; the owner itself comes last.
    fn rank(&self) -> usize {
        let owner = self
            .log
            .owner_of_next()
            .map_or(0, |owner| usize::from(owner.0));
        (usize::from(self.me.0) + 2 * self.hosts - owner - 1) % self.hosts
    }

    pub(super) fn probe(&mut self) {
        if self.is_amnesiac || self.is_parked {
            return;
        }
        self.probe_rounds += 1;
        if self.probe_rounds > PROBES_UNTIL_HALTED && !self.is_halted {
            self.is_halted = true;
            self.outbox.events.push_back(Event::Halted);
        }
        if self.is_listener() {
            return self.ask_one();
        }
        self.acks = HostSet::default().with(self.me);
        let header = self.own_header(Kind::Probe, self.joined);
        let body = self.probe_body();
        self.send(None, header, &body);
        if !planted::is(Mistake::LossOnce) {
            self.arm_loss();
        }
        if self.quorum == 1 {
            self.campaign(false);
        }
    }

    pub(super) fn probe_body(&self) -> Vec<u8> {
        let since = self.reaches_back_to();
        let mut body = Vec::new();
        Probe { since }.emit(&mut body);
        body
    }

    /// A host without a generation hears of this one's. False: it has forgotten that it knew it.
    fn tell_living(&mut self, header: &Header, probe: Probe) -> bool {
        if self.has_forgotten(header.src, probe.since) {
            self.tell_forgotten(header.src);
            return false;
        }
        if header.generation == 0 && self.joined > Epoch(0) {
            self.tell_install(header.src);
        }
        true
    }

    pub(super) fn on_probe(&mut self, header: &Header, probe: Probe) {
        if self.is_amnesiac {
            if header.generation == 0 {
                self.hear_formless(header.src);
            }
            return;
        }
        if !self.tell_living(header, probe) {
            return;
        }
        if header.epoch > self.highest_seen {
            self.highest_seen = header.epoch;
        }
        if self.promised > header.epoch && self.promised > self.joined {
            self.refuse(header.src, Refuse::Promised(self.promised));
        }
        if self.is_parked {
            return self.announce_park();
        }
        let is_stale = self.now.since(self.last_progress) >= self.loss_time() / 2;
        if is_stale {
            let answer = self.own_header(Kind::ProbeAck, self.joined);
            let body = self.probe_body();
            self.send(Some(header.src), answer, &body);
        } else if header.epoch == self.joined && header.seq < self.tail() {
            let entry = self.log.get(self.tail());
            if entry.is_some_and(|entry| entry.kind == Kind::Turn) {
                self.send_tail(Some(header.src), Flags::RTX);
            }
        }
    }

    pub(super) fn on_probe_ack(&mut self, header: &Header, probe: Probe) {
        if !self.is_amnesiac && !self.tell_living(header, probe) {
            return;
        }
        if self.acks.is_empty() || self.candidate.is_some() {
            return self.counters.drop_frame(DropReason::Unexpected);
        }
        self.acks.insert(header.src);
        if self.acks.len() >= self.quorum {
            self.acks = HostSet::default();
            self.campaign(false);
        }
    }

    pub(super) fn refuse(&mut self, to: HostId, refuse: Refuse) {
        let mut body = Vec::new();
        refuse.emit(&mut body);
        let header = self.own_header(Kind::Refuse, self.joined);
        self.send(Some(to), header, &body);
    }

    // The token at rest elsewhere.

    /// The token rests with another host and this one has something to send.
    pub(super) fn wake_if_quiet(&mut self) {
        let is_member = self.log.ring().contains(self.me);
        let wants = self.queue.waiting() > 0 && self.is_quiet() && !self.is_owner() && is_member;
        if wants && !self.wants_wake {
            self.wants_wake = true;
            self.counters.wakes += 1;
            self.arm_loss();
            self.wake_again();
        }
    }

    pub(super) fn wake_again(&mut self) {
        let owner = self.log.owner_of_next();
        let Some(owner) = owner.filter(|owner| self.wants_wake && *owner != self.me) else {
            return;
        };
        let header = self.own_header(Kind::Wake, self.joined);
        self.send(Some(owner), header, &[]);
        self.timers
            .arm(Timer::Wake, self.now.after(self.params.times.nack_max));
    }

    pub(super) fn on_wake(&mut self, header: &Header) {
        // A turn follows when frames are polled for.
        if header.epoch == self.joined && self.is_parked && self.is_owner() {
            self.is_woken = true;
        }
    }

    pub(super) fn on_park(&mut self, header: &Header) {
        if header.epoch != self.joined || header.seq != self.tail() || !self.can_work() {
            return;
        }
        self.timers.disarm(Timer::Resend);
        self.hop.rest();
        self.hears_rest = self.is_listener();
        if self.queue.waiting() == 0 {
            self.note_progress();
        }
        self.wake_if_quiet();
    }
}
