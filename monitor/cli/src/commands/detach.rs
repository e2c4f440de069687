//! `exo detach`: a program in a session of its own, child of nobody here.
//!
//! `exo run` becomes the user's program, so the monitor that it starts must not be its child: a
//! program that waits for all its children would wait for the monitor. The middle process that does
//! this starts the monitor and ends at once; the kernel then hands the monitor to init.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// Starts `command` and returns without waiting for it.
pub(crate) fn run(command: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("detach needs a program")?;
    rustix::process::setsid().context("cannot leave the session of the caller")?;
    Command::new(program)
        .args(arguments)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(ExitCode::SUCCESS)
}
