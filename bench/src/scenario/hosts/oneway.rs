//! From `sendto` on one host to `recvfrom` on another, with the third host looking on.

use std::time::Duration;

use anyhow::Context as _;

use super::{Delivery, GROUP, LINK, PORT, TRANSPORTS};
use crate::network::{Network, address};
use crate::program::Running;
use crate::scenario::{Bench, Side, say};
use crate::statistics::median;

const BYTES: &str = "64";
/// Between two datagrams: the token has come to rest and must be asked for.
const REST_US: &str = "2000";
/// Less than the monitors look on before they sleep.
const BUSY_US: &str = "100";
const PATIENCE: Duration = Duration::from_secs(120);

/// What the ring does when a datagram is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pace {
    /// A datagram every 2 ms: the token rests and everybody sleeps.
    Rest,
    /// A datagram every 100 µs: the token goes round.
    Busy,
}

/// One row of the table, before it is measured.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Question {
    pub(crate) transport: &'static str,
    pub(crate) pace: Pace,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pace = match self.pace {
            Pace::Rest => "every 2 ms",
            Pace::Busy => "every 0.1 ms",
        };
        write!(f, "one way, {}, {pace}", self.transport)
    }
}

/// One side: medians over the repeats, in nanoseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Took {
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
    /// Datagrams that did not come, in all repeats.
    pub(crate) lost: u64,
}

/// One row of the table.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) question: Question,
    /// The kernel's multicast between the same hosts; beside the first transport only.
    pub(crate) kernel: Option<Took>,
    pub(crate) exo: Took,
    /// Nothing lost, in each repeat.
    pub(crate) is_whole: bool,
}

/// The rows, in the order of the table.
pub(crate) fn questions(bench: &Bench<'_>) -> Vec<Question> {
    super::transports(bench)
        .iter()
        .flat_map(|transport| [Pace::Rest, Pace::Busy].map(|pace| Question { transport, pace }))
        .collect()
}

/// Measures one row: kernel, Exo, kernel, Exo, ...
pub(crate) fn row(bench: &Bench<'_>, network: &Network, question: Question) -> anyhow::Result<Row> {
    let is_beside_kernel = question.transport == TRANSPORTS[0];
    let (mut kernel, mut exo, mut is_whole) = (Vec::new(), Vec::new(), true);
    for _ in 0..bench.repeats {
        if is_beside_kernel {
            let took = run(bench, network, question, Side::Kernel);
            kernel.push(took.context("the kernel's side")?);
        }
        match run(bench, network, question, Side::Exo) {
            Ok(took) => exo.push(took),
            Err(error) => {
                say(&format!("  Exo's side failed: {error:#}"));
                is_whole = false;
            }
        }
    }
    let exo = middle(&exo);
    Ok(Row {
        name: question.to_string(),
        question,
        kernel: is_beside_kernel.then(|| middle(&kernel)),
        is_whole: is_whole && exo.lost == 0,
        exo,
    })
}

fn middle(runs: &[Took]) -> Took {
    let of = |value: fn(&Took) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    Took {
        p50_ns: of(|took| took.p50_ns),
        p99_ns: of(|took| took.p99_ns),
        lost: runs.iter().map(|took| took.lost).sum(),
    }
}

fn run(
    bench: &Bench<'_>,
    network: &Network,
    question: Question,
    side: Side,
) -> anyhow::Result<Took> {
    let delivery = Delivery::start(bench, network, side, question.transport)?;
    let (gap_us, samples) = match (question.pace, bench.quick) {
        (Pace::Rest, false) => (REST_US, "1000"),
        (Pace::Rest, true) => (REST_US, "300"),
        (Pace::Busy, false) => (BUSY_US, "10000"),
        (Pace::Busy, true) => (BUSY_US, "2000"),
    };
    let start = |role: &str, host: usize| {
        delivery.on(host, &bench.programs.oneway, |mut command| {
            command.args([role, "sleep", GROUP, PORT, &address(host)]);
            command.args([BYTES, samples, gap_us, LINK]);
            Running::start(&format!("oneway {role}"), command)
        })
    };
    let (mut receiver, mut sender) = (start("receive", 1)?, start("send", 0)?);
    receiver.line("ready", PATIENCE)?;
    sender.line("ready", PATIENCE)?;
    receiver.say("go")?;
    sender.say("go")?;
    let took = receiver.fields("p50_ns=", PATIENCE)?;
    Ok(Took {
        p50_ns: took.number("p50_ns")?,
        p99_ns: took.number("p99_ns")?,
        lost: took.count("lost")?,
    })
}
