//! One of several hosts: its state, and which handler gets what.
//!
//! | file | what it does |
//! | --- | --- |
//! | `receive` | takes frames in and hands them to the others |
//! | `send` | sends control frames and entries |
//! | `turns` | takes turns in, writes its own, counts agreement, parks |
//! | `repair` | gaps, resends, probes, wakes |
//! | `epoch` | asks for promises, gives them, founds epochs |
//! | `install` | enters epochs that others founded; begins behind gaps; joins |
//! | `incarnations` | who forgot what, this host included (R6, R8) |
//! | `fetch` | fetches ranges of the log and serves them |
//! | `listen` | hosts that only listen: what they leave out, and how others treat them |
//! | `delivery` | from agreed positions to messages |
//! | `journal` | what goes to stable storage, and what waits for it |

mod check;
mod delivery;
mod epoch;
mod fetch;
mod incarnations;
mod install;
mod journal;
mod listen;
mod outbox;
mod receive;
mod repair;
mod send;
mod spare;
mod timers;
mod turns;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::counters::{Counters, DropReason};
use super::log::{Entry, Ground, Log};
use super::memory::Memory;
use super::parts::{Early, LongFrames};
use super::queue::Queue;
use super::setup::Setup;
use crate::engine::marks::Marks;
use crate::engine::params::Params;
use crate::engine::{
    Admit, Event, Hint, Notice, PersistId, Record, Submission, Ticket, Transmit, View, Violation,
};
use crate::ids::{Epoch, HostId, Position, Seq};
use crate::planted::{self, Mistake};
use crate::quorum::majority;
use crate::time::Time;
use crate::wire::auth::{self, Guard};
use crate::wire::body::Mode;
use crate::wire::keys::Keys;
use crate::wire::record::Record as SmallRecord;
use crate::wire::{FrameError, Header, HostSet, RingId};
pub use check::{HostLag, Inspection, Timeouts};
use delivery::Deliverer;
use epoch::Candidate;
use fetch::Fetching;
use install::{Joiner, Staging};
use journal::Journal;
use listen::Allowance;
use outbox::Outbox;
use spare::Spare;
use timers::{Hop, Jitter, Timer, Timers};

/// A restart raises the incarnation by at least this much, even if the clock went back: the
/// counters of sealed frames begin at the incarnation, and must not meet those of earlier lives.
const INCARNATION_STEP: u64 = 1 << 40;

/// The engine of one of several hosts.
#[derive(Debug)]
pub(super) struct Member {
    me: HostId,
    /// Hosts that vote.
    hosts: usize,
    quorum: usize,
    ring_id: RingId,
    params: Params,
    guard: Guard,
    /// What was decrypted last.
    plain: Vec<u8>,
    /// Memory for frames.
    spare: Spare,
    now: Time,

    // One unit: a host that lost any of it has lost its memory.
    /// 0: it never belonged to one.
    generation: u64,
    /// It lost its memory and no epoch has admitted it since (R6).
    is_amnesiac: bool,
    /// The generation that it was in and that is over, until it belongs to another; or 0.
    forsaken: u64,
    /// What stable storage held when a listener started; all but its incarnation stays.
    kept: SmallRecord,
    inc: u64,
    /// Highest incarnation known of each host (R8).
    crash_vector: Vec<u64>,
    /// Lowest incarnation known of each host; 0 for none.
    earliest: Vec<u64>,
    /// The incarnation since which no record of this host was lost.
    since: u64,
    /// What this host did in its generation it remembers, whatever its record says.
    is_whole: bool,
    promised: Epoch,
    promised_to: Option<(HostId, u64)>,
    joined: Epoch,
    log: Log,
    marks: Marks,
    /// The highest position that each host wrote in epoch `joined`; 0 for none.
    last: Vec<Position>,
    /// Of these, the highest that was on its author's stable storage; 0 for none.
    stored: Vec<Position>,

    /// Turns of others appended since the epoch was entered or the log begun anew.
    appended: u64,
    /// The last turn written here (I5).
    written: (Epoch, Position),
    /// A notice of I10 was given in this epoch.
    is_warned: bool,

    /// The turn that opened epoch `joined`.
    install: Option<Entry>,
    credit: Vec<Option<u16>>,
    early: Early,
    long_frames: LongFrames,
    candidate: Option<Candidate>,
    staging: Option<Staging>,
    catch_up: Option<Fetching>,
    /// Where a fetched range begins; what lies above it is cut even if the range is empty.
    staged_tail: Option<Position>,
    joiners: BTreeMap<HostId, Joiner>,
    deliverer: Deliverer,

    queue: Queue,
    ticket: Ticket,
    /// Bytes of the first waiting message that earlier turns carried.
    sent_bytes: usize,
    /// Memory in which turns are packed.
    packing: Vec<u8>,

    is_parked: bool,
    is_woken: bool,
    is_leaving: bool,
    is_halted: bool,
    /// A WAKE of ours has no answer yet.
    wants_wake: bool,
    resends: u32,
    /// The highest position heard of in epoch `joined`, and from whom.
    heard_tail: Position,
    heard_from: Option<HostId>,
    nack_tries: u32,
    last_progress: Time,
    probe_rounds: u32,
    acks: HostSet,
    /// It heard of an epoch that it cannot enter, having promised a higher one.
    knows_ring: bool,
    /// A listener heard that the token rests at the tail.
    hears_rest: bool,
    /// Hosts that a listener heard in another generation, which it names by its low half.
    elsewhere: (u32, HostSet),
    /// What listeners may still be sent on request.
    allowance: Allowance,
    /// The highest epoch that anybody promised, as far as was heard.
    highest_seen: Epoch,
    epoch_delay: Duration,
    join_delay: Duration,
    /// When this host was removed from the ring, the last times.
    removals: VecDeque<Time>,
    /// Hosts that said they remember nothing, as this one, and when.
    formless: BTreeMap<HostId, Time>,
    last_planned: Option<Time>,
    /// When a host was last sent the INSTALL, or asked for it.
    told: Vec<Time>,
    /// When a host was last told of an incarnation of its own.
    warned: Vec<Time>,
    asked: Time,
    served: BTreeMap<(HostId, Position), Time>,

    hop: Hop,
    jitter: Jitter,
    timers: Timers,
    outbox: Outbox,
    journal: Option<Journal>,
    counters: Counters,
    /// When it was last told that a host's frames are refused for this reason.
    refused: BTreeMap<(HostId, DropReason), Time>,
    /// The last disagreement with each host.
    disagreements: BTreeMap<HostId, (Time, FrameError)>,
    fatal: Option<Violation>,
    scratch: Vec<Position>,
}

impl Member {
    pub(super) fn new(setup: &Setup, now: Time) -> Self {
        let mut member = Self::before_start(setup, now);
        member.start();
        member
    }

    pub(super) fn with_journal(setup: &Setup, memory: Option<Memory>, now: Time) -> Self {
        let mut member = Self::before_start(setup, now);
        if setup.is_listener() {
            member.start();
            return member;
        }
        member.journal = Some(Journal::default());
        let memory = memory
            .filter(|memory| memory.generation == member.generation && memory.generation != 0);
        if let Some(memory) = memory {
            member.remember(memory);
        }
        member.start();
        member
    }

    /// Comes back as the host that it was. Its messages are numbered anew, so it works from the
    /// next epoch on, which tells the others: until then it is one that promised more than it
    /// entered.
    fn remember(&mut self, memory: Memory) {
        self.is_amnesiac = false;
        self.joined = memory.joined;
        self.promised = memory.promised.max(Epoch(memory.joined.0 + 1));
        if planted::is(Mistake::RestartGoesOn) {
            self.promised = memory.promised;
        }
        self.highest_seen = self.promised;
        self.is_whole = true;
        self.learn_incarnations(&memory.crash_vector);
        self.learn_earliest(&memory.earliest);
        let (base, tail) = (memory.log.base(), memory.log.tail());
        self.marks.begin_after(base);
        while self.marks.tail() < tail {
            self.marks.extend();
        }
        if planted::is(Mistake::RestartAgrees) {
            self.marks.agree(tail);
        }
        self.deliverer = Deliverer::new(memory.log.ground());
        self.deliverer.skip_to(memory.deliver_after);
        self.log = memory.log;
        self.journal = Some(Journal::new(tail));
        self.counters.remembered = tail.0 - base.0;
    }

    fn start(&mut self) {
        self.persist();
        if self.is_amnesiac && self.hosts == 1 {
            // Nobody else could remember.
            self.forsake();
        }
        if self.is_amnesiac || self.joined > Epoch(0) {
            self.timers.arm(Timer::Join, self.now);
        }
        self.arm_loss();
    }

    fn before_start(setup: &Setup, now: Time) -> Self {
        let kept = setup.stored.unwrap_or_default();
        let stored = if setup.is_listener() {
            // It belongs to nothing and promised nothing.
            SmallRecord {
                inc: kept.inc,
                ..SmallRecord::default()
            }
        } else {
            kept
        };
        let inc = setup
            .boot_inc
            .max(stored.inc.saturating_add(INCARNATION_STEP));
        let is_kept = planted::is(Mistake::SameIncarnation) && stored.inc > 0;
        let inc = if is_kept { stored.inc } else { inc };
        let hosts = setup.hosts;
        let mut crash_vector = vec![0; hosts];
        if let Some(own) = crash_vector.get_mut(usize::from(setup.me.0)) {
            *own = inc;
        }
        let since = if stored.since == 0 { inc } else { stored.since };
        let ground = Ground::first(hosts, 0);
        let guard = Guard::new(&setup.protection, setup.ring, setup.me, setup.all(), inc);
        let params = Params {
            frame_bytes_max: setup.params.frame_bytes_max - guard.mode().overhead_bytes(),
            // A listener keeps nothing for others.
            retain_bytes: if setup.is_listener() {
                0
            } else {
                setup.params.retain_bytes
            },
            ..setup.params
        };
        Self {
            me: setup.me,
            hosts,
            quorum: majority(hosts),
            ring_id: setup.ring,
            params,
            spare: Spare::default(),
            plain: match guard.mode() {
                auth::Mode::Encrypted => Vec::with_capacity(usize::from(u16::MAX)),
                auth::Mode::Open | auth::Mode::Tagged => Vec::new(),
            },
            guard,
            now,
            generation: stored.generation,
            is_amnesiac: stored.generation != 0 && !planted::is(Mistake::AmnesiacWorks),
            forsaken: 0,
            kept,
            inc,
            crash_vector,
            earliest: vec![0; hosts],
            since,
            is_whole: false,
            promised: stored.promised,
            promised_to: None,
            joined: Epoch(0),
            deliverer: Deliverer::new(&ground),
            log: Log::new(ground),
            marks: Marks::default(),
            last: vec![Position(0); hosts],
            stored: vec![Position(0); hosts],
            journal: None,
            appended: 0,
            written: (Epoch(0), Position(0)),
            is_warned: false,
            install: None,
            credit: vec![None; hosts],
            early: Early::default(),
            long_frames: LongFrames::default(),
            candidate: None,
            staging: None,
            catch_up: None,
            staged_tail: None,
            joiners: BTreeMap::new(),
            queue: Queue::new(
                setup.params.queue_bytes_max,
                setup.params.queue_messages_max,
            ),
            ticket: Ticket(0),
            sent_bytes: 0,
            packing: Vec::new(),
            is_parked: false,
            is_woken: false,
            // It is never in the ring, as one that left.
            is_leaving: setup.is_listener(),
            is_halted: false,
            wants_wake: false,
            resends: 0,
            heard_tail: Position(0),
            heard_from: None,
            nack_tries: 0,
            last_progress: now,
            probe_rounds: 0,
            acks: HostSet::default(),
            knows_ring: false,
            hears_rest: false,
            elsewhere: (0, HostSet::default()),
            allowance: Allowance::default(),
            highest_seen: stored.promised,
            epoch_delay: setup.params.times.prepare * 4,
            join_delay: setup.params.times.join_min,
            removals: VecDeque::new(),
            formless: BTreeMap::new(),
            last_planned: None,
            told: vec![Time(0); setup.all()],
            warned: vec![Time(0); setup.all()],
            asked: Time(0),
            served: BTreeMap::new(),
            hop: Hop::default(),
            jitter: Jitter::new(setup.seed ^ u64::from(setup.me.0) << 56 ^ inc),
            timers: Timers::default(),
            outbox: Outbox::default(),
            counters: Counters::default(),
            refused: BTreeMap::new(),
            disagreements: BTreeMap::new(),
            fatal: None,
            scratch: Vec::with_capacity(hosts),
        }
    }

    pub(super) const fn marks(&self) -> Marks {
        self.marks
    }

    pub(super) const fn seq(&self) -> Seq {
        self.deliverer.seq()
    }

    /// Own messages that are not delivered yet.
    pub(super) fn queued(&self) -> usize {
        self.queue.waiting() + self.queue.packed()
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        self.outbox.notices.pop_front()
    }

    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    pub(super) fn rejoin(&mut self, now: Time) {
        if self.is_listener() {
            return;
        }
        self.is_leaving = false;
        self.timers.arm(Timer::Join, now);
    }

    pub(super) fn change_keys(&mut self, keys: &Keys) {
        self.guard.change_keys(keys);
    }

    // What the state means.

    fn tail(&self) -> Position {
        self.marks.tail()
    }

    /// R4, R6.
    fn can_work(&self) -> bool {
        let keeps_promise = self.promised == self.joined
            || planted::is(Mistake::PromiserGoesOn) && self.candidate.is_none();
        !self.is_amnesiac && self.joined > Epoch(0) && keeps_promise
    }

    fn is_owner(&self) -> bool {
        let assumes = planted::is(Mistake::AssumesToken)
            && self.probe_rounds > 0
            && self.written.1 < self.tail();
        self.log.owner_of_next() == Some(self.me) || assumes
    }

    /// Low half of the generation, as frames carry it.
    fn generation_low(&self) -> u32 {
        u32::try_from(self.generation & u64::from(u32::MAX)).expect("masked")
    }

    const fn mode(&self) -> Mode {
        if self.is_amnesiac {
            Mode::Amnesiac
        } else if self.generation == 0 {
            Mode::Virgin
        } else {
            Mode::Normal
        }
    }

    /// A broken invariant: nothing more leaves this host.
    fn fail(&mut self, rule: &'static str, found: String) {
        if self.fatal.is_none() {
            let violation = Violation { rule, found };
            self.outbox
                .notices
                .push_back(Notice::Fatal(violation.clone()));
            self.fatal = Some(violation);
        }
    }

    /// Puts the small record on stable storage; what follows waits for it.
    fn persist(&mut self) {
        let generation = if self.generation == 0 {
            self.forsaken
        } else {
            self.generation
        };
        let record = SmallRecord {
            promised: self.promised,
            generation,
            inc: self.inc,
            since: self.since,
        };
        let record = if self.is_listener() {
            SmallRecord {
                inc: self.inc,
                ..self.kept
            }
        } else {
            record
        };
        self.outbox.persist(record.emit());
    }

    /// Puts a promise on stable storage where others may count on it; what follows waits for it.
    fn persist_promise(&mut self) {
        if self.generation == 0 {
            self.persist();
        } else {
            if !planted::is(Mistake::PromiseUnrecorded) {
                self.record_state();
            }
            self.commit_records();
            if !planted::is(Mistake::PromiseUnsynced) {
                self.outbox.await_journal();
            }
        }
    }

    // The calls of the engine.

    pub(super) fn on_submit(&mut self, now: Time, submission: Submission<'_>) -> Admit {
        self.now = now;
        if self.is_listener() {
            return Admit::Redirect(self.log.owner_of_next().unwrap_or(HostId(0)));
        }
        let ticket = Ticket(self.ticket.0 + 1);
        if !self.queue.push(ticket, submission) {
            return Admit::Busy;
        }
        self.ticket = ticket;
        self.wake_if_quiet();
        Admit::Taken(ticket)
    }

    pub(super) fn on_timeout(&mut self, now: Time) {
        self.now = now;
        for timer in Timer::ALL {
            if self.fatal.is_some() {
                return;
            }
            if self.timers.take_due(timer, now) {
                self.on_timer(timer);
            }
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Resend => self.resend(),
            Timer::Nack => self.nack(),
            Timer::Loss => self.probe(),
            Timer::Prepare => self.prepare_again(),
            Timer::Grace => self.end_grace(),
            Timer::Epoch => self.give_up_epoch(),
            Timer::Join => self.ask_to_join(),
            Timer::Park => self.announce_park(),
            Timer::Wake => self.wake_again(),
            Timer::Fetch => self.fetch_again(),
        }
    }

    /// Others agree on members inside the order; nobody tells them from outside.
    #[allow(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "the trait's form"
    )]
    pub(super) fn on_view(&mut self, _now: Time, _view: &View) {}

    /// Links are hints: the wait for progress starts anew with its minimum, nothing else.
    pub(super) fn on_hint(&mut self, now: Time, hint: Hint) {
        self.now = now;
        if matches!(hint, Hint::LinkDown(_) | Hint::Suspect(_)) && !self.is_amnesiac {
            let at = now.after(self.params.times.loss_min);
            if !self.is_parked {
                self.timers.arm(Timer::Loss, at);
            }
        }
    }

    pub(super) fn on_durable(&mut self, now: Time, record: PersistId) {
        self.now = now;
        self.outbox.on_durable(record);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.outbox.is_held() || self.fatal.is_some() {
            return None;
        }
        if !self.outbox.has_frames() {
            self.take_turn();
        }
        if self.outbox.is_held() || self.fatal.is_some() {
            return None;
        }
        self.outbox.poll_frame()
    }

    pub(super) fn reuse(&mut self, frame: Transmit) {
        self.spare.give(frame.bytes);
    }

    pub(super) fn poll_persist(&mut self) -> Option<Record> {
        self.outbox.poll_record()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        if self.outbox.is_held() {
            return None;
        }
        self.outbox.events.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }
}
