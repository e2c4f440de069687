//! `exo`: what people type. Every command turns its arguments into a report and an exit code.
//!
//! It knows the monitor only through [`libexo::control::operator`] (one question, one document) and
//! through the types of its configuration. Never here: datagrams, shared memory, the shim's code.

mod args;
mod commands;
mod errors;
mod output;
mod place;
mod private_monitor;
mod process;
mod program;
mod status;

use std::process::ExitCode;

use clap::Parser;

use args::Args;
use output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let out = Output::new(args.global.json);
    match commands::run(&args, &out) {
        Ok(code) => code,
        Err(error) => errors::report(&error, &out),
    }
}
