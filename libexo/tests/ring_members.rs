//! Some hosts of a ring on a network without faults: what the ring costs at rest, what it says of
//! itself, and how a generation begins when nobody remembers one.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use libexo::engine::params::Params;
use libexo::engine::ring::{FormError, Inspection, Ring, Setup};
use libexo::engine::{Admit, Engine, Frame, Notice, Port, Submission};
use libexo::ids::{Epoch, GroupId, HostId};
use libexo::time::Time;
use libexo::wire::RingId;
use libexo::wire::auth::Protection;
use libexo::wire::key::Key;
use libexo::wire::record::Record;
use libexo::wire::{self, Header, Kind};

const RING: RingId = RingId {
    number: 7,
    table: 9,
};

const LATENCY: Duration = Duration::from_micros(50);

/// When a frame arrives, its number, from whom, to whom, its bytes.
type UnderWay = (Time, u64, usize, usize, Vec<u8>);

/// Hosts, virtual time, and a network that loses nothing.
struct Net {
    now: Time,
    rings: Vec<Option<Ring>>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    frames: u64,
    delivered: Vec<Vec<(Time, Vec<u8>)>>,
    notices: Vec<Vec<Notice>>,
    /// What is on each host's stable storage.
    records: Vec<Option<Record>>,
    /// Changes frames on their way.
    forge: fn(&mut Vec<u8>, usize),
}

fn setup(host: usize, hosts: usize, params: Params, stored: Option<Record>) -> Setup {
    Setup {
        me: HostId(u8::try_from(host).expect("few")),
        hosts,
        listeners: 0,
        ring: RING,
        boot_inc: 1 << 20,
        stored,
        seed: 5,
        params,
        protection: Protection::Open,
    }
}

impl Net {
    fn new(hosts: usize, params: Params, stored: Option<Record>) -> Self {
        let start = Time(1);
        let ring = |host| Some(Ring::member(&setup(host, hosts, params, stored), start));
        Self {
            now: start,
            rings: (0..hosts).map(ring).collect(),
            under_way: BinaryHeap::new(),
            frames: 0,
            delivered: vec![Vec::new(); hosts],
            notices: vec![Vec::new(); hosts],
            records: vec![stored; hosts],
            forge: |_, _| {},
        }
    }

    fn pump(&mut self, host: usize) {
        let Some(mut ring) = self.rings[host].take() else {
            return;
        };
        loop {
            let mut is_done = true;
            while let Some(record) = ring.poll_persist() {
                self.records[host] = Some(Record::parse(&record.bytes).expect("whole"));
                ring.on_durable(self.now, record.id);
                is_done = false;
            }
            while let Some(frame) = ring.poll_transmit() {
                self.frames += 1;
                let all = 0..self.rings.len();
                let to = frame
                    .to
                    .map_or(all, |to| usize::from(to.0)..usize::from(to.0) + 1);
                for to in to.filter(|to| *to != host) {
                    let mut bytes = frame.bytes.clone();
                    (self.forge)(&mut bytes, to);
                    let at = self.now.after(LATENCY);
                    self.under_way
                        .push(Reverse((at, self.frames, host, to, bytes)));
                }
            }
            while let Some(notice) = ring.poll_notice() {
                self.notices[host].push(notice);
            }
            while let Some(it) = ring.poll_deliver() {
                self.delivered[host].push((self.now, it.bytes.to_vec()));
            }
            while ring.poll_event().is_some() {}
            if is_done {
                break;
            }
        }
        ring.check().expect("every invariant holds");
        self.rings[host] = Some(ring);
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
                let port = Port {
                    host: HostId(u8::try_from(from).expect("few")),
                    link: 0,
                };
                if let Some(ring) = &mut self.rings[to] {
                    ring.on_frame(self.now, port, Frame { bytes: &bytes });
                }
                self.pump(to);
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

    fn submit(&mut self, host: usize, bytes: &[u8]) {
        let submission = Submission {
            group: GroupId(1),
            origin: 0,
            bytes,
        };
        let ring = self.rings[host].as_mut().expect("it runs");
        assert!(matches!(
            ring.on_submit(self.now, submission),
            Admit::Taken(_)
        ));
        self.pump(host);
    }

    fn inspect(&self, host: usize) -> Inspection {
        let ring = self.rings[host].as_ref().expect("it runs");
        ring.inspect().expect("one of several")
    }

    fn resends(&self) -> u64 {
        let rings = self.rings.iter().flatten();
        rings
            .map(|ring| ring.counters().resends + ring.counters().nacks)
            .sum()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_ring_at_rest_sends_ten_frames_a_second_and_wakes_without_a_timeout() {
    let mut net = Net::new(5, Params::default(), None);
    net.run_for(3 * SECOND);
    let before = net.frames;
    net.run_for(20 * SECOND);
    assert!(net.frames - before <= 200, "{} frames", net.frames - before);
    for host in 0..5 {
        let (resends, start) = (net.resends(), net.now);
        net.submit(host, b"after a rest");
        net.run_for(2 * SECOND);
        assert_eq!(net.resends(), resends, "nothing was sent again");
        // A WAKE, at most one rotation to this host's turn, and the hops until all have agreed.
        let most = LATENCY * (1 + 5 + 3);
        for delivered in &net.delivered {
            let (at, bytes) = delivered.last().expect("delivered");
            assert_eq!(bytes, b"after a rest");
            assert!(at.since(start) <= most, "{:?} from {host}", at.since(start));
        }
        assert!(net.delivered.iter().all(|list| list.len() == host + 1));
    }
}

#[test]
fn with_spin_the_token_never_rests() {
    let params = Params {
        spin: true,
        ..Params::default()
    };
    let mut net = Net::new(3, params, None);
    net.run_for(SECOND);
    let before = net.frames;
    net.run_for(SECOND / 10);
    let hops = u64::try_from((SECOND / 10).as_nanos() / LATENCY.as_nanos()).expect("small");
    assert!(net.frames - before >= hops - 2, "{}", net.frames - before);
    assert_eq!(net.inspect(0).counters.parks, 0);
}

/// What a spinning ring takes is bounded as any log is: an empty turn counts with all that it takes
/// in memory. So empty turns push messages out, and the bound says after how many.
#[test]
fn a_spinning_ring_retains_as_many_turns_as_its_bytes_hold() {
    const TURN_BYTES_MAX: usize = 128;
    let ms = Duration::from_millis;
    let params = Params {
        spin: true,
        retain_bytes: 128 * 1024,
        ..Params::default()
    };
    let mut net = Net::new(3, params, None);
    net.run_for(ms(150));
    let still = net.rings[2].take();
    net.submit(0, b"retained");
    net.run_for(ms(80));
    net.rings[2] = still;
    net.run_for(ms(500));
    assert_eq!(net.delivered[2].len(), 1, "some hundred turns are retained");
    assert_eq!(net.inspect(2).counters.gaps, 0);
    let still = net.rings[2].take();
    net.submit(0, b"pushed out");
    net.run_for(ms(300));
    for state in [net.inspect(0), net.inspect(1)] {
        let held = state.marks.tail().0 - state.base.0;
        assert!(state.base.0 > 2 * held, "it spins: {state:?}");
        // The rotation that not all hold yet comes on top.
        let bytes_max = params.retain_bytes + 16 * 1024;
        assert!(state.log_bytes <= bytes_max, "{state:?}");
        let least = (params.retain_bytes / TURN_BYTES_MAX) as u64;
        assert!(held >= least, "{held} turns in {} bytes", state.log_bytes);
    }
    net.rings[2] = still;
    net.run_for(ms(500));
    assert_eq!(net.delivered[2].len(), 1, "it was pushed out");
    let is_gap = |notice: &&Notice| matches!(notice, Notice::Gap { .. });
    assert!(net.notices[2].iter().any(|notice| is_gap(&notice)));
}

#[test]
fn an_inspection_tells_what_was_measured() {
    let params = Params {
        spin: true,
        ..Params::default()
    };
    let mut net = Net::new(4, params, None);
    net.run_for(SECOND);
    let state = net.inspect(2);
    assert_eq!(state.hop.as_micros(), LATENCY.as_micros(), "{state:?}");
    assert!(
        state.rotation.abs_diff(4 * LATENCY) < LATENCY / 4,
        "{state:?}"
    );
    assert!(state.hosts.iter().all(|it| it.is_member && it.lag < 4));
    assert_eq!(state.hosts[2].holds, state.marks.tail());
    assert!(state.owner.is_some() && state.synced.is_none());
    let times = params.times;
    assert_eq!(state.timeouts.resend, times.resend_min.max(2 * state.hop));
    assert_eq!(state.timeouts.loss, times.loss_min);
    // One host goes: the others see it fall behind, then it is no member.
    net.rings[3] = None;
    net.run_for(SECOND / 1000);
    assert!(net.inspect(0).hosts[3].lag <= 4, "the ring waits for it");
    net.run_for(SECOND);
    let gone = net.inspect(0).hosts[3];
    assert!(!gone.is_member && gone.lag > 100, "{gone:?}");
}

/// Makes turns to host 2 say that everything below them is agreed.
fn claim_too_much(bytes: &mut Vec<u8>, to: usize) {
    let frame = wire::Frame::parse(bytes, RING).expect("ours");
    if frame.header.kind == Kind::Turn && to == 2 && frame.header.seq.0 > 20 {
        let header = Header {
            behind: 0,
            ..frame.header
        };
        *bytes = wire::emit(&header, frame.payload);
    }
}

#[test]
fn a_member_that_counts_more_than_this_host_is_noticed_once() {
    let params = Params {
        spin: true,
        ..Params::default()
    };
    let mut net = Net::new(5, params, None);
    net.forge = claim_too_much;
    net.run_for(SECOND / 2);
    let warned = |host: usize| {
        let notices = net.notices[host].iter();
        notices
            .filter(|it| matches!(it, Notice::Unagreed { .. }))
            .count()
    };
    assert_eq!([0, 1, 2, 3, 4].map(warned), [0, 0, 1, 0, 0]);
}

const LOST: Record = Record {
    promised: Epoch(0x101),
    generation: 0x99,
    inc: 5,
    since: 5,
};

fn generation_of(net: &Net, host: usize) -> u64 {
    net.inspect(host).generation
}

#[test]
fn hosts_of_which_none_remembers_anything_begin_a_new_generation() {
    let mut net = Net::new(3, Params::default(), Some(LOST));
    // One of them never ran.
    let new = Ring::member(&setup(2, 3, Params::default(), None), net.now);
    net.rings[2] = Some(new);
    net.run_for(10 * SECOND);
    let generation = generation_of(&net, 0);
    assert!(generation != 0 && generation != LOST.generation);
    assert!((0..3).all(|host| generation_of(&net, host) == generation));
    assert!(net.notices[1].contains(&Notice::Generation(generation)));
    net.submit(1, b"begun");
    net.run_for(SECOND);
    assert!(net.delivered.iter().all(|list| list.len() == 1));
}

#[test]
fn a_majority_begins_a_new_generation_on_the_operators_word_only() {
    let mut net = Net::new(3, Params::default(), Some(LOST));
    net.rings[2] = None;
    net.run_for(30 * SECOND);
    assert!(net.inspect(0).is_amnesiac, "the third may remember");
    let now = net.now;
    let ring = net.rings[0].as_mut().expect("it runs");
    let me = HostId(0);
    let [both, other, few] = [&[me, HostId(1)][..], &[HostId(1), HostId(2)], &[me]];
    assert_eq!(ring.form(now, other), Err(FormError::NotNamed { me }));
    let too_few = FormError::TooFew {
        found: 1,
        quorum: 2,
    };
    assert_eq!(ring.form(now, few), Err(too_few));
    assert_eq!(ring.form(now, both), Ok(()));
    net.run_for(5 * SECOND);
    assert!(net.inspect(1).is_amnesiac, "one is no majority");
    let now = net.now;
    let ring = net.rings[1].as_mut().expect("it runs");
    assert_eq!(ring.form(now, both), Ok(()));
    net.run_for(5 * SECOND);
    net.submit(0, b"begun");
    net.run_for(SECOND);
    assert_eq!(net.delivered[1].len(), 1);
    let generation = generation_of(&net, 0);
    let now = net.now;
    let ring = net.rings[1].as_mut().expect("it runs");
    assert_eq!(
        ring.form(now, both),
        Err(FormError::Remembers { generation })
    );
    // The third comes back without its memory, too, and goes over.
    let third = Ring::member(&setup(2, 3, Params::default(), Some(LOST)), net.now);
    net.rings[2] = Some(third);
    net.run_for(20 * SECOND);
    assert_eq!(generation_of(&net, 2), generation);
    net.submit(2, b"come over");
    net.run_for(SECOND);
    assert_eq!(net.delivered[0].len(), 2);
}

#[test]
fn a_host_removed_again_and_again_waits_longer_each_time() {
    let mut net = Net::new(3, Params::default(), None);
    net.run_for(SECOND);
    let mut waits = Vec::new();
    for _ in 0..6 {
        // The host stands still until the others go on without it.
        let still = net.rings[2].take();
        let mut removed = net.now;
        while net.inspect(0).ring.len() == 3 {
            net.submit(0, b"go on");
            net.run_for(SECOND / 100);
            removed = net.now;
        }
        net.rings[2] = still;
        while net.inspect(0).ring.len() == 2 {
            net.run_for(SECOND / 100);
        }
        waits.push(net.now.since(removed));
    }
    assert!(waits[1] < SECOND / 2, "{waits:?}");
    for (wait, seconds) in waits[2..].iter().zip([1, 2, 4, 8]) {
        let least = SECOND * seconds;
        assert!(*wait >= least && *wait < least + SECOND, "{waits:?}");
    }
    assert_eq!(net.inspect(2).counters.removed, 6);
}

impl Net {
    /// Ends a host, if it runs, and starts it with what is on its stable storage.
    fn restart(&mut self, host: usize, change: impl FnOnce(&mut Setup)) {
        let stored = self.records[host];
        let mut setup = setup(host, self.rings.len(), Params::default(), stored);
        change(&mut setup);
        self.rings[host] = Some(Ring::member(&setup, self.now));
    }
}

/// It comes back without its record, and with a clock that went on.
fn wiped(setup: &mut Setup) {
    setup.stored = None;
    setup.boot_inc = 1 << 50;
}

#[test]
fn a_host_whose_record_was_lost_helps_nobody_to_a_majority() {
    // Which host is behind, and which remembers, so that each founds once.
    for (behind, remembers, forgets) in [(2, 0, 1), (0, 2, 1), (1, 0, 2), (0, 1, 2)] {
        let mut net = Net::new(3, Params::default(), None);
        net.run_for(SECOND);
        let still = net.rings[behind].take();
        for number in 0..20 {
            net.submit(forgets, &[number]);
            net.run_for(SECOND / 10);
        }
        assert_eq!(net.delivered[remembers].len(), 20);
        assert_eq!(net.delivered[behind].len(), 0);
        let remembering = net.rings[remembers].take();
        net.restart(forgets, wiped);
        net.rings[behind] = still;
        net.submit(behind, b"not before");
        net.run_for(30 * SECOND);
        let state = net.inspect(forgets);
        assert!(state.is_amnesiac, "{state:?}");
        assert_eq!(net.delivered[behind].len(), 0, "two do not remember");
        // It restarts once more, with the record that it has written by now.
        net.restart(forgets, |setup| setup.boot_inc = 1 << 51);
        net.run_for(30 * SECOND);
        assert!(net.inspect(forgets).is_amnesiac);
        assert_eq!(net.delivered[behind].len(), 0, "two do not remember");
        net.rings[remembers] = remembering;
        net.run_for(30 * SECOND);
        let bytes = |host: usize| -> Vec<Vec<u8>> {
            let list = net.delivered[host].iter();
            list.map(|(_, bytes)| bytes.clone()).collect()
        };
        assert_eq!(bytes(remembers).len(), 21);
        assert_eq!(bytes(behind), bytes(remembers));
        assert!(!net.inspect(forgets).is_amnesiac, "it was let in");
        assert_eq!(net.inspect(forgets).ring.len(), 3);
    }
}

#[test]
fn a_founder_voids_a_promise_of_who_forgot_if_any_promiser_knows() {
    // Hosts 0, 1 and 2 go on; 3 saw 0 as it is now and nothing else; 4 never heard of it.
    let mut net = Net::new(5, Params::default(), None);
    net.rings[4] = None;
    net.run_for(SECOND);
    let still = net.rings[3].take();
    net.submit(0, b"counts");
    net.run_for(SECOND);
    assert_eq!(net.delivered[1].len(), 1);
    for host in [1, 2] {
        net.rings[host] = None;
    }
    net.restart(0, wiped);
    net.restart(4, |_| {});
    net.rings[3] = still;
    net.run_for(30 * SECOND);
    assert!(net.delivered[3].is_empty());
    assert!(net.inspect(0).is_amnesiac, "{:?}", net.inspect(0));
    let epochs = [0, 3, 4].map(|host| net.inspect(host).counters.founded);
    assert_eq!(epochs[0] + epochs[2], 0, "{epochs:?}");
}

#[test]
fn a_host_that_restarts_before_it_belongs_to_anything_counts() {
    let mut net = Net::new(3, Params::default(), None);
    // Host 2 promises, then restarts twice with its record; only host 0 hears of it.
    net.rings[1] = None;
    net.run_for(SECOND / 20);
    for _ in 0..2 {
        net.restart(2, |_| {});
        net.pump(2);
    }
    let record = net.records[2].expect("it started");
    assert!(record.since < record.inc, "{record:?}");
    net.restart(1, |_| {});
    net.run_for(5 * SECOND);
    net.submit(2, b"counts");
    net.run_for(SECOND);
    assert!(net.delivered.iter().all(|list| list.len() == 1));
    let learned = |host: usize| net.inspect(host).counters.losses_learned;
    assert_eq!([0, 1, 2].map(learned), [0, 0, 0]);
}

#[test]
fn a_host_that_starts_below_its_known_incarnation_goes_above_it() {
    for protection in [
        Protection::Open,
        Protection::Tagged(Key::from_bytes([7; 32]).into()),
    ] {
        let mut net = Net::new(3, Params::default(), None);
        let protected = |setup: &mut Setup| setup.protection = protection.clone();
        (0..3).for_each(|host| net.restart(host, protected));
        net.run_for(SECOND);
        // Two quick restarts with the record lead the clock by far; then the record is lost.
        for _ in 0..2 {
            net.restart(2, protected);
            net.run_for(5 * SECOND);
        }
        let before = net.inspect(2).inc;
        net.restart(2, |setup| {
            protected(setup);
            setup.stored = None;
        });
        assert!(net.inspect(2).inc < before);
        net.run_for(10 * SECOND);
        let state = net.inspect(2);
        assert!(state.inc > before && !state.is_amnesiac, "{state:?}");
        assert_eq!(state.counters.incarnations_raised, 1);
        assert_eq!(net.records[2].map(|record| record.inc), Some(state.inc));
        net.submit(2, b"here again");
        net.run_for(SECOND);
        let last = |host: usize| net.delivered[host].last().map(|(_, bytes)| bytes.clone());
        assert!((0..3).all(|host| last(host).as_deref() == Some(b"here again")));
    }
}

#[test]
fn all_enter_the_first_epoch_that_is_founded() {
    let mut net = Net::new(3, Params::default(), None);
    net.run_for(SECOND);
    let founded: u64 = (0..3).map(|host| net.inspect(host).counters.founded).sum();
    assert_eq!(founded, 1);
    assert!((0..3).all(|host| net.inspect(host).ring.len() == 3));
}
