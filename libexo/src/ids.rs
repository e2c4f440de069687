//! Names that cross rooms, as types that cannot be mixed up.

/// A group of one monitor: an index that stays the same while the monitor lives. The first is 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId(pub u32);

/// One application process's attachment to the monitor. Never reused by one monitor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u32);

/// One open file description that the monitor serves. Never reused by one monitor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SocketId(pub u32);

/// What one session may submit: a group and a source address that the monitor checked.
/// An index into that session's table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GrantId(pub u32);

/// A host of the ring, in ring order, from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostId(pub u8);

/// A period in which each position of the log has one owner: `counter << 8 | founder`.
/// 0 means "before the first".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The first epoch that `founder` can found.
    #[must_use]
    pub const fn first_of(founder: HostId) -> Self {
        Self(1 << 8 | founder.0 as u64)
    }

    /// The lowest epoch above this one that `founder` can found.
    #[must_use]
    pub const fn next_of(self, founder: HostId) -> Self {
        Self(((self.0 >> 8) + 1) << 8 | founder.0 as u64)
    }

    /// The only host that can found it.
    #[must_use]
    pub const fn founder(self) -> HostId {
        HostId(self.0.to_le_bytes()[0])
    }
}

/// Place of a message in the total order. The first is 1; 0 means "before the first".
///
/// The order is common to all groups of a ring, so a group sees growing but not always
/// consecutive numbers. 64 bits last 58,000 years at ten million messages a second.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Place of a turn in the ring's log. The first is 1; 0 means "before the first".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; 0 stays 0.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}
