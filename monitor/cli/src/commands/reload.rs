//! `exo reload`: the monitor reads its configuration and the ring's keys again.

use std::path::Path;
use std::process::ExitCode;

use libexo::control::operator::{self, AskError, Query};
use serde::Serialize;

use crate::errors::{FAILED, Stop};
use crate::output::Output;
use crate::status;

#[derive(Serialize)]
struct Reloaded {
    schema: &'static str,
}

/// Asks, and says what is wrong with what was read.
pub(crate) fn run(socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let socket = status::ask(socket)?.socket;
    operator::ask(&socket, Query::Reload).map_err(|error| match error {
        AskError::Because { why } => Stop::new(
            FAILED,
            format!("the monitor goes on as before: {why}"),
            "correct it and say `exo reload` again",
        ),
        other => status::unanswered(&socket, &other),
    })?;
    let report = Reloaded {
        schema: "exo.reload/1",
    };
    out.report(&report, || {
        "reloaded (of [ring] and [[host]] only the keys; the rest takes a restart)\n".to_owned()
    })?;
    Ok(ExitCode::SUCCESS)
}
