//! C members on several hosts that leave traces.

use crate::deadline::{Deadline, Start, tick};
use crate::member::{self, Pace, Report, ensure_agree};
use crate::program::Program;
use crate::trace::{self, Trace, ensure_one_order};
use crate::world::{Under, World};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running C member and what it wrote down.
#[derive(Debug)]
pub struct Member {
    /// On which host it is.
    pub host: usize,
    /// The program itself.
    pub program: Program,
    trace: PathBuf,
}

impl Member {
    /// Starts one on host number `host`, with its trace in `folder`, and waits until it has joined.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub fn start(host: usize, world: &World, pace: Pace, folder: &Path) -> Result<Self> {
        let trace = tempfile::Builder::new()
            .prefix(&format!("trace-{host}-"))
            .tempfile_in(folder)?
            .into_temp_path()
            .keep()?;
        let mut command = member::command(world, Under::Exo, pace)?;
        command.env("TRACE", &trace);
        let mut program = world.start(&format!("member-{host}"), command)?;
        program.wait_for("ready", Deadline::seconds(20))?;
        Ok(Self {
            host,
            program,
            trace,
        })
    }

    /// How many datagrams it has received.
    ///
    /// # Errors
    ///
    /// When its file is gone.
    pub fn received(&self) -> Result<u64> {
        trace::length(&self.trace)
    }

    /// What it has received.
    ///
    /// # Errors
    ///
    /// When its file is gone.
    pub fn trace(&self) -> Result<Trace> {
        Trace::read(&format!("member on host {}", self.host), &self.trace)
    }

    /// Waits until it has received `count` datagrams more than now.
    ///
    /// # Errors
    ///
    /// When it ends, or the deadline passes first.
    pub fn await_more(&mut self, count: u64, deadline: Deadline) -> Result<()> {
        let wanted = self.received()? + count;
        self.await_total(wanted, deadline)
    }

    /// Waits until it has received `count` datagrams in all.
    ///
    /// # Errors
    ///
    /// When it ends, or the deadline passes first.
    pub fn await_total(&mut self, count: u64, deadline: Deadline) -> Result<()> {
        let host = self.host;
        deadline.until(&format!("datagram {count} on host {host}"), || {
            let received = self.received()?;
            ensure!(
                self.program.try_wait()?.is_none(),
                "the member on host {host} ended: {}",
                self.program.stdout()?
            );
            Ok((received >= count).then_some(()))
        })
    }
}

/// Tells members to begin.
///
/// # Errors
///
/// When one has ended.
pub fn go(members: &mut [Member]) -> Result<()> {
    members
        .iter_mut()
        .try_for_each(|member| member.program.say("go\n"))
}

/// Tells members to finish; their reports and traces.
///
/// # Errors
///
/// When one of them ends without a report.
pub fn finish(mut members: Vec<Member>, deadline: Deadline) -> Result<(Vec<Report>, Vec<Trace>)> {
    for member in &mut members {
        member.program.say("finish\n")?;
    }
    let (mut reports, mut traces) = (Vec::new(), Vec::new());
    for it in members {
        let Member {
            host,
            program,
            trace,
        } = it;
        reports.push(member::report(program, deadline)?);
        traces.push(Trace::read(&format!("member on host {host}"), &trace)?);
    }
    Ok((reports, traces))
}

/// Sends 1,000 datagrams a second until told to finish; then `finals` members say a last word.
///
/// # Panics
///
/// When these are more than a `u32` holds.
pub fn pace(finals: usize) -> Pace {
    Pace {
        rate: 1_000,
        count: 0,
        finals: u32::try_from(finals).expect("a few"),
    }
}

/// Waits until each of them has received `count` datagrams more than now.
///
/// # Errors
///
/// When one ends, or a minute passes first.
pub fn await_more(members: &mut [Member], count: u64) -> Result<()> {
    let wanted: Result<Vec<u64>> = members
        .iter()
        .map(|it| Ok(it.received()? + count))
        .collect();
    for (member, wanted) in members.iter_mut().zip(wanted?) {
        member.await_total(wanted, Deadline::seconds(60))?;
    }
    Ok(())
}

/// Lets members that were there all the time finish, and others; all have one order.
///
/// # Errors
///
/// Who differs, or has no report.
pub fn ensure_equal(whole: Vec<Member>, late: Vec<Member>, mut dead: Vec<Trace>) -> Result<()> {
    let count = whole.len();
    let all = whole.into_iter().chain(late).collect();
    let (reports, mut traces) = finish(all, Deadline::seconds(60))?;
    if count > 0 {
        ensure_agree(&reports[..count])?;
    }
    ensure!(
        reports
            .iter()
            .all(|report| report.complete && report.disorder + report.invented == 0),
        "{reports:#?}"
    );
    traces.append(&mut dead);
    ensure_one_order(&traces)
}

/// Waits for the end of a member whose monitor is gone; what it had received.
///
/// # Errors
///
/// When it does not end with `ENETDOWN`.
pub fn ensure_died(mut member: Member) -> Result<Trace> {
    member
        .program
        .wait_for("failed: ENETDOWN", Deadline::seconds(20))?;
    member.trace()
}

/// The longest time in which `member` received nothing, while `done` has not come true.
///
/// # Errors
///
/// What `done` fails with, or the deadline.
pub fn longest_pause(
    member: &Member,
    deadline: Deadline,
    mut done: impl FnMut(Duration) -> Result<bool>,
) -> Result<Duration> {
    let (mut before, mut since, mut longest) = (member.received()?, Start::now(), Duration::ZERO);
    loop {
        let received = member.received()?;
        longest = longest.max(since.elapsed());
        if received != before {
            (before, since) = (received, Start::now());
        }
        if done(longest)? {
            return Ok(longest);
        }
        ensure!(
            !deadline.passed(),
            "not done in time; {received} datagrams on host {}, longest pause {longest:?}",
            member.host
        );
        tick();
    }
}
