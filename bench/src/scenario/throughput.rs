//! How many datagrams a second reach each receiver, and how many do not.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{Bench, Side, floor, say};
use crate::monitor::Monitor;
use crate::program::{Fields, Running};
use crate::statistics::{median, ratio};
use crate::world::INTERFACE;

const GROUP: &str = "239.77.0.1";
const PORT: &str = "5000";
/// Time to live: datagrams stay on this host.
const HERE: &str = "0";
/// How long a receiver that misses datagrams waits for them. The kernel's do not come any more;
/// Exo's must, so there it is only the moment at which the run is called a failure.
const KERNEL_GRACE: Duration = Duration::from_millis(500);
const EXO_GRACE: Duration = Duration::from_secs(5);
/// Beyond the time that a run takes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who sends to whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    OneToOne,
    ThreeAllToAll,
}

/// Which calls the programs make.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Calls {
    Plain,
    Mmsg,
}

/// One row of the table, before it is measured.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Question {
    pub(crate) shape: Shape,
    pub(crate) bytes: u32,
    pub(crate) calls: Calls,
}

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Mmsg => "mmsg",
        })
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = match self.shape {
            Shape::OneToOne => "one to one",
            Shape::ThreeAllToAll => "three all to all",
        };
        write!(f, "{shape}, {} B, {}", self.bytes, self.calls)
    }
}

/// One side of a row: medians over the repeats, and the repeats themselves.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Measured {
    /// Datagrams a second at each receiver.
    pub(crate) per_second: f64,
    /// Share of the datagrams that a receiver missed, 0 to 1.
    pub(crate) lost_share: f64,
    /// Every receiver of every repeat saw the same datagrams in the same order.
    pub(crate) is_same_order: bool,
    pub(crate) repeats_per_second: Vec<f64>,
}

/// One row of the table.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) question: Question,
    pub(crate) kernel: Measured,
    pub(crate) exo: Measured,
    pub(crate) floor_per_second: f64,
    pub(crate) exo_to_kernel: f64,
    pub(crate) exo_to_floor: f64,
    /// Faster than the kernel, with nothing lost and one order.
    pub(crate) is_exo_ahead: bool,
}

/// The rows, in the order of the table.
pub(crate) fn questions() -> impl Iterator<Item = Question> {
    [Shape::OneToOne, Shape::ThreeAllToAll]
        .into_iter()
        .flat_map(|shape| {
            [8, 64, 1024].into_iter().flat_map(move |bytes| {
                [Calls::Plain, Calls::Mmsg]
                    .into_iter()
                    .map(move |calls| Question {
                        shape,
                        bytes,
                        calls,
                    })
            })
        })
}

/// Measures one row: kernel, Exo, floor, kernel, Exo, floor, ...
pub(crate) fn row(bench: &Bench<'_>, question: Question) -> anyhow::Result<Row> {
    let (mut kernel, mut exo, mut floors) = (Runs::default(), Runs::default(), Vec::new());
    for _ in 0..bench.repeats {
        kernel.add(run(bench, question, Side::Kernel).context("the kernel's side")?);
        exo.add(run(bench, question, Side::Exo).unwrap_or_else(|error| {
            say(&format!("  Exo's side failed: {error:#}"));
            Run::FAILED
        }));
        floors.push(floor_of(bench, question)?);
    }
    let (kernel, exo, floor_per_second) = (kernel.medians(), exo.medians(), median(&floors));
    Ok(Row {
        name: question.to_string(),
        question,
        exo_to_kernel: ratio(exo.per_second, kernel.per_second),
        exo_to_floor: ratio(exo.per_second, floor_per_second),
        is_exo_ahead: exo.per_second > kernel.per_second
            && exo.lost_share <= 0.0
            && exo.is_same_order,
        kernel,
        exo,
        floor_per_second,
    })
}

/// One run of one side.
pub(super) struct Run {
    pub(super) per_second: f64,
    pub(super) lost_share: f64,
    pub(super) is_same_order: bool,
}

impl Run {
    /// A side that does not get through is behind; the other rows are still worth having.
    pub(super) const FAILED: Self = Self {
        per_second: 0.0,
        lost_share: 1.0,
        is_same_order: false,
    };
}

#[derive(Default)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    pub(super) fn add(&mut self, run: Run) {
        self.0.push(run);
    }

    pub(super) fn medians(&self) -> Measured {
        let rates: Vec<f64> = self.0.iter().map(|run| run.per_second).collect();
        Measured {
            per_second: median(&rates),
            // The worst, not the middle: one loss in one repeat is a loss.
            lost_share: self.0.iter().map(|run| run.lost_share).fold(0.0, f64::max),
            is_same_order: self.0.iter().all(|run| run.is_same_order),
            repeats_per_second: rates,
        }
    }
}

fn run(bench: &Bench<'_>, question: Question, side: Side) -> anyhow::Result<Run> {
    let lasts = Duration::from_millis(if bench.quick { 300 } else { 1000 });
    let grace = if side == Side::Exo {
        EXO_GRACE
    } else {
        KERNEL_GRACE
    };
    let monitor = match side {
        Side::Kernel => None,
        Side::Exo => Some(Monitor::start(
            &bench.binaries,
            bench.folder,
            &[format!("{GROUP}:{PORT}")],
        )?),
    };
    let start = |role: &str, number: usize| -> anyhow::Result<Running> {
        let load = &bench.programs.load;
        let mut command = monitor
            .as_ref()
            .map_or_else(|| Command::new(load), |monitor| monitor.command(load));
        command.args([
            role,
            &question.calls.to_string(),
            GROUP,
            PORT,
            INTERFACE,
            &question.bytes.to_string(),
        ]);
        command.args([lasts.as_millis().to_string(), grace.as_millis().to_string()]);
        command.args([&number.to_string(), HERE]);
        Running::start(&format!("load {role} {number}"), command)
    };
    let (mut programs, senders) = match question.shape {
        Shape::OneToOne => (vec![start("send", 0)?, start("receive", 1)?], 0..1),
        Shape::ThreeAllToAll => (
            vec![start("both", 0)?, start("both", 1)?, start("both", 2)?],
            0..3,
        ),
    };
    let receivers = if question.shape == Shape::OneToOne {
        1..2
    } else {
        0..3
    };
    // Everybody has joined before anybody sends.
    for program in &mut programs {
        program.line("ready", PATIENCE)?;
    }
    for program in programs.iter_mut().rev() {
        program.say("go")?;
    }
    let mut sent = 0;
    for sender in senders {
        let count = programs[sender].line("sent ", lasts + PATIENCE)?;
        sent += count
            .parse::<u64>()
            .context("the sender's count is not a number")?;
    }
    for receiver in receivers.clone() {
        programs[receiver].say(&sent.to_string())?;
    }
    let seen = receivers
        .map(|receiver| programs[receiver].fields("received=", lasts + grace + PATIENCE))
        .collect::<anyhow::Result<Vec<_>>>()?;
    judge(&seen, sent)
}

/// From what the receivers saw to one rate: the slowest decides when it was over.
pub(super) fn judge(seen: &[Fields], sent: u64) -> anyhow::Result<Run> {
    let (mut slowest_per_second, mut lost_share) = (f64::INFINITY, 0_f64);
    let (mut is_same_order, first) = (true, seen[0].text("digest")?);
    for receiver in seen {
        let (timed, received) = (receiver.number("timed")?, receiver.number("received")?);
        let took_ns = receiver.number("last_ns")? - receiver.number("start_ns")?;
        slowest_per_second = slowest_per_second.min(ratio(timed * 1e9, took_ns));
        lost_share = lost_share.max(1.0 - ratio(received, as_number(sent)));
        is_same_order &= receiver.text("digest")? == first && receiver.count("out_of_order")? == 0;
    }
    Ok(Run {
        per_second: slowest_per_second,
        lost_share,
        is_same_order,
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of one run are far below 2^53"
)]
pub(super) fn as_number(count: u64) -> f64 {
    count as f64
}

fn floor_of(bench: &Bench<'_>, question: Question) -> anyhow::Result<f64> {
    let (members, senders) = match question.shape {
        Shape::OneToOne => ("1", 1),
        Shape::ThreeAllToAll => ("3", 3),
    };
    // About half a second at the floor's speed on an ordinary machine.
    let total = if question.bytes > 512 {
        6_000_000
    } else {
        36_000_000
    };
    let each = total / senders / if bench.quick { 4 } else { 1 };
    let arguments = [
        "lanes",
        members,
        members,
        &question.bytes.to_string(),
        &each.to_string(),
    ];
    floor(bench, &arguments, "per_second")
}
