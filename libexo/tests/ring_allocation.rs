//! What a turn among several hosts allocates: at each of them a body, which the log keeps, and now
//! and then a larger table. Its frames are written into memory of earlier ones, and an empty turn
//! has no body.

#[path = "transport_net/allocation.rs"]
mod allocation;

use libexo::engine::params::Params;
use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Engine, Frame, Port, Submission, Transmit};
use libexo::ids::{GroupId, HostId};
use libexo::time::Time;
use libexo::wire::RingId;
use libexo::wire::auth::Protection;

const HOSTS: u8 = 3;

fn ring(host: u8) -> Ring {
    let params = Params {
        spin: true,
        ..Params::default()
    };
    let setup = Setup {
        me: HostId(host),
        hosts: usize::from(HOSTS),
        listeners: 0,
        ring: RingId {
            number: 7,
            table: 9,
        },
        boot_inc: 1 << 20,
        stored: None,
        seed: 5,
        params,
        protection: Protection::Open,
    };
    Ring::member(&setup, Time(1))
}

/// What one call after the other allocated, in the whole ring.
#[derive(Default)]
struct Spent {
    allocations: u64,
    deliveries: u64,
}

fn counted<T>(spent: &mut Spent, call: impl FnOnce() -> T) -> T {
    let before = allocation::count();
    let result = call();
    spent.allocations += allocation::count() - before;
    result
}

/// Every host's outputs, then the frames to whom they are for.
fn round(rings: &mut [Ring], now: Time, spent: &mut Spent) {
    let mut frames: Vec<(u8, Transmit)> = Vec::with_capacity(64);
    for (host, ring) in (0..HOSTS).zip(rings.iter_mut()) {
        if ring.poll_timeout().is_some_and(|at| at <= now) {
            counted(spent, || ring.on_timeout(now));
        }
        while let Some(record) = ring.poll_persist() {
            ring.on_durable(now, record.id);
        }
        while let Some(frame) = counted(spent, || ring.poll_transmit()) {
            frames.push((host, frame));
        }
        while counted(spent, || ring.poll_deliver().is_some()) {
            spent.deliveries += 1;
        }
        while ring.poll_event().is_some() || ring.poll_notice().is_some() {}
    }
    for (from, frame) in frames {
        let port = Port {
            host: HostId(from),
            link: 0,
        };
        for (host, ring) in (0..HOSTS).zip(rings.iter_mut()) {
            if host != from && frame.to.is_none_or(|to| to.0 == host) {
                let bytes = &frame.bytes;
                counted(spent, || ring.on_frame(now, port, Frame { bytes }));
            }
        }
        counted(spent, || rings[usize::from(from)].reuse(frame));
    }
}

/// Allocations and turns of many rounds, after as many that made the tables.
fn spend(submits: bool) -> (Spent, u64) {
    let mut rings: Vec<Ring> = (0..HOSTS).map(ring).collect();
    let mut now = Time(1);
    let mut spent = Spent::default();
    let mut go = |rings: &mut [Ring], rounds: u32, spent: &mut Spent| {
        for _ in 0..rounds {
            now = Time(now.0 + 50_000);
            for ring in rings.iter_mut().filter(|_| submits) {
                let submission = Submission {
                    group: GroupId(1),
                    origin: 0,
                    bytes: &[7; 200],
                };
                ring.on_submit(now, submission);
            }
            round(rings, now, spent);
        }
    };
    go(&mut rings, 4000, &mut spent);
    let turns = |rings: &[Ring]| rings.iter().map(|ring| ring.counters().turns).sum::<u64>();
    let before = turns(&rings);
    spent = Spent::default();
    go(&mut rings, 2000, &mut spent);
    let turns = turns(&rings) - before;
    assert!(turns > 1000, "{turns}");
    (spent, turns)
}

#[test]
fn a_turn_allocates_its_bodies() {
    let (spent, turns) = spend(true);
    assert!(spent.deliveries >= 3 * turns);
    // A tenth for tables that grow.
    let most = u64::from(HOSTS) * turns + turns / 10;
    let found = spent.allocations;
    assert!(found <= most, "{found} allocations in {turns} turns");
}

#[test]
fn an_empty_turn_allocates_nothing() {
    let (spent, turns) = spend(false);
    let found = spent.allocations;
    // The log's table doubles a few times.
    assert!(found <= 8, "{found} allocations in {turns} turns");
}
