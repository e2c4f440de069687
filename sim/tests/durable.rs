//! Hosts with journals: what was delivered at the level `durable` outlives the power.

use exo_sim::plan::Fault;
use exo_sim::{Outcome, Plan, run};
use libexo::engine::Stage;

/// A schedule of hosts with journals on a network that is well, and only these faults.
fn plan(seed: u64, hosts: usize, faults: &[Fault]) -> Plan {
    let mut plan = Plan::new(seed, Some(hosts));
    plan.durable = true;
    plan.params.level = Stage::Durable;
    // Longer than a hop, so that much is under way to the disk at any moment.
    plan.sync_most = 20_000_000;
    plan.delay = (10_000, 300_000);
    plan.faults = faults.to_vec();
    plan.fault_count = 6;
    plan.forgets_too_much = false;
    plan
}

fn run_all(plans: impl Iterator<Item = Plan>) -> Outcome {
    exo_sim::name_seeds_of_panics();
    let mut total = Outcome::default();
    for plan in plans {
        match run(&plan) {
            Ok(outcome) => total.add(&outcome),
            Err(failure) => panic!("{failure}, with {plan:?}"),
        }
    }
    total
}

#[test]
fn a_power_cut_of_all_hosts_loses_nothing_that_was_delivered() {
    let plans =
        (1..=120).flat_map(|seed| [2, 3, 5].map(|hosts| plan(seed, hosts, &[Fault::PowerCut])));
    let total = run_all(plans);
    assert!(total.counter("remembered") > 10_000, "{total:?}");
    assert_eq!(total.healed, total.schedules);
}

#[test]
fn a_host_that_restarts_with_its_journal_comes_back_as_itself() {
    let plans = (1..=60).map(|seed| plan(seed, 3, &[Fault::Reboot, Fault::Partition]));
    let total = run_all(plans);
    assert!(total.counter("remembered") > 1000, "{total:?}");
    assert_eq!(total.healed, total.schedules);
}

#[test]
fn a_ring_of_one_with_a_journal_keeps_what_it_delivered() {
    let plans = (1..=60).map(|seed| plan(seed, 1, &[Fault::PowerCut]));
    let total = run_all(plans);
    assert!(total.deliveries > 1000 && total.counter("remembered") > 1000);
    assert_eq!(total.healed, total.schedules);
}
