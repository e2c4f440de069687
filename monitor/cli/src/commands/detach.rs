//! `exo detach`: a program in a session of its own, child of nobody here.
//!
//! `exo run` becomes the user's program, so the monitor that it starts must not be its child: a
//! program that waits for all its children would wait for the monitor. The middle process that does
//! this starts the monitor and ends at once; the kernel then hands the monitor to init.
//!
//! It also closes what the caller left open: a monitor that held on to somebody's pipe or locked
//! file would keep its reader or the next locker waiting.

use std::ffi::OsString;
use std::fs;
use std::os::fd::RawFd;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// Arguments of `exo detach`.
#[derive(clap::Args, Debug)]
pub(crate) struct DetachArgs {
    /// The one descriptor to hand on beside the first three.
    #[arg(long, value_name = "FD")]
    keep: Option<RawFd>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Starts the program and returns without waiting for it.
pub(crate) fn run(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    let (program, arguments) = args
        .command
        .split_first()
        .context("detach needs a program")?;
    rustix::process::setsid().context("cannot leave the session of the caller")?;
    close_all_but(args.keep).context("cannot see what the caller left open")?;
    Command::new(program)
        .args(arguments)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing of this process is open yet but its first three descriptors.
fn close_all_but(keep: Option<RawFd>) -> std::io::Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<RawFd>().ok()),
        );
    }
    for fd in open {
        if fd > 2 && Some(fd) != keep {
            // The one that read the folder is closed already.
            let _ = nix::unistd::close(fd);
        }
    }
    Ok(())
}
