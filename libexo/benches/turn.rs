//! What an empty turn costs three engines without a network: one writes it, two take it in.
//!
//! `cargo bench -p libexo --bench turn`; `-- 100000` for that many turns once, under a profiler.

#![allow(clippy::print_stdout, reason = "its output is for a person")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use libexo::engine::params::Params;
use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Engine, Frame, Port};
use libexo::ids::HostId;
use libexo::time::Time;
use libexo::wire::RingId;
use libexo::wire::auth::Protection;
use libexo::wire::key::Key;
use std::time::Instant;

const HOSTS: u8 = 3;

fn ring(host: u8, protection: &Protection) -> Ring {
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
        protection: protection.clone(),
    };
    Ring::member(&setup, Time(1))
}

/// Every host's outputs, each at once to whom it is for.
fn round(rings: &mut [Ring], now: Time) {
    for from in 0..rings.len() {
        let ring = &mut rings[from];
        if ring.poll_timeout().is_some_and(|at| at <= now) {
            ring.on_timeout(now);
        }
        while let Some(record) = ring.poll_persist() {
            ring.on_durable(now, record.id);
        }
        while let Some(frame) = rings[from].poll_transmit() {
            let port = Port {
                host: HostId(u8::try_from(from).expect("three")),
                link: 0,
            };
            for (host, ring) in (0..HOSTS).zip(rings.iter_mut()) {
                if host != port.host.0 && frame.to.is_none_or(|to| to.0 == host) {
                    let bytes = &frame.bytes;
                    ring.on_frame(now, port, Frame { bytes });
                }
            }
            rings[from].reuse(frame);
        }
        let ring = &mut rings[from];
        while ring.poll_deliver().is_some() {}
        while ring.poll_event().is_some() || ring.poll_notice().is_some() {}
    }
}

fn turns(rings: &[Ring]) -> u64 {
    rings.iter().map(|ring| ring.counters().turns).sum()
}

fn measure(protection: &Protection, wanted: u64) -> f64 {
    let mut rings: Vec<Ring> = (0..HOSTS).map(|host| ring(host, protection)).collect();
    let mut now = Time(1);
    let mut go = |rings: &mut [Ring], wanted: u64| {
        let first = turns(rings);
        while turns(rings) < first + wanted {
            now = Time(now.0 + 10_000);
            round(rings, now);
        }
        turns(rings) - first
    };
    go(&mut rings, wanted / 10);
    let begin = Instant::now();
    let done = go(&mut rings, wanted);
    begin.elapsed().as_nanos() as f64 / done as f64
}

fn main() {
    let once = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let tagged = Protection::Tagged(Key::from_bytes([7; 32]).into());
    for (name, protection) in [("open", Protection::Open), ("tagged", tagged)] {
        let repeats = if once.is_some() { 1 } else { 9 };
        let mut repeats: Vec<f64> = (0..repeats)
            .map(|_| measure(&protection, once.unwrap_or(100_000)))
            .collect();
        repeats.sort_by(f64::total_cmp);
        let median = repeats[repeats.len() / 2];
        println!(
            "empty turn, {name}, {HOSTS} hosts: {median:.0} ns, least {:.0}",
            repeats[0]
        );
    }
}
