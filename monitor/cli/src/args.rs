//! The words of the command line, defined once for parsing, help and completions.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use exo_monitor::config::GroupSettings;

use crate::commands::{
    completions, config, demo, detach, keygen, members, ping, preloaded, ring, run, sim, sockets,
    why,
};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 no monitor, 4 no majority of hosts, \
    5 findings; \
    `exo run`: the program's own, or 125 exo failed, 126 the program cannot be served, \
    127 it was not found.";

/// Every receiver gets the same datagrams, in the same order, with none missing.
#[derive(Debug, Parser)]
#[command(name = "exo", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Global {
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The monitor's control socket [default: the system's monitor, else the private one].
    #[arg(long, global = true, value_name = "PATH", value_parser = socket_path())]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program under Exo.
    Run(run::RunArgs),
    /// What the monitor does, in a few lines.
    Status,
    /// The hosts that order together, and how this one stands among them.
    Ring(ring::RingArgs),
    /// Have the monitor read its configuration and the ring's keys again.
    Reload,
    /// How long a message takes through the order, without any program seeing it.
    Ping(ping::PingArgs),
    /// The groups, with their order's progress.
    Groups,
    /// Who is in the groups, and how far behind.
    Members(members::MembersArgs),
    /// Which sockets Exo has, and which rule decided.
    Sockets(sockets::SocketsArgs),
    /// Why a process or a program is served or not.
    Why(why::WhyArgs),
    /// Check, show or describe the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make the key that the hosts of a ring share, or change it while they run.
    Keygen(keygen::KeygenArgs),
    /// Whether this machine is fit for Exo, and the network between the hosts of its ring.
    Doctor,
    /// Watch unmodified programs share one order.
    Demo(demo::DemoArgs),
    /// Rings in one process, in virtual time.
    #[command(subcommand)]
    Sim(sim::SimCommand),
    /// Completions for a shell.
    Completions(completions::CompletionsArgs),
    /// The versions of this program and of the monitor.
    Version,
    /// Start a program in a session of its own and leave it there; used by `run`.
    #[command(hide = true)]
    Detach(detach::DetachArgs),
    /// Whether a library was preloaded into this process; used by `run`.
    #[command(hide = true)]
    Preloaded(preloaded::PreloadedArgs),
}

fn socket_path() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    use clap::builder::TypedValueParser as _;
    NonEmptyStringValueParser::new().map(PathBuf::from)
}

/// `-g ADDRESS:PORT`, refused here when no group can have it.
pub(crate) fn group_address(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .parse()
        .map_err(|_| "write ADDRESS:PORT, such as 239.1.2.3:5000 or [ff15::1]:5000".to_owned())?;
    GroupSettings::for_address(address).map_err(|error| error.to_string())?;
    Ok(address)
}
