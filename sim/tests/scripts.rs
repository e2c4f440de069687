//! The two runs behind R7 and R8, frame by frame: a promise of a host that has since lost its
//! memory, among five hosts. No random run finds them.
//!
//! In both, E asks for promises; A promises, and loses its memory while the promise is under way.
//! D founds a lower epoch with B and C. If A counts in that epoch, and its old promise counts in
//! E's, two majorities have only A in common, which has forgotten the one for the other.

use core::time::Duration;

use libexo::engine::params::Params;
use libexo::engine::ring::{Inspection, Ring, Setup};
use libexo::engine::{Admit, Engine, Frame as RawFrame, Port, Submission};
use libexo::ids::{GroupId, HostId};
use libexo::time::Time;
use libexo::wire::auth::Protection;
use libexo::wire::record::Record;
use libexo::wire::{Frame, Kind, RingId};

const RING: RingId = RingId {
    number: 7,
    table: 1,
};
const HOSTS: usize = 5;
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;
const E: usize = 4;

/// A frame that was sent. It stays here: any host may take it at any time, or never.
struct Sent {
    from: usize,
    to: Option<usize>,
    kind: Kind,
    epoch: u64,
    bytes: Vec<u8>,
}

fn id(host: usize) -> HostId {
    HostId(u8::try_from(host).expect("one of five"))
}

struct World {
    hosts: Vec<Ring>,
    records: Vec<Option<Record>>,
    sent: Vec<Sent>,
    /// Each host's own.
    clocks: [Time; HOSTS],
    /// Its clock stands still.
    still: Option<usize>,
}

impl World {
    /// Five hosts in one ring, with an agreed message.
    fn formed() -> Self {
        let mut world = Self {
            hosts: Vec::new(),
            records: vec![None; HOSTS],
            sent: Vec::new(),
            clocks: [Time(1_000_000); HOSTS],
            still: None,
        };
        for host in 0..HOSTS {
            let ring = world.start(host);
            world.hosts.push(ring);
        }
        // The token comes to rest at A, so that all others miss it when frames stay away.
        for host in (0..HOSTS).chain(0..HOSTS) {
            if world.state(A).is_parked {
                break;
            }
            world.submit(host);
            for _ in 0..100 {
                world.pass(Duration::from_millis(5));
                world.deliver_all();
            }
        }
        assert!(world.state(A).is_parked);
        for host in 0..HOSTS {
            let state = world.state(host);
            assert_eq!(state.ring.len(), HOSTS, "all five are in the ring");
            assert_eq!((state.joined, state.queued), (state.promised, 0));
        }
        world.sent.clear();
        world
    }

    fn start(&self, host: usize) -> Ring {
        let setup = Setup {
            me: id(host),
            hosts: HOSTS,
            listeners: 0,
            ring: RING,
            boot_inc: self.clocks[host].0,
            stored: self.records[host],
            seed: 1,
            params: Params::default(),
            protection: Protection::Open,
        };
        Ring::member(&setup, self.clocks[host])
    }

    fn state(&self, host: usize) -> Inspection {
        self.hosts[host].inspect().expect("one of five")
    }

    fn submit(&mut self, host: usize) {
        let submission = Submission {
            group: GroupId(1),
            origin: 0,
            bytes: b"message",
        };
        let answer = self.hosts[host].on_submit(self.clocks[host], submission);
        assert!(matches!(answer, Admit::Taken(_)));
        self.poll(host);
    }

    /// Everything that comes out of a host is kept; records are on the disk at once.
    fn poll(&mut self, host: usize) {
        let ring = &mut self.hosts[host];
        while let Some(record) = ring.poll_persist() {
            self.records[host] = Some(Record::parse(&record.bytes).expect("whole"));
            ring.on_durable(self.clocks[host], record.id);
        }
        while let Some(it) = ring.poll_transmit() {
            let header = Frame::parse(&it.bytes, RING).expect("sound").header;
            self.sent.push(Sent {
                from: host,
                to: it.to.map(|to| usize::from(to.0)),
                kind: header.kind,
                epoch: header.epoch.0,
                bytes: it.bytes,
            });
        }
        while ring.poll_deliver().is_some() {}
        while ring.poll_event().is_some() {}
        ring.check().expect("every invariant holds");
    }

    /// Time passes at every host.
    fn pass(&mut self, span: Duration) {
        for host in 0..HOSTS {
            if self.still != Some(host) {
                self.pass_at(host, span);
            }
        }
    }

    fn pass_at(&mut self, host: usize, span: Duration) {
        let now = self.clocks[host].after(span);
        self.clocks[host] = now;
        if self.hosts[host].poll_timeout().is_some_and(|at| at <= now) {
            self.hosts[host].on_timeout(now);
        }
        self.poll(host);
    }

    fn take(&mut self, host: usize, index: usize) {
        let Sent { from, bytes, .. } = &self.sent[index];
        let port = Port {
            host: id(*from),
            link: 0,
        };
        let bytes = bytes.clone();
        self.hosts[host].on_frame(self.clocks[host], port, RawFrame { bytes: &bytes });
        self.poll(host);
    }

    /// A host takes a frame of this kind and epoch from another. Whether there is one.
    fn try_take(&mut self, host: usize, from: usize, kind: Kind, epoch: Option<u64>) -> bool {
        let index = self.sent.iter().position(|sent| {
            (sent.from, sent.kind) == (from, kind)
                && sent.to.is_none_or(|to| to == host)
                && epoch.is_none_or(|epoch| sent.epoch == epoch)
        });
        if let Some(index) = index {
            self.take(host, index);
        }
        index.is_some()
    }

    #[track_caller]
    fn takes(&mut self, host: usize, from: usize, kind: Kind, epoch: Option<u64>) {
        let was_there = self.try_take(host, from, kind, epoch);
        assert!(was_there, "{from} sent no {kind:?} of {epoch:?} to {host}");
    }

    fn deliver_all(&mut self) {
        let mut rounds = 0;
        while !self.sent.is_empty() {
            for sent in std::mem::take(&mut self.sent) {
                let port = Port {
                    host: id(sent.from),
                    link: 0,
                };
                for to in (0..HOSTS).filter(|to| *to != sent.from) {
                    if sent.to.is_none_or(|only| only == to) {
                        let frame = RawFrame { bytes: &sent.bytes };
                        self.hosts[to].on_frame(self.clocks[to], port, frame);
                        self.poll(to);
                    }
                }
            }
            rounds += 1;
            if rounds > 100 {
                return;
            }
        }
    }

    /// The host sees no progress, two others see none either, and it asks for promises. Returns
    /// the epoch. Nobody has taken the question yet.
    fn campaign(&mut self, host: usize, with: [usize; 2]) -> u64 {
        let campaigns = self.state(host).counters.campaigns;
        for _ in 0..100 {
            self.pass(Duration::from_millis(20));
            if self.try_take(with[0], host, Kind::Probe, None) {
                self.takes(with[1], host, Kind::Probe, None);
                for other in with {
                    self.try_take(host, other, Kind::ProbeAck, None);
                }
            }
            if self.state(host).counters.campaigns > campaigns {
                return self.state(host).promised.0;
            }
            self.sent
                .retain(|sent| !matches!(sent.kind, Kind::Probe | Kind::ProbeAck));
        }
        panic!("{host} never asks for promises");
    }

    /// A loses its memory, and asks to come in.
    fn restart_a(&mut self) {
        self.hosts[A] = self.start(A);
        self.poll(A);
        self.pass_at(A, Duration::ZERO);
        assert!(self.state(A).is_amnesiac);
    }

    /// Both epochs are asked for, A has promised the higher one and forgotten that. Returns the
    /// lower one, D's, and E's.
    fn until_d_asks(&mut self, hears_of_the_restart: usize) -> (u64, u64) {
        let higher = self.campaign(E, [B, C]);
        self.takes(A, E, Kind::Prepare, Some(higher));
        assert_eq!(self.state(A).promised.0, higher);
        self.restart_a();
        self.takes(hears_of_the_restart, A, Kind::Join, None);
        // E waits for answers all the while.
        self.still = Some(E);
        let lower = self.campaign(D, [B, C]);
        assert!(lower < higher, "D knows nothing of E's epoch");
        (lower, higher)
    }

    /// B and C promise D's epoch, and D founds it.
    fn found_at_d(&mut self, lower: u64) {
        for host in [B, C] {
            self.takes(host, D, Kind::Prepare, Some(lower));
            self.takes(D, host, Kind::Promise, Some(lower));
        }
        // D waits a little for slower ones.
        for _ in 0..10 {
            self.pass_at(D, Duration::from_millis(1));
        }
        assert_eq!(self.state(D).joined.0, lower, "D founds its epoch");
    }

    /// A host gets what it lacks of the log from another.
    fn fetches(&mut self, host: usize, from: usize) {
        while self.try_take(from, host, Kind::Fetch, None) {
            self.sent
                .retain(|sent| (sent.from, sent.kind) != (host, Kind::Fetch));
            self.takes(host, from, Kind::Fetched, None);
            self.sent
                .retain(|sent| (sent.from, sent.kind) != (from, Kind::Fetched));
        }
    }

    /// Whatever happened, all come together again and every message is agreed on.
    fn heals(&mut self) {
        self.still = None;
        for host in 0..HOSTS {
            self.submit(host);
        }
        for _ in 0..2000 {
            self.pass(Duration::from_millis(5));
            self.deliver_all();
        }
        let first = self.state(A);
        for host in 0..HOSTS {
            let state = self.state(host);
            assert_eq!(state.ring.len(), HOSTS, "{host}: {state:?}");
            assert_eq!((state.joined, state.queued), (first.joined, 0), "{host}");
            let common = first.marks.agreed().min(state.marks.agreed());
            let log = |host: usize| -> Vec<_> {
                let held = self.hosts[host].held();
                held.into_iter().filter(|entry| entry.0 <= common).collect()
            };
            let (own, other) = (log(host), log(A));
            let both = own.len().min(other.len());
            assert!(both > 0, "{host} shares nothing with A");
            assert_eq!(
                own[own.len() - both..],
                other[other.len() - both..],
                "{host}"
            );
        }
    }
}

/// R8: what D, A and B have agreed on must not be taken back by E with A's old promise.
#[test]
fn promise_of_an_incarnation_that_is_over_counts_for_nothing() {
    let mut world = World::formed();
    let (lower, higher) = world.until_d_asks(D);
    world.found_at_d(lower);
    world.takes(A, D, Kind::Install, Some(lower));
    world.fetches(A, D);
    assert!(
        !world.state(A).is_amnesiac,
        "D knew of A's restart and admits it"
    );
    world.takes(B, D, Kind::Install, Some(lower));
    let before = world.state(B).marks.agreed();
    world.takes(B, A, Kind::Turn, Some(lower));
    assert!(
        world.state(B).marks.agreed() > before,
        "D, A and B are a majority"
    );

    // C never saw the INSTALL. It promises E's epoch; A's old promise arrives as well.
    world.takes(C, E, Kind::Prepare, Some(higher));
    world.takes(E, A, Kind::Promise, Some(higher));
    world.takes(E, C, Kind::Promise, Some(higher));
    for _ in 0..10 {
        world.pass_at(E, Duration::from_millis(1));
    }
    let state = world.state(E);
    assert_eq!(state.counters.void_promises, 1, "C told E of A's restart");
    assert!(
        state.joined.0 < higher,
        "E has no majority of living promises"
    );
    world.heals();
}

/// R7: only B heard of A's restart, and not before D asked. D's epoch must not admit A, since C
/// promised without knowing that A's earlier promises are void.
#[test]
fn an_incarnation_that_the_founder_did_not_know_is_not_admitted() {
    let mut world = World::formed();
    let (lower, higher) = world.until_d_asks(B);
    // Now D hears it, too: too late for this epoch.
    world.takes(D, A, Kind::Join, None);
    world.found_at_d(lower);
    world.takes(A, D, Kind::Install, Some(lower));
    world.fetches(A, D);
    let state = world.state(A);
    assert!(
        state.is_amnesiac && state.joined.0 == 0,
        "A is not admitted"
    );

    // E's epoch may count A's old promise: nobody counts A in the lower one. It ends where C's log
    // does, and what D wrote is cut.
    world.takes(C, E, Kind::Prepare, Some(higher));
    world.takes(E, A, Kind::Promise, Some(higher));
    world.takes(E, C, Kind::Promise, Some(higher));
    for _ in 0..10 {
        world.pass_at(E, Duration::from_millis(1));
    }
    assert_eq!(world.state(E).joined.0, higher);
    world.heals();
}

/// What a script comes to when its rule is taken away.
#[cfg(feature = "planted")]
mod planted {
    use libexo::planted::{Mistake, plant};

    #[test]
    #[should_panic(expected = "C told E of A's restart")]
    fn without_r8_the_first_script_ends_wrongly() {
        plant(Some(Mistake::DeadPromisesCount));
        super::promise_of_an_incarnation_that_is_over_counts_for_nothing();
    }

    #[test]
    #[should_panic(expected = "A is not admitted")]
    fn without_r7_the_second_script_ends_wrongly() {
        plant(Some(Mistake::AdmitsUnknown));
        super::an_incarnation_that_the_founder_did_not_know_is_not_admitted();
    }
}
