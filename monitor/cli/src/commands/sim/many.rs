//! `exo sim run`: schedules in great number, on several threads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use exo_sim::{Failure, Outcome, Plan};
use serde::Serialize;

use super::Violation;
use crate::errors::FAILED;
use crate::output::{self, Output};

/// So many violations are enough.
const VIOLATIONS_MAX: usize = 10;
/// Schedules that are tried to make a failing one smaller.
const SHRINK_TRIES: u64 = 1000;

/// Arguments of `exo sim run`.
#[derive(clap::Args, Debug)]
pub(crate) struct SimRunArgs {
    /// How many schedules.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    schedules: NonZero<u64>,
    /// The first seed; the others follow it.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// How many hosts, such as 5 or 3-7 [default: 2 to 7, 3 and 5 most often].
    #[arg(long, value_name = "HOSTS", value_parser = hosts)]
    hosts: Option<RangeInclusive<usize>>,
    /// How many threads [default: one for each processor].
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZero<usize>>,
}

/// `5` or `3-7`.
pub(super) fn hosts(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    match (least.parse(), most.parse()) {
        (Ok(least), Ok(most)) if 2 <= least && least <= most && most <= HOSTS_MAX => {
            Ok(least..=most)
        }
        _ => Err(format!(
            "write a number from 2 to {HOSTS_MAX}, or two such as 3-7"
        )),
    }
}

const HOSTS_MAX: usize = exo_sim::step::HOSTS_MAX;

#[derive(Serialize)]
struct FaultCount {
    fault: &'static str,
    count: u64,
    least: u64,
}

#[derive(Serialize)]
struct Shrunk {
    guarantee: &'static str,
    seen: String,
    tried: u64,
    scenario: String,
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    seed: u64,
    schedules: u64,
    events: u64,
    deliveries: u64,
    frames: u64,
    healed: u64,
    heal_ms_max: u64,
    repeated: u64,
    history: String,
    faults: Vec<FaultCount>,
    counters: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
    /// The first violation, made small.
    shrunk: Option<Shrunk>,
    /// Kinds of faults that came too rarely for the run to prove anything.
    too_rare: Vec<&'static str>,
    /// Rare branches of the engine that were never taken.
    never_taken: Vec<&'static str>,
}

/// Runs the schedules; 1 if a guarantee did not hold, or if the run proves too little.
pub(crate) fn run(args: &SimRunArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let (total, failures) = run_all(args, *out);
    let shrunk = failures.first().map(|failure| {
        out.note(&format!("seed {} is made smaller", failure.seed));
        let plan = Plan::new(failure.seed, Some(failure.hosts..=failure.hosts));
        let shrunk = exo_sim::shrink(&plan, failure, SHRINK_TRIES);
        Shrunk {
            guarantee: shrunk.failure.guarantee,
            seen: shrunk.failure.seen,
            tried: shrunk.tried,
            scenario: shrunk.plan.to_string(),
        }
    });
    let report = Report {
        schema: "exo.sim-run/1",
        seed: args.seed,
        schedules: total.schedules + failures.len() as u64,
        events: total.events,
        deliveries: total.deliveries,
        frames: total.frames,
        healed: total.healed,
        heal_ms_max: total.heal_ms_max,
        repeated: total.repeated,
        history: format!("{:016x}", total.history),
        faults: faults(&total),
        counters: total.counters.iter().copied().collect(),
        violations: failures.iter().map(Violation::from).collect(),
        shrunk,
        too_rare: exo_sim::examine::too_rare(&total)
            .into_iter()
            .map(|(fault, _)| fault.name())
            .collect(),
        never_taken: exo_sim::examine::never_taken(&total),
    };
    out.report(&report, || text(&report, &total))?;
    let proves = report.too_rare.is_empty() && report.never_taken.is_empty();
    Ok(if report.violations.is_empty() && proves {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn faults(total: &Outcome) -> Vec<FaultCount> {
    let counts = total.faults.iter();
    counts
        .map(|(fault, count)| FaultCount {
            fault: fault.name(),
            count,
            least: fault.least(),
        })
        .collect()
}

/// Runs the seeds on all threads. What comes out does not depend on how many there are, unless
/// violations end the run early.
fn run_all(args: &SimRunArgs, out: Output) -> (Outcome, Vec<Failure>) {
    let count = args.schedules.get();
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok());
    let (next, is_enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let (results, receiver) = mpsc::channel();
    let work = || {
        // Relaxed: each number is taken once, and nothing else is shared.
        while !is_enough.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let plan = Plan::new(args.seed.wrapping_add(index), args.hosts.clone());
            if results.send(exo_sim::examine(&plan)).is_err() {
                return;
            }
        }
    };
    let (mut total, mut failures) = (Outcome::default(), Vec::new());
    thread::scope(|scope| {
        let workers = jobs.map_or(1, NonZero::get);
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut done = 0;
        let step = (count / 20).max(1);
        // The channel stays open while `results` lives, so it is the count that ends this.
        while done < count && (done == 0 || failures.len() < VIOLATIONS_MAX) {
            let Ok(result) = receiver.recv() else {
                break;
            };
            done += 1;
            match result {
                Ok(outcome) => total.add(&outcome),
                Err(failure) => {
                    out.note(&failure.to_string());
                    failures.push(failure);
                }
            }
            if done % step == 0 {
                let violations = output::counted(failures.len(), "violation");
                out.note(&format!("{done} of {count} schedules, {violations}"));
            }
        }
        is_enough.store(true, Ordering::Relaxed);
        drop(handles);
    });
    failures.sort_by_key(|failure: &Failure| failure.seed);
    (total, failures)
}

fn text(report: &Report, total: &Outcome) -> String {
    let mut text = total.faults.to_string();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{} events, {} frames, {} deliveries checked; {} healed, the slowest in {} ms; \
         {} run twice; history {}",
        report.events,
        report.frames,
        report.deliveries,
        report.healed,
        report.heal_ms_max,
        report.repeated,
        report.history
    );
    for fault in &report.too_rare {
        let _ = writeln!(text, "came too rarely: {fault}");
    }
    for branch in &report.never_taken {
        let _ = writeln!(text, "never happened in an engine: {branch}");
    }
    for violation in &report.violations {
        let (guarantee, seen) = (violation.guarantee, &violation.seen);
        let _ = writeln!(text, "\nseed {}: {guarantee}: {seen}", violation.seed);
        let _ = writeln!(text, "  replay with: {}", violation.replay);
    }
    if let Some(shrunk) = &report.shrunk {
        let _ = writeln!(
            text,
            "\nThe first, made smaller in {} tries ({}: {}):\n\n{}",
            shrunk.tried, shrunk.guarantee, shrunk.seen, shrunk.scenario
        );
    }
    let schedules = output::counted(usize::try_from(report.schedules).unwrap_or(0), "schedule");
    let violations = output::counted(report.violations.len(), "violation");
    let _ = writeln!(text, "{schedules}, {violations}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_a_number_or_two() {
        assert_eq!(hosts("5"), Ok(5..=5));
        assert_eq!(hosts("3-7"), Ok(3..=7));
        for wrong in ["", "1", "7-3", "3-27", "3-", "x"] {
            assert!(hosts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let args = |jobs| SimRunArgs {
            schedules: NonZero::new(12).unwrap(),
            seed: 5,
            hosts: Some(3..=3),
            jobs: NonZero::new(jobs),
        };
        let out = Output::new(true);
        let ((one, _), (four, _)) = (run_all(&args(1), out), run_all(&args(4), out));
        assert_eq!((one.history, one.events), (four.history, four.events));
        assert_eq!(one.faults, four.faults);
    }
}
