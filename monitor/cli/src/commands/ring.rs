//! `exo ring`: the hosts that order together, as this one sees them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use crate::errors::{FINDINGS, NO_MAJORITY};
use crate::output::{self, Output};
use crate::status::{self, Ring};

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    ring: &'a Value,
}

/// Asks and prints.
pub(crate) fn run(socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    let report = Report {
        schema: "exo.ring/1",
        ring: &answer.document["ring"],
    };
    out.report(&report, || match &answer.status.ring {
        None => "this monitor orders alone: list the hosts in [[host]] tables to order with \
                 others\n"
            .to_owned(),
        Some(ring) => text(ring),
    })?;
    Ok(exit_code(answer.status.ring.as_ref()))
}

/// What scripts are told: no majority, something to act upon, or that all is well.
pub(crate) fn exit_code(ring: Option<&Ring>) -> ExitCode {
    match ring {
        Some(ring) if ring.state == "no majority" => ExitCode::from(NO_MAJORITY),
        Some(ring) if ring.hosts.iter().any(|host| host.refused.is_some()) => {
            ExitCode::from(FINDINGS)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn text(ring: &Ring) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(ring, &mut text);
    text
}

fn write(ring: &Ring, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "ring       {}, over {}, {}",
        ring.number, ring.transport, ring.protection
    )?;
    writeln!(text, "this host  {}", ring.host)?;
    writeln!(text, "state      {}", explain(&ring.state))?;
    let founder = ring.founder.as_deref().unwrap_or("nobody yet");
    writeln!(
        text,
        "epoch      {} (founded by {founder})",
        ring.epoch >> 8
    )?;
    writeln!(
        text,
        "positions  tail {}, agreed {}, safe {}",
        ring.tail, ring.agreed, ring.safe
    )?;
    writeln!(text, "waiting    {} messages of this host", ring.queued)?;
    let rows = ring.hosts.iter().map(|host| {
        let state = match (&host.refused, host.is_member) {
            (Some(why), _) => format!("refused: {why}"),
            (None, true) => "in the ring".to_owned(),
            (None, false) => "not in the ring".to_owned(),
        };
        [format!("  {}", host.name), host.address.clone(), state]
    });
    text.push('\n');
    text.push_str(&output::table(
        ["  host", "address", "state"],
        rows.collect(),
    ));
    Ok(())
}

/// What a state means, and what to do about it.
fn explain(state: &str) -> &str {
    match state {
        "ordering" => "ordering",
        "forming" => {
            "forming: waits until a majority of the hosts is there (start their monitors; \
             `exo doctor` looks for what is between them)"
        }
        "no majority" => {
            "no majority: nothing is ordered until more than half of the hosts can be reached \
             (start their monitors; `exo doctor` looks for what is between them)"
        }
        "lost its memory" => {
            "lost its memory: counts again once the others have let it in (start more of them)"
        }
        other => other,
    }
}
