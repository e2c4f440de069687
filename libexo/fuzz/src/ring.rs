//! A row of frames from hosts that say what they like, into the engine of an open ring.
//!
//! An input is a row of: sender u8, milliseconds u8, length u16, frame. Checks are made right. A
//! host of an open ring believes who speaks, so it may come to nothing good; but it says so
//! (`Notice::Fatal`) or goes on, and does not grow beyond its bounds or end the process.

use libexo::engine::params::Params;
use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Engine, Frame, Port, Submission, Transmit};
use libexo::ids::{Epoch, GroupId, HostId, Position};
use libexo::time::Time;
use libexo::wire::auth::Protection;
use libexo::wire::body::{Cause, View};
use libexo::wire::{Header, HostSet, Kind, digest, emit};

use super::frame::{RING, header, repair, seed_bodies};
use super::input::Input;

/// One host of three, or the fourth, which only listens.
fn host(me: u8) -> Ring {
    let setup = Setup {
        me: HostId(me),
        hosts: 3,
        listeners: 1,
        ring: RING,
        boot_inc: 1,
        stored: None,
        seed: 1,
        params: Params::default(),
        protection: Protection::Open,
    };
    Ring::member(&setup, Time(0))
}

/// Hands the frames to host 0, and to one that only listens.
pub fn run(bytes: &[u8]) {
    run_to_end(bytes);
    hand_all(host(3), bytes);
}

/// Those of host 0; returns the engine as it is then.
pub fn run_to_end(bytes: &[u8]) -> Ring {
    hand_all(host(0), bytes)
}

fn hand_all(mut ring: Ring, bytes: &[u8]) -> Ring {
    let mut now_ms = 0;
    let mut input = Input(bytes);
    while !input.is_empty() {
        let from = 1 + input.u8() % 2;
        now_ms += u64::from(input.u8());
        let len = usize::from(input.u16()) % 1500;
        let mut bytes = input.bytes(len).to_vec();
        repair(&mut bytes);
        hear(&mut ring, now_ms, from, &bytes);
        step(&mut ring, now_ms);
    }
    ring
}

const fn at(now_ms: u64) -> Time {
    Time(now_ms * 1_000_000)
}

fn hear(ring: &mut Ring, now_ms: u64, from: u8, bytes: &[u8]) {
    let port = Port {
        host: HostId(from),
        link: 0,
    };
    ring.on_frame(at(now_ms), port, Frame { bytes });
}

/// Submits, lets time act, and takes everything out; returns what is sent.
fn step(ring: &mut Ring, now_ms: u64) -> Vec<Transmit> {
    let now = at(now_ms);
    let submission = Submission {
        group: GroupId(1),
        origin: 1,
        bytes: b"own",
    };
    let _ = ring.on_submit(now, submission);
    if ring.poll_timeout().is_some_and(|due| due <= now) {
        ring.on_timeout(now);
    }
    while let Some(record) = ring.poll_persist() {
        ring.on_durable(now, record.id);
    }
    let sent = std::iter::from_fn(|| ring.poll_transmit()).collect();
    while ring.poll_deliver().is_some() {}
    while ring.poll_event().is_some() {}
    while ring.poll_notice().is_some() {}
    sent
}

fn put(input: &mut Vec<u8>, from: u8, ms: u8, frame: &[u8]) {
    let len = u16::try_from(frame.len()).expect("frames are short");
    input.extend_from_slice(&[from - 1, ms]);
    input.extend_from_slice(&len.to_le_bytes());
    input.extend_from_slice(frame);
}

/// What host 0 hears from two others while the three form a ring and order messages.
fn story(steps: u64) -> Vec<u8> {
    let mut rings = [host(0), host(1), host(2)];
    let mut input = Vec::new();
    let mut heard_ms = 0;
    let mut under_way: Vec<(u8, Transmit)> = Vec::new();
    for at_ms in (0..steps).map(|step| step * 5) {
        let mut next = Vec::new();
        for (from, frame) in under_way {
            let to = |host: u8| host != from && frame.to.is_none_or(|to| to.0 == host);
            for host in (0..3).filter(|host| to(*host)) {
                let ring = &mut rings[usize::from(host)];
                hear(ring, at_ms, from, &frame.bytes);
                if host == 0 {
                    let ms = u8::try_from(at_ms - heard_ms).expect("somebody speaks often");
                    put(&mut input, from, ms, &frame.bytes);
                    heard_ms = at_ms;
                    // As `run` does after each frame.
                    next.extend(step(ring, at_ms).into_iter().map(|sent| (0, sent)));
                }
            }
        }
        for host in 1..3 {
            let sent = step(&mut rings[usize::from(host)], at_ms);
            next.extend(sent.into_iter().map(|sent| (host, sent)));
        }
        under_way = next;
    }
    input
}

/// Stories of two lengths, every kind of frame to a host that knows nothing, and all of them in a
/// ring that works.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut all = story(60);
    let mut seeds = vec![story(30), all.clone()];
    for (kind, body) in seed_bodies() {
        let frame = emit(&header(kind), &body);
        put(&mut all, 2, 20, &frame);
        let mut one = Vec::new();
        put(&mut one, 2, 60, &frame);
        put(&mut one, 2, 60, &frame);
        seeds.push(one);
    }
    seeds.push(all);
    seeds
}

/// An INSTALL whose ring is host 0 alone: it once took turns for ever.
pub fn lonely() -> Vec<u8> {
    let view = View {
        author_inc: 1,
        cause: Cause::Formation,
        generation_high: 0,
        tail_epoch: Epoch(0),
        base: Position(0),
        base_digest: digest::first(9),
        ring: HostSet::first(1),
        admitted: HostSet::first(3),
        joined: HostSet::first(1),
        left: HostSet::default(),
        bounds: Vec::new(),
        crash_vector: vec![1, 1, 1],
    };
    let mut body = Vec::new();
    view.emit(&mut body);
    let header = Header {
        generation: 9,
        prev: digest::first(9),
        ..header(Kind::Install)
    };
    let mut input = Vec::new();
    put(&mut input, 2, 20, &emit(&header, &body));
    put(&mut input, 2, 20, &[]);
    input
}
