//! A row of frames from hosts that say what they like, into the engine of an open ring.
//!
//! An input is a row of: sender u8, milliseconds u8, length u16, frame. Checks are made right. A
//! host of an open ring believes who speaks, so it may come to nothing good; but it says so
//! (`Notice::Fatal`) or goes on, and does not grow beyond its bounds or end the process.

use libexo::engine::params::Params;
use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Engine, Frame, Port, Submission};
use libexo::ids::{GroupId, HostId};
use libexo::time::Time;
use libexo::wire::auth::Protection;
use libexo::wire::emit;

use super::frame::{RING, header, repair, seed_bodies};
use super::input::Input;

/// Hands the frames to one host of three.
pub fn run(bytes: &[u8]) {
    let setup = Setup {
        me: HostId(0),
        hosts: 3,
        ring: RING,
        boot_inc: 1,
        stored: None,
        seed: 1,
        params: Params::default(),
        protection: Protection::Open,
    };
    let mut ring = Ring::member(&setup, Time(0));
    let mut now = 0;
    let mut input = Input(bytes);
    while !input.is_empty() {
        let from = HostId(1 + input.u8() % 2);
        now += u64::from(input.u8()) * 1_000_000;
        let len = usize::from(input.u16()) % 1500;
        let mut bytes = input.bytes(len).to_vec();
        repair(&mut bytes);
        let port = Port {
            host: from,
            link: 0,
        };
        let frame = Frame { bytes: &bytes };
        ring.on_frame(Time(now), port, frame);
        step(&mut ring, Time(now));
    }
}

fn step(ring: &mut Ring, now: Time) {
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
    while ring.poll_transmit().is_some() {}
    while ring.poll_deliver().is_some() {}
    while ring.poll_event().is_some() {}
    while ring.poll_notice().is_some() {}
}

fn put(input: &mut Vec<u8>, from: u8, ms: u8, frame: &[u8]) {
    let len = u16::try_from(frame.len()).expect("frames are short");
    input.extend_from_slice(&[from, ms]);
    input.extend_from_slice(&len.to_le_bytes());
    input.extend_from_slice(frame);
}

/// A ring that host 2 founds, and every kind of frame once.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut seeds = Vec::new();
    for (kind, body) in seed_bodies() {
        let frame = emit(&header(kind), &body);
        put(&mut all, 1, 20, &frame);
        let mut one = Vec::new();
        put(&mut one, 1, 60, &frame);
        put(&mut one, 1, 60, &frame);
        seeds.push(one);
    }
    seeds.push(all);
    seeds
}
