//! What is fuzzed: for each kind of bytes that another party controls, a function that hands them
//! to libexo and asserts what must hold whatever they are.
//!
//! `libexo/tests/fuzz_slices.rs` includes this file and runs the same functions over mutated
//! [`seeds`](frame::seeds) on every test run; `make fuzz` runs them for long, guided by coverage.
//! An input that once failed is a file in `regressions/TARGET/`.

pub mod control;
pub mod frame;
pub mod input;
pub mod journal;
pub mod lane;
pub mod log;
pub mod memory;
pub mod record;
pub mod ring;

/// Name, function and seeds of a target.
pub struct Target {
    /// As `cargo fuzz` and the folder of regressions call it.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
    /// Inputs that go deep.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "frame",
        run: frame::run,
        seeds: frame::seeds,
    },
    Target {
        name: "ring",
        run: ring::run,
        seeds: ring::seeds,
    },
    Target {
        name: "record",
        run: record::run,
        seeds: record::seeds,
    },
    Target {
        name: "control",
        run: control::run,
        seeds: control::seeds,
    },
    Target {
        name: "lane",
        run: lane::run,
        seeds: lane::seeds,
    },
    Target {
        name: "log",
        run: log::run,
        seeds: log::seeds,
    },
    Target {
        name: "journal",
        run: journal::run,
        seeds: journal::seeds,
    },
];
