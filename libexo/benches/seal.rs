//! What a tag and encryption cost a frame, beside a copy of the same bytes in the same run.
//!
//! ```console
//! $ cargo bench -p libexo --features engine --bench seal
//! ```
//!
//! Each figure is the median of many short measurements; ratios are of one round, so that a busy
//! machine disturbs both sides.

#![allow(clippy::print_stdout, reason = "its output is for a person")]
#![allow(clippy::cast_precision_loss, reason = "a small number")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::hint::black_box;
use std::time::Instant;

use libexo::ids::{Epoch, HostId, Position};
use libexo::wire::auth::{Guard, Protection};
use libexo::wire::key::Key;
use libexo::wire::{Flags, Frame, Header, Kind, RingId, emit};

const RING: RingId = RingId {
    number: 1,
    table: 2,
};
const FRAMES: [usize; 2] = [64, 1400];
const ROUNDS: usize = 301;
/// Frames in a measurement: far more than the clock's error, far less than a time slice.
const BATCH: usize = 200;

fn main() {
    println!("  frame   step                    ns   of a copy");
    for frame_bytes in FRAMES {
        frame(frame_bytes);
    }
}

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn frame(frame_bytes: usize) {
    let header = Header {
        kind: Kind::Turn,
        flags: Flags::default(),
        src: HostId(1),
        dst: HostId(0),
        ring: RING,
        generation: 1,
        epoch: Epoch(0x101),
        seq: Position(1),
        prev: 3,
        behind: 1,
        credit: 1,
        part: 0,
        parts: 1,
        count: 1,
    };
    let open = emit(&header, &vec![7; frame_bytes - libexo::wire::HEADER_BYTES]);
    let mut steps = vec![Step::new("copy".to_owned(), Copying::new(&open))];
    for protection in [
        Protection::Open,
        Protection::Tagged(key().into()),
        Protection::Encrypted(key().into()),
    ] {
        let mode = protection.mode();
        let sealing = Sealing::new(&open, &protection);
        steps.push(Step::new(format!("send, {mode}"), sealing));
        let opening = Opening::new(&open, &protection);
        steps.push(Step::new(format!("let in, {mode}"), opening));
    }
    for _ in 0..ROUNDS {
        let mut copy_ns = None;
        for step in &mut steps {
            let ns = step.measure();
            step.ratios.push(ns / *copy_ns.get_or_insert(ns));
        }
    }
    for step in &mut steps {
        let (ns, ratio) = (median(&mut step.times), median(&mut step.ratios));
        println!(
            "{frame_bytes:>5} B   {:<18} {ns:>7.0}   {ratio:>7.1}",
            step.name
        );
    }
}

/// What is measured.
trait Work {
    /// Before a batch; not measured.
    fn prepare(&mut self) {}
    /// The `index`th of a batch.
    fn run(&mut self, index: usize);
}

struct Step {
    name: String,
    work: Box<dyn Work>,
    times: Vec<f64>,
    ratios: Vec<f64>,
}

impl Step {
    fn new(name: String, work: impl Work + 'static) -> Self {
        Self {
            name,
            work: Box::new(work),
            times: Vec::new(),
            ratios: Vec::new(),
        }
    }

    /// Nanoseconds a frame, of a batch.
    fn measure(&mut self) -> f64 {
        self.work.prepare();
        let start = Instant::now();
        for index in 0..BATCH {
            self.work.run(index);
        }
        let ns = start.elapsed().as_secs_f64() * 1e9 / BATCH as f64;
        self.times.push(ns);
        ns
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Into memory that is there, as everything below.
struct Copying {
    frame: Vec<u8>,
    target: Vec<u8>,
}

impl Copying {
    fn new(frame: &[u8]) -> Self {
        Self {
            frame: frame.to_vec(),
            target: frame.to_vec(),
        }
    }
}

impl Work for Copying {
    fn run(&mut self, _: usize) {
        self.target.copy_from_slice(black_box(&self.frame));
        black_box(&self.target);
    }
}

/// A copy of the frame, sealed as the ring wants it.
struct Sealing {
    frame: Vec<u8>,
    target: Vec<u8>,
    guard: Guard,
}

impl Sealing {
    fn new(frame: &[u8], protection: &Protection) -> Self {
        Self {
            frame: frame.to_vec(),
            target: Vec::with_capacity(frame.len() + 64),
            guard: Guard::new(protection, RING, HostId(1), 3, 1),
        }
    }
}

impl Work for Sealing {
    fn run(&mut self, _: usize) {
        self.target.clear();
        self.target.extend_from_slice(black_box(&self.frame));
        self.guard.seal(&mut self.target);
        black_box(&self.target);
    }
}

/// Parsing and opening. A frame gets in once, so each batch has new ones.
struct Opening {
    frame: Vec<u8>,
    batch: Vec<Vec<u8>>,
    sender: Guard,
    receiver: Guard,
    plain: Vec<u8>,
}

impl Opening {
    fn new(frame: &[u8], protection: &Protection) -> Self {
        Self {
            frame: frame.to_vec(),
            batch: vec![Vec::new(); BATCH],
            sender: Guard::new(protection, RING, HostId(1), 3, 1),
            receiver: Guard::new(protection, RING, HostId(0), 3, 1),
            plain: Vec::with_capacity(usize::from(u16::MAX)),
        }
    }
}

impl Work for Opening {
    fn prepare(&mut self) {
        for bytes in &mut self.batch {
            bytes.clear();
            bytes.extend_from_slice(&self.frame);
            self.sender.seal(bytes);
        }
    }

    fn run(&mut self, index: usize) {
        let bytes = black_box(&self.batch[index][..]);
        let frame = Frame::parse(bytes, RING).expect("well formed");
        let opened = self.receiver.open(HostId(1), frame, bytes, &mut self.plain);
        black_box(opened.expect("sealed by a host of the ring").payload);
    }
}
