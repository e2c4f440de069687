//! Ordered datagrams a second when every host has a program that sends and receives.

use std::time::Duration;

use anyhow::Context as _;

use super::{Delivery, GROUP, LINK, PORT, TRANSPORTS};
use crate::network::{Network, address};
use crate::program::Running;
use crate::scenario::throughput::{Calls, Measured, Run, Runs, as_number, judge};
use crate::scenario::{Bench, Side, say};
use crate::statistics::{median, ratio, spread};

/// Ordered datagrams of 64 bytes a second, with `sendmmsg` and `recvmmsg`.
pub(crate) const GOAL_PER_SECOND: f64 = 1_000_000.0;
const GOAL_BYTES: u32 = 64;
/// As on one host: the kernel's do not come any more, Exo's must.
const KERNEL_GRACE: Duration = Duration::from_millis(500);
const EXO_GRACE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// One row of the table, before it is measured.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Question {
    pub(crate) transport: &'static str,
    pub(crate) bytes: u32,
    pub(crate) calls: Calls,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            transport,
            bytes,
            calls,
        } = self;
        write!(f, "load, {transport}, {bytes} B, {calls}")
    }
}

/// One row of the table.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) question: Question,
    /// The kernel's multicast between the same hosts; beside the first transport only.
    pub(crate) kernel: Option<Measured>,
    pub(crate) exo: Measured,
    /// Highest less lowest repeat, as a share of the median.
    pub(crate) exo_spread: f64,
    pub(crate) turns_per_second: f64,
    pub(crate) messages_per_turn: f64,
    pub(crate) frames_per_turn: f64,
    /// Turns sent again, in all repeats.
    pub(crate) repairs: u64,
    /// 0 without a goal.
    pub(crate) goal_per_second: f64,
    pub(crate) is_goal_reached: bool,
    /// Nothing lost, and one order at all hosts, in each repeat.
    pub(crate) is_whole: bool,
}

/// The rows, in the order of the table.
pub(crate) fn questions(bench: &Bench<'_>) -> Vec<Question> {
    let sizes: &[u32] = if bench.quick { &[64] } else { &[8, 64, 1024] };
    let mut questions = Vec::new();
    for transport in super::transports(bench) {
        for bytes in sizes {
            for calls in [Calls::Plain, Calls::Mmsg] {
                questions.push(Question {
                    transport,
                    bytes: *bytes,
                    calls,
                });
            }
        }
    }
    questions
}

/// Rates of the ring in one run.
#[derive(Default)]
struct Rates {
    turns_per_second: Vec<f64>,
    messages_per_turn: Vec<f64>,
    frames_per_turn: Vec<f64>,
    repairs: u64,
}

/// Measures one row: kernel, Exo, kernel, Exo, ...
pub(crate) fn row(bench: &Bench<'_>, network: &Network, question: Question) -> anyhow::Result<Row> {
    let is_beside_kernel = question.transport == TRANSPORTS[0];
    let (mut kernel, mut exo, mut rates) = (Runs::default(), Runs::default(), Rates::default());
    for _ in 0..bench.repeats {
        if is_beside_kernel {
            let run = run(
                bench,
                network,
                question,
                Side::Kernel,
                &mut Rates::default(),
            );
            kernel.add(run.context("the kernel's side")?);
        }
        let run = run(bench, network, question, Side::Exo, &mut rates);
        exo.add(run.unwrap_or_else(|error| {
            say(&format!("  Exo's side failed: {error:#}"));
            Run::FAILED
        }));
    }
    let exo = exo.medians();
    let is_whole = exo.lost_share <= 0.0 && exo.is_same_order;
    let has_goal = question.bytes == GOAL_BYTES && question.calls == Calls::Mmsg;
    let goal_per_second = if has_goal { GOAL_PER_SECOND } else { 0.0 };
    Ok(Row {
        name: question.to_string(),
        question,
        kernel: is_beside_kernel.then(|| kernel.medians()),
        exo_spread: spread(&exo.repeats_per_second),
        turns_per_second: median(&rates.turns_per_second),
        messages_per_turn: median(&rates.messages_per_turn),
        frames_per_turn: median(&rates.frames_per_turn),
        repairs: rates.repairs,
        goal_per_second,
        is_goal_reached: is_whole && exo.per_second >= goal_per_second,
        is_whole,
        exo,
    })
}

fn run(
    bench: &Bench<'_>,
    network: &Network,
    question: Question,
    side: Side,
    rates: &mut Rates,
) -> anyhow::Result<Run> {
    let lasts = Duration::from_millis(if bench.quick { 300 } else { 1000 });
    let grace = if side == Side::Exo {
        EXO_GRACE
    } else {
        KERNEL_GRACE
    };
    let delivery = Delivery::start(bench, network, side, question.transport)?;
    let mut programs = Vec::new();
    for host in 0..network.count() {
        programs.push(delivery.on(host, &bench.programs.load, |mut command| {
            command.args([
                "both",
                &question.calls.to_string(),
                GROUP,
                PORT,
                &address(host),
            ]);
            command.arg(question.bytes.to_string());
            command.args([lasts.as_millis().to_string(), grace.as_millis().to_string()]);
            command.args([&host.to_string(), LINK]);
            Running::start(&format!("load on host {host}"), command)
        })?);
    }
    // Everybody has joined before anybody sends.
    for program in &mut programs {
        program.line("ready", PATIENCE)?;
    }
    let before = delivery.counts()?;
    for program in &mut programs {
        program.say("go")?;
    }
    let mut sent = 0;
    for program in &mut programs {
        let count = program.line("sent ", lasts + PATIENCE)?;
        sent += count
            .parse::<u64>()
            .context("the sender's count is not a number")?;
    }
    for program in &mut programs {
        program.say(&sent.to_string())?;
    }
    let mut seen = Vec::new();
    for program in &mut programs {
        seen.push(program.fields("received=", lasts + grace + PATIENCE)?);
    }
    let counted = delivery.counts()?.since(before);
    if counted.turns > 0 {
        let took_ns = seen[0].number("last_ns")? - seen[0].number("start_ns")?;
        let turns = as_number(counted.turns);
        rates.turns_per_second.push(ratio(turns * 1e9, took_ns));
        rates.messages_per_turn.push(ratio(as_number(sent), turns));
        rates
            .frames_per_turn
            .push(ratio(as_number(counted.frames), turns));
        rates.repairs += counted.repairs;
    }
    judge(&seen, sent)
}
