//! How long the token takes from host to host, beside a bare frame that goes the same way.
//!
//! Three hosts cannot spin on two cores. So every machine also measures all hosts in one thread,
//! where a hop is all that happens at all hosts, and two hosts that spin on a core each.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{Repeated, TRANSPORTS};
use crate::machine;
use crate::network::Network;
use crate::program::Running;
use crate::scenario::{Bench, say};
use crate::statistics::ratio;

/// A hop costs at most so many bare frames.
pub(crate) const GOAL_RATIO: f64 = 1.3;
/// Turns without messages a second that a published token ring reaches over UDP on one machine,
/// where every host has a core.
pub(crate) const GOAL_TURNS_PER_SECOND: f64 = 231_000.0;
/// Bytes of the bare frame: what an empty turn is with its header and tag.
const BYTES: &str = "96";
const PATIENCE: Duration = Duration::from_secs(60);

/// How the hosts wait for frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Waiting {
    /// They do not: one thread has all hosts, one after the other.
    OneThread,
    /// Each on a core of its own, looking again and again.
    Spinning,
    /// Until the kernel wakes them.
    Sleeping,
}

/// One row of the table, before it is measured.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Question {
    pub(crate) transport: &'static str,
    pub(crate) hosts: usize,
    pub(crate) waiting: Waiting,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = match self.waiting {
            Waiting::OneThread => "one thread",
            Waiting::Spinning => "spinning",
            Waiting::Sleeping => "sleeping",
        };
        write!(
            f,
            "hop, {}, {} hosts, {waiting}",
            self.transport, self.hosts
        )
    }
}

/// One row of the table.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) question: Question,
    /// One way of a bare frame to all others, in nanoseconds.
    pub(crate) frame_ns: Repeated,
    /// A hop of the token, in nanoseconds. In one thread both are processor time.
    pub(crate) hop_ns: Repeated,
    pub(crate) hop_to_frame: f64,
    pub(crate) turns_per_second: f64,
    /// 0 where hosts do not spin.
    pub(crate) goal_turns_per_second: f64,
    pub(crate) goal_hop_to_frame: f64,
    /// Turns sent again, in all repeats. Repairs cost time and are no mistake.
    pub(crate) repairs: u64,
    pub(crate) is_goal_reached: bool,
    /// Each repeat: every host delivered the same.
    pub(crate) is_same_order: bool,
}

/// The rows, in the order of the table.
pub(crate) fn questions(bench: &Bench<'_>) -> Vec<Question> {
    let mut kinds = vec![(3, Waiting::OneThread)];
    let spinning = [2, 3]
        .into_iter()
        .filter(|hosts| *hosts <= machine::cores());
    kinds.extend(spinning.map(|hosts| (hosts, Waiting::Spinning)));
    kinds.push((3, Waiting::Sleeping));
    let is_asked = |transport: &&str| !bench.quick || *transport == TRANSPORTS[0];
    let transports = TRANSPORTS.into_iter().filter(is_asked);
    transports
        .flat_map(|transport| {
            kinds.iter().map(move |(hosts, waiting)| Question {
                transport,
                hosts: *hosts,
                waiting: *waiting,
            })
        })
        .collect()
}

/// Measures one row: frame, token, frame, token, ...
pub(crate) fn row(bench: &Bench<'_>, network: &Network, question: Question) -> anyhow::Result<Row> {
    let (mut frames_ns, mut hops_ns) = (Vec::new(), Vec::new());
    let (mut repairs, mut is_same_order) = (0, true);
    for _ in 0..bench.repeats {
        let frame = Command::new(&bench.programs.frame);
        frames_ns.push(run(bench, network, question, frame, BYTES)?.0);
        let hop = Command::new(&bench.binaries.ring_hop);
        match run(bench, network, question, hop, "tagged") {
            Ok((hop_ns, repaired)) => {
                hops_ns.push(hop_ns);
                repairs += repaired;
            }
            Err(error) => {
                say(&format!("  the ring failed: {error:#}"));
                is_same_order = false;
            }
        }
    }
    let (frame_ns, hop_ns) = (Repeated::of(frames_ns), Repeated::of(hops_ns));
    let hop_to_frame = ratio(hop_ns.median, frame_ns.median);
    let turns_per_second = ratio(1e9, hop_ns.median);
    let goal_turns_per_second = if question.waiting == Waiting::Spinning {
        GOAL_TURNS_PER_SECOND
    } else {
        0.0
    };
    Ok(Row {
        name: question.to_string(),
        question,
        frame_ns,
        hop_ns,
        hop_to_frame,
        turns_per_second,
        goal_turns_per_second,
        goal_hop_to_frame: GOAL_RATIO,
        repairs,
        is_goal_reached: is_same_order
            && hop_to_frame <= GOAL_RATIO
            && turns_per_second >= goal_turns_per_second,
        is_same_order,
    })
}

/// Nanoseconds of a hop, and turns sent again.
fn run(
    bench: &Bench<'_>,
    network: &Network,
    question: Question,
    mut command: Command,
    what: &str,
) -> anyhow::Result<(f64, u64)> {
    let waiting = match question.waiting {
        Waiting::OneThread => "together",
        Waiting::Spinning => "spin",
        Waiting::Sleeping => "sleep",
    };
    let lasts_ms = if bench.quick { "200" } else { "500" };
    command.args([question.transport, waiting, what, lasts_ms]);
    command.args((0..question.hosts).map(|host| network.path(host)));
    let mut running = Running::start("hop", command)?;
    running.line("ready", PATIENCE)?;
    running.say("go")?;
    let fields = running.fields("hops=", PATIENCE)?;
    // One thread never waits, so its processor time is the time of an idle machine.
    let key = if question.waiting == Waiting::OneThread {
        "cpu_ns"
    } else {
        "hop_ns"
    };
    let repairs = fields.count("repairs").unwrap_or(0); // a bare frame has none
    let hop_ns = fields.number(key).context("nothing measured")?;
    Ok((hop_ns, repairs))
}
