//! `exo status`: the monitor in a few lines; as JSON, its whole account.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::ring;
use crate::output::{self, Output};
use crate::place::Place;
use crate::status::{self, Answer};

/// Asks and prints.
pub(crate) fn run(socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    out.report(&answer.document, || text(&answer))?;
    note_other_monitors(&answer, socket, out);
    Ok(ring::exit_code(answer.status.ring.as_ref()))
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(answer, &mut text);
    text
}

fn write(answer: &Answer, text: &mut String) -> std::fmt::Result {
    let status = &answer.status;
    let monitor = &status.monitor;
    let uptime = Duration::from_secs(monitor.uptime_ms / 1000);
    writeln!(
        text,
        "monitor    {} (pid {}, user {}, up {})",
        monitor.version,
        monitor.pid,
        monitor.uid,
        words(uptime)
    )?;
    writeln!(text, "socket     {}", monitor.socket)?;
    writeln!(
        text,
        "config     {}",
        monitor.config.as_deref().unwrap_or("none")
    )?;
    let sockets: usize = status
        .sessions
        .iter()
        .map(|session| session.sockets.len())
        .sum();
    writeln!(
        text,
        "processes  {}, with {}",
        status.sessions.len(),
        output::counted(sockets, "socket")
    )?;
    let refusals: usize = status
        .sessions
        .iter()
        .map(|session| session.refusals.len())
        .sum();
    if let Some(ring) = &status.ring {
        let members = ring.voters().filter(|host| host.is_member).count();
        let voters = ring.voters().count();
        let listeners = match ring.hosts.len() - voters {
            0 => String::new(),
            1 => ", 1 listens".to_owned(),
            count => format!(", {count} listen"),
        };
        let hosts = output::counted(voters, "host") + &listeners;
        let to_all = ring.to_all.as_ref();
        let to_all = to_all.map_or_else(String::new, |it| format!(", to all by {}", it.way));
        writeln!(
            text,
            "ring       {}: {members} of {hosts}{to_all} (`exo ring`)",
            ring.state
        )?;
    }
    if refusals > 0 {
        let requests = output::counted(refusals, "request");
        writeln!(text, "refused    {requests}: see `exo why PID`")?;
    }
    if status.groups.is_empty() {
        return writeln!(
            text,
            "groups     none: add one with `exo run -g ADDR:PORT -- PROGRAM`"
        );
    }
    writeln!(text, "groups     {}", status.groups.len())?;
    let rows = status.groups.iter().map(|group| {
        [
            format!("  {}", group.name),
            group.address.clone(),
            group.members.to_string(),
            group.messages.to_string(),
        ]
    });
    text.push('\n');
    text.push_str(&output::table(
        ["  group", "address", "members", "messages"],
        rows.collect(),
    ));
    let counters: Vec<_> = status
        .counters
        .iter()
        .filter(|(_, value)| is_nonzero(value))
        .collect();
    if !counters.is_empty() {
        text.push('\n');
        for (name, value) in counters {
            writeln!(text, "{name} {value}")?;
        }
    }
    Ok(())
}

fn is_nonzero(value: &Value) -> bool {
    value.as_u64().is_some_and(|count| count > 0)
}

/// "3d 4h", "2m 5s": the two largest units.
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let from = parts
        .iter()
        .position(|(count, _)| *count > 0)
        .unwrap_or(parts.len() - 1);
    let shown: Vec<_> = parts[from..]
        .iter()
        .take(2)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

/// Two monitors of one user are easily mistaken for each other.
fn note_other_monitors(answer: &Answer, socket: Option<&Path>, out: &Output) {
    for place in Place::all(socket) {
        if place.socket != answer.socket
            && let Ok(Some(other)) = status::ask_one(&place.socket)
        {
            let path = other.socket.display();
            out.note(&format!(
                "another monitor runs at {path} (see it with --socket {path})"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_who_runs_and_what_it_refused() {
        assert_eq!(
            text(&status::sample()),
            "monitor    0.1.0 (pid 1, user 0, up 1m 5s)\n\
             socket     /run/exo/exod.sock\n\
             config     none\n\
             processes  2, with 1 socket\n\
             refused    1 request: see `exo why PID`\n\
             groups     1\n\
             \n\
             \x20 group   address         members  messages\n\
             \x20 orders  239.1.2.3:5000  1        123\n\
             \n\
             sessions_ended 3\n"
        );
    }

    #[test]
    fn uptime_has_its_two_largest_units() {
        let shown = |seconds| words(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(65), "1m 5s");
        assert_eq!(shown(90_000), "1d 1h");
    }
}
