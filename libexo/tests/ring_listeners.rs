//! Hosts that only listen, frame by frame: what they say, what is believed of them, and what they
//! hold while their programs are slow. Stories with faults are in `sim/tests/scenarios`.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use libexo::engine::params::Params;
use libexo::engine::ring::{DropReason, FormError, Inspection, Ring, Setup};
use libexo::engine::{Admit, Engine, Frame, Notice, Port, Submission};
use libexo::ids::{Epoch, GroupId, HostId, Position};
use libexo::time::Time;
use libexo::wire::auth::Protection;
use libexo::wire::key::Key;
use libexo::wire::record::Record;
use libexo::wire::{self, Flags, Header, Kind, RingId};

const RING: RingId = RingId {
    number: 7,
    table: 9,
};
const LATENCY: Duration = Duration::from_micros(50);
const SECOND: Duration = Duration::from_secs(1);

/// When a frame arrives, its number, from whom, to whom, its bytes.
type UnderWay = (Time, u64, usize, usize, Vec<u8>);

/// Hosts, the last of which only listen, virtual time, and a network that loses nothing.
struct Net {
    now: Time,
    voters: usize,
    rings: Vec<Option<Ring>>,
    params: Params,
    protection: Protection,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    sent: Vec<Vec<(Kind, Option<HostId>)>>,
    delivered: Vec<Vec<Vec<u8>>>,
    notices: Vec<Vec<Notice>>,
    records: Vec<Option<Record>>,
    /// Its programs take nothing.
    is_stuffed: Vec<bool>,
    /// It hears nothing.
    is_deaf: Vec<bool>,
}

impl Net {
    fn new(voters: usize, listeners: usize, params: Params, protection: Protection) -> Self {
        let all = voters + listeners;
        let mut net = Self {
            now: Time(1),
            voters,
            rings: Vec::new(),
            params,
            protection,
            under_way: BinaryHeap::new(),
            sent: vec![Vec::new(); all],
            delivered: vec![Vec::new(); all],
            notices: vec![Vec::new(); all],
            records: vec![None; all],
            is_stuffed: vec![false; all],
            is_deaf: vec![false; all],
        };
        net.rings.resize_with(all, || None);
        for host in 0..all {
            net.start(host, 1 << 50);
        }
        net
    }

    /// Starts a host with what is on its stable storage.
    fn start(&mut self, host: usize, boot_inc: u64) {
        let setup = Setup {
            me: HostId(u8::try_from(host).expect("few")),
            hosts: self.voters,
            listeners: self.rings.len() - self.voters,
            ring: RING,
            boot_inc,
            stored: self.records[host],
            seed: 5,
            params: self.params,
            protection: self.protection.clone(),
        };
        self.rings[host] = Some(Ring::member(&setup, self.now));
    }

    fn pump(&mut self, host: usize) {
        let Some(mut ring) = self.rings[host].take() else {
            return;
        };
        loop {
            while let Some(frame) = ring.poll_transmit() {
                let parsed = wire::Frame::parse(&frame.bytes, RING).expect("a frame");
                let kind = parsed.header.kind;
                self.sent[host].push((kind, frame.to));
                let all = 0..self.rings.len();
                let to = frame
                    .to
                    .map_or(all, |to| usize::from(to.0)..usize::from(to.0) + 1);
                for to in to.filter(|to| *to != host && !self.is_deaf[*to]) {
                    let number = self.sent.iter().map(Vec::len).sum::<usize>() as u64;
                    let at = self.now.after(LATENCY);
                    let bytes = frame.bytes.clone();
                    self.under_way.push(Reverse((at, number, host, to, bytes)));
                }
            }
            self.notices[host].extend(core::iter::from_fn(|| ring.poll_notice()));
            while !self.is_stuffed[host]
                && let Some(it) = ring.poll_deliver()
            {
                self.delivered[host].push(it.bytes.to_vec());
            }
            while ring.poll_event().is_some() {}
            let Some(record) = ring.poll_persist() else {
                break;
            };
            self.records[host] = Some(Record::parse(&record.bytes).expect("whole"));
            ring.on_durable(self.now, record.id);
        }
        ring.check().expect("every invariant holds");
        self.rings[host] = Some(ring);
    }

    fn hear(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let port = Port {
            host: HostId(u8::try_from(from).expect("few")),
            link: 0,
        };
        if let Some(ring) = &mut self.rings[to] {
            ring.on_frame(self.now, port, Frame { bytes });
        }
        self.pump(to);
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.after(time);
        for host in 0..self.rings.len() {
            self.pump(host);
        }
        loop {
            let frame = self.under_way.peek().map(|Reverse((at, ..))| *at);
            let alarms = self.rings.iter().flatten().filter_map(Ring::poll_timeout);
            let Some(at) = alarms.chain(frame).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if frame == Some(at) {
                let Reverse((_, _, from, to, bytes)) = self.under_way.pop().expect("it is due");
                self.hear(from, to, &bytes);
                continue;
            }
            for host in 0..self.rings.len() {
                if let Some(ring) = &mut self.rings[host]
                    && ring.poll_timeout().is_some_and(|due| due <= self.now)
                {
                    ring.on_timeout(self.now);
                }
                self.pump(host);
            }
        }
        self.now = end;
    }

    fn submit(&mut self, host: usize, bytes: &[u8]) -> Admit {
        let submission = Submission {
            group: GroupId(1),
            origin: 0,
            bytes,
        };
        let ring = self.rings[host].as_mut().expect("it runs");
        let admit = ring.on_submit(self.now, submission);
        self.pump(host);
        admit
    }

    fn inspect(&self, host: usize) -> Inspection {
        let ring = self.rings[host].as_ref().expect("it runs");
        ring.inspect().expect("one of several")
    }

    fn dropped(&self, host: usize, reason: DropReason) -> u64 {
        self.inspect(host).counters.dropped(reason)
    }
}

#[test]
fn a_listener_only_asks_and_one_host_at_a_time() {
    let mut net = Net::new(3, 2, Params::default(), Protection::Open);
    net.run_for(SECOND);
    for host in 3..5 {
        let state = net.inspect(host);
        assert!(state.is_listener && state.ring.len() == 3, "{state:?}");
    }
    // A host that votes goes and comes back without its memory: epochs follow each other.
    net.rings[1] = None;
    net.submit(0, b"one");
    net.run_for(SECOND);
    net.start(1, 1 << 51);
    net.run_for(5 * SECOND);
    net.submit(2, b"two");
    let owner = net.inspect(3).owner.expect("a ring");
    assert_eq!(net.submit(3, b"never"), Admit::Redirect(owner));
    net.rings[4].as_mut().expect("it runs").leave();
    net.rings[4].as_mut().expect("it runs").rejoin(net.now);
    net.run_for(SECOND);
    for host in [0, 2, 3, 4] {
        assert_eq!(net.delivered[host], [b"one", b"two"], "host {host}");
        assert_eq!(net.inspect(host).ring.len(), 3);
    }
    for said in net.sent[3..].iter().flatten() {
        assert!(
            matches!(said, (Kind::Probe | Kind::Nack | Kind::Fetch, Some(to)) if to.0 < 3),
            "{said:?}"
        );
    }
    // Once it has found the ring it has nothing to ask.
    let before = net.sent[3].len();
    net.run_for(20 * SECOND);
    assert_eq!(net.sent[3].len(), before, "{:?}", &net.sent[3][before..]);
}

#[test]
fn what_only_those_that_vote_may_say_is_dropped_from_a_listener() {
    let mut net = Net::new(3, 1, Params::default(), Protection::Open);
    net.run_for(SECOND);
    let state = net.inspect(0);
    let kinds = [
        Kind::Turn,
        Kind::Park,
        Kind::Wake,
        Kind::Join,
        Kind::Prepare,
        Kind::Promise,
        Kind::Refuse,
        Kind::Install,
        Kind::Fetched,
        Kind::ProbeAck,
        Kind::Base,
    ];
    for (count, kind) in (1..).zip(kinds) {
        let header = Header {
            kind,
            flags: Flags::default(),
            src: HostId(3),
            dst: HostId(0),
            ring: RING,
            generation: u32::try_from(state.generation & u64::from(u32::MAX)).expect("masked"),
            epoch: Epoch(state.joined.0 + (1 << 8)),
            seq: Position(state.marks.tail().0 + 1),
            prev: 0,
            behind: 0,
            credit: 0,
            part: 0,
            parts: 1,
            count: 0,
        };
        net.hear(3, 0, &wire::emit(&header, &[0; 64]));
        assert_eq!(net.dropped(0, DropReason::Listener), count, "{kind:?}");
    }
    net.run_for(5 * SECOND);
    assert_eq!(net.inspect(0).joined, state.joined, "nobody noticed");
    assert_eq!(net.inspect(0).counters.campaigns, state.counters.campaigns);
}

#[test]
fn nobody_forms_a_generation_with_a_listener() {
    let mut net = Net::new(3, 1, Params::default(), Protection::Open);
    net.run_for(SECOND);
    let now = net.now;
    let mut form = |host: usize| {
        let members = [0, 1, 3].map(HostId);
        net.rings[host]
            .as_mut()
            .expect("it runs")
            .form(now, &members)
    };
    let refused = Err(FormError::Listener { host: HostId(3) });
    assert_eq!([form(0), form(3)], [refused, refused]);
}

#[test]
fn a_listener_with_slow_programs_holds_so_much_and_asks_for_the_rest_later() {
    let params = Params {
        receive_bytes: 256 * 1024,
        ..Params::default()
    };
    let mut net = Net::new(3, 1, params, Protection::Open);
    net.run_for(SECOND);
    net.is_stuffed[3] = true;
    let mut taken = 0;
    for round in 0..400_u32 {
        let bytes = [round.to_le_bytes().as_slice(), &[7; 10_000]].concat();
        taken += usize::from(matches!(net.submit(0, &bytes), Admit::Taken(_)));
        net.run_for(Duration::from_millis(2));
    }
    assert!(taken > 300, "{taken} of 10 kB");
    assert_eq!(net.delivered[1].len(), taken, "nobody waits for it");
    let held = net.inspect(3).log_bytes;
    // What is agreed and not delivered, and a rotation behind that.
    let held_max = params.receive_bytes + 4 * params.turn_bytes_max;
    assert!(held <= held_max, "{held} bytes");
    net.is_stuffed[3] = false;
    net.run_for(5 * SECOND);
    assert_eq!(
        net.delivered[3], net.delivered[1],
        "retained until it asked"
    );
    assert_eq!(net.inspect(3).counters.gaps, 0, "nothing was too late");
}

#[test]
fn a_listener_behind_everything_retained_is_told_and_goes_on_from_the_present() {
    let params = Params {
        retain_bytes: 100_000,
        ..Params::default()
    };
    let mut net = Net::new(3, 1, params, Protection::Open);
    net.run_for(SECOND);
    net.submit(0, b"before");
    net.run_for(SECOND / 10);
    net.is_deaf[3] = true;
    for _ in 0..100 {
        net.submit(1, &[1; 10_000]);
        net.run_for(Duration::from_millis(2));
    }
    net.is_deaf[3] = false;
    net.run_for(2 * SECOND);
    let is_gap = |notice: &&Notice| matches!(notice, Notice::Gap { .. });
    assert_eq!(net.notices[3].iter().filter(is_gap).count(), 1);
    net.submit(2, b"after");
    net.run_for(SECOND);
    assert_eq!(net.delivered[3], [&b"before"[..], b"after"]);
    assert_eq!(net.delivered[0].len(), 102);
}

#[test]
fn a_listener_whose_clock_and_record_are_behind_is_heard_again() {
    let key = Protection::Tagged(Key::from_bytes([7; 32]).into());
    let mut net = Net::new(3, 1, Params::default(), key);
    net.run_for(SECOND);
    net.submit(0, b"one");
    net.run_for(SECOND);
    // Something it has to ask for, so that its counters are known.
    net.is_deaf[3] = true;
    net.submit(0, b"two");
    net.run_for(SECOND / 20);
    net.is_deaf[3] = false;
    net.run_for(SECOND);
    assert_eq!(net.delivered[3].len(), 2);
    net.records[3] = None;
    net.start(3, 1 << 20);
    net.run_for(5 * SECOND);
    net.submit(1, b"three");
    net.run_for(SECOND);
    assert_eq!(
        net.delivered[3].last().map(Vec::as_slice),
        Some(&b"three"[..])
    );
    assert_eq!(net.inspect(3).counters.incarnations_raised, 1);
    assert!(net.inspect(3).inc > 1 << 50);
}

#[test]
fn what_a_host_kept_when_it_voted_is_left_as_it_is() {
    let mut net = Net::new(3, 1, Params::default(), Protection::Open);
    let voted = Record {
        promised: Epoch(0x512),
        generation: 77,
        inc: 5 << 40,
        since: 3 << 40,
    };
    net.records[3] = Some(voted);
    net.start(3, 1);
    net.run_for(SECOND);
    let kept = net.records[3].expect("it was written");
    assert_eq!(
        kept,
        Record {
            inc: kept.inc,
            ..voted
        }
    );
    assert!(kept.inc >= voted.inc + (1 << 40), "seals never meet");
    assert_eq!(net.inspect(3).generation, net.inspect(0).generation);
}
