//! The questions that are asked, one file each; and the order: within a row the sides alternate.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

pub(crate) mod hosts;
pub(crate) mod ping_pong;
pub(crate) mod throughput;

use crate::monitor::Binaries;
use crate::network::Network;
use crate::program::{Programs, Running};
use crate::statistics::median;

/// Hosts of the rows between hosts.
const HOSTS: usize = 3;

/// What every row needs.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) binaries: Binaries,
    pub(crate) programs: Programs,
    /// For sockets of monitors.
    pub(crate) folder: &'a Path,
    pub(crate) quick: bool,
    /// Every transport in every row between hosts.
    pub(crate) long: bool,
    pub(crate) repeats: u32,
}

/// Who delivers the datagrams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Kernel,
    Exo,
}

/// Everything that was asked, and the cache-line probe in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) throughput: Vec<throughput::Row>,
    pub(crate) ping_pong: Vec<ping_pong::Row>,
    pub(crate) hop: Vec<hosts::hop::Row>,
    pub(crate) load: Vec<hosts::load::Row>,
    pub(crate) oneway: Vec<hosts::oneway::Row>,
    pub(crate) line_ns: f64,
}

impl Rows {
    pub(crate) const fn is_empty(&self) -> bool {
        self.throughput.is_empty()
            && self.ping_pong.is_empty()
            && self.hop.is_empty()
            && self.load.is_empty()
            && self.oneway.is_empty()
    }
}

/// All rows whose name contains `only`.
pub(crate) fn all(bench: &Bench<'_>, only: &str) -> anyhow::Result<Rows> {
    let mut lines_ns = Vec::new();
    let mut begin = |name: &str| -> anyhow::Result<bool> {
        if !name.contains(only) {
            return Ok(false);
        }
        say(name);
        let samples = if bench.quick { "200" } else { "1000" };
        lines_ns.push(floor(bench, &["line", samples], "p50_ns")?);
        Ok(true)
    };
    let mut rows = Rows::default();
    for question in throughput::questions() {
        if begin(&question.to_string())? {
            rows.throughput.push(throughput::row(bench, question)?);
        }
    }
    for waiting in ping_pong::Waiting::ALL {
        if begin(&waiting.to_string())? {
            rows.ping_pong.push(ping_pong::row(bench, waiting)?);
        }
    }
    let network = Network::join(HOSTS)?;
    for question in hosts::hop::questions(bench) {
        if begin(&question.to_string())? {
            rows.hop.push(hosts::hop::row(bench, &network, question)?);
        }
    }
    for question in hosts::load::questions(bench) {
        if begin(&question.to_string())? {
            rows.load.push(hosts::load::row(bench, &network, question)?);
        }
    }
    for question in hosts::oneway::questions(bench) {
        if begin(&question.to_string())? {
            let row = hosts::oneway::row(bench, &network, question)?;
            rows.oneway.push(row);
        }
    }
    say("");
    rows.line_ns = median(&lines_ns);
    Ok(rows)
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
