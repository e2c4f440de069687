//! Programs that report in which order they received: `member.c` and `order.py`.

use crate::compile::c_program;
use crate::deadline::Deadline;
use crate::program::Program;
use crate::world::{Under, World};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::process::Command;

/// What a member says at its end.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Report {
    /// Of everything it received, in that order.
    pub digest: String,
    /// Of all bytes, as one who writes them all to one file has them.
    pub stream: String,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams that it sent.
    pub sent: u64,
    /// Senders heard.
    pub senders: u64,
    /// Numbers missing between two datagrams of one sender.
    pub gaps: u64,
    /// Datagrams with a number that had been passed.
    pub disorder: u64,
    /// Datagrams that nobody sent in this form.
    pub invented: u64,
    /// As [`Report::gaps`], [`Report::disorder`] and [`Report::invented`] in one.
    pub wrong: u64,
    /// Datagrams lost as its socket told it (`SO_RXQ_OVFL`).
    pub dropped: u64,
    /// Did it hear everything that it waited for?
    pub complete: bool,
}

impl Report {
    /// Did it hear everything, once, and in each sender's order?
    pub fn is_flawless(&self) -> bool {
        self.complete && self.gaps + self.disorder + self.invented + self.wrong == 0
    }
}

/// Are they all flawless, with one and the same order?
pub fn agree(reports: &[Report]) -> bool {
    reports.iter().all(Report::is_flawless)
        && reports
            .windows(2)
            .all(|pair| pair[0].digest == pair[1].digest)
        && reports
            .windows(2)
            .all(|pair| pair[0].received == pair[1].received)
}

/// Fails unless they [`agree`], and shows them.
///
/// # Errors
///
/// The reports.
pub fn ensure_agree(reports: &[Report]) -> Result<()> {
    ensure!(!reports.is_empty(), "no reports");
    ensure!(agree(reports), "the members do not agree: {reports:#?}");
    Ok(())
}

/// For members of a ring: how long they wait for what is missing at the end. On a bad network and a
/// busy machine epochs follow each other for seconds.
pub const PATIENCE_MS: &str = "40000";

/// How a C member sends. See `programs/member.c`.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Datagrams a second; 0 is as fast as it can.
    pub rate: u64,
    /// Datagrams in all; 0 is until told to finish.
    pub count: u64,
    /// How many members will say a last word.
    pub finals: u32,
}

/// Starts a C member and waits until it has joined.
///
/// # Errors
///
/// When it does not get ready.
pub fn start(world: &World, under: Under, name: &str, pace: Pace) -> Result<Program> {
    let mut program = launch(world, under, name, pace)?;
    program.wait_for("ready", Deadline::seconds(20))?;
    Ok(program)
}

/// Starts a C member and does not wait.
///
/// # Errors
///
/// When it cannot be started.
pub fn launch(world: &World, under: Under, name: &str, pace: Pace) -> Result<Program> {
    world.start(name, command(world, under, pace)?)
}

/// The command that runs a C member.
///
/// # Errors
///
/// As [`World::command`].
pub fn command(world: &World, under: Under, pace: Pace) -> Result<Command> {
    let mut command = world.command(under, c_program("member")?)?;
    command.args([pace.rate, pace.count, u64::from(pace.finals)].map(|word| word.to_string()));
    command.envs([("ADDRESS", world.address()), ("LINK", world.link())]);
    Ok(command)
}

/// Tells all to finish and collects their reports.
///
/// # Errors
///
/// When one of them ends without a report.
pub fn finish(mut members: Vec<Program>, deadline: Deadline) -> Result<Vec<Report>> {
    for member in &mut members {
        member.say("finish\n")?;
    }
    members
        .into_iter()
        .map(|member| report(member, deadline))
        .collect()
}

/// Waits for the report of one member.
///
/// # Errors
///
/// When it ends without one.
pub fn report(mut member: Program, deadline: Deadline) -> Result<Report> {
    let line = member.wait_for("report ", deadline)?;
    let text = line.split_once("report ").context("waited for it")?.1;
    serde_json::from_str(text).with_context(|| format!("not a report: {line}"))
}
