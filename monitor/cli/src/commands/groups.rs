//! `exo groups`: the groups and how far their order has come.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use crate::output::{self, Output};
use crate::status::{self, Group};

#[derive(Serialize)]
struct Groups<'a> {
    schema: &'static str,
    groups: &'a Value,
}

/// Asks and prints.
pub(crate) fn run(socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    let report = Groups {
        schema: "exo.groups/1",
        groups: &answer.document["groups"],
    };
    out.report(&report, || {
        if answer.status.groups.is_empty() {
            return "no groups: add one with `exo run -g ADDR:PORT -- PROGRAM`\n".to_owned();
        }
        let header = [
            "GROUP",
            "ADDRESS",
            "ORDER",
            "DELIVER",
            "MEMBERS",
            "SENDERS",
            "MESSAGES",
            "LOG USED",
            "SLOW MEMBER",
            "GAPS",
        ];
        output::table(header, answer.status.groups.iter().map(row).collect())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(group: &Group) -> [String; 10] {
    let expelled = match group.expelled {
        0 => String::new(),
        count => format!(" (+{count} expelled)"),
    };
    let waited = match group.longest_wait_ms {
        0 => String::new(),
        ms => format!(" (waited up to {ms}ms)"),
    };
    let (used, size) = (group.log_used_bytes, group.log_bytes);
    [
        group.name.clone(),
        group.address.clone(),
        group.order.clone(),
        group.deliver.clone(),
        group.members.to_string(),
        group.sends.to_string(),
        group.messages.to_string(),
        format!("{} of {}", output::bytes(used), output::bytes(size)),
        format!(
            "{} after {}ms{waited}",
            group.slow_policy, group.slow_wait_ms
        ),
        format!("{}{expelled}", group.gaps),
    ]
}
