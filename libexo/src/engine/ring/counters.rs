//! What a host counts: frames dropped, by reason, and the rare branches.

use crate::wire::auth::AuthError;
use crate::wire::{FrameError, ParseError};

/// Why a frame was dropped. `docs/wire.md` lists all of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum DropReason {
    /// It does not have the form of a frame.
    Malformed,
    /// Its bytes changed on the way.
    Check,
    /// It speaks another version.
    Version,
    /// It is for another ring.
    Ring,
    /// Its table of hosts is another.
    Table,
    /// It is open, tagged or encrypted, and this host's ring is not.
    Mode,
    /// Another key sealed it.
    Key,
    /// Its tag is wrong.
    Tag,
    /// Its counter was seen before.
    Replay,
    /// It comes from one host and speaks as another.
    Impostor,
    /// It speaks as this host.
    OwnId,
    /// It is for another host, or comes from no configured one.
    NotForUs,
    /// It belongs to another generation.
    Generation,
    /// It belongs to an older epoch.
    OldEpoch,
    /// It belongs to an epoch that this host has not entered.
    NewEpoch,
    /// It is held already.
    Held,
    /// This host does not work now (R4, R6).
    NotWorking,
    /// Its author does not own the position, or it extends another log (R2).
    Fork,
    /// Nothing waits for it.
    Unexpected,
    /// It comes from an incarnation that is over (R8).
    Incarnation,
    /// It comes from a host that only listens, and says what only those that vote may say.
    Listener,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Malformed,
        Self::Check,
        Self::Version,
        Self::Ring,
        Self::Table,
        Self::Mode,
        Self::Key,
        Self::Tag,
        Self::Replay,
        Self::Impostor,
        Self::OwnId,
        Self::NotForUs,
        Self::Generation,
        Self::OldEpoch,
        Self::NewEpoch,
        Self::Held,
        Self::NotWorking,
        Self::Fork,
        Self::Unexpected,
        Self::Incarnation,
        Self::Listener,
    ];
    const COUNT: usize = Self::ALL.len();

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Check => "check",
            Self::Version => "version",
            Self::Ring => "ring",
            Self::Table => "table",
            Self::Mode => "mode",
            Self::Key => "key",
            Self::Tag => "tag",
            Self::Replay => "replay",
            Self::Impostor => "impostor",
            Self::OwnId => "own_id",
            Self::NotForUs => "not_for_us",
            Self::Generation => "generation",
            Self::OldEpoch => "old_epoch",
            Self::NewEpoch => "new_epoch",
            Self::Held => "held",
            Self::NotWorking => "not_working",
            Self::Fork => "fork",
            Self::Unexpected => "unexpected",
            Self::Incarnation => "incarnation",
            Self::Listener => "listener",
        }
    }

    /// The reason behind an error of the frame itself.
    #[must_use]
    pub const fn of(error: &FrameError) -> Self {
        match error {
            FrameError::Form(error) => match error {
                ParseError::Check { .. } => Self::Check,
                ParseError::Version { .. } => Self::Version,
                ParseError::Ring { .. } => Self::Ring,
                ParseError::Table { .. } => Self::Table,
                ParseError::Truncated { .. }
                | ParseError::Magic { .. }
                | ParseError::Length { .. }
                | ParseError::Kind { .. }
                | ParseError::Flags { .. }
                | ParseError::Part { .. } => Self::Malformed,
            },
            FrameError::Seal(error) => match error {
                AuthError::Mode { .. } => Self::Mode,
                AuthError::Key { .. } => Self::Key,
                AuthError::Tag => Self::Tag,
                AuthError::Replay { .. } => Self::Replay,
                AuthError::Impostor { .. } => Self::Impostor,
                AuthError::OwnId { .. } => Self::OwnId,
                AuthError::Sender { .. } => Self::NotForUs,
            },
        }
    }
}

/// What happened at one host since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    dropped: [u64; DropReason::COUNT],
    /// Turns written here.
    pub turns: u64,
    /// Turns sent again.
    pub resends: u64,
    /// Gaps asked for.
    pub nacks: u64,
    /// Turns sent to who asked for them.
    pub repairs: u64,
    /// Turns forwarded to an owner that missed them.
    pub relays: u64,
    /// Times this host asked for promises.
    pub campaigns: u64,
    /// Of those, to let a host in.
    pub campaigns_planned: u64,
    /// Epochs founded here.
    pub founded: u64,
    /// Times a founder had to fetch a better log first.
    pub tails_fetched: u64,
    /// Epochs entered that another host founded.
    pub installed: u64,
    /// Positions cut off.
    pub cut: u64,
    /// Own messages sent again after their turn was cut.
    pub resubmitted: u64,
    /// Logs begun behind a gap.
    pub gaps: u64,
    /// Times the token was parked here.
    pub parks: u64,
    /// Times somebody else's token was woken.
    pub wakes: u64,
    /// Hosts let in inside an epoch.
    pub admitted: u64,
    /// Times this host left by its own turn.
    pub leaves: u64,
    /// Promises that the crash vector made void (R8).
    pub void_promises: u64,
    /// Hosts not let in because a promiser might not know them (R7).
    pub not_admitted: u64,
    /// Ranges of the log fetched.
    pub fetches: u64,
    /// Messages that took more than one turn.
    pub fragmented: u64,
    /// Entries that the journal gave back at the start.
    pub remembered: u64,
    /// Generations given up because another one is established.
    pub generations_left: u64,
    /// Times this host was taken out of the ring.
    pub removed: u64,
    /// Generations given up because nobody remembers them.
    pub generations_forsaken: u64,
    /// Times this host learned that its record was lost and earlier lives of it count.
    pub losses_learned: u64,
    /// Times this host took an incarnation above one that it heard of.
    pub incarnations_raised: u64,
    /// Turns without messages because too much waited for agreement or credit was short.
    pub throttled: u64,
    /// Questions of listeners left unanswered because they had asked for enough.
    pub deferred: u64,
}

impl Counters {
    pub(super) fn drop_frame(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Frames dropped for a reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn frames_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
