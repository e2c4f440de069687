//! The token ring: turns in a circle, agreement by building on them, epochs when somebody fails.
//!
//! Source: `docs/ring.md` (the Exo slides, with rules R1–R9 and invariants I1–I12), where every
//! deviation is listed. A ring of one configured host (`alone`) sends no frames and agrees at
//! once; with more hosts (`member`) the whole protocol is at work. Both are one type, so that a
//! caller need not care.
//!
//! A turn is taken when frames are polled for and not at each submit, so that a batch of
//! submissions becomes one turn.

mod agreement;
mod alone;
mod counters;
mod log;
mod member;
mod memory;
mod parts;
mod queue;
mod setup;

pub use counters::{Counters, DropReason};
pub use member::{HostLag, Inspection, Timeouts};
pub use memory::{Memory, MemoryError};
pub use setup::Setup;

use alone::Alone;
use member::Member;

use super::marks::Marks;
use super::params::Params;
use super::{
    Admit, Delivery, Engine, Event, Frame, Hint, Notice, PersistId, Port, Record, Submission,
    Transmit, Unit, UnitId, View, Violation,
};
use crate::ids::{Epoch, HostId, Position, Seq};
use crate::time::Time;
use crate::wire::keys::Keys;

/// Why a host does not begin a new generation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// The host is not one of the named.
    #[error("host {} is not among the members named", me.0)]
    NotNamed {
        /// The host.
        me: HostId,
    },
    /// It is named, and only listens.
    #[error("host {} only listens: name hosts that vote", host.0)]
    Listener {
        /// The host.
        host: HostId,
    },
    /// Fewer than a majority were named.
    #[error("{found} members are named; a majority is {quorum}")]
    TooFew {
        /// How many were named.
        found: usize,
        /// A majority of the configured hosts.
        quorum: usize,
    },
    /// The host remembers its generation; others may, too.
    #[error(
        "this host remembers generation {generation:#x}; it can go on, and forming another would give it up"
    )]
    Remembers {
        /// The generation.
        generation: u64,
    },
}

/// The engine of one host.
#[derive(Debug)]
pub struct Ring(Inner);

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one engine a process, and the ring of one is reached without a pointer"
)]
enum Inner {
    Alone(Alone),
    Member(Box<Member>),
}

impl Ring {
    /// A ring of one: `me` is its only host, and nobody listens.
    #[must_use]
    pub fn alone(me: HostId, params: Params) -> Self {
        Self(Inner::Alone(Alone::new(me, params)))
    }

    /// One of several hosts, perhaps one that only listens; with one configured host the same as
    /// [`alone`](Self::alone).
    #[must_use]
    pub fn member(setup: &Setup, now: Time) -> Self {
        setup.assert_sound();
        if setup.all() == 1 {
            return Self::alone(setup.me, setup.params);
        }
        Self(Inner::Member(Box::new(Member::new(setup, now))))
    }

    /// One of the configured hosts, with a journal: whatever it says is on stable storage first.
    /// `memory` is what the journal holds; without it the host starts as one that lost its memory,
    /// or that never ran. A ring of one is such a host, too. A host that only listens keeps no
    /// journal: it is the same as without.
    ///
    /// A memory of another generation than that of `setup.stored` is none.
    #[must_use]
    pub fn with_journal(setup: &Setup, memory: Option<Memory>, now: Time) -> Self {
        setup.assert_sound();
        let member = Member::with_journal(setup, memory, now);
        Self(Inner::Member(Box::new(member)))
    }

    /// The operator's word that nothing is left of the generation that this host belonged to, and
    /// that `members` shall begin another: it must be said at each of them. Hosts that all remember
    /// nothing begin one by themselves once each has heard from all configured ones.
    ///
    /// # Errors
    ///
    /// [`FormError`]; nothing was changed.
    pub fn form(&mut self, now: Time, members: &[HostId]) -> Result<(), FormError> {
        match &mut self.0 {
            Inner::Alone(_) => Ok(()),
            Inner::Member(member) => member.form(now, members),
        }
    }

    /// The next unit for the journal. All units go there in order; each, or the last of several,
    /// is reported with [`on_synced`](Self::on_synced) once it is on stable storage. Turns and
    /// promises wait for it. Nothing without a journal.
    pub fn poll_journal(&mut self) -> Option<Unit> {
        match &mut self.0 {
            Inner::Alone(_) => None,
            Inner::Member(member) => member.poll_journal(),
        }
    }

    /// Everything up to this unit is on stable storage.
    pub fn on_synced(&mut self, now: Time, unit: UnitId) {
        if let Inner::Member(member) = &mut self.0 {
            member.on_synced(now, unit);
        }
    }

    /// The log's marks.
    #[must_use]
    pub const fn marks(&self) -> Marks {
        match &self.0 {
            Inner::Alone(alone) => alone.marks(),
            Inner::Member(member) => member.marks(),
        }
    }

    /// Place of the last delivered message.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        match &self.0 {
            Inner::Alone(alone) => alone.seq(),
            Inner::Member(member) => member.seq(),
        }
    }

    /// Whether the token rests and this host hears so, with nothing of its own to send; never in a
    /// ring that spins.
    #[must_use]
    pub fn is_at_rest(&self, now: Time) -> bool {
        match &self.0 {
            Inner::Alone(_) => true,
            Inner::Member(member) => member.is_at_rest(now),
        }
    }

    /// Frames that were dropped, for whatever reason.
    #[must_use]
    pub fn frames_dropped(&self) -> u64 {
        match &self.0 {
            Inner::Alone(alone) => alone.frames_dropped(),
            Inner::Member(member) => member.counters().frames_dropped(),
        }
    }

    /// What was counted; nothing in a ring of one.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match &self.0 {
            Inner::Alone(_) => Counters::default(),
            Inner::Member(member) => *member.counters(),
        }
    }

    /// The next local event that has no place in the order.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        match &mut self.0 {
            Inner::Alone(_) => None,
            Inner::Member(member) => member.poll_notice(),
        }
    }

    /// Asks to leave the ring at this host's next turn; refused while too few would stay. The
    /// host still counts as one of the configured, and still receives.
    pub fn leave(&mut self) {
        if let Inner::Member(member) = &mut self.0 {
            member.leave();
        }
    }

    /// Takes [`leave`](Self::leave) back: the host asks to come in again.
    pub fn rejoin(&mut self, now: Time) {
        if let Inner::Member(member) = &mut self.0 {
            member.rejoin(now);
        }
    }

    /// Seals and accepts with these keys from now on. Nothing in an open ring and a ring of one.
    pub fn change_keys(&mut self, keys: &Keys) {
        if let Inner::Member(member) = &mut self.0 {
            member.change_keys(keys);
        }
    }

    /// A look at the state, for operators and tests; `None` in a ring of one.
    #[must_use]
    pub fn inspect(&self) -> Option<Inspection> {
        match &self.0 {
            Inner::Alone(_) => None,
            Inner::Member(member) => Some(member.inspect()),
        }
    }

    /// Position, epoch and digest of every entry of the log above its base, for tests that
    /// compare hosts; nothing in a ring of one.
    #[must_use]
    pub fn held(&self) -> Vec<(Position, Epoch, u64)> {
        match &self.0 {
            Inner::Alone(_) => Vec::new(),
            Inner::Member(member) => member.held(),
        }
    }
}

/// One call, handed on to whichever it is.
macro_rules! hand_on {
    ($self:expr, $engine:ident => $call:expr) => {
        match &mut $self.0 {
            Inner::Alone($engine) => $call,
            Inner::Member($engine) => $call,
        }
    };
}

impl Engine for Ring {
    fn on_submit(&mut self, now: Time, submission: Submission<'_>) -> Admit {
        hand_on!(self, engine => engine.on_submit(now, submission))
    }

    fn on_frame(&mut self, now: Time, from: Port, frame: Frame<'_>) {
        hand_on!(self, engine => engine.on_frame(now, from, frame));
    }

    fn on_timeout(&mut self, now: Time) {
        hand_on!(self, engine => engine.on_timeout(now));
    }

    fn on_view(&mut self, now: Time, view: &View) {
        hand_on!(self, engine => engine.on_view(now, view));
    }

    fn on_hint(&mut self, now: Time, hint: Hint) {
        hand_on!(self, engine => engine.on_hint(now, hint));
    }

    fn on_durable(&mut self, now: Time, record: PersistId) {
        hand_on!(self, engine => engine.on_durable(now, record));
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        hand_on!(self, engine => engine.poll_transmit())
    }

    fn reuse(&mut self, frame: Transmit) {
        hand_on!(self, engine => engine.reuse(frame));
    }

    fn poll_persist(&mut self) -> Option<Record> {
        hand_on!(self, engine => engine.poll_persist())
    }

    fn poll_deliver(&mut self) -> Option<Delivery<'_>> {
        hand_on!(self, engine => engine.poll_deliver())
    }

    fn poll_event(&mut self) -> Option<Event> {
        hand_on!(self, engine => engine.poll_event())
    }

    fn poll_timeout(&self) -> Option<Time> {
        match &self.0 {
            Inner::Alone(alone) => alone.poll_timeout(),
            Inner::Member(member) => member.poll_timeout(),
        }
    }

    fn check(&self) -> Result<(), Violation> {
        match &self.0 {
            Inner::Alone(alone) => alone.check(),
            Inner::Member(member) => member.check(),
        }
    }
}
