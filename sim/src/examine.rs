//! Schedules in great number: each run once, and one in a hundred twice.

use crate::fault::{Fault, SCHEDULES_LEAST};
use crate::{Failure, Outcome, Plan, run};

/// One of so many seeds is run twice and compared.
pub const REPEAT_EVERY: u64 = 100;

/// Runs the schedule, and if its seed is a multiple of [`REPEAT_EVERY`] again: both histories must
/// be the same, byte for byte.
///
/// # Errors
///
/// The first [`Failure`] found.
pub fn examine(plan: &Plan) -> Result<Outcome, Failure> {
    let mut outcome = run(plan)?;
    if plan.seed.is_multiple_of(REPEAT_EVERY) {
        let again = run(plan)?;
        if again != outcome {
            let seen = format!("history {:#x}, then {:#x}", outcome.history, again.history);
            return Err(Failure {
                seed: plan.seed,
                hosts: plan.voters(),
                at_us: 0,
                guarantee: "determinism",
                seen,
            });
        }
        outcome.repeated = 1;
    }
    Ok(outcome)
}

/// Kinds of faults that came too rarely for the schedules to prove anything, with their counts;
/// few schedules are not asked.
#[must_use]
pub fn too_rare(total: &Outcome) -> Vec<(Fault, u64)> {
    let counts = total.faults.iter();
    let rare = counts.filter(|(fault, count)| *count < fault.least());
    if total.schedules < SCHEDULES_LEAST {
        return Vec::new();
    }
    rare.collect()
}

/// Branches of the engine that are taken rarely, and by many schedules always.
const BRANCHES: [&str; 24] = [
    "nacks",
    "repairs",
    "resends",
    "relays",
    "campaigns_planned",
    "founded",
    "tails_fetched",
    "installed",
    "cut",
    "resubmitted",
    "gaps",
    "parks",
    "wakes",
    "admitted",
    "leaves",
    "fetches",
    "fragmented",
    "remembered",
    "listener_installed",
    "listener_nacks",
    "listener_fetches",
    "listener_cut",
    "listener_gaps",
    "listener_generations_left",
];

/// Rare branches of the engine that were not taken at all; few schedules are not asked.
#[must_use]
pub fn never_taken(total: &Outcome) -> Vec<&'static str> {
    if total.schedules < SCHEDULES_LEAST {
        return Vec::new();
    }
    let is_missed = |name: &&str| total.counter(name) == 0;
    BRANCHES.into_iter().filter(is_missed).collect()
}
