//! `exo version`: of this program, and of the monitor if one runs.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::output::Output;
use crate::status;

#[derive(Serialize)]
struct Version {
    schema: &'static str,
    version: &'static str,
    monitor: Option<String>,
}

/// Prints both; no monitor is no failure.
pub(crate) fn run(socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let monitor = status::ask(socket)
        .ok()
        .map(|answer| answer.status.monitor.version);
    let report = Version {
        schema: "exo.version/1",
        version: env!("CARGO_PKG_VERSION"),
        monitor,
    };
    out.report(&report, || {
        let monitor = report.monitor.as_deref().unwrap_or("not running");
        format!("exo      {}\nmonitor  {monitor}\n", report.version)
    })?;
    Ok(ExitCode::SUCCESS)
}
