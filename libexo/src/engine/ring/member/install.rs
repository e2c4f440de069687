//! Entering epochs: the INSTALL of another founder, the log that it asks for, and who asks to
//! come in (R5–R7, R9).

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::fetch::{Fetching, Purpose};
use super::timers::Timer;
use super::{Deliverer, DropReason, Header, HostSet, Member, Notice};
use crate::engine::Ticket;
use crate::engine::ring::FormError;
use crate::engine::ring::log::{Entry, Ground, Log, near};
use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};
use crate::time::Time;
use crate::wire::body::{Fetch, Join, Mode, Refuse, View};
use crate::wire::{Flags, Kind, batch};

/// Removals after which a host waits, and how many are remembered.
const REMOVALS_BORNE: usize = 3;
const REMOVALS_MAX: usize = 16;

/// A host that asked to come in.
#[derive(Clone, Debug)]
pub(super) struct Joiner {
    pub(super) inc: u64,
    pub(super) mode: Mode,
    pub(super) promised: Epoch,
    /// The present epoch knows it by an earlier incarnation.
    pub(super) is_later: bool,
    pub(super) epoch: Epoch,
    pub(super) tail: Position,
    pub(super) heard: Time,
}

impl Joiner {
    /// Whether only an epoch above `joined` can let it in, although it remembers.
    pub(super) fn is_ahead(&self, joined: Epoch) -> bool {
        self.is_later || self.promised > joined
    }

    /// Whether only an epoch above `joined` can let it in.
    pub(super) fn needs_epoch(&self, joined: Epoch) -> bool {
        self.mode == Mode::Amnesiac || self.is_ahead(joined)
    }
}

/// An INSTALL whose log is being fetched; until it is complete the own log is untouched.
#[derive(Debug)]
pub(super) struct Staging {
    install: Entry,
    pub(super) fetching: Fetching,
}

impl Member {
    /// Sends the INSTALL of this epoch to a host that is behind.
    pub(super) fn tell_install(&mut self, host: HostId) {
        let index = usize::from(host.0);
        let again = self.params.times.prepare;
        let is_deaf = index >= self.told.len() || self.is_listener();
        if is_deaf || self.is_amnesiac || self.now < self.told[index] {
            return;
        }
        if let Some(install) = self.install.clone() {
            self.told[index] = self.now.after(again);
            self.send_entry(Some(host), &install, Flags::RTX);
        }
    }

    /// Asks for the INSTALL of an epoch that passed this host by.
    pub(super) fn ask_install(&mut self, host: HostId, epoch: Epoch) {
        // A voter hears of the next epoch by PREPARE, and gives up the one that it is entering.
        let is_entering = self.staging.is_some() && !(self.is_listener() && epoch > self.promised);
        if self.is_amnesiac || is_entering || self.now < self.asked {
            return;
        }
        self.asked = self.now.after(self.params.times.prepare);
        let ask = Fetch {
            from: Position(0),
            to: Position(0),
            digest: self.reaches_back_to(),
            is_late: false,
        };
        let mut body = Vec::new();
        ask.emit(&mut body);
        let header = self.own_header(Kind::Fetch, self.joined);
        self.send(Some(host), header, &body);
    }

    pub(super) fn on_install(&mut self, from: HostId, generation_low: u32, install: Entry) {
        let epoch = install.epoch;
        let Some(view) = install.view.as_deref() else {
            return;
        };
        let is_formed = view.crash_vector.len() == self.hosts && epoch.founder() == install.author;
        if !is_formed || generation_low == 0 {
            return self.counters.drop_frame(DropReason::Malformed);
        }
        let is_stale = epoch < self.promised && !planted::is(Mistake::StaleInstall);
        if is_stale && epoch > self.joined {
            // Only a higher epoch can let this host in.
            self.knows_ring = true;
            if self.is_listener() {
                return self.counters.drop_frame(DropReason::OldEpoch);
            }
            self.timers.arm_first(Timer::Join, self.now);
            return self.refuse(install.author, Refuse::Promised(self.promised));
        }
        if epoch <= self.joined && !planted::is(Mistake::OldInstall) {
            return self.counters.drop_frame(DropReason::Held);
        }
        if self
            .staging
            .as_ref()
            .is_some_and(|own| own.install.epoch >= epoch)
        {
            return self.counters.drop_frame(DropReason::Held);
        }
        if !self.extends_agreed(&install) {
            return self.counters.drop_frame(DropReason::Fork);
        }
        if !self.is_listener()
            && let Err(reason) = self.may_enter(epoch, view)
        {
            return self.counters.drop_frame(reason);
        }
        let generation = u64::from(view.generation_high) << 32 | u64::from(generation_low);
        if self.generation == 0 {
            self.enter_generation(generation, view);
        } else if self.joined == Epoch(0) && self.tail() == Position(0) {
            self.ground_at_start(view);
        }
        self.turn_to(epoch);
        self.is_amnesiac &= !planted::is(Mistake::WorksBeforeLog);
        self.stage(from, install);
    }

    /// Whether a host that votes may enter: who forgot only if it is admitted (R6, R7).
    fn may_enter(&mut self, epoch: Epoch, view: &View) -> Result<(), DropReason> {
        let known = view.crash_vector[usize::from(self.me.0)];
        if self.meet_earlier(known) {
            return Err(DropReason::Incarnation);
        }
        let is_this_life = known == self.inc || planted::is(Mistake::AdmitsEarlierLife);
        let is_admitted = view.admitted.contains(self.me) && is_this_life;
        if self.is_amnesiac && !is_admitted {
            return Err(DropReason::NotWorking);
        }
        let may_have_written = self.joined > Epoch(0) && known != 0;
        let is_earlier = known != self.inc && (may_have_written || view.ring.contains(self.me));
        if !self.is_amnesiac && is_earlier {
            // It restarted, and is known by an earlier incarnation: as a member, or as one that a
            // turn of this epoch may still let in because that one asked. The log would count this
            // one's messages as the earlier one's. The next epoch, which it still may promise,
            // knows it by its present one.
            self.highest_seen = self.highest_seen.max(epoch);
            return Err(DropReason::Incarnation);
        }
        Ok(())
    }

    /// Whether the INSTALL leaves all that is agreed here. No true founder's does otherwise: it chose
    /// from a majority's logs.
    fn extends_agreed(&self, install: &Entry) -> bool {
        let view = install.view.as_deref().expect("an INSTALL has a VIEW body");
        let (to, agreed) = (install.position.before(), self.marks.agreed());
        if install.position == Position(0) || to < agreed {
            return false;
        }
        if self.joined == Epoch(0) && agreed == Position(0) {
            // It holds nothing, and learns D(0) from this INSTALL.
            return true;
        }
        let common = self.log.common_with(view, install.position);
        let at = common.unwrap_or(agreed);
        // Nothing is fetched then that could show a difference.
        at < to || self.log.digest_at(at) == Some(install.prev)
    }

    /// This host's first generation: from here on it cannot claim to know of none.
    fn enter_generation(&mut self, generation: u64, view: &View) {
        self.generation = generation;
        self.ground_at_start(view);
        self.belong();
    }

    /// The host belongs to a generation from here on: first its journal says so, then its record,
    /// so that a record of a generation without a journal means that the journal was lost.
    pub(super) fn belong(&mut self) {
        self.forsaken = 0;
        self.record_begin();
        self.record_state();
        self.commit_records();
        self.outbox.await_journal();
        self.persist();
        let generation = self.generation;
        self.outbox
            .notices
            .push_back(Notice::Generation(generation));
    }

    /// D(0), if the INSTALL tells it.
    fn ground_at_start(&mut self, view: &View) {
        let digest = if view.base == Position(0) {
            view.base_digest
        } else {
            0
        };
        self.log = Log::new(Ground::first(self.hosts, digest));
    }

    fn stage(&mut self, from: HostId, install: Entry) {
        let view = install.view.as_deref().expect("an INSTALL has a VIEW body");
        let common = self.log.common_with(view, install.position);
        let at = common.unwrap_or_else(|| self.marks.agreed());
        let digest = self
            .log
            .digest_at(at)
            .expect("what is agreed is held or the base");
        let mut sources = vec![from, install.author];
        sources.extend(view.ring.iter());
        sources.retain(|host| *host != self.me);
        // Who begins anew has no use for what is over.
        let is_fresh = self.joined == Epoch(0);
        let epoch = install.epoch;
        let (to, digest_there) = if is_fresh && self.is_listener() {
            // It begins at the present, however long ago the epoch was opened.
            (install.position, install.digest)
        } else {
            (install.position.before(), install.prev)
        };
        let fetching = Fetching::new(sources, epoch, (at, digest), to, digest_there, is_fresh);
        self.staging = Some(Staging { install, fetching });
        self.arm_loss();
        self.fetch_more(Purpose::Stage);
    }

    /// The log that the INSTALL asks for is here, whole.
    pub(super) fn complete_staging(
        &mut self,
        ground: Option<Ground>,
        mut entries: VecDeque<Entry>,
    ) {
        let Some(Staging { install, .. }) = self.staging.take() else {
            return;
        };
        if self.knew_this_host(ground.as_ref(), &entries) {
            return;
        }
        // A listener asks for the INSTALL, too.
        entries.pop_back_if(|last| last.position == install.position);
        let is_fresh = self.joined == Epoch(0);
        let begins_behind = ground
            .as_ref()
            .is_some_and(|ground| ground.position >= install.position);
        if self.is_amnesiac {
            self.record_begin();
        }
        self.adopt(ground, entries);
        if self.fatal.is_some() {
            return;
        }
        if is_fresh {
            // Programs hear what comes from the view on.
            self.deliverer.skip_to(install.position.before());
        }
        self.counters.installed += 1;
        if begins_behind {
            self.enter(&install);
        } else {
            self.open(&install);
        }
    }

    /// Makes the own log equal to the fetched one: from a ground that lies higher, or from the
    /// last position that both have.
    pub(super) fn adopt(&mut self, ground: Option<Ground>, mut entries: VecDeque<Entry>) {
        let start = self.staged_tail.take();
        if let Some(ground) = ground {
            self.begin_after(ground);
        } else if let Some(first) = entries.front() {
            let mut common = first.position.before();
            while let Some(first) = entries.front()
                && self.log.digest_at(first.position) == Some(first.digest)
            {
                common = first.position;
                entries.pop_front();
            }
            if planted::is(Mistake::CutTooFar) {
                common = common.before();
            }
            self.cut(common);
        } else if let Some(start) = start.filter(|_| !planted::is(Mistake::CutTooLittle)) {
            self.cut(start);
        }
        if self.fatal.is_some() {
            return;
        }
        for entry in entries {
            self.record_entry(&entry);
            self.log.push(entry);
            self.marks.extend();
        }
    }

    fn cut(&mut self, common: Position) {
        if common < self.marks.agreed() {
            let found = format!("cut to {common:?}, agreed {:?}", self.marks.agreed());
            return self.fail("I1", found);
        }
        self.counters.cut += self.tail().0 - common.0;
        if common < self.tail() {
            self.record_cut(common);
        }
        self.log.cut(common);
        self.marks.cut(common);
    }

    /// Nobody keeps what lies between the agreed position and `ground`.
    pub(super) fn begin_after(&mut self, ground: Ground) {
        let agreed = self.marks.agreed();
        if ground.position < agreed {
            return self.fail(
                "I1",
                format!("begin after {:?}, agreed {agreed:?}", ground.position),
            );
        }
        self.counters.gaps += 1;
        let is_told = !planted::is(Mistake::GapUntold);
        if self.joined > Epoch(0) && ground.position > self.deliverer.done() && is_told {
            let (from, to) = (self.deliverer.done().next(), ground.position);
            self.outbox.notices.push_back(Notice::Gap { from, to });
        }
        // Numbers of an earlier incarnation say nothing about this one's messages.
        let own = ground.senders.get(usize::from(self.me.0));
        if let Some((_, number)) = own.filter(|(inc, _)| *inc == self.inc)
            && !planted::is(Mistake::GapKeepsOwn)
        {
            self.queue.forget(Ticket(*number));
        }
        self.counters.cut += self.tail().0 - agreed.0;
        self.marks.begin_after(ground.position);
        self.deliverer.begin_after(&ground);
        self.record_cut(ground.position);
        self.log = Log::new(ground);
    }

    /// Appends the turn that opens an epoch, and works in it from here on.
    pub(super) fn open(&mut self, install: &Entry) {
        self.record_entry(install);
        self.log.push(install.clone());
        self.marks.extend();
        self.enter(install);
        let author = usize::from(install.author.0);
        self.last[author] = install.position;
        if install.flags.has(Flags::SYNCED) {
            self.stored[author] = install.position;
        }
        self.update_agreement();
        self.advance();
        self.wake_if_quiet();
    }

    /// Works in the epoch that `install` opened.
    fn enter(&mut self, install: &Entry) {
        let view = install.view.as_deref().expect("an INSTALL has a VIEW body");
        self.joined = install.epoch;
        self.is_whole |= std::mem::take(&mut self.is_amnesiac);
        assert_eq!(
            self.promised, self.joined,
            "an epoch is promised before it is entered (I2)"
        );
        self.learn_incarnations(&view.crash_vector);
        self.record_state();
        self.commit_records();
        (self.appended, self.is_warned) = (0, false);
        let above = self.last_kept(install);
        self.last
            .iter_mut()
            .for_each(|last| *last = above.min(*last));
        self.stored.fill(Position(0));
        self.credit.fill(None);
        self.install = Some(install.clone());
        let ring = view.ring;
        self.joiners.retain(|host, _| !ring.contains(*host));
        self.candidate = None;
        self.catch_up = None;
        self.heard_tail = self.tail();
        self.hop.rest();
        self.nack_tries = 0;
        self.wants_wake = false;
        self.hears_rest = false;
        self.epoch_delay = self.params.times.prepare * 4;
        self.unpark();
        for timer in [
            Timer::Epoch,
            Timer::Grace,
            Timer::Prepare,
            Timer::Wake,
            Timer::Nack,
        ] {
            self.timers.disarm(timer);
        }
        self.requeue_own();
        self.early.forget_up_to(self.joined, self.tail());
        self.note_progress();
        if self.log.ring().contains(self.me) {
            self.join_delay = self.params.times.join_min;
        } else if !self.is_leaving {
            if self.is_removed_by(view) {
                self.note_removal();
            }
            let wait = self.removal_wait();
            self.timers.arm(Timer::Join, self.now.after(wait));
        }
    }

    /// What hosts wrote counts up to here in the epoch that `install` opens: not at all (R3).
    fn last_kept(&self, install: &Entry) -> Position {
        if planted::is(Mistake::OldCopiesCount) {
            return install.position.before();
        }
        Position(0)
    }

    /// R9: what is not whole in the log waits again, in order, under its old number.
    pub(super) fn requeue_own(&mut self) {
        if !planted::is(Mistake::CutGoesOnInside) {
            self.sent_bytes = 0;
        }
        if planted::is(Mistake::NothingSentAgain) {
            return;
        }
        let Some(front) = self.queue.message(0).map(|message| message.ticket.0) else {
            return;
        };
        let mut highest = front - 1;
        let mut is_own = self.deliverer.incarnation(self.me) == self.inc;
        for entry in self
            .log
            .entries()
            .filter(|entry| entry.position > self.deliverer.done())
        {
            if let Some(view) = &entry.view {
                let inc = view.crash_vector.get(usize::from(self.me.0));
                is_own |= inc == Some(&self.inc);
                continue;
            }
            if entry.author != self.me || !is_own {
                continue;
            }
            let mut at = 0;
            while let Ok(Some((piece, next))) = batch::entry_at(&entry.body, at) {
                if piece.is_last() {
                    highest = highest.max(near(highest, piece.number));
                }
                at = next;
            }
        }
        if planted::is(Mistake::AllSentAgain) {
            highest = front - 1;
        }
        let before = self.queue.packed();
        self.queue.repack(Ticket(highest));
        self.counters.resubmitted += before.saturating_sub(self.queue.packed()) as u64;
    }

    // Coming in.

    /// Whether this change takes this host out against its will.
    pub(super) fn is_removed_by(&self, view: &View) -> bool {
        view.left.contains(self.me) && !self.is_leaving
    }

    pub(super) fn note_removal(&mut self) {
        let (now, within) = (self.now, self.params.times.removals_within);
        self.removals.retain(|at| now.since(*at) < within);
        if self.removals.len() == REMOVALS_MAX {
            self.removals.pop_front();
        }
        self.removals.push_back(now);
        self.counters.removed += 1;
    }

    /// A host that is removed again and again gives the others some peace.
    pub(super) fn removal_wait(&self) -> Duration {
        let times = &self.params.times;
        let is_recent = |at: &&Time| self.now.since(**at) < times.removals_within;
        let count = self.removals.iter().filter(is_recent).count();
        let Some(doublings) = count.checked_sub(REMOVALS_BORNE) else {
            return Duration::ZERO;
        };
        let doublings = u32::try_from(doublings).expect("at most REMOVALS_MAX");
        (times.removed_min * 2_u32.saturating_pow(doublings)).min(times.removed_max)
    }

    // Without a generation.

    /// The operator says that nothing is left of this host's generation.
    pub(in crate::engine::ring) fn form(
        &mut self,
        now: Time,
        members: &[HostId],
    ) -> Result<(), FormError> {
        self.now = now;
        let named: HostSet = members.iter().copied().collect();
        let (found, quorum) = (named.len(), self.quorum);
        if let Some(host) = members.iter().find(|host| self.listens(**host)) {
            return Err(FormError::Listener { host: *host });
        }
        if !named.contains(self.me) {
            return Err(FormError::NotNamed { me: self.me });
        }
        if found < quorum {
            return Err(FormError::TooFew { found, quorum });
        }
        if !self.is_amnesiac {
            return if self.generation == 0 {
                Ok(())
            } else {
                Err(FormError::Remembers {
                    generation: self.generation,
                })
            };
        }
        self.forsake();
        Ok(())
    }

    /// This host's generation is over: it is one without a generation, and never takes part in
    /// that one again. Its record goes on naming it until it belongs to another, so that after a
    /// restart it counts as one that lost its memory.
    pub(super) fn forsake(&mut self) {
        self.counters.generations_forsaken += 1;
        self.forsaken = self.generation;
        self.generation = 0;
        self.is_amnesiac = false;
        self.is_whole = true;
        self.knows_ring = false;
        self.formless.clear();
        self.joiners.clear();
        // The others must hear it, too.
        self.timers.arm(Timer::Join, self.now);
        self.arm_loss();
    }

    /// A host remembers nothing, as this one, or never belonged to a generation. Once all configured hosts have
    /// said so, nothing is left that a new generation could contradict.
    pub(super) fn hear_formless(&mut self, host: HostId) {
        if !self.is_amnesiac || self.staging.is_some() {
            return;
        }
        let (now, within) = (self.now, self.params.times.join_max * 2);
        self.formless.insert(host, now);
        self.formless.retain(|_, heard| now.since(*heard) < within);
        if self.formless.len() + 1 == self.hosts {
            self.forsake();
        }
    }

    pub(super) fn ask_to_join(&mut self) {
        // A host that came back to a resting ring of which it is a member has promised more than
        // it entered; nobody would notice.
        let is_in = self.can_work() && self.log.ring().contains(self.me);
        let is_new = !self.is_amnesiac && self.joined == Epoch(0) && !self.knows_ring;
        let is_virgin = is_new && self.forsaken == 0;
        if is_in || is_virgin || self.is_leaving {
            self.join_delay = self.params.times.join_min;
            return;
        }
        let join = Join {
            inc: self.inc,
            mode: self.mode(),
            promised: self.promised,
            tail_epoch: self.log.tail_epoch(),
            generation: self.generation,
            since: self.reaches_back_to(),
        };
        let mut body = Vec::new();
        join.emit(&mut body);
        let header = self.own_header(Kind::Join, self.joined);
        self.send(None, header, &body);
        self.join_delay = (self.join_delay * 2).min(self.params.times.join_max);
        self.timers
            .arm(Timer::Join, self.now.after(self.join_delay));
    }

    pub(super) fn on_join(&mut self, header: &Header, join: &Join) {
        let host = header.src;
        let known = self.crash_vector[usize::from(host.0)];
        if join.inc < known {
            return self.refuse(host, Refuse::Incarnation(known));
        }
        if join.mode != Mode::Amnesiac && self.has_forgotten(host, join.since) {
            return self.tell_forgotten(host);
        }
        self.highest_seen = self.highest_seen.max(join.promised);
        self.learn_incarnation(host, join.inc);
        if join.mode != Mode::Normal {
            self.hear_formless(host);
        }
        if self.is_amnesiac || self.joined == Epoch(0) {
            return;
        }
        let admitted = self
            .install
            .as_ref()
            .and_then(|install| install.view.as_deref());
        let is_admitted = admitted.is_some_and(|view| {
            view.admitted.contains(host) && view.crash_vector[usize::from(host.0)] == join.inc
        });
        let has_memory = join.mode != Mode::Amnesiac;
        // This epoch knows it by an earlier incarnation: only the next can let it in (`may_enter`).
        let is_later = admitted.is_some_and(|view| {
            let known = view.crash_vector[usize::from(host.0)];
            has_memory && known != 0 && known != join.inc
        });
        let may_enter = (has_memory && !is_later || is_admitted) && join.promised <= self.joined;
        if may_enter && header.epoch < self.joined {
            return self.tell_install(host);
        }
        let is_in = self.log.ring().contains(host);
        if is_in && has_memory && !is_later && join.promised <= self.joined {
            return;
        }
        let joiner = Joiner {
            inc: join.inc,
            mode: join.mode,
            promised: join.promised,
            is_later,
            epoch: header.epoch,
            tail: header.seq,
            heard: self.now,
        };
        self.joiners.insert(host, joiner);
    }

    /// Forgets hosts that asked to come in and are not heard of any more.
    pub(super) fn prune_joiners(&mut self) {
        let (now, within) = (self.now, self.params.times.join_max * 2);
        self.joiners
            .retain(|_, joiner| now.since(joiner.heard) < within);
    }

    /// Somebody waits whom only an epoch can let in.
    pub(super) fn wants_planned_epoch(&self) -> bool {
        let waits = self
            .joiners
            .values()
            .any(|joiner| joiner.needs_epoch(self.joined));
        let again = self.params.times.planned;
        waits
            && self
                .last_planned
                .is_none_or(|last| self.now.since(last) >= again)
    }

    // Generations.

    /// A frame of another generation. If anything was agreed on in that one, and nothing here,
    /// then nothing ever was or will be agreed on in this host's: it goes over.
    pub(super) fn hear_other_generation(&mut self, header: &Header) -> Result<(), DropReason> {
        let agreed = header.seq.0.saturating_sub(u64::from(header.behind));
        let is_established = header.behind < u16::MAX
            && (agreed > 0 || planted::is(Mistake::GoesOverToAny))
            && matches!(
                header.kind,
                Kind::Turn | Kind::Park | Kind::Probe | Kind::Refuse | Kind::Join
            );
        let is_own_established = self.marks.agreed() > Position(0);
        if !is_established || is_own_established {
            return Err(DropReason::Generation);
        }
        if self.is_listener() {
            self.leave_generation();
            return Ok(());
        }
        self.counters.generations_left += 1;
        self.forsaken = self.generation;
        self.generation = 0;
        self.is_amnesiac = false;
        self.is_whole = false;
        self.begin_anew();
        self.persist();
        self.arm_loss();
        Ok(())
    }

    /// Nothing that this host did counts: it did nothing that others could count.
    pub(super) fn begin_anew(&mut self) {
        self.joined = Epoch(0);
        self.install = None;
        self.turn_to(self.promised);
        let ground = Ground::first(self.hosts, 0);
        self.deliverer = Deliverer::new(&ground);
        self.log = Log::new(ground);
        self.marks = crate::engine::marks::Marks::default();
        self.joiners = BTreeMap::new();
        self.last.fill(Position(0));
        self.stored.fill(Position(0));
        self.queue.repack(Ticket(0));
        self.sent_bytes = 0;
    }
}
