//! `exo completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::output::Output;

/// Arguments of `exo completions`.
#[derive(clap::Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Whose completions.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script; put it where the shell looks, for instance
/// `exo completions bash > /etc/bash_completion.d/exo`.
pub(crate) fn run(args: &CompletionsArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "exo", &mut script);
    out.result(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
