//! The questions that are asked, one file each; and the order: within a row the sides alternate.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

pub(crate) mod ping_pong;
pub(crate) mod throughput;

use crate::monitor::Binaries;
use crate::program::{Programs, Running};
use crate::statistics::median;

/// What every row needs.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) binaries: Binaries,
    pub(crate) programs: Programs,
    /// For sockets of monitors.
    pub(crate) folder: &'a Path,
    pub(crate) quick: bool,
    pub(crate) repeats: u32,
}

/// Who delivers the datagrams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Kernel,
    Exo,
}

/// All rows whose name contains `only`, and the cache-line probe in nanoseconds.
pub(crate) fn all(
    bench: &Bench<'_>,
    only: &str,
) -> anyhow::Result<(Vec<throughput::Row>, Vec<ping_pong::Row>, f64)> {
    let mut lines_ns = Vec::new();
    let mut probe = || -> anyhow::Result<()> {
        let samples = if bench.quick { "200" } else { "1000" };
        lines_ns.push(floor(bench, &["line", samples], "p50_ns")?);
        Ok(())
    };
    let mut rows = Vec::new();
    for question in throughput::questions() {
        if question.to_string().contains(only) {
            say(&question.to_string());
            probe()?;
            rows.push(throughput::row(bench, question)?);
        }
    }
    let mut trips = Vec::new();
    for waiting in ping_pong::Waiting::ALL {
        if waiting.to_string().contains(only) {
            say(&waiting.to_string());
            probe()?;
            trips.push(ping_pong::row(bench, waiting)?);
        }
    }
    say("");
    Ok((rows, trips, median(&lines_ns)))
}

/// Progress, on stderr only.
fn say(what: &str) {
    // Without a reader nobody misses it.
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// One figure of the floor program.
fn floor(bench: &Bench<'_>, arguments: &[&str], key: &str) -> anyhow::Result<f64> {
    let mut command = Command::new(&bench.programs.floor);
    command.args(arguments);
    let mut running = Running::start("floor", command)?;
    running
        .fields("", Duration::from_secs(120))
        .and_then(|fields| fields.number(key))
        .with_context(|| format!("floor {}", arguments.join(" ")))
}
