//! Which incarnations are known, and who forgot what earlier ones did (R6, R8).
//!
//! A host whose record was lost takes itself for one that never ran. Each host therefore says to
//! which incarnation its memory reaches back, and keeps the lowest that it knows of each other:
//! who is known from before that has forgotten something.

use std::collections::VecDeque;

use super::timers::Timer;
use super::{INCARNATION_STEP, Member};
use crate::engine::ring::log::{Entry, Ground};
use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};
use crate::wire::body::Refuse;

/// Whether incarnation `known` is one that a memory does not reach back to.
pub(super) const fn is_beyond(known: u64, since: u64) -> bool {
    known != 0 && known < since
}

/// The lower of each two; 0 is none.
pub(super) fn lower(known: &mut [u64], others: &[u64]) {
    for (known, other) in known.iter_mut().zip(others) {
        if *other != 0 && (*known == 0 || other < known) {
            *known = *other;
        }
    }
}

impl Member {
    /// What this host says of its memory: it reaches back to this incarnation, 0 for all that
    /// count.
    pub(super) const fn reaches_back_to(&self) -> u64 {
        if self.is_whole { 0 } else { self.since }
    }

    pub(super) fn learn_incarnation(&mut self, host: HostId, inc: u64) {
        let index = usize::from(host.0);
        self.crash_vector[index] = self.crash_vector[index].max(inc);
        lower(&mut self.earliest[index..=index], &[inc]);
    }

    pub(super) fn learn_incarnations(&mut self, crash_vector: &[u64]) {
        let me = usize::from(self.me.0);
        for (host, (known, inc)) in self.crash_vector.iter_mut().zip(crash_vector).enumerate() {
            if planted::is(Mistake::VectorLowered) && host != me {
                *known = *inc;
            } else if host != me {
                *known = (*known).max(*inc);
            }
        }
        self.learn_earliest(crash_vector);
    }

    pub(super) fn learn_earliest(&mut self, earliest: &[u64]) {
        lower(&mut self.earliest, earliest);
    }

    /// Whether `host` is known from before the incarnation to which it says its memory reaches
    /// back.
    pub(super) fn has_forgotten(&self, host: HostId, since: u64) -> bool {
        let known = self.earliest.get(usize::from(host.0));
        known.is_some_and(|known| is_beyond(*known, since))
    }

    /// Tells a host which of its incarnations it has forgotten.
    pub(super) fn tell_forgotten(&mut self, host: HostId) {
        self.tell_incarnation(host, self.earliest[usize::from(host.0)]);
    }

    /// A frame whose counter lies below the host's known incarnation is of a life that began with a
    /// lower one: nobody would ever let its frames in.
    pub(super) fn tell_higher(&mut self, host: HostId, counter: u64) {
        if self.listens(host) {
            return self.tell_listener_higher(host, counter);
        }
        let known = self.crash_vector.get(usize::from(host.0)).copied();
        if let Some(known) = known.filter(|known| counter < *known) {
            self.tell_incarnation(host, known);
        }
    }

    pub(super) fn tell_incarnation(&mut self, host: HostId, inc: u64) {
        let (index, again) = (usize::from(host.0), self.params.times.prepare);
        if self.now >= self.warned[index] {
            self.warned[index] = self.now.after(again);
            self.refuse(host, Refuse::Incarnation(inc));
        }
    }

    /// Somebody knows an incarnation of this host. True: this host goes on in another way, and
    /// what it was about to do is over.
    pub(super) fn meet_earlier(&mut self, known: u64) -> bool {
        if self.is_listener() {
            self.count_above(known);
            return false;
        }
        if known > self.inc {
            if self.generation != 0 && !self.is_amnesiac {
                let found = format!("incarnation {known} is at work beside {}", self.inc);
                self.fail("I11", found);
                return true;
            }
            self.begin_above(known);
            return true;
        }
        if self.is_amnesiac || !is_beyond(known, self.reaches_back_to()) {
            return false;
        }
        self.forget();
        true
    }

    /// The clock or the record is behind what the ring knows: so nothing of that life is known
    /// here. This one may take a number above it, since it has no memory that others could count.
    fn begin_above(&mut self, known: u64) {
        self.inc = known.saturating_add(INCARNATION_STEP);
        self.since = self.inc;
        self.crash_vector[usize::from(self.me.0)] = self.inc;
        self.guard.raise(self.inc);
        self.counters.incarnations_raised += 1;
        self.is_amnesiac = true;
        self.is_whole = false;
        self.wait_to_be_let_in();
        self.persist();
    }

    /// An earlier incarnation took part in something that this host does not remember: it lost its
    /// memory and did not know.
    fn forget(&mut self) {
        if self.joined > Epoch(0) && (self.written.1 > Position(0) || self.seq().0 > 0) {
            let found = format!("an incarnation before {} took part", self.since);
            return self.fail("R6", found);
        }
        self.counters.losses_learned += 1;
        if self.joined > Epoch(0) {
            self.begin_anew();
        }
        self.is_amnesiac = true;
        self.wait_to_be_let_in();
    }

    fn wait_to_be_let_in(&mut self) {
        self.drop_candidate();
        self.staging = None;
        self.catch_up = None;
        self.arm_loss();
        self.join_delay = self.params.times.join_min;
        self.timers.arm(Timer::Join, self.now);
    }

    /// Whether a log that is fetched knows this host from before its memory.
    pub(super) fn knew_this_host(
        &mut self,
        ground: Option<&Ground>,
        entries: &VecDeque<Entry>,
    ) -> bool {
        if self.is_listener() {
            return false;
        }
        let me = usize::from(self.me.0);
        let views = entries.iter().filter_map(|entry| entry.view.as_deref());
        let of_views = views.filter_map(|view| view.crash_vector.get(me).copied());
        let of_ground = ground.map(|ground| ground.senders[me].0);
        let since = self.reaches_back_to();
        let known = of_views.chain(of_ground).find(|inc| is_beyond(*inc, since));
        known.is_some_and(|known| self.meet_earlier(known))
    }
}
