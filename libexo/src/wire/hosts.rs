//! A set of hosts as 256 bits, the form that frames carry.

use crate::ids::HostId;

/// Any of the hosts 0 to 255.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostSet([u64; 4]);

impl core::fmt::Debug for HostSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|host| host.0))
            .finish()
    }
}

impl FromIterator<HostId> for HostSet {
    fn from_iter<Hosts: IntoIterator<Item = HostId>>(hosts: Hosts) -> Self {
        let mut set = Self::default();
        for host in hosts {
            set.insert(host);
        }
        set
    }
}

impl HostSet {
    /// Hosts 0 to `count - 1`.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..=u8::MAX).take(count).map(HostId).collect()
    }

    /// The four words as frames carry them; host 0 is the lowest bit of the first.
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// The words of [`from_words`](Self::from_words).
    #[must_use]
    pub const fn words(&self) -> [u64; 4] {
        self.0
    }

    /// Adds a host.
    pub fn insert(&mut self, host: HostId) {
        self.0[usize::from(host.0 / 64)] |= 1 << (host.0 % 64);
    }

    /// Takes a host out.
    pub fn remove(&mut self, host: HostId) {
        self.0[usize::from(host.0 / 64)] &= !(1 << (host.0 % 64));
    }

    /// This set and one host more.
    #[must_use]
    pub fn with(mut self, host: HostId) -> Self {
        self.insert(host);
        self
    }

    /// This set and one host less.
    #[must_use]
    pub fn without(mut self, host: HostId) -> Self {
        self.remove(host);
        self
    }

    /// Whether `host` is in.
    #[must_use]
    pub const fn contains(&self, host: HostId) -> bool {
        self.0[(host.0 / 64) as usize] >> (host.0 % 64) & 1 == 1
    }

    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Whether all of `other` are in.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .all(|(own, other)| own & other == other)
    }

    /// Who is in this set and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.iter().filter(|host| !other.contains(*host)).collect()
    }

    /// In ring order.
    pub fn iter(&self) -> impl Iterator<Item = HostId> + use<> {
        let mut rest = *self;
        core::iter::from_fn(move || {
            let host = rest.lowest()?;
            rest.remove(host);
            Some(host)
        })
    }

    /// The next member after `host` in cyclic order; `host` itself need not be a member.
    #[must_use]
    pub fn next_after(&self, host: HostId) -> Option<HostId> {
        let word = usize::from(host.0 / 64);
        let mut after = self.0;
        after[..word].fill(0);
        after[word] &= !1 << (host.0 % 64);
        Self(after).lowest().or_else(|| self.lowest())
    }

    fn lowest(&self) -> Option<HostId> {
        let (index, word) = (0..4).zip(self.0).find(|(_, word)| *word != 0)?;
        let bit = u8::try_from(word.trailing_zeros()).expect("it is not 0");
        Some(HostId(index * 64 + bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_member_comes_after_in_a_circle() {
        let set: HostSet = [1, 64, 255].map(HostId).into_iter().collect();
        assert_eq!(set.next_after(HostId(1)), Some(HostId(64)));
        assert_eq!(set.next_after(HostId(70)), Some(HostId(255)));
        assert_eq!(set.next_after(HostId(255)), Some(HostId(1)));
        assert_eq!(HostSet::default().next_after(HostId(3)), None);
        assert_eq!(set.len(), 3);
        assert_eq!(HostSet::first(256).len(), 256);
        assert_eq!(
            HostSet::first(2).iter().collect::<Vec<_>>(),
            [HostId(0), HostId(1)]
        );
    }
}
