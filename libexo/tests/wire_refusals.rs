//! Hosts that are configured differently say so by name, both of them, and refuse each other; what
//! is refused costs no memory.

#[path = "transport_net/allocation.rs"]
mod allocation;

use libexo::engine::params::Params;
use libexo::engine::ring::{DropReason, Ring, Setup};
use libexo::engine::{Engine, Frame as Bytes, Notice, Port};
use libexo::ids::{Epoch, HostId, Position};
use libexo::time::Time;
use libexo::wire::auth::{AuthError, Guard, Mode, Protection};
use libexo::wire::key::Key;
use libexo::wire::{Flags, Frame, FrameError, Header, Kind, ParseError, RingId, emit};

const RING: RingId = RingId {
    number: 7,
    table: 0x5151,
};
const SECOND: Time = Time(1_000_000_000);

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn setup(me: u8) -> Setup {
    Setup {
        me: HostId(me),
        hosts: 3,
        listeners: 0,
        ring: RING,
        boot_inc: 1,
        stored: None,
        seed: u64::from(me),
        params: Params::default(),
        protection: Protection::Tagged(key(1).into()),
    }
}

/// A host of the test: its engine, and where its frames seem to come from.
struct Host {
    ring: Ring,
    address: HostId,
    refused: Vec<(HostId, FrameError)>,
    at: Option<Time>,
}

impl Host {
    fn new(setup: &Setup, address: u8) -> Self {
        Self {
            ring: Ring::member(setup, Time(0)),
            address: HostId(address),
            refused: Vec::new(),
            at: None,
        }
    }

    fn sent(&mut self, now: Time) -> Vec<Vec<u8>> {
        while let Some(record) = self.ring.poll_persist() {
            self.ring.on_durable(now, record.id);
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.ring.poll_transmit() {
            frames.push(frame.bytes);
        }
        frames
    }

    fn hear(&mut self, now: Time, from: HostId, frames: &[Vec<u8>]) {
        for bytes in frames {
            let port = Port {
                host: from,
                link: 0,
            };
            self.ring.on_frame(now, port, Bytes { bytes });
        }
        while let Some(notice) = self.ring.poll_notice() {
            if let Notice::Refused { host, error } = notice {
                self.refused.push((host, error));
                self.at.get_or_insert(now);
            }
        }
    }
}

/// Runs two hosts for five seconds. Asserts that each refused the other by name, once, within a
/// second, counted all of it and took nothing.
#[track_caller]
fn both_refuse(mut hosts: [Host; 2], errors: [FrameError; 2], reason: DropReason) {
    let mut now = Time(0);
    let mut frames = [0, 0];
    while now < Time(5 * SECOND.0) {
        let sent = hosts.each_mut().map(|host| host.sent(now));
        let addresses = hosts.each_ref().map(|host| host.address);
        for (index, host) in hosts.iter_mut().enumerate() {
            host.hear(now, addresses[1 - index], &sent[1 - index]);
            frames[index] += sent[1 - index].len() as u64;
        }
        let due = hosts.iter().filter_map(|host| host.ring.poll_timeout());
        let due = due.min().expect("who is alone asks again");
        now = Time(due.0.max(now.0 + 1));
        for host in &mut hosts {
            host.ring.on_timeout(now);
        }
    }
    for (index, host) in hosts.iter().enumerate() {
        let from = hosts[1 - index].address;
        assert_eq!(host.refused, [(from, errors[index])], "host {index}");
        assert!(host.at.expect("it refused") <= SECOND, "host {index}");
        let dropped = host.ring.counters().dropped(reason);
        assert!(dropped > 1, "host {index} heard {dropped} frames");
        assert_eq!(dropped, frames[index], "host {index}");
        assert_eq!(host.ring.frames_dropped(), dropped, "host {index}");
    }
}

fn two(change: impl FnOnce(&mut Setup)) -> [Host; 2] {
    let (first, mut second) = (setup(0), setup(1));
    change(&mut second);
    [Host::new(&first, 0), Host::new(&second, 1)]
}

#[test]
fn hosts_with_different_keys_refuse_each_other_by_name() {
    let hosts = two(|other| other.protection = Protection::Tagged(key(2).into()));
    let ids = [1, 2].map(|byte| key(byte).fingerprint().id());
    let error = |found: usize, own: usize| {
        let (found, own) = (ids[found], ids[own]);
        FrameError::from(AuthError::Key { found, own })
    };
    both_refuse(hosts, [error(1, 0), error(0, 1)], DropReason::Key);
}

#[test]
fn hosts_that_protect_frames_differently_refuse_each_other_by_name() {
    let modes = [
        (Protection::Open, Mode::Open),
        (Protection::Encrypted(key(1).into()), Mode::Encrypted),
    ];
    for (protection, mode) in modes {
        let hosts = two(|other| other.protection = protection);
        let error = |found, own| FrameError::from(AuthError::Mode { found, own });
        let errors = [error(mode, Mode::Tagged), error(Mode::Tagged, mode)];
        both_refuse(hosts, errors, DropReason::Mode);
    }
}

#[test]
fn hosts_with_different_tables_refuse_each_other_by_name() {
    let hosts = two(|other| other.ring.table = 0x5252);
    let error = |found, own| FrameError::from(ParseError::Table { found, own });
    let errors = [error(0x5252, 0x5151), error(0x5151, 0x5252)];
    both_refuse(hosts, errors, DropReason::Table);
}

#[test]
fn hosts_of_different_rings_refuse_each_other_by_name() {
    let hosts = two(|other| other.ring.number = 8);
    let error = |found, own| FrameError::from(ParseError::Ring { found, own });
    both_refuse(hosts, [error(8, 7), error(7, 8)], DropReason::Ring);
}

#[test]
fn two_hosts_with_one_number_refuse_each_other_by_name() {
    for protection in [
        Protection::Open,
        Protection::Tagged(key(1).into()),
        Protection::Encrypted(key(1).into()),
    ] {
        let mut twins = [setup(2), setup(2)];
        for twin in &mut twins {
            twin.protection = protection.clone();
        }
        // Each hears the other from an address that its table gives to host 0 or 1.
        let hosts = [Host::new(&twins[0], 0), Host::new(&twins[1], 1)];
        let error = FrameError::from(AuthError::OwnId { me: 2 });
        both_refuse(hosts, [error, error], DropReason::OwnId);
    }
}

fn probe(protection: &Protection, sender: u8) -> Vec<u8> {
    let header = Header {
        kind: Kind::Probe,
        flags: Flags::default(),
        src: HostId(sender),
        dst: HostId(0),
        ring: RING,
        generation: 0,
        epoch: Epoch(0),
        seq: Position(0),
        prev: 0,
        behind: 0,
        credit: 0,
        part: 0,
        parts: 1,
        count: 0,
    };
    let mut bytes = emit(&header, &[7; 1000]);
    Guard::new(protection, RING, HostId(sender), 3, 1).seal(&mut bytes);
    bytes
}

#[test]
fn a_refused_frame_costs_no_memory() {
    for protection in [
        Protection::Tagged(key(1).into()),
        Protection::Encrypted(key(1).into()),
    ] {
        let good = probe(&protection, 1);
        let mut bad = vec![
            probe(&Protection::Open, 1),
            probe(&Protection::Tagged(key(2).into()), 1),
            probe(&protection, 0),
            probe(&protection, 2),
            vec![0; 70],
            Vec::new(),
        ];
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bad.push(bytes);
        }
        let mut guard = Guard::new(&protection, RING, HostId(0), 3, 1);
        let mut plain = Vec::with_capacity(usize::from(u16::MAX));
        let mut let_in = |bytes: &[u8]| {
            let frame = Frame::parse(bytes, RING)?;
            let opened = guard.open(HostId(1), frame, bytes, &mut plain);
            opened.map(|_| ()).map_err(FrameError::from)
        };
        assert_eq!(let_in(&good), Ok(()));
        let before = allocation::count();
        for bytes in &bad {
            assert!(let_in(bytes).is_err(), "{} bytes", bytes.len());
        }
        assert!(let_in(&good).is_err(), "a second time");
        assert_eq!(allocation::count(), before);
    }
}

#[test]
fn every_reason_is_documented() {
    let document = include_str!("../../docs/wire.md");
    for reason in DropReason::ALL {
        let name = format!("| `{}` |", reason.name());
        assert!(document.contains(&name), "docs/wire.md lacks {name}");
    }
}
