//! How many hosts are enough.

/// Most hosts of one ring.
pub const HOSTS_MAX: usize = 256;

/// A majority of `hosts` configured ones: any two majorities share a host.
#[must_use]
pub const fn majority(hosts: usize) -> usize {
    assert!(hosts >= 1 && hosts <= HOSTS_MAX);
    hosts / 2 + 1
}

/// How many hosts may fail while a majority remains.
#[must_use]
pub const fn tolerated_failures(hosts: usize) -> usize {
    hosts - majority(hosts)
}

const _: () = {
    assert!(majority(1) == 1 && tolerated_failures(1) == 0);
    assert!(majority(2) == 2 && tolerated_failures(2) == 0);
    assert!(majority(3) == 2 && tolerated_failures(3) == 1);
    assert!(majority(5) == 3 && tolerated_failures(5) == 2);
};
