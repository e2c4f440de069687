//! The ordering protocols, as state machines without I/O.
//!
//! Bytes and time go in, frames and deliveries come out. An engine knows no clock, socket, thread
//! or file; the same calls in the same order always give the same outputs.
//!
//! A caller, in a loop: `on_submit` until `Busy`, `on_frame` for what arrived, `on_timeout` when
//! [`poll_timeout`](Engine::poll_timeout) is due; then `poll_persist`, `poll_transmit`,
//! `poll_deliver` and `poll_event` until each says `None`. Outputs are made by the polls, so a
//! whole batch of submissions becomes one turn.

pub mod marks;
pub mod params;
pub mod ring;

use crate::ids::{Epoch, GroupId, HostId, Position, Seq};
use crate::time::Time;
use crate::wire::FrameError;

/// What an application submitted.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// To which group.
    pub group: GroupId,
    /// The caller's own number for where it came from; comes back with the delivery at this host.
    pub origin: u64,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// Number of a submission in this host's incarnation: 1, 2, 3, …
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// Answer to a submission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admit {
    /// It will be delivered, unless this host fails before it is agreed.
    Taken(Ticket),
    /// The queue is full; poll the outputs and try again.
    Busy,
    /// Another member must be asked.
    Redirect(HostId),
}

/// How sure the order of a delivered message is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// Appended here; may still be taken back.
    Tail,
    /// Final everywhere, even at a host that dies at once.
    Agreed,
    /// Agreed, and on stable storage at a majority of the configured hosts. Takes a journal at as
    /// many of them.
    Durable,
    /// Held by every member.
    Safe,
}

/// A message whose turn has come.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Its place in the order of messages.
    pub seq: Seq,
    /// The position of its turn in the ring's log.
    pub position: Position,
    /// Its group.
    pub group: GroupId,
    /// The host that submitted it.
    pub host: HostId,
    /// That host's number for it.
    pub ticket: Ticket,
    /// The submitter's own number for where it came from. At other hosts than `host` only its low
    /// 32 bits, the two port fields of the frame.
    pub origin: u64,
    /// How sure its place is.
    pub stage: Stage,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// Where a frame came from: a member and the link it used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    /// The member.
    pub host: HostId,
    /// The link.
    pub link: u8,
}

/// A frame from the network, not looked at yet.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A frame to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// To one member, or to all.
    pub to: Option<HostId>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A record to put on stable storage, and the number by which [`Engine::on_durable`] names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: PersistId,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Number of a record to persist.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct PersistId(pub u64);

/// What a host keeps in its journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogRecord {
    /// The journal begins anew, for this generation; what it held is void.
    Begin {
        /// The generation.
        generation: u64,
    },
    /// One entry of the log, right behind the one before.
    Entry {
        /// Its place.
        position: Position,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The next entry is the one after `keep`. What is held up to there stays if it reaches there;
    /// else nothing stays and the log begins behind it.
    Cut {
        /// The last position that stays.
        keep: Position,
    },
    /// What the host must know beside the log, in the place of what it said before.
    State {
        /// Entries at or below are needed no more, once this is on stable storage.
        base: Position,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// Records that count together or not at all after a crash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unit {
    /// Its number; grows by one.
    pub id: UnitId,
    /// Its records, in order.
    pub records: Vec<LogRecord>,
}

/// Number of a [`Unit`] in one life of an engine.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnitId(pub u64);

/// The members, in ring order, from one position of the log on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// The members.
    pub members: Vec<HostId>,
    /// The epoch in which they were agreed on.
    pub epoch: Epoch,
    /// The position from which they take turns; the same at every host.
    pub position: Position,
    /// Who came, compared with the view before.
    pub joined: Vec<HostId>,
    /// Who went.
    pub left: Vec<HostId>,
}

impl View {
    /// What a ring begins with.
    #[must_use]
    pub fn first(members: Vec<HostId>) -> Self {
        Self {
            joined: members.clone(),
            members,
            ..Self::default()
        }
    }
}

/// What somebody outside believes. Engines use it to be fast, never to be right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hint {
    /// The host seems to have failed.
    Suspect(HostId),
    /// The host seems to be well.
    Trust(HostId),
    /// A link went down.
    LinkDown(u8),
}

/// What the programs' side should know beside deliveries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The members changed at this position.
    View(View),
    /// No majority can be reached; nothing is ordered until one can.
    Halted,
    /// Order goes on.
    Resumed,
}

/// What concerns this host alone and has no place in the order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// This host missed the messages at these positions, and nobody keeps them.
    Gap {
        /// First position missed.
        from: Position,
        /// Last position missed.
        to: Position,
    },
    /// This host belongs to this generation from here on.
    Generation(u64),
    /// A host's frames are refused because the two are configured differently. Told at once, and
    /// while it goes on once a minute for each host and reason.
    Refused {
        /// From whose address they come.
        host: HostId,
        /// What they differ in; `is_disagreement` holds.
        error: FrameError,
    },
    /// A member says that more is agreed than this host counts, although it holds the same turns
    /// for a rotation (I10). Nothing is wrong with what was delivered; one of the two is mistaken.
    Unagreed {
        /// The member.
        author: HostId,
        /// What it says.
        claimed: Position,
        /// What this host counts.
        counted: Position,
    },
    /// Nothing more comes from this engine.
    Fatal(Violation),
}

/// A broken invariant: a mistake of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invariant {rule} does not hold: {found}")]
pub struct Violation {
    /// The rule, as numbered in `docs/ring.md`.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
}

/// An ordering protocol.
pub trait Engine {
    /// An application submits.
    fn on_submit(&mut self, now: Time, submission: Submission<'_>) -> Admit;
    /// A frame arrived.
    fn on_frame(&mut self, now: Time, from: Port, frame: Frame<'_>);
    /// The time of `poll_timeout` has come.
    fn on_timeout(&mut self, now: Time);
    /// The members, as configured or agreed elsewhere.
    fn on_view(&mut self, now: Time, view: &View);
    /// Somebody believes something.
    fn on_hint(&mut self, now: Time, hint: Hint);
    /// A record of `poll_persist` is on stable storage.
    fn on_durable(&mut self, now: Time, record: PersistId);
    /// The next frame to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// Takes the memory of a frame that was sent back, to write later ones into.
    fn reuse(&mut self, frame: Transmit);
    /// The next record to persist.
    fn poll_persist(&mut self) -> Option<Record>;
    /// The next message to deliver.
    fn poll_deliver(&mut self) -> Option<Delivery<'_>>;
    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;
    /// When `on_timeout` wants to be called.
    fn poll_timeout(&self) -> Option<Time>;
    /// Looks for broken invariants.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] found.
    fn check(&self) -> Result<(), Violation>;
}
