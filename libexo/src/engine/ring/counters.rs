//! What a host counts: frames dropped, by reason, and the rare branches.

use crate::wire::ParseError;

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DropReason {
    /// It does not have the form of a frame.
    Malformed,
    /// Its bytes changed on the way.
    Check,
    /// Its tag is missing, wrong or was seen before.
    Tag,
    /// It is for another ring or another host, or comes from no configured one.
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
}

impl DropReason {
    const COUNT: usize = 12;

    pub(super) const fn of(error: &ParseError) -> Self {
        match error {
            ParseError::Check { .. } => Self::Check,
            ParseError::Ring { .. } => Self::NotForUs,
            _ => Self::Malformed,
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
    /// Turns without messages because too much waited for agreement or credit was short.
    pub throttled: u64,
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
