//! `exo sim`: many hosts of a ring in one process, in virtual time, with faults.

mod many;
mod one;
mod rack;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use crate::errors::FAILED;
use crate::output::Output;

/// What to simulate.
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run many schedules and check every guarantee.
    Run(many::SimRunArgs),
    /// Run one schedule, and show what happens in a column for each host.
    Replay(one::SimReplayArgs),
    /// The timing of the published rack-scale ring, computed from its parts.
    Rack(rack::SimRackArgs),
}

/// Runs what was asked for.
pub(crate) fn run(command: &SimCommand, out: &Output) -> anyhow::Result<ExitCode> {
    end_at_panics();
    match command {
        SimCommand::Run(run) => many::run(run, out),
        SimCommand::Replay(replay) => one::run(replay, out),
        SimCommand::Rack(rack) => rack::rack_command(rack, out),
    }
}

/// An assertion of the engine that does not hold is a violation like any other: it ends this
/// process with the code of one, and names the schedule.
#[allow(
    clippy::exit,
    reason = "a panic of another thread has no other way to an exit code"
)]
fn end_at_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let replay = exo_sim::replay_of_this_thread();
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(
            anstream::stderr().lock(),
            "exo: an assertion does not hold; replay with: {replay}"
        );
        std::process::exit(i32::from(FAILED));
    }));
}

/// A broken guarantee, as documents have it.
#[derive(Serialize)]
struct Violation {
    seed: u64,
    hosts: usize,
    at_us: u64,
    guarantee: &'static str,
    seen: String,
    replay: String,
}

impl From<&exo_sim::Failure> for Violation {
    fn from(failure: &exo_sim::Failure) -> Self {
        Self {
            seed: failure.seed,
            hosts: failure.hosts,
            at_us: failure.at_us,
            guarantee: failure.guarantee,
            seen: failure.seen.clone(),
            replay: failure.replay(),
        }
    }
}
