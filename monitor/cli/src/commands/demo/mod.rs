//! `exo demo`: programs that know nothing of Exo, on one group, over the kernel and over Exo.
//!
//! Each member sends its datagrams as fast as it can and writes what it receives to a file. The
//! digest of that file is the digest of the order in which the datagrams came. Both sides run in a
//! network namespace of their own, with a private monitor; nothing outside notices.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::output::Output;

mod members;
mod needs;
mod report;
mod side;
mod world;

use members::Kind;
use report::{Kernel, Report};

const GROUP: &str = "239.77.77.77";
const PORT: &str = "7777";

/// What `exo demo` accepts.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Datagrams that each program sends
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Keep what every program received, one file each, in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Runs the demonstration; success only if nothing was lost over Exo and every order is the same.
pub(crate) fn run(args: &DemoArgs, out: &Output) -> anyhow::Result<ExitCode> {
    needs::check()?;
    let temporary = TemporaryFolder::new()?;
    let received = args.keep.as_deref().unwrap_or_else(|| temporary.path());
    std::fs::create_dir_all(received).with_context(|| {
        format!(
            "cannot make {}; name another with --keep",
            received.display()
        )
    })?;
    let tools = members::Tools::prepare(temporary.path())?;
    // From here on nothing of this process reaches the machine's own network.
    let own_network = world::enter_own_network();
    let load = side::Load {
        tools: &tools,
        folder: temporary.path(),
        received,
        // Two of each kind that can share a program, one socat: five that all hear all five.
        kinds: &[Kind::Python, Kind::Python, Kind::C, Kind::C, Kind::Socat],
        count: args.count,
        interface: if own_network.is_ok() {
            world::INTERFACE
        } else {
            "127.0.0.1"
        },
    };
    let kernel = match &own_network {
        Ok(()) => Kernel::Ran(side::over_kernel(&load).context("the kernel's side")?),
        Err(why) => Kernel::Skipped(format!("{why:#}")),
    };
    let exo = side::over_exo(&load).context("Exo's side")?;
    let report = Report::new(format!("{GROUP}:{PORT}"), args.count, exo, kernel);
    report.print(out)?;
    if let Some(folder) = &args.keep {
        report::progress(&format!("kept: {}/*.received", folder.display()));
    }
    Ok(if report.is_exo_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// A folder of our own under `$TMPDIR` or `/tmp`, removed at the end.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> anyhow::Result<Self> {
        let template = std::env::temp_dir().join("exo-demo-XXXXXX");
        let path = nix::unistd::mkdtemp(&template).with_context(|| {
            format!(
                "cannot make a folder like {}; set TMPDIR",
                template.display()
            )
        })?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is a temporary file.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
