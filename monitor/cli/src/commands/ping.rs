//! `exo ping GROUP`: the time of a message through the order.
//!
//! The message belongs to no group, so no program sees it; a ring orders all groups alike.

use std::path::Path;
use std::process::ExitCode;

use libexo::control::operator::{self, AskError, Query};
use serde::{Deserialize, Serialize};

use crate::errors::{FAILED, NO_MAJORITY, Stop};
use crate::output::{Output, counted, micros};
use crate::status;

#[derive(clap::Args, Debug)]
pub(crate) struct PingArgs {
    /// Name or address of a group.
    #[arg(value_name = "GROUP")]
    group: String,
    /// How many messages, one after the other.
    #[arg(short = 'c', long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
}

#[derive(Deserialize)]
struct Pong {
    order_ns: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    group: &'a str,
    deliver: &'a str,
    hosts: usize,
    order_ns: Vec<u64>,
    median_ns: u64,
}

/// Asks and prints.
pub(crate) fn run(
    args: &PingArgs,
    socket: Option<&Path>,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    let answer = status::ask(socket)?;
    let is_meant = |group: &&status::Group| group.name == args.group || group.address == args.group;
    let Some(group) = answer.status.groups.iter().find(is_meant) else {
        let what = format!(
            "the monitor at {} has no group {}",
            answer.socket.display(),
            args.group
        );
        return Err(Stop::new(FAILED, what, "`exo groups` lists those it has").into());
    };
    let ring = answer.status.ring.as_ref();
    let mut order_ns = Vec::new();
    for number in 1..=args.count {
        let taken = ping(&answer.socket)?;
        order_ns.push(taken);
        if !out.is_json() {
            out.result(&format!("{} {number}: {} µs\n", group.name, micros(taken)))?;
        }
    }
    let mut sorted = order_ns.clone();
    sorted.sort_unstable();
    let median_ns = sorted[sorted.len() / 2];
    let report = Report {
        schema: "exo.ping/1",
        group: &group.name,
        deliver: ring.map_or(group.deliver.as_str(), |ring| ring.deliver.as_str()),
        hosts: ring.map_or(1, |ring| ring.voters().count()),
        order_ns,
        median_ns,
    };
    out.report(&report, || {
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        format!(
            "{} in order after {} µs (median; least {}, most {}), {} by {}\n",
            report.group,
            micros(median_ns),
            micros(least),
            micros(most),
            report.deliver,
            counted(report.hosts, "host")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn ping(socket: &Path) -> Result<u64, Stop> {
    let text = operator::ask(socket, Query::Ping).map_err(|error| match &error {
        AskError::Because { why } if why.starts_with("no majority") => {
            Stop::new(NO_MAJORITY, why.clone(), "see `exo ring`")
        }
        AskError::Broken { .. } => Stop::new(
            NO_MAJORITY,
            "the message is not in order yet",
            "see `exo ring`: the hosts may be without a majority",
        ),
        _ => status::unanswered(socket, &error),
    })?;
    let pong: Pong = serde_json::from_str(&text).map_err(|error| {
        Stop::new(
            FAILED,
            format!("the answer to a ping is not understood: {error}"),
            "install exo and exod of the same version and restart the monitor",
        )
    })?;
    Ok(pong.order_ns)
}
