//! From a schedule that fails to a small one that fails in the same way.

use libexo::wire::auth::Mode;

use crate::plan::{Clock, Plan};
use crate::{Failure, run};

/// What became of a schedule that fails.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest schedule found that breaks the same guarantee.
    pub plan: Plan,
    /// How it fails.
    pub failure: Failure,
    /// Schedules that were tried.
    pub tried: u64,
}

/// Leaves out whatever a failing schedule can do without: first the chances of the network and the
/// clocks, then steps, block by block, with blocks of half of them at first and of one at last.
/// The same plan always shrinks to the same one. At most `tries_max` schedules are run.
#[must_use]
pub fn shrink(plan: &Plan, failure: &Failure, tries_max: u64) -> Shrunk {
    let mut best = Shrunk {
        plan: plan.clone(),
        failure: failure.clone(),
        tried: 0,
    };
    for calm in CALMER {
        let mut plan = best.plan.clone();
        calm(&mut plan);
        best.try_plan(plan, tries_max);
    }
    let mut block = best.plan.steps.len().div_ceil(2);
    while block > 0 && best.tried < tries_max {
        let (mut at, before) = (0, best.plan.steps.len());
        while at < best.plan.steps.len() {
            let mut plan = best.plan.clone();
            let until = (at + block).min(plan.steps.len());
            plan.steps.drain(at..until);
            if !best.try_plan(plan, tries_max) {
                at += block;
            }
        }
        // Single steps are gone through again until none can go.
        let is_done = block == 1 && best.plan.steps.len() == before;
        block = if is_done { 0 } else { (block / 2).max(1) };
    }
    let mut plan = best.plan.clone();
    plan.end = plan.steps.last().map_or(0, |step| step.at + 1_000_000);
    if plan.end < best.plan.end {
        best.try_plan(plan, tries_max);
    }
    best
}

/// One thing less each.
const CALMER: [fn(&mut Plan); 6] = [
    |plan| plan.corruption = 0,
    |plan| plan.duplication = 0,
    |plan| plan.loss = 0,
    |plan| plan.mode = Mode::Open,
    |plan| plan.clocks.fill(Clock::RIGHT),
    |plan| plan.has_journal = false,
];

impl Shrunk {
    /// Takes `plan` if it differs and fails in the same way.
    fn try_plan(&mut self, plan: Plan, tries_max: u64) -> bool {
        if plan == self.plan || self.tried >= tries_max {
            return false;
        }
        self.tried += 1;
        match run(&plan) {
            Err(failure) if failure.guarantee == self.failure.guarantee => {
                self.plan = plan;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }
}
