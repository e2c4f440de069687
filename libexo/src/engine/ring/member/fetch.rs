//! Ranges of the log: fetched by founders, by hosts that enter an epoch and by hosts far behind;
//! served by whoever holds the same log.

use std::collections::VecDeque;

use super::timers::Timer;
use super::{DropReason, Header, Member};
use crate::engine::ring::log::{Entry, Ground};
use crate::engine::ring::parts::LongFrames;
use crate::ids::{Epoch, HostId, Position};
use crate::wire::body::{Fetch, Fetched, push_fetched};
use crate::wire::{Flags, Frame, Kind, digest, emit};

/// How often the time until another source is asked doubles.
const DOUBLINGS_MAX: usize = 4;

/// An answer ends with the entry that reaches this size.
const ANSWER_BYTES: usize = 32 * 1024;

/// What a range is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Found,
    Stage,
    CatchUp,
}

/// A range under way. Everything in it extends what came before it.
#[derive(Debug)]
pub(super) struct Fetching {
    sources: Vec<HostId>,
    source: usize,
    /// The epoch on whose behalf it is fetched.
    epoch: Epoch,
    start: (Position, u64),
    to: Position,
    /// D(to); 0 if it is not known.
    digest: u64,
    is_late: bool,
    ground: Option<Ground>,
    entries: VecDeque<Entry>,
}

impl Fetching {
    pub(super) fn new(
        sources: Vec<HostId>,
        epoch: Epoch,
        start: (Position, u64),
        to: Position,
        digest: u64,
        is_late: bool,
    ) -> Self {
        Self {
            sources,
            source: 0,
            epoch,
            start,
            to,
            digest,
            is_late,
            ground: None,
            entries: VecDeque::new(),
        }
    }

    /// The last position that is here, and its digest.
    fn reached(&self) -> (Position, u64) {
        let ground = self
            .ground
            .as_ref()
            .map(|ground| (ground.position, ground.digest));
        let last = self
            .entries
            .back()
            .map(|entry| (entry.position, entry.digest));
        last.or(ground).unwrap_or(self.start)
    }

    fn is_complete(&self) -> bool {
        let (position, digest) = self.reached();
        position > self.to || position == self.to && (self.digest == 0 || self.digest == digest)
    }

    /// Begins anew, with another source.
    fn restart(&mut self) {
        self.ground = None;
        self.entries.clear();
        self.source += 1;
    }

    fn take_ground(&mut self, ground: Ground, purpose: Purpose) -> bool {
        let (reached, _) = self.reached();
        let is_within = purpose != Purpose::Found || ground.position <= self.to;
        let is_usable = ground.position >= reached && ground.epoch <= self.epoch && is_within;
        if is_usable {
            self.entries.clear();
            self.ground = Some(ground);
        }
        is_usable
    }

    fn take_entry(&mut self, entry: Entry) -> bool {
        let (reached, digest) = self.reached();
        if entry.position <= reached {
            return true;
        }
        let fits = entry.position == reached.next() && entry.prev == digest;
        if fits && entry.position <= self.to {
            self.entries.push_back(entry);
        }
        fits
    }
}

impl Member {
    fn fetching(&mut self, purpose: Purpose) -> Option<&mut Fetching> {
        match purpose {
            Purpose::Found => self.candidate.as_mut()?.fetching.as_mut(),
            Purpose::Stage => self.staging.as_mut().map(|staging| &mut staging.fetching),
            Purpose::CatchUp => self.catch_up.as_mut(),
        }
    }

    fn purpose(&self) -> Option<Purpose> {
        if self
            .candidate
            .as_ref()
            .is_some_and(|own| own.fetching.is_some())
        {
            Some(Purpose::Found)
        } else if self.staging.is_some() {
            Some(Purpose::Stage)
        } else {
            self.catch_up.as_ref().map(|_| Purpose::CatchUp)
        }
    }

    /// This host is far behind the tail of its own epoch.
    pub(super) fn start_catch_up(&mut self) {
        if self.catch_up.is_some() || !self.can_work() {
            return;
        }
        let Some(from) = self.heard_from else { return };
        let mut sources = vec![from];
        sources.extend(self.log.ring().iter().filter(|host| *host != self.me));
        let start = (self.tail(), self.log.tail_digest());
        self.catch_up = Some(Fetching::new(
            sources,
            self.joined,
            start,
            self.heard_tail,
            0,
            false,
        ));
        self.fetch_more(Purpose::CatchUp);
    }

    /// Asks for what is missing, or goes on if nothing is.
    pub(super) fn fetch_more(&mut self, purpose: Purpose) {
        let Some(fetching) = self.fetching(purpose) else {
            return;
        };
        if fetching.is_complete() {
            return self.end_fetch(purpose);
        }
        let source = fetching
            .sources
            .get(fetching.source % fetching.sources.len().max(1));
        let Some(source) = source.copied() else {
            return;
        };
        let ask = Fetch {
            from: fetching.reached().0.next(),
            to: fetching.to,
            digest: fetching.digest,
            is_late: fetching.is_late,
        };
        let epoch = fetching.epoch;
        // A long answer over a slow network takes longer than a host that is gone should: whoever is
        // asked again too soon begins anew, and the answer before is worth nothing.
        let doublings = u32::try_from(fetching.source.min(DOUBLINGS_MAX)).expect("few");
        let mut body = Vec::new();
        ask.emit(&mut body);
        self.counters.fetches += 1;
        let header = self.own_header(Kind::Fetch, epoch);
        self.send(Some(source), header, &body);
        self.timers.arm(
            Timer::Fetch,
            self.now.after(self.params.times.prepare * (2 << doublings)),
        );
    }

    /// No answer: perhaps another source has one.
    pub(super) fn fetch_again(&mut self) {
        let Some(purpose) = self.purpose() else {
            return;
        };
        if purpose == Purpose::CatchUp && self.tail() >= self.heard_tail {
            self.catch_up = None;
            return;
        }
        if let Some(fetching) = self.fetching(purpose) {
            fetching.source += 1;
        }
        self.fetch_more(purpose);
    }

    fn end_fetch(&mut self, purpose: Purpose) {
        self.timers.disarm(Timer::Fetch);
        let Some(fetching) = self.fetching(purpose) else {
            return;
        };
        let (ground, entries) = (
            fetching.ground.take(),
            std::mem::take(&mut fetching.entries),
        );
        let start = fetching.start.0;
        match purpose {
            Purpose::Found => {
                self.staged_tail = Some(start);
                self.found(ground, entries);
            }
            Purpose::Stage => {
                self.staged_tail = Some(start);
                self.complete_staging(ground, entries);
            }
            Purpose::CatchUp => {
                self.catch_up = None;
                self.end_catch_up(ground, entries);
            }
        }
    }

    fn end_catch_up(&mut self, ground: Option<Ground>, entries: VecDeque<Entry>) {
        if !self.can_work() {
            return;
        }
        if let Some(ground) = ground
            && ground.position > self.tail()
            && ground.epoch == self.joined
        {
            self.begin_after(ground);
            self.record_state();
            self.commit_records();
            self.last.fill(Position(0));
            self.stored.fill(Position(0));
            self.appended = 0;
            self.requeue_own();
            self.note_progress();
        }
        for entry in entries {
            if entry.position == self.tail().next() && !self.append(entry) {
                return;
            }
        }
        self.early.forget_up_to(self.joined, self.tail());
        self.advance();
    }

    pub(super) fn on_fetched(&mut self, header: &Header, bytes: &[u8]) {
        let Some(purpose) = self.purpose() else {
            return self.counters.drop_frame(DropReason::Unexpected);
        };
        let (hosts, ring_id) = (self.hosts, self.ring_id);
        let Some(fetching) = self.fetching(purpose) else {
            return;
        };
        if header.epoch != fetching.epoch {
            return self.counters.drop_frame(DropReason::OldEpoch);
        }
        let mut parts = LongFrames::default();
        for bytes in Fetched(bytes) {
            let Ok(frame) = Frame::parse(bytes, ring_id) else {
                break;
            };
            if usize::from(frame.header.src.0) >= hosts {
                break;
            }
            let fits = if frame.header.kind == Kind::Base {
                Ground::from_frame(&frame.header, frame.payload, hosts)
                    .is_some_and(|ground| fetching.take_ground(ground, purpose))
            } else {
                match parts.put(&frame).map(Entry::from_parts) {
                    None => true,
                    Some(entry) => {
                        entry.is_some_and(|entry| entry.is_of(hosts) && fetching.take_entry(entry))
                    }
                }
            };
            if !fits {
                fetching.restart();
                break;
            }
        }
        let (position, _) = fetching.reached();
        if position >= fetching.to && !fetching.is_complete() {
            // Whole, and not the log that was asked for.
            fetching.restart();
        }
        self.fetch_more(purpose);
    }

    /// Serves a range, if this host's log is the one that is asked for.
    pub(super) fn on_fetch(&mut self, header: &Header, fetch: &Fetch) {
        let asker = header.src;
        if self.is_amnesiac || self.joined == Epoch(0) {
            return;
        }
        if fetch.from == Position(0) {
            if self.has_forgotten(asker, fetch.digest) {
                return self.tell_forgotten(asker);
            }
            return self.tell_install(asker);
        }
        let base = self.log.base();
        let is_same = fetch.to < base
            || fetch.digest == 0
            || self.log.digest_at(fetch.to) == Some(fetch.digest);
        if fetch.to > self.tail() || !is_same {
            if self.joined > header.epoch {
                self.tell_install(asker);
            }
            return;
        }
        if !self.may_answer(asker) {
            return;
        }
        // A listener that is behind everything retained goes on from the present: what is about to
        // be trimmed next would come too late again.
        let late = if fetch.is_late || self.listens(asker) && fetch.from <= base {
            self.trimmable()
        } else {
            base
        };
        let mut from = fetch.from;
        let mut answer = Vec::new();
        let generation = self.generation_low();
        if from <= late {
            let ground = self.log.ground_at(late);
            if ground.epoch > header.epoch {
                return self.tell_install(asker);
            }
            push_fetched(
                &mut answer,
                &ground.frame(self.ring_id, generation, self.me),
            );
            from = late.next();
        }
        while from <= fetch.to && answer.len() < ANSWER_BYTES {
            let Some(entry) = self.log.get(from) else {
                break;
            };
            let frames = entry.frames(self.ring_id, generation, Flags::default(), HostId(0));
            for (header, payload) in frames {
                push_fetched(&mut answer, &emit(&header, payload));
            }
            from = from.next();
        }
        self.note_answer(asker, answer.len());
        let header = Header {
            seq: fetch.from,
            // Names the answer, so that parts of two are not mixed.
            prev: digest::of(&answer),
            ..self.own_header(Kind::Fetched, header.epoch)
        };
        self.send(Some(asker), header, &answer);
    }
}
