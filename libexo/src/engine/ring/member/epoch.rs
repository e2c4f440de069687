//! Epochs: asking for promises, giving them, choosing the tail, founding (R1, R4, R5, R7, R8).

use std::collections::{BTreeMap, VecDeque};

use super::fetch::{Fetching, Purpose};
use super::incarnations::{is_beyond, lower};
use super::install::Joiner;
use super::timers::Timer;
use super::{DropReason, Header, HostSet, Member};
use crate::engine::ring::log::{Entry, Ground, Log};
use crate::engine::ring::parts::Whole;
use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};
use crate::wire::body::{Cause, Prepare, Promise, Refuse, View};
use crate::wire::{Flags, Kind, digest};

/// A promise as the founder keeps it.
#[derive(Clone, Debug)]
struct Promised {
    inc: u64,
    tail_epoch: Epoch,
    tail: Position,
    digest: u64,
    since: u64,
    crash_vector: Vec<u64>,
    earliest: Vec<u64>,
}

/// An epoch that this host tries to found.
#[derive(Debug)]
pub(super) struct Candidate {
    epoch: Epoch,
    is_planned: bool,
    /// As sent with PREPARE (R7).
    crash_vector: Vec<u64>,
    earliest: Vec<u64>,
    joiners: BTreeMap<HostId, Joiner>,
    promises: BTreeMap<HostId, Promised>,
    /// The better log, on its way.
    pub(super) fetching: Option<Fetching>,
}

impl Candidate {
    /// The highest incarnations that anybody knows.
    fn merged(&self) -> Vec<u64> {
        let mut merged = self.crash_vector.clone();
        for promise in self.promises.values() {
            for (known, inc) in merged.iter_mut().zip(&promise.crash_vector) {
                *known = (*known).max(*inc);
            }
        }
        merged
    }

    /// The lowest incarnations that anybody knows.
    fn earliest(&self) -> Vec<u64> {
        let mut earliest = self.earliest.clone();
        for promise in self.promises.values() {
            lower(&mut earliest, &promise.earliest);
        }
        earliest
    }

    /// Promises of incarnations that are not over (R8), by hosts that remember what their earlier
    /// ones promised.
    fn usable(&self) -> HostSet {
        let (merged, earliest) = (self.merged(), self.earliest());
        let is_usable = |(host, promise): (&HostId, &Promised)| {
            let index = usize::from(host.0);
            let remembers = !is_beyond(earliest[index], promise.since);
            let is_last = promise.inc >= merged[index] || planted::is(Mistake::DeadPromisesCount);
            (is_last && remembers).then_some(*host)
        };
        self.promises.iter().filter_map(is_usable).collect()
    }
}

impl Member {
    /// Asks all hosts to promise a new epoch.
    pub(super) fn campaign(&mut self, is_planned: bool) {
        if self.is_amnesiac || self.is_listener() || self.candidate.is_some() {
            return;
        }
        self.unpark();
        let epoch = self.next_epoch();
        self.promised = epoch;
        self.promised_to = Some((self.me, self.inc));
        self.persist_promise();
        self.staging = None;
        self.catch_up = None;
        self.counters.campaigns += 1;
        self.counters.campaigns_planned += u64::from(is_planned);
        let own = Promised {
            inc: self.inc,
            tail_epoch: self.log.tail_epoch(),
            tail: self.tail(),
            digest: self.log.tail_digest(),
            since: self.reaches_back_to(),
            crash_vector: self.crash_vector.clone(),
            earliest: self.earliest.clone(),
        };
        self.candidate = Some(Candidate {
            epoch,
            is_planned,
            crash_vector: self.crash_vector.clone(),
            earliest: self.earliest.clone(),
            joiners: self.joiners.clone(),
            promises: BTreeMap::from([(self.me, own)]),
            fetching: None,
        });
        self.send_prepare(None);
        self.timers
            .arm(Timer::Prepare, self.now.after(self.params.times.prepare));
        let give_up = self.epoch_delay + self.jitter.below(self.epoch_delay / 2);
        self.timers.arm(Timer::Epoch, self.now.after(give_up));
        self.timers.disarm(Timer::Loss);
        if self.quorum == 1 {
            self.choose_tail();
        }
    }

    /// Above every epoch that anybody promised, as far as this host knows; nobody else can found it
    /// (R1).
    fn next_epoch(&self) -> Epoch {
        if planted::is(Mistake::EpochFromJoined) {
            return self.joined.next_of(self.me);
        }
        let known = self.promised.max(self.highest_seen);
        if planted::is(Mistake::EpochWithoutFounder) {
            return known.next_of(HostId(0));
        }
        known.next_of(self.me)
    }

    fn send_prepare(&mut self, to: Option<HostId>) {
        let Some(candidate) = &self.candidate else {
            return;
        };
        let mut body = Vec::new();
        let crash_vector = candidate.crash_vector.clone();
        let prepare = Prepare {
            inc: self.inc,
            tail_epoch: self.log.tail_epoch(),
            since: self.reaches_back_to(),
            crash_vector,
            earliest: candidate.earliest.clone(),
        };
        prepare.emit(&mut body);
        let planned = if candidate.is_planned {
            Flags::PLANNED
        } else {
            Flags::default()
        };
        let header = Header {
            flags: planned,
            ..self.own_header(Kind::Prepare, candidate.epoch)
        };
        self.send(to, header, &body);
    }

    pub(super) fn prepare_again(&mut self) {
        let Some(candidate) = &self.candidate else {
            return;
        };
        if candidate.fetching.is_some() {
            return;
        }
        let answered: HostSet = candidate.promises.keys().copied().collect();
        for host in HostSet::first(self.hosts).minus(&answered).iter() {
            self.send_prepare(Some(host));
        }
        self.timers
            .arm(Timer::Prepare, self.now.after(self.params.times.prepare));
    }

    pub(super) fn give_up_epoch(&mut self) {
        if self.candidate.take().is_none() {
            return;
        }
        self.epoch_delay = (self.epoch_delay * 2).min(self.params.times.epoch_max);
        self.arm_loss();
    }

    pub(super) fn drop_candidate(&mut self) {
        if self.candidate.take().is_some() {
            self.timers.disarm(Timer::Epoch);
            self.timers.disarm(Timer::Grace);
            self.timers.disarm(Timer::Prepare);
            self.arm_loss();
        }
    }

    /// Another epoch is under way: nothing of an older one goes on here (R4).
    pub(super) fn turn_to(&mut self, epoch: Epoch) {
        self.promised = epoch;
        self.drop_candidate();
        self.staging = None;
        self.catch_up = None;
        self.unpark();
        self.timers.disarm(Timer::Resend);
    }

    pub(super) fn on_prepare(&mut self, header: &Header, prepare: &Prepare) {
        let (from, epoch) = (header.src, header.epoch);
        self.highest_seen = self.highest_seen.max(epoch);
        let me = usize::from(self.me.0);
        if self.meet_earlier(prepare.crash_vector[me]) || self.meet_earlier(prepare.earliest[me]) {
            return self.counters.drop_frame(DropReason::Incarnation);
        }
        if self.is_amnesiac && !planted::is(Mistake::AmnesiacPromises) {
            return self.counters.drop_frame(DropReason::NotWorking);
        }
        if self.has_forgotten(from, prepare.since) {
            self.counters.drop_frame(DropReason::Incarnation);
            return self.tell_forgotten(from);
        }
        if self.generation != 0 && header.generation == 0 {
            return self.tell_install(from);
        }
        if epoch.founder() != from || prepare.inc < self.crash_vector[usize::from(from.0)] {
            return self.counters.drop_frame(DropReason::Incarnation);
        }
        let asker = Some((from, prepare.inc));
        let promised = if planted::is(Mistake::LowerPromise) {
            self.joined
        } else {
            self.promised
        };
        if epoch < promised || epoch == promised && self.promised_to != asker {
            return self.refuse(from, Refuse::Promised(self.promised));
        }
        if epoch <= self.joined {
            return self.counters.drop_frame(DropReason::OldEpoch);
        }
        if epoch > promised {
            self.turn_to(epoch);
            self.promised_to = asker;
            self.learn_incarnations(&prepare.crash_vector);
            self.learn_earliest(&prepare.earliest);
            self.persist_promise();
        }
        self.learn_incarnations(&prepare.crash_vector);
        self.learn_earliest(&prepare.earliest);
        self.arm_loss();
        let promise = Promise {
            to_inc: prepare.inc,
            inc: self.inc,
            tail_epoch: self.log.tail_epoch(),
            base: self.log.base(),
            agreed: self.marks.agreed(),
            since: self.reaches_back_to(),
            crash_vector: self.crash_vector.clone(),
            earliest: self.earliest.clone(),
        };
        let mut body = Vec::new();
        promise.emit(&mut body);
        let mut answer = self.own_header(Kind::Promise, epoch);
        if planted::is(Mistake::PromiseTellsAgreed) {
            answer.seq = self.marks.agreed();
        }
        self.send(Some(from), answer, &body);
    }

    pub(super) fn on_promise(&mut self, header: &Header, promise: Promise) {
        let inc = self.inc;
        let me = usize::from(self.me.0);
        if self.meet_earlier(promise.earliest[me]) {
            return self.counters.drop_frame(DropReason::Incarnation);
        }
        self.learn_earliest(&promise.earliest);
        if self.has_forgotten(header.src, promise.since) {
            self.tell_forgotten(header.src);
        }
        let candidate = self.candidate.as_mut();
        let Some(candidate) = candidate.filter(|own| {
            own.epoch == header.epoch && promise.to_inc == inc && own.fetching.is_none()
        }) else {
            return self.counters.drop_frame(DropReason::Unexpected);
        };
        let known = candidate.promises.get(&header.src);
        if known.is_some_and(|known| known.inc >= promise.inc) {
            return self.counters.drop_frame(DropReason::Held);
        }
        let promised = Promised {
            inc: promise.inc,
            tail_epoch: promise.tail_epoch,
            tail: header.seq,
            digest: header.prev,
            since: promise.since,
            crash_vector: promise.crash_vector,
            earliest: promise.earliest,
        };
        candidate.promises.insert(header.src, promised);
        let usable = candidate.usable();
        if usable.len() < candidate.promises.len() {
            self.counters.void_promises += 1;
        }
        if usable.len() < self.promises_needed() {
            return;
        }
        let ring = self.log.ring();
        let everybody = if ring.is_empty() {
            HostSet::first(self.hosts)
        } else {
            ring
        };
        if usable.covers(&everybody) {
            self.choose_tail();
        } else {
            self.timers
                .arm_first(Timer::Grace, self.now.after(self.params.times.prepare));
        }
    }

    /// A majority (R4).
    fn promises_needed(&self) -> usize {
        self.quorum - usize::from(planted::is(Mistake::PromisesLessOne))
    }

    pub(super) fn end_grace(&mut self) {
        let quorum = self.promises_needed();
        let candidate = self.candidate.as_ref();
        if candidate.is_some_and(|own| own.usable().len() >= quorum && own.fetching.is_none()) {
            self.choose_tail();
        }
    }

    /// R5: the log that ends in the highest epoch and position, whole, or none.
    fn choose_tail(&mut self) {
        let Some(candidate) = &self.candidate else {
            return;
        };
        self.timers.disarm(Timer::Grace);
        self.timers.disarm(Timer::Prepare);
        let usable = candidate.usable();
        let promises = candidate
            .promises
            .iter()
            .filter(|(host, _)| usable.contains(**host));
        let of = |promise: &Promised| (promise.tail_epoch, promise.tail);
        let best = promises.clone().map(|(_, promise)| of(promise)).max();
        let best = best.expect("a majority has promised");
        let own = (self.log.tail_epoch(), self.tail());
        if best <= own || planted::is(Mistake::OwnTail) {
            return self.found(None, VecDeque::new());
        }
        let holders: Vec<_> = promises
            .filter(|(_, promise)| of(promise) == best)
            .collect();
        let digest = holders[0].1.digest;
        let sources = holders.iter().map(|(host, _)| **host).collect();
        self.counters.tails_fetched += 1;
        let agreed = self.marks.agreed();
        let prev = self
            .log
            .digest_at(agreed)
            .expect("what is agreed is held or the base");
        let epoch = candidate.epoch;
        let fetching = Fetching::new(sources, epoch, (agreed, prev), best.1, digest, false);
        if let Some(candidate) = &mut self.candidate {
            candidate.fetching = Some(fetching);
        }
        self.fetch_more(Purpose::Found);
    }

    /// Opens the epoch on top of the chosen log.
    pub(super) fn found(&mut self, ground: Option<Ground>, entries: VecDeque<Entry>) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        assert_eq!(
            self.promised, candidate.epoch,
            "a founder keeps its own promise (I8)"
        );
        self.timers.disarm(Timer::Epoch);
        self.adopt(ground, entries);
        if self.fatal.is_some() {
            return;
        }
        let is_formation = self.generation == 0;
        if is_formation {
            self.form_generation();
        }
        let usable = candidate.usable();
        assert!(usable.len() >= self.quorum, "a majority has promised (I8)");
        let merged = candidate.merged();
        let view = self.opening_view(&candidate, usable, merged, is_formation);
        let of = |promise: &Promised| (promise.tail_epoch, promise.tail);
        let promises = candidate
            .promises
            .iter()
            .filter(|(host, _)| usable.contains(**host));
        assert_eq!(
            promises.map(|(_, promise)| of(promise)).max(),
            Some((self.log.tail_epoch(), self.tail())),
            "the founder's log is the best that was promised (I8)"
        );
        self.counters.founded += 1;
        let mut body = Vec::new();
        view.emit(&mut body);
        let header = Header {
            seq: self.tail().next(),
            behind: self.behind(self.tail().next()),
            credit: u16::MAX,
            flags: self.synced_flag(),
            ..self.own_header(Kind::Install, candidate.epoch)
        };
        let part_bytes = Entry::part_bytes(self.params.frame_bytes_max);
        let entry = Entry::from_parts(Whole {
            header,
            body,
            part_bytes,
        })
        .expect("what this host writes is well formed");
        self.note_written(&entry);
        self.open(&entry);
        self.outbox.await_journal();
        self.send_entry(None, &entry, Flags::default());
        let resend = self.hop.resend(&self.params.times);
        self.resends = 0;
        self.timers.arm(Timer::Resend, self.now.after(resend));
    }

    fn opening_view(
        &mut self,
        candidate: &Candidate,
        usable: HostSet,
        merged: Vec<u64>,
        is_formation: bool,
    ) -> View {
        let known = |index: usize| {
            merged[index] == candidate.crash_vector[index] || planted::is(Mistake::AdmitsUnknown)
        };
        let admitted: HostSet = HostSet::first(self.hosts)
            .iter()
            .filter(|host| known(usize::from(host.0)))
            .collect();
        let mut ring = usable;
        let heard_within = self.params.times.join_max * 2;
        for (host, joiner) in &candidate.joiners {
            let is_here = self.now.since(joiner.heard) < heard_within;
            let is_last = joiner.inc == merged[usize::from(host.0)];
            if is_here && is_last && admitted.contains(*host) {
                ring.insert(*host);
            } else {
                self.counters.not_admitted += 1;
            }
        }
        let before = self.log.ring();
        View {
            author_inc: self.inc,
            cause: match (is_formation, candidate.is_planned) {
                (true, _) => Cause::Formation,
                (false, true) => Cause::Planned,
                (false, false) => Cause::Loss,
            },
            generation_high: u32::try_from(self.generation >> 32).expect("the high half"),
            tail_epoch: self.log.tail_epoch(),
            base: self.log.base(),
            base_digest: self.log.base_digest(),
            ring,
            admitted,
            joined: ring.minus(&before),
            left: before.minus(&ring),
            bounds: self.log.bounds(),
            crash_vector: merged,
        }
    }

    /// The first epoch of all: the generation gets its number.
    fn form_generation(&mut self) {
        assert_eq!(
            self.tail(),
            Position(0),
            "who never belonged to a generation has no log"
        );
        // Its low half is what frames carry, and 0 there means none.
        self.generation = self.jitter.next() | 1;
        self.log = Log::new(Ground::first(self.hosts, digest::first(self.generation)));
        self.belong();
    }

    pub(super) fn on_refuse(&mut self, refuse: Refuse) {
        match refuse {
            Refuse::Promised(epoch) => {
                self.highest_seen = self.highest_seen.max(epoch);
                if self
                    .candidate
                    .as_ref()
                    .is_some_and(|own| epoch >= own.epoch)
                {
                    self.drop_candidate();
                }
            }
            Refuse::Incarnation(inc) => {
                self.meet_earlier(inc);
            }
        }
    }
}
