//! `exo sockets`: which sockets Exo has, and which rule decided.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::output::{self, Output};
use crate::status::{self, Status};

/// Arguments of `exo sockets`.
#[derive(clap::Args, Debug)]
pub(crate) struct SocketsArgs {
    /// Only of this process.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Serialize)]
struct Sockets {
    schema: &'static str,
    sockets: Vec<Socket>,
}

#[derive(Serialize)]
struct Socket {
    pid: u32,
    comm: String,
    inode: u64,
    bound: Option<String>,
    delivery: String,
    rule: String,
    demoted_because: Option<String>,
    groups: Vec<String>,
}

/// Asks and prints.
pub(crate) fn run(
    args: &SocketsArgs,
    socket: Option<&Path>,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    let report = Sockets {
        schema: "exo.sockets/1",
        sockets: sockets(&answer.status, args.pid),
    };
    out.report(&report, || {
        if report.sockets.is_empty() {
            return "Exo has no sockets; ask `exo why PID` about a process\n".to_owned();
        }
        let header = ["PID", "PROGRAM", "BOUND", "DELIVERY", "RULE", "GROUPS"];
        output::table(header, report.sockets.iter().map(row).collect())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn sockets(status: &Status, pid: Option<u32>) -> Vec<Socket> {
    let sessions = status
        .sessions
        .iter()
        .filter(|session| pid.is_none_or(|pid| pid == session.pid));
    sessions
        .flat_map(|session| session.sockets.iter().map(move |socket| (session, socket)))
        .map(|(session, socket)| Socket {
            pid: session.pid,
            comm: session.comm.clone(),
            inode: socket.inode,
            bound: socket.bound.clone(),
            delivery: socket.delivery.clone(),
            rule: socket.rule.clone(),
            demoted_because: socket.demoted_because.clone(),
            groups: socket
                .memberships
                .iter()
                .map(|joined| joined.group.clone())
                .collect(),
        })
        .collect()
}

fn row(socket: &Socket) -> [String; 6] {
    let delivery = match &socket.demoted_because {
        Some(why) => format!("{} (because of {why})", socket.delivery),
        None => socket.delivery.clone(),
    };
    [
        socket.pid.to_string(),
        socket.comm.clone(),
        socket.bound.clone().unwrap_or_else(|| "-".to_owned()),
        delivery,
        socket.rule.clone(),
        if socket.groups.is_empty() {
            "-".to_owned()
        } else {
            socket.groups.join(", ")
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_say_which_rule_took_them_and_what_demoted_them() {
        let status = status::sample().status;
        let found = sockets(&status, None);
        assert_eq!(found.len(), 1);
        let row = row(&found[0]);
        assert_eq!(row[3], "kernel (because of fdopen)");
        assert_eq!(row[4], "join of 239.1.2.3:5000");
        assert!(sockets(&status, Some(1)).is_empty());
    }
}
