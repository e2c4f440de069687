//! What a datagram carries between hosts beside its bytes: which group it is for, and what its
//! receivers are told about its sender.
//!
//! Numbers of groups are each monitor's own. On the way a group is a hash of its address: 32 bits
//! in the entry's group field and 15 in its second port field. The first port field is the
//! sender's port. Most senders use their host's address, TTL 1 and no type of service; for the
//! others the highest bit says that the message begins with
//!
//! ```text
//!  0    1    2            4
//!  ttl  tos  family 4, 6  address: 4 or 16 bytes
//! ```

use std::net::{IpAddr, SocketAddr};

use libexo::ids::{GroupId, HostId, SessionId};
use libexo::shm::log::Origin;

const WITH_HEAD: u32 = 1 << 31;
const HEAD_BYTES: usize = 4;
/// A multicast datagram of who set no option.
const TTL: u8 = 1;

/// Whether hosts would take two groups for one: one chance in four thousand million.
pub(crate) fn are_one(a: SocketAddr, b: SocketAddr) -> bool {
    WireGroup::of(a).id == WireGroup::of(b).id
}

/// Messages between monitors; no program's group.
pub(super) const NO_GROUP: GroupId = GroupId(0);

/// A group as hosts call it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct WireGroup {
    id: GroupId,
    /// 15 bits more, so that two groups are not taken for one.
    check: u32,
}

impl WireGroup {
    fn of(address: SocketAddr) -> Self {
        let hash =
            blake3::hash(format!("exo group {} {}", address.ip(), address.port()).as_bytes());
        let word = |at: usize| {
            let bytes: [u8; 4] = hash.as_bytes()[at..at + 4].try_into().expect("4 bytes");
            u32::from_le_bytes(bytes)
        };
        Self {
            id: GroupId(word(0).max(NO_GROUP.0 + 1)),
            check: word(4) & 0x7fff,
        }
    }
}

/// The label of one sender's datagrams to one group.
#[derive(Clone, Debug)]
pub(super) struct Label {
    /// The group as hosts call it.
    pub(super) group: GroupId,
    /// The submission's origin: this host's own half, then the two port fields.
    pub(super) origin: u64,
    /// What stands in front of the bytes.
    pub(super) head: Vec<u8>,
}

/// A datagram that came in order.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) group: GroupId,
    pub(super) origin: Origin,
    pub(super) bytes: &'a [u8],
}

/// Why a message is nothing for this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unwanted {
    /// No member here could have joined its group.
    UnknownGroup,
    /// It is not in the form that hosts of this version write.
    Malformed,
}

/// The groups and hosts that labels name.
#[derive(Debug)]
pub(super) struct Labels {
    hosts: Vec<(String, IpAddr)>,
    me: HostId,
    groups: Vec<WireGroup>,
    /// Number between hosts, number here, check; sorted.
    numbers: Vec<(GroupId, GroupId, u32)>,
}

impl Labels {
    /// `hosts`: names and addresses of all hosts, in their order.
    pub(super) fn new(me: HostId, hosts: Vec<(String, IpAddr)>) -> Self {
        Self {
            hosts,
            me,
            groups: Vec::new(),
            numbers: Vec::new(),
        }
    }

    pub(super) const fn me(&self) -> HostId {
        self.me
    }

    pub(super) fn name(&self, host: HostId) -> &str {
        &self.hosts[usize::from(host.0)].0
    }

    fn address(&self, host: HostId) -> IpAddr {
        self.hosts[usize::from(host.0)].1
    }

    /// The next group of this monitor.
    pub(super) fn add(&mut self, id: GroupId, address: SocketAddr) {
        let group = WireGroup::of(address);
        assert_eq!(id.0 as usize, self.groups.len() + 1, "numbered from 1");
        self.groups.push(group);
        let place = self.place_of(group.id);
        let at = place.expect_err("the control thread asked `are_one`");
        self.numbers.insert(at, (group.id, id, group.check));
    }

    fn place_of(&self, group: GroupId) -> Result<usize, usize> {
        self.numbers.binary_search_by_key(&group, |entry| entry.0)
    }

    pub(super) fn label(&self, group: GroupId, origin: &Origin) -> Label {
        let wire = self.groups[group.0 as usize - 1];
        let own_half = origin.no_loop.map_or(0, |session| u64::from(session.0));
        let mut word = u32::from(origin.source.port()) | wire.check << 16;
        let mut head = Vec::new();
        let is_plain =
            origin.source.ip() == self.address(self.me) && origin.ttl == TTL && origin.tos == 0;
        if !is_plain {
            word |= WITH_HEAD;
            head.extend_from_slice(&[origin.ttl, origin.tos]);
            match origin.source.ip() {
                IpAddr::V4(v4) => {
                    head.extend_from_slice(&4_u16.to_le_bytes());
                    head.extend_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    head.extend_from_slice(&6_u16.to_le_bytes());
                    head.extend_from_slice(&v6.octets());
                }
            }
        }
        Label {
            group: wire.id,
            origin: own_half << 32 | u64::from(word),
            head,
        }
    }

    /// What a delivered message says. Who wrote it is another monitor, so its form is checked.
    pub(super) fn open<'a>(
        &self,
        host: HostId,
        group: GroupId,
        origin: u64,
        bytes: &'a [u8],
    ) -> Result<Opened<'a>, Unwanted> {
        #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
        let (own_half, word) = ((origin >> 32) as u32, origin as u32);
        let place = self.place_of(group);
        let (_, number, check) = self.numbers[place.map_err(|_| Unwanted::UnknownGroup)?];
        if word >> 16 & 0x7fff != check {
            return Err(Unwanted::UnknownGroup);
        }
        let (ttl, tos, ip, bytes) = if word & WITH_HEAD == 0 {
            (TTL, 0, self.address(host), bytes)
        } else {
            let (head, rest) = bytes
                .split_first_chunk::<HEAD_BYTES>()
                .ok_or(Unwanted::Malformed)?;
            let [ttl, tos, family, zero] = *head;
            let (ip, rest) = match (family, zero) {
                (4, 0) => {
                    let (ip, rest) = rest.split_first_chunk::<4>().ok_or(Unwanted::Malformed)?;
                    (IpAddr::from(*ip), rest)
                }
                (6, 0) => {
                    let (ip, rest) = rest.split_first_chunk::<16>().ok_or(Unwanted::Malformed)?;
                    (IpAddr::from(*ip), rest)
                }
                _ => return Err(Unwanted::Malformed),
            };
            (ttl, tos, ip, rest)
        };
        #[allow(clippy::cast_possible_truncation, reason = "the low half")]
        let source = SocketAddr::new(ip, word as u16);
        Ok(Opened {
            group: number,
            origin: Origin {
                source,
                ttl,
                tos,
                no_loop: (own_half != 0).then_some(SessionId(own_half)),
            },
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let hosts = ["10.0.0.1", "10.0.0.2"].map(|ip| (ip.to_owned(), ip.parse().unwrap()));
        let mut labels = Labels::new(HostId(0), hosts.to_vec());
        labels.add(GroupId(1), "239.1.2.3:5000".parse().unwrap());
        labels.add(GroupId(2), "[ff15::1]:5000".parse().unwrap());
        labels
    }

    fn sent(origin: &Origin, group: GroupId, payload: &[u8]) -> (Label, Vec<u8>) {
        let label = labels().label(group, origin);
        let bytes = [&label.head, payload].concat();
        (label, bytes)
    }

    fn origin(source: &str, ttl: u8) -> Origin {
        Origin {
            source: source.parse().unwrap(),
            ttl,
            tos: 0,
            no_loop: None,
        }
    }

    #[test]
    fn usual_sender_costs_no_bytes_and_is_known_by_its_host() {
        let (label, bytes) = sent(&origin("10.0.0.1:4000", 1), GroupId(1), b"abc");
        assert!(label.head.is_empty());
        let opened = labels()
            .open(HostId(0), label.group, label.origin, &bytes)
            .unwrap();
        assert_eq!(opened.origin, origin("10.0.0.1:4000", 1));
        assert_eq!((opened.group, opened.bytes), (GroupId(1), &b"abc"[..]));
    }

    #[test]
    fn other_addresses_and_options_travel_in_front_of_the_bytes() {
        for (source, group, ttl) in [
            ("192.168.3.4:4000", GroupId(1), 1),
            ("10.0.0.1:4000", GroupId(1), 32),
            ("[fe80::7]:9", GroupId(2), 1),
        ] {
            let from = origin(source, ttl);
            let (label, bytes) = sent(&from, group, b"");
            // At another host the origin has only its low half.
            let opened = labels()
                .open(HostId(1), label.group, label.origin & 0xffff_ffff, &bytes)
                .unwrap();
            assert_eq!((opened.origin, opened.group), (from, group));
            assert!(opened.bytes.is_empty());
        }
    }

    #[test]
    fn session_that_must_not_hear_itself_is_known_at_home_only() {
        let mut from = origin("10.0.0.1:4000", 1);
        from.no_loop = Some(SessionId(77));
        let (label, bytes) = sent(&from, GroupId(1), b"x");
        let at_home = labels()
            .open(HostId(0), label.group, label.origin, &bytes)
            .unwrap();
        assert_eq!(at_home.origin.no_loop, Some(SessionId(77)));
    }

    #[test]
    fn foreign_groups_and_torn_heads_are_refused() {
        let (label, bytes) = sent(&origin("192.168.3.4:4000", 1), GroupId(1), b"");
        let open = |group, origin, bytes: &[u8]| {
            labels()
                .open(HostId(1), group, origin, bytes)
                .map(|_| ())
                .unwrap_err()
        };
        for cut in 0..bytes.len() {
            assert_eq!(
                open(label.group, label.origin, &bytes[..cut]),
                Unwanted::Malformed
            );
        }
        let other = GroupId(label.group.0 ^ 1);
        assert_eq!(open(other, label.origin, &bytes), Unwanted::UnknownGroup);
        let check = label.origin ^ 1 << 20;
        assert_eq!(open(label.group, check, &bytes), Unwanted::UnknownGroup);
    }
}
