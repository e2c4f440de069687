//! `exo ring`: the hosts that order together, as this one sees them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use libexo::control::operator::{self, AskError, Query};
use serde::Serialize;
use serde_json::Value;

use crate::errors::{FAILED, FINDINGS, NO_MAJORITY, Stop};
use crate::output::{self, Output};
use crate::status::{self, Answer, Host, Ring};

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    ring: &'a Value,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RingArgs {
    #[command(subcommand)]
    command: Option<RingCommand>,
}

#[derive(Debug, Subcommand)]
enum RingCommand {
    /// Begin the order anew, when the hosts that remember it are gone for good.
    ///
    /// Say it at each host that is to take part. What only the lost hosts held is given up.
    Form {
        /// The hosts that take part, more than half of those that vote [default: all that vote].
        #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
        hosts: Vec<String>,
    },
}

#[derive(Serialize)]
struct Formed<'a> {
    schema: &'static str,
    hosts: Vec<&'a str>,
}

/// Asks and prints.
pub(crate) fn run(
    args: &RingArgs,
    socket: Option<&Path>,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    if let Some(RingCommand::Form { hosts }) = &args.command {
        return form(&answer, hosts, out);
    }
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

fn form(answer: &Answer, names: &[String], out: &Output) -> anyhow::Result<ExitCode> {
    let Some(ring) = &answer.status.ring else {
        let what = "this monitor orders alone";
        return Err(Stop::new(FAILED, what, "list the hosts in [[host]] tables").into());
    };
    let mut hosts = [0; 4];
    for name in names {
        if !ring.hosts.iter().any(|host| host.name == *name) {
            let what = format!("no [[host]] is called {name}");
            return Err(Stop::new(FAILED, what, "`exo ring` lists the hosts").into());
        }
    }
    let is_meant = |host: &&Host| names.is_empty() && !host.listens || names.contains(&host.name);
    let meant: Vec<_> = ring.hosts.iter().filter(is_meant).collect();
    for host in &meant {
        hosts[usize::from(host.id / 64)] |= 1 << (host.id % 64);
    }
    operator::ask(&answer.socket, Query::Form { hosts }).map_err(|error| match error {
        AskError::Because { why } => Stop::new(FAILED, why, "see `exo ring`"),
        other => status::unanswered(&answer.socket, &other),
    })?;
    let report = Formed {
        schema: "exo.ring-form/1",
        hosts: meant.iter().map(|host| host.name.as_str()).collect(),
    };
    out.report(&report, || {
        format!(
            "this host begins anew with {}: say the same at each of them\n",
            report.hosts.join(", ")
        )
    })?;
    Ok(ExitCode::SUCCESS)
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
    if let Some(to_all) = &ring.to_all {
        writeln!(text, "to all     {}: {}", to_all.way, to_all.why)?;
    }
    for (index, key) in ring.keys.iter().enumerate() {
        let what = if index == 0 { "key      " } else { "accepts  " };
        writeln!(text, "{what}  {} ({})", key.fingerprint, key.role)?;
    }
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
    if let Some(synced) = ring.synced {
        writeln!(text, "journal    on disk up to {synced}")?;
    }
    if !ring.listens {
        writeln!(text, "waiting    {} messages of this host", ring.queued)?;
    }
    let owner = ring.owner.as_deref().unwrap_or("nobody");
    match (ring.is_parked, ring.rotation_ns) {
        (true, _) => writeln!(text, "token      rests here")?,
        (false, 0) => writeln!(text, "token      with {owner}")?,
        (false, rotation) => writeln!(
            text,
            "token      with {owner}; {} a rotation, {} a hop",
            time(rotation),
            time(ring.hop_ns)
        )?,
    }
    let times = &ring.timeouts;
    writeln!(
        text,
        "timeouts   resend {}, loss {}, gap {}, epoch {}, join {}, rest {}",
        time(times.resend_ns),
        time(times.loss_ns),
        time(times.nack_ns),
        time(times.epoch_ns),
        time(times.join_ns),
        time(times.park_ns)
    )?;
    text.push('\n');
    let header = ["  host", "address", "key", "behind", "state"];
    text.push_str(&output::table(header, ring.hosts.iter().map(row).collect()));
    if let Some(advice) = advice(ring) {
        writeln!(text, "\n{advice}")?;
    }
    Ok(())
}

fn row(host: &Host) -> [String; 5] {
    let state = match (&host.refused, host.is_member, host.is_known) {
        (Some(why), ..) => format!("refused: {why}"),
        _ if host.listens => "listens".to_owned(),
        (None, true, _) => "in the ring".to_owned(),
        (None, false, true) => "left, or not heard any more".to_owned(),
        (None, false, false) => "never heard".to_owned(),
    };
    let lag = match host.is_member {
        true => host.lag.to_string(),
        false => "-".to_owned(),
    };
    let key = host.key.clone().unwrap_or_else(|| "-".to_owned());
    [
        format!("  {}", host.name),
        host.address.clone(),
        key,
        lag,
        state,
    ]
}

/// A time with the unit that reads best.
fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", output::micros(ns)),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns % 1_000_000 / 100_000),
        _ => format!(
            "{}.{} s",
            ns / 1_000_000_000,
            ns % 1_000_000_000 / 100_000_000
        ),
    }
}

/// What to change, where the measured times tell.
fn advice(ring: &Ring) -> Option<String> {
    // A hop of this length is a network or a disk far away, or processors that others keep busy.
    const SLOW_HOP_NS: u64 = 2_000_000;
    if ring.hop_ns > SLOW_HOP_NS {
        let cause = match ring.synced {
            Some(_) => "the journals' disks, or processors that others keep busy",
            None => "the network, or processors that others keep busy",
        };
        return Some(format!(
            "a hop takes {}: look at {cause}",
            time(ring.hop_ns)
        ));
    }
    let members = ring.hosts.iter().filter(|host| host.is_member);
    let slowest = members.max_by_key(|host| host.lag)?;
    let rotation = ring.voters().count() as u64;
    (slowest.lag > 4 * rotation).then(|| {
        format!(
            "{} is {} positions behind: look at the load there, and at what is lost on the way to it \
             (`exo doctor`)",
            slowest.name, slowest.lag
        )
    })
}

/// What a state means, and what to do about it.
fn explain(state: &str) -> &str {
    match state {
        "ordering" => "ordering",
        "listening" => {
            "listening: programs here receive and cannot send (send from a host that votes)"
        }
        "forming" => {
            "forming: waits until a majority of the hosts is there (start their monitors; \
             `exo doctor` looks for what is between them)"
        }
        "no majority" => {
            "no majority: nothing is ordered until more than half of the hosts can be reached \
             (start their monitors; `exo doctor` looks for what is between them)"
        }
        "lost its memory" => {
            "lost its memory: counts again once the others have let it in (start them; if the \
             hosts that remember are gone for good, `exo ring form`)"
        }
        other => other,
    }
}
