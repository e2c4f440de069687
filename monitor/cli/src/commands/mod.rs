//! One file per command: a function from arguments to a report and an exit code.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod detach;
pub(crate) mod doctor;
mod doctor_hosts;
pub(crate) mod groups;
pub(crate) mod keygen;
pub(crate) mod members;
pub(crate) mod ping;
pub(crate) mod preloaded;
pub(crate) mod reload;
pub(crate) mod ring;
pub(crate) mod run;
pub(crate) mod sim;
pub(crate) mod sockets;
pub(crate) mod status;
pub(crate) mod version;
pub(crate) mod why;

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::output::Output;

/// Runs the command that was asked for.
pub(crate) fn run(args: &Args, out: &Output) -> anyhow::Result<ExitCode> {
    let socket = args.global.socket.as_deref();
    match &args.command {
        Command::Run(run) => run::run(run, socket, out),
        Command::Status => status::run(socket, out),
        Command::Ring(ring) => ring::run(ring, socket, out),
        Command::Reload => reload::run(socket, out),
        Command::Ping(ping) => ping::run(ping, socket, out),
        Command::Groups => groups::run(socket, out),
        Command::Members(members) => members::run(members, socket, out),
        Command::Sockets(sockets) => sockets::run(sockets, socket, out),
        Command::Why(why) => why::run(why, socket, out),
        Command::Config(config) => config::run(config, out),
        Command::Keygen(keygen) => keygen::run(keygen, out),
        Command::Doctor => doctor::run(socket, out),
        Command::Demo(demo) => demo::run(demo, out),
        Command::Sim(sim) => sim::run(sim, out),
        Command::Completions(completions) => completions::run(completions, out),
        Command::Version => version::run(socket, out),
        Command::Detach(detach) => detach::run(detach),
        Command::Preloaded(preloaded) => preloaded::run(preloaded),
    }
}
