//! `exo sim`: many hosts of a ring in one process, in virtual time, with faults.

use std::process::ExitCode;

use clap::Subcommand;

use super::sim_rack;
use crate::output::Output;

/// What to simulate.
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// The timing of the published rack-scale ring, computed from its parts.
    Rack(sim_rack::SimRackArgs),
}

/// Runs what was asked for.
pub(crate) fn run(command: &SimCommand, out: &Output) -> anyhow::Result<ExitCode> {
    match command {
        SimCommand::Rack(rack) => sim_rack::rack_command(rack, out),
    }
}
