//! From an error to one line for people (or a document) and an exit code.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::output::Output;

/// The command did what it was asked and the answer is no.
pub(crate) const FAILED: u8 = 1;
/// No monitor to ask.
pub(crate) const NO_MONITOR: u8 = 3;
/// The monitor reaches no majority of its ring's hosts.
pub(crate) const NO_MAJORITY: u8 = 4;
/// It ran and found something to act upon.
pub(crate) const FINDINGS: u8 = 5;
/// `exo run`: exo itself failed, the program was not tried.
pub(crate) const RUN_FAILED: u8 = 125;
/// `exo run`: the program is there and cannot be run or served.
pub(crate) const RUN_REFUSED: u8 = 126;
/// `exo run`: there is no such program.
pub(crate) const RUN_NOT_FOUND: u8 = 127;

/// An end with a code of its own: what happened, and the next thing to do.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) code: u8,
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl Stop {
    pub(crate) fn new(code: u8, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// The same end as seen by `exo run`, whose own codes leave the program's alone.
    pub(crate) fn of_run(self) -> Self {
        let code = if self.code < RUN_FAILED {
            RUN_FAILED
        } else {
            self.code
        };
        Self { code, ..self }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.hint)
    }
}

impl std::error::Error for Stop {}

#[derive(Serialize)]
struct Failure {
    schema: &'static str,
    error: String,
    hint: Option<String>,
    exit: u8,
}

/// Tells what ended the command and returns its code.
pub(crate) fn report(error: &anyhow::Error, out: &Output) -> ExitCode {
    let stop = error.downcast_ref::<Stop>();
    let code = stop.map_or(FAILED, |stop| stop.code);
    out.note(&format!("{error:#}"));
    if out.is_json() {
        let failure = Failure {
            schema: "exo.error/1",
            error: stop.map_or_else(|| format!("{error:#}"), |stop| stop.what.clone()),
            hint: stop.map(|stop| stop.hint.clone()),
            exit: code,
        };
        if let Err(error) = out.report(&failure, String::new) {
            out.note(&format!("{error:#}"));
        }
    }
    ExitCode::from(code)
}
