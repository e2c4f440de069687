//! What a host of a ring is told when it starts.

use crate::engine::params::Params;
use crate::ids::HostId;
use crate::quorum::HOSTS_MAX;
use crate::wire::RingId;
use crate::wire::auth::Protection;
use crate::wire::record::Record;

/// The configuration of one host.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This host's place, from 0.
    pub me: HostId,
    /// How many hosts vote: places 0 to `hosts - 1`.
    pub hosts: usize,
    /// How many more only listen: the places behind.
    pub listeners: usize,
    /// Which ring and which table of hosts; frames of others are dropped.
    pub ring: RingId,
    /// A number above those of earlier starts, as far as the caller can tell: its clock in
    /// microseconds, shifted by 12, and 12 random bits.
    pub boot_inc: u64,
    /// What stable storage holds. `None` only for a host that never ran before; a host whose
    /// record is lost or torn must be given a record of an unknown generation by the operator.
    pub stored: Option<Record>,
    /// For jitter and the number of a new generation.
    pub seed: u64,
    /// Sizes and times.
    pub params: Params,
    /// What is done to frames; those that are protected in another way are dropped.
    pub protection: Protection,
}

impl Setup {
    /// Asserts what a checked configuration ensures.
    pub fn assert_sound(&self) {
        assert!(self.hosts >= 1, "somebody votes");
        assert!(self.all() <= HOSTS_MAX, "1 to 256 hosts");
        assert!(
            usize::from(self.me.0) < self.all(),
            "this host is one of them"
        );
        self.params.assert_sound();
    }

    /// Hosts of the table: those that vote and those that listen.
    #[must_use]
    pub const fn all(&self) -> usize {
        self.hosts + self.listeners
    }

    /// Whether this host only listens.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        usize::from(self.me.0) >= self.hosts
    }
}
