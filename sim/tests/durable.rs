//! Hosts with journals: what was delivered at the level `durable` outlives the power.

use exo_sim::prng::Prng;
use exo_sim::step::{Act, Hosts, Step};
use exo_sim::{Fault, Outcome, Plan, run};
use libexo::engine::Stage;

const MS: u64 = 1_000_000;

/// A second of messages of every host on a network that is well, and so many faults.
fn plan(seed: u64, hosts: usize, faults: impl Fn(&mut Prng) -> Act) -> Plan {
    let mut prng = Prng::new(seed);
    let mut plan = Plan {
        seed,
        has_journal: true,
        // Longer than a hop, so that much is under way to the disk at any moment.
        sync: (10_000, 20 * MS),
        ..Plan::calm(hosts)
    };
    plan.params.level = Stage::Durable;
    plan.params.turn_bytes_max = prng.pick(&[128, 600, 4096]);
    plan.params.retain_bytes = prng.pick(&[0, 4096, 1 << 20]);
    for host in 0..hosts {
        for _ in 0..30 {
            let bytes = prng.index(200);
            let label = None;
            let act = Act::Submit { host, bytes, label };
            let at = prng.below(plan.end);
            plan.steps.push(Step { at, act });
        }
    }
    for _ in 0..6 {
        let act = faults(&mut prng);
        let at = prng.below(plan.end);
        plan.steps.push(Step { at, act });
    }
    plan.steps.sort_by_key(|step| step.at);
    plan
}

fn power_cut(hosts: usize) -> impl Fn(&mut Prng) -> Act {
    move |prng| Act::Crash {
        hosts: Hosts::first(hosts),
        span: MS + prng.below(400 * MS),
    }
}

fn run_all(plans: impl Iterator<Item = Plan>) -> Outcome {
    let mut total = Outcome::default();
    for plan in plans {
        match run(&plan) {
            Ok(outcome) => total.add(&outcome),
            Err(failure) => panic!("{failure}, with\n{plan}"),
        }
    }
    total
}

#[test]
fn a_power_cut_of_all_hosts_loses_nothing_that_was_delivered() {
    let plans =
        (1..=120).flat_map(|seed| [2, 3, 5].map(|hosts| plan(seed, hosts, power_cut(hosts))));
    let total = run_all(plans);
    assert!(total.counter("remembered") > 10_000, "{total:?}");
    assert!(total.faults.of(Fault::LostTail) > 100, "{total:?}");
    assert_eq!(total.healed, total.schedules);
}

#[test]
fn a_host_that_restarts_with_its_journal_comes_back_as_itself() {
    let faults = |prng: &mut Prng| {
        let one: Hosts = [prng.index(3)].into_iter().collect();
        let span = MS + prng.below(400 * MS);
        if prng.chance(500) {
            return Act::Crash { hosts: one, span };
        }
        let sides = vec![one, Hosts::first(3).minus(one)];
        Act::Partition { sides, span }
    };
    let total = run_all((1..=60).map(|seed| plan(seed, 3, faults)));
    assert!(total.counter("remembered") > 1000, "{total:?}");
    assert_eq!(total.healed, total.schedules);
}

#[test]
fn a_ring_of_one_with_a_journal_keeps_what_it_delivered() {
    let total = run_all((1..=60).map(|seed| plan(seed, 1, power_cut(1))));
    assert!(
        total.deliveries > 1000 && total.counter("remembered") > 1000,
        "{total:?}"
    );
    assert_eq!(total.healed, total.schedules);
}
