//! Who has which address.

use core::fmt;
use core::str::FromStr;
use std::net::SocketAddr;

use crate::ids::HostId;
use crate::quorum::HOSTS_MAX;

/// Where frames go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Destination {
    /// One host, not this one.
    Host(HostId),
    /// All peers. This host does not hear its own frames.
    All,
    /// All peers, each by a copy of its own, also where [`Destination::All`] is one frame to a group.
    Each,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Every station of the link.
    pub const BROADCAST: Self = Self([0xFF; 6]);
    /// Multicast address of Exo's frames unless another is configured: locally administered,
    /// "EXO" and 0.
    pub const EXO: Self = Self([0x03, b'E', b'X', b'O', 0, 0]);

    /// Does it name more than one station?
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Text that is no Ethernet address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{text:?} is not an Ethernet address: write six hexadecimal bytes such as 02:00:00:00:00:01"
)]
pub struct MacAddressError {
    text: String,
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacAddressError {
            text: text.to_owned(),
        };
        let mut bytes = [0; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            let word = words.next().ok_or_else(error)?;
            let is_hex = word.len() == 2 && word.bytes().all(|letter| letter.is_ascii_hexdigit());
            if !is_hex {
                return Err(error());
            }
            *byte = u8::from_str_radix(word, 16).map_err(|_| error())?;
        }
        if words.next().is_some() {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

/// What names a peer on some medium.
pub trait Address: Copy + Ord + fmt::Debug + fmt::Display {
    /// The address with everything taken out that does not tell stations apart.
    #[must_use]
    fn canonical(self) -> Self;
}

impl Address for SocketAddr {
    fn canonical(self) -> Self {
        Self::new(self.ip(), self.port()) // without flow label and scope
    }
}

impl Address for MacAddress {
    fn canonical(self) -> Self {
        self
    }
}

/// All hosts of a ring and their addresses; this host and its own address included.
///
/// A host may have several addresses, one for each link. Frames go to the first (TCP tries one
/// after the other) and are accepted from all of them.
#[derive(Clone, Debug)]
pub struct Peers<A> {
    me: HostId,
    hosts: Vec<Vec<A>>,
    /// Sorted by address.
    owners: Vec<(A, HostId)>,
}

/// An address that two hosts cannot both have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("address {address} belongs to host {} already: give host {} one of its own", owner.0, host.0)]
pub struct AddressTaken {
    /// The address.
    pub address: String,
    /// Who has it.
    pub owner: HostId,
    /// Who was to get it.
    pub host: HostId,
}

impl<A: Address> Peers<A> {
    /// A table without addresses; this host will be `me`.
    #[must_use]
    pub fn new(me: HostId) -> Self {
        Self {
            me,
            hosts: vec![Vec::new(); HOSTS_MAX],
            owners: Vec::new(),
        }
    }

    /// Gives `host` one more address.
    ///
    /// # Errors
    ///
    /// [`AddressTaken`] if another host, or the same, has it.
    pub fn add(&mut self, host: HostId, address: A) -> Result<(), AddressTaken> {
        let key = address.canonical();
        match self.owners.binary_search_by_key(&key, |entry| entry.0) {
            Ok(at) => Err(AddressTaken {
                address: address.to_string(),
                owner: self.owners[at].1,
                host,
            }),
            Err(at) => {
                self.owners.insert(at, (key, host));
                self.hosts[usize::from(host.0)].push(address);
                Ok(())
            }
        }
    }

    /// This host.
    #[must_use]
    pub const fn me(&self) -> HostId {
        self.me
    }

    /// Who has `address`.
    #[must_use]
    pub fn owner(&self, address: A) -> Option<HostId> {
        let key = address.canonical();
        let at = self.owners.binary_search_by_key(&key, |entry| entry.0);
        at.ok().map(|at| self.owners[at].1)
    }

    /// The addresses of `host` in the order in which they were added.
    #[must_use]
    pub fn addresses(&self, host: HostId) -> &[A] {
        &self.hosts[usize::from(host.0)]
    }

    /// All other hosts that have an address, in their order, with the first of theirs.
    pub fn others(&self) -> impl Iterator<Item = (HostId, A)> {
        (0..=u8::MAX).map(HostId).filter_map(|host| {
            let address = self.addresses(host).first()?;
            (host != self.me).then_some((host, *address))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_known_by_each_of_its_addresses() {
        let mut peers = Peers::new(HostId(1));
        let [a, b, c]: [SocketAddr; 3] = ["10.0.0.1:7", "10.0.1.1:7", "[fe80::1%3]:7"]
            .map(|text| text.parse().expect("an address"));
        peers.add(HostId(0), a).expect("free");
        peers.add(HostId(0), b).expect("free");
        peers.add(HostId(1), c).expect("free");
        assert_eq!(peers.owner(b), Some(HostId(0)));
        assert_eq!(peers.addresses(HostId(0)), [a, b]);
        assert_eq!(peers.others().collect::<Vec<_>>(), [(HostId(0), a)]);
        assert_eq!(
            peers.owner("[fe80::1%9]:7".parse().expect("an address")),
            Some(HostId(1))
        );
        assert_eq!(peers.owner("10.0.0.1:8".parse().expect("an address")), None);
    }

    #[test]
    fn address_belongs_to_one_host() {
        let mut peers = Peers::new(HostId(0));
        peers.add(HostId(0), MacAddress::EXO).expect("free");
        let error = peers.add(HostId(1), MacAddress::EXO).expect_err("taken");
        assert_eq!(
            error.to_string(),
            "address 03:45:58:4f:00:00 belongs to host 0 already: give host 1 one of its own"
        );
    }

    #[test]
    fn ethernet_address_is_read_and_written() {
        let text = "02:00:0a:ff:10:01";
        assert_eq!(text.parse::<MacAddress>().expect("fits").to_string(), text);
        for wrong in [
            "",
            "02:00",
            "02:00:0a:ff:10:01:02",
            "+2:00:0a:ff:10:01",
            "é:00:0a:ff:10:01",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
