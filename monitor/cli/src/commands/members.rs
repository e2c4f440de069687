//! `exo members`: who is in the groups and how far behind.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::errors::{FAILED, Stop};
use crate::output::{self, Output};
use crate::status::{self, Status};

/// Arguments of `exo members`.
#[derive(clap::Args, Debug)]
pub(crate) struct MembersArgs {
    /// Only of this group, by name or address.
    group: Option<String>,
}

#[derive(Serialize)]
struct Members {
    schema: &'static str,
    members: Vec<Member>,
}

/// One membership of one socket.
#[derive(Serialize)]
struct Member {
    group: String,
    address: String,
    pid: u32,
    uid: u32,
    comm: String,
    inode: u64,
    delivery: String,
    /// What its process has sent, to all groups.
    submitted: u64,
    /// Place in the order up to which it has received everything of its group.
    delivered: u64,
    dropped: u64,
    cursor_lag_bytes: u64,
}

/// Asks and prints.
pub(crate) fn run(
    args: &MembersArgs,
    socket: Option<&Path>,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    let wanted = args.group.as_deref();
    if let Some(wanted) = wanted
        && !answer
            .status
            .groups
            .iter()
            .any(|group| group.name == wanted || group.address == wanted)
    {
        let what = format!("there is no group {wanted}");
        return Err(Stop::new(FAILED, what, "see `exo groups`").into());
    }
    let report = Members {
        schema: "exo.members/1",
        members: members(&answer.status, wanted),
    };
    out.report(&report, || {
        if report.members.is_empty() {
            return "no members: sockets become members when they join\n".to_owned();
        }
        let header = [
            "GROUP",
            "PID",
            "PROGRAM",
            "USER",
            "DELIVERY",
            "SENT",
            "DELIVERED",
            "BEHIND",
            "DROPPED",
        ];
        output::table(header, report.members.iter().map(row).collect())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn members(status: &Status, wanted: Option<&str>) -> Vec<Member> {
    let mut members = Vec::new();
    for session in &status.sessions {
        for socket in &session.sockets {
            for membership in &socket.memberships {
                let is_wanted = wanted
                    .is_none_or(|name| name == membership.group || name == membership.address);
                if is_wanted {
                    members.push(Member {
                        group: membership.group.clone(),
                        address: membership.address.clone(),
                        pid: session.pid,
                        uid: session.uid,
                        comm: session.comm.clone(),
                        inode: socket.inode,
                        delivery: socket.delivery.clone(),
                        submitted: session.submitted,
                        delivered: membership.delivered,
                        dropped: membership.dropped,
                        cursor_lag_bytes: membership.cursor_lag_bytes,
                    });
                }
            }
        }
    }
    members.sort_by(|a, b| (&a.group, a.pid, a.inode).cmp(&(&b.group, b.pid, b.inode)));
    members
}

fn row(member: &Member) -> [String; 9] {
    [
        member.group.clone(),
        member.pid.to_string(),
        member.comm.clone(),
        member.uid.to_string(),
        member.delivery.clone(),
        member.submitted.to_string(),
        member.delivered.to_string(),
        output::bytes(member.cursor_lag_bytes),
        member.dropped.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name_and_by_address() {
        let status = status::sample().status;
        for wanted in [None, Some("orders"), Some("239.1.2.3:5000")] {
            let found = members(&status, wanted);
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].pid, found[0].cursor_lag_bytes), (4242, 2048));
            assert_eq!(found[0].delivered, 93);
        }
        assert!(members(&status, Some("quotes")).is_empty());
    }
}
