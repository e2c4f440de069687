//! What a schedule does, and when: submissions, faults, expectations.

use core::fmt;

/// So long that only healing ends it.
pub const FOREVER: u64 = u64::MAX;

/// Most hosts of a schedule: a letter each.
pub const HOSTS_MAX: usize = 26;

/// A set of hosts, written as letters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hosts(u32);

impl Hosts {
    /// The first `count` hosts.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    /// Whether `host` is one of them.
    #[must_use]
    pub const fn has(self, host: usize) -> bool {
        host < HOSTS_MAX && self.0 & 1 << host != 0
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// How many they are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..HOSTS_MAX).filter(move |host| self.has(*host))
    }
}

impl FromIterator<usize> for Hosts {
    fn from_iter<I: IntoIterator<Item = usize>>(hosts: I) -> Self {
        Self(hosts.into_iter().fold(0, |set, host| set | 1 << host))
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("nobody");
        }
        self.iter().try_for_each(|host| f.write_str(letter(host)))
    }
}

/// The name of a host.
///
/// # Panics
///
/// There are [`HOSTS_MAX`] of them.
#[must_use]
pub fn letter(host: usize) -> &'static str {
    &"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[host..=host]
}

/// Something that is done at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Virtual nanoseconds since the beginning.
    pub at: u64,
    /// What is done.
    pub act: Act,
}

/// What is done. Spans are in nanoseconds; [`FOREVER`] lasts until healing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// A program submits a message of so many bytes.
    Submit {
        /// Where.
        host: usize,
        /// How long it is.
        bytes: usize,
        /// What expectations call it.
        label: Option<String>,
    },
    /// A host restarts without its memory.
    Forget {
        /// Which.
        host: usize,
        /// How long it is down.
        span: u64,
    },
    /// Hosts end, and come back with what their journals hold.
    Crash {
        /// Which.
        hosts: Hosts,
        /// How long they are down.
        span: u64,
    },
    /// A host stands still.
    Pause {
        /// Which.
        host: usize,
        /// How long.
        span: u64,
    },
    /// A host takes long over every frame.
    Slow {
        /// Which.
        host: usize,
        /// So long.
        each: u64,
        /// How long it is slow.
        span: u64,
    },
    /// No side hears another.
    Partition {
        /// The sides; hosts in none of them hear all.
        sides: Vec<Hosts>,
        /// How long.
        span: u64,
    },
    /// Frames from some to others are lost.
    Cut {
        /// Senders.
        from: Hosts,
        /// Who does not hear them.
        to: Hosts,
        /// How long.
        span: u64,
    },
    /// The link of two hosts is down and up by turns.
    Flap {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
        /// How often it goes down.
        times: u64,
        /// How long it is down, and then up.
        each: u64,
    },
    /// A host leaves by its own turn, and asks to come in again.
    Leave {
        /// Which.
        host: usize,
        /// When it asks.
        span: u64,
    },
    /// A disk takes long over every sync.
    SlowDisk {
        /// Whose.
        host: usize,
        /// So long.
        each: u64,
        /// How long it is slow.
        span: u64,
    },
    /// A disk's next write fails and its host halts.
    DiskError {
        /// Whose.
        host: usize,
        /// When the disk is repaired and the host started.
        span: u64,
    },
    /// A clock runs at another rate.
    ClockRate {
        /// Whose.
        host: usize,
        /// 100 is right, 0 stands still.
        percent: u64,
        /// How long.
        span: u64,
    },
    /// A clock jumps ahead.
    ClockJump {
        /// Whose.
        host: usize,
        /// How far, in nanoseconds.
        by: u64,
    },
    /// Every link works again.
    Mend,
    /// Something must be so.
    Expect(Expect),
}

/// What must be so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expect {
    /// Hosts see these as the ring.
    Ring {
        /// The ring.
        ring: Hosts,
        /// Who sees it.
        at: Hosts,
    },
    /// Hosts have delivered these messages.
    Delivered {
        /// Their labels.
        labels: Vec<String>,
        /// Who has.
        at: Hosts,
    },
    /// Hosts have not delivered any of these messages.
    Missing {
        /// Their labels.
        labels: Vec<String>,
        /// Who has not.
        at: Hosts,
    },
    /// Hosts say that no majority answers.
    Halted(Hosts),
    /// Hosts run without memory and are not admitted yet.
    Forgotten(Hosts),
    /// Hosts never said that they missed what others have delivered.
    Gapless(Hosts),
}
