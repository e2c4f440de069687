//! `exo sim replay`: one schedule, from its seed or from a file, told as it happens.

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use exo_sim::{Failure, Outcome, Plan, scenario, trace};
use serde::Serialize;

use super::Violation;
use crate::errors::{FAILED, Stop};
use crate::output::Output;

/// Arguments of `exo sim replay`.
#[derive(clap::Args, Debug)]
pub(crate) struct SimReplayArgs {
    /// The schedule's seed.
    #[arg(value_name = "SEED", required_unless_present = "scenario")]
    seed: Option<u64>,
    /// How many hosts, if the run was given a number of them.
    #[arg(long, value_name = "HOSTS", value_parser = super::many::hosts)]
    hosts: Option<RangeInclusive<usize>>,
    /// A scenario's file instead of a seed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "hosts"])]
    scenario: Option<PathBuf>,
    /// Show every frame, too.
    #[arg(long)]
    trace: bool,
    /// Print the schedule as a scenario, and do not run it.
    #[arg(long, conflicts_with = "trace")]
    print: bool,
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    seed: u64,
    hosts: usize,
    scenario: String,
    lines: Vec<Line>,
    events: u64,
    deliveries: u64,
    history: String,
    violation: Option<Violation>,
}

#[derive(Serialize)]
struct Line {
    at_us: u64,
    host: Option<&'static str>,
    text: String,
}

/// Runs the schedule and shows it; 1 if a guarantee does not hold.
pub(crate) fn run(args: &SimReplayArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let plan = plan(args)?;
    if args.print {
        out.result(&plan.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Vec::new();
    let mut watch = |line: &trace::Line| {
        if args.trace || !line.is_frame {
            lines.push(line.clone());
        }
    };
    let result = exo_sim::run_watched(&plan, Some(&mut watch));
    let outcome = result.as_ref().ok().cloned().unwrap_or_default();
    let report = Report {
        schema: "exo.sim-replay/1",
        seed: plan.seed,
        hosts: plan.hosts,
        scenario: plan.to_string(),
        lines: lines.iter().map(Line::from).collect(),
        events: outcome.events,
        deliveries: outcome.deliveries,
        history: format!("{:016x}", outcome.history),
        violation: result.as_ref().err().map(Violation::from),
    };
    out.report(&report, || text(&plan, &lines, &result))?;
    Ok(match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    })
}

impl From<&trace::Line> for Line {
    fn from(line: &trace::Line) -> Self {
        Self {
            at_us: line.at / 1000,
            host: line.host.map(exo_sim::step::letter),
            text: line.text.clone(),
        }
    }
}

fn plan(args: &SimReplayArgs) -> anyhow::Result<Plan> {
    if let Some(path) = &args.scenario {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        return scenario::parse(&text).map_err(|error| {
            let what = format!("{shown}: {error}");
            Stop::new(FAILED, what, "docs/testing.md says what a scenario may say").into()
        });
    }
    let seed = args
        .seed
        .context("give a SEED, or a file after --scenario")?;
    Ok(Plan::new(seed, args.hosts.clone()))
}

fn text(plan: &Plan, lines: &[trace::Line], result: &Result<Outcome, Failure>) -> String {
    let mut text = trace::head(plan.hosts);
    for line in lines {
        text.push('\n');
        text.push_str(&trace::row(line));
    }
    let verdict = match result {
        Ok(outcome) => format!(
            "holds: {} events, {} deliveries checked, history {:016x}",
            outcome.events, outcome.deliveries, outcome.history
        ),
        Err(failure) => format!("does not hold: {}: {}", failure.guarantee, failure.seen),
    };
    text.push_str(&format!("\n\n{verdict}\n"));
    text
}
