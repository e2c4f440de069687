//! Where a transport that sends datagrams sends them.

use super::SendError;
use super::mmsg::Target;
use super::peers::{Address, Destination, Peers};
use crate::quorum::HOSTS_MAX;

/// The target of each destination, made once.
#[derive(Debug)]
pub(super) struct Targets {
    /// The group, if there is one.
    group: Option<Target>,
    each: Vec<Target>,
    hosts: Vec<Option<Target>>,
}

impl Targets {
    /// `group` is the one address that reaches all others; without it each gets a copy.
    pub(super) fn new<A: Address>(
        peers: &Peers<A>,
        group: Option<A>,
        target: impl Fn(A) -> Target,
    ) -> Self {
        let mut hosts = vec![None; HOSTS_MAX];
        for (host, to) in peers.others() {
            hosts[usize::from(host.0)] = Some(target(to));
        }
        Self {
            group: group.map(&target),
            each: peers.others().map(|(_, to)| target(to)).collect(),
            hosts,
        }
    }

    /// Where frames for `to` go.
    pub(super) fn of(&self, to: Destination) -> Result<&[Target], SendError> {
        match to {
            Destination::All => Ok(self
                .group
                .as_ref()
                .map_or(&self.each, core::slice::from_ref)),
            Destination::Each => Ok(&self.each),
            Destination::Host(host) => self.hosts[usize::from(host.0)]
                .as_ref()
                .map(core::slice::from_ref)
                .ok_or(SendError::UnknownHost { host }),
        }
    }
}
