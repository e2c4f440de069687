//! How long one datagram to a group and the answer to it take.
//!
//! Where the processes run decides more than what they do: on one core each hand-over is a context
//! switch, on two a wake-up of an idle core. So each side runs in every placement, and the report
//! shows all of them. Who spins pins: there the best placement of each side counts. Who sleeps
//! leaves placement to the kernel: there the free one counts.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{Bench, Side, floor, say};
use crate::machine;
use crate::monitor::Monitor;
use crate::program::Running;
use crate::statistics::{median, ratio};
use crate::world::{INTERFACE, on_core};

const PINGS: &str = "239.77.0.1";
const PONGS: &str = "239.77.0.2";
const PORT: &str = "5000";
const BYTES: &str = "64";
const PATIENCE: Duration = Duration::from_secs(60);
/// Sleeping is waking idle cores, which the hypervisor decides about: closer than this is equal.
const SLEEPING_NOISE: f64 = 1.15;

/// What the programs do until the answer is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Waiting {
    /// Non-blocking calls in a loop.
    Spinning,
    /// Blocking calls.
    Sleeping,
}

impl Waiting {
    pub(crate) const ALL: [Self; 2] = [Self::Spinning, Self::Sleeping];

    /// The placement that counts.
    fn compared(self, placements: &[RoundTrip]) -> Option<RoundTrip> {
        match self {
            Self::Spinning => placements
                .iter()
                .min_by(|a, b| a.p50_ns.total_cmp(&b.p50_ns))
                .copied(),
            Self::Sleeping => placements
                .iter()
                .find(|trip| trip.placement == Placement::Free)
                .copied(),
        }
    }

    /// Two programs and a monitor spin: with fewer cores than that they must yield to each other.
    fn argument(self) -> &'static str {
        match self {
            Self::Spinning if machine::cores() < 3 => "yield",
            Self::Spinning => "spin",
            Self::Sleeping => "sleep",
        }
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spinning if machine::cores() < 3 => "ping-pong, spinning (yielding)",
            Self::Spinning => "ping-pong, spinning",
            Self::Sleeping => "ping-pong, sleeping",
        })
    }
}

/// Which cores the three processes get.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    /// Wherever the kernel puts them.
    Free,
    /// Everything on one core: a hand-over is a context switch.
    OneCore,
    /// Both programs on one core, the monitor on another. Without a monitor that is one core.
    Beside,
    /// The programs on two cores, the monitor on a third if there is one, else with the second.
    Apart,
}

impl Placement {
    const ALL: [Self; 4] = [Self::Free, Self::OneCore, Self::Beside, Self::Apart];

    /// Cores of ping, pong and monitor.
    fn cores(self) -> [Option<usize>; 3] {
        match self {
            Self::Free => [None, None, None],
            Self::OneCore => [Some(0), Some(0), Some(0)],
            Self::Beside => [Some(0), Some(0), Some(1)],
            Self::Apart => [
                Some(0),
                Some(1),
                Some(if machine::cores() > 2 { 2 } else { 1 }),
            ],
        }
    }

    /// The word for the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::OneCore => "one core",
            Self::Beside => "beside",
            Self::Apart => "apart",
        }
    }
}

/// One side's round trip in one placement, medians over the repeats.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct RoundTrip {
    pub(crate) placement: Placement,
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
}

/// One row of the table.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) waiting: Waiting,
    pub(crate) kernel: RoundTrip,
    pub(crate) exo: RoundTrip,
    /// A to B through a monitor and back without any call, spinning; 0 for the sleeping row.
    pub(crate) floor_p50_ns: f64,
    /// Above 1: Exo is faster.
    pub(crate) kernel_to_exo: f64,
    pub(crate) is_exo_ahead: bool,
    pub(crate) kernel_placements: Vec<RoundTrip>,
    pub(crate) exo_placements: Vec<RoundTrip>,
}

/// Measures one row, sides alternating in each placement.
pub(crate) fn row(bench: &Bench<'_>, waiting: Waiting) -> anyhow::Result<Row> {
    let (mut kernel_placements, mut exo_placements) = (Vec::new(), Vec::new());
    let mut floors_ns = Vec::new();
    for placement in Placement::ALL {
        let (mut kernel, mut exo) = (Vec::new(), Vec::new());
        for _ in 0..bench.repeats {
            if placement != Placement::Beside {
                kernel.push(
                    run(bench, waiting, placement, Side::Kernel).context("the kernel's side")?,
                );
            }
            match run(bench, waiting, placement, Side::Exo) {
                Ok(took) => exo.push(took),
                // The other placements are still worth having; with none left the row fails.
                Err(error) => say(&format!("  Exo's side, {}: {error:#}", placement.name())),
            }
            if waiting == Waiting::Spinning {
                let samples = if bench.quick { "5000" } else { "20000" };
                floors_ns.push(floor(
                    bench,
                    &["middleman", waiting.argument(), samples],
                    "p50_ns",
                )?);
            }
        }
        if !kernel.is_empty() {
            kernel_placements.push(middle(placement, &kernel));
        }
        if !exo.is_empty() {
            exo_placements.push(middle(placement, &exo));
        }
    }
    let exo = waiting
        .compared(&exo_placements)
        .context("Exo's side failed in each placement")?;
    let kernel = waiting
        .compared(&kernel_placements)
        .context("the kernel's side did not run")?;
    let allowed = if waiting == Waiting::Sleeping {
        SLEEPING_NOISE
    } else {
        1.0
    };
    Ok(Row {
        name: waiting.to_string(),
        waiting,
        kernel,
        exo,
        floor_p50_ns: median(&floors_ns),
        kernel_to_exo: ratio(kernel.p50_ns, exo.p50_ns),
        is_exo_ahead: exo.p50_ns <= kernel.p50_ns * allowed,
        kernel_placements,
        exo_placements,
    })
}

/// p50 and p99 of one run.
fn run(
    bench: &Bench<'_>,
    waiting: Waiting,
    placement: Placement,
    side: Side,
) -> anyhow::Result<(f64, f64)> {
    let [ping_core, pong_core, monitor_core] = placement.cores();
    let groups = [format!("{PINGS}:{PORT}"), format!("{PONGS}:{PORT}")];
    let monitor = match side {
        Side::Kernel => None,
        Side::Exo => Some(on_core(monitor_core, || {
            Monitor::start(&bench.binaries, bench.folder, &groups)
        })?),
    };
    let samples = match (waiting, bench.quick) {
        (Waiting::Spinning, false) => "20000",
        (Waiting::Spinning, true) => "5000",
        (Waiting::Sleeping, false) => "5000",
        (Waiting::Sleeping, true) => "2000",
    };
    let start = |role: &str, core: Option<usize>| {
        let program = &bench.programs.pingpong;
        let mut command = monitor
            .as_ref()
            .map_or_else(|| Command::new(program), |monitor| monitor.command(program));
        command.args([
            role,
            waiting.argument(),
            PINGS,
            PONGS,
            PORT,
            INTERFACE,
            BYTES,
            samples,
        ]);
        on_core(core, || Running::start(role, command))
    };
    let mut pong = start("pong", pong_core)?;
    let mut ping = start("ping", ping_core)?;
    pong.line("ready", PATIENCE)?;
    ping.line("ready", PATIENCE)?;
    pong.say("go")?;
    ping.say("go")?;
    let took = ping.fields("p50_ns=", PATIENCE)?;
    Ok((took.number("p50_ns")?, took.number("p99_ns")?))
}

fn middle(placement: Placement, runs: &[(f64, f64)]) -> RoundTrip {
    RoundTrip {
        placement,
        p50_ns: median(&runs.iter().map(|run| run.0).collect::<Vec<_>>()),
        p99_ns: median(&runs.iter().map(|run| run.1).collect::<Vec<_>>()),
    }
}
