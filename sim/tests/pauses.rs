//! How long the others stand still when hosts fail: virtual time, so a number that no busy machine changes.

#![allow(clippy::print_stdout, reason = "the pauses are the result")]

use exo_sim::step::{Act, FOREVER, Hosts, Step};
use exo_sim::trace::Line;
use exo_sim::{Plan, run_watched};

const MS: u64 = 1_000_000;
/// When the fault comes: the ring is formed and busy.
const FAULT: u64 = 1500 * MS;
/// So long it is watched.
const WATCHED: u64 = 500 * MS;
/// Time between two messages of one host.
const EACH: u64 = 3 * MS;
/// Networks for each fault and victim.
const SEEDS: u64 = if cfg!(debug_assertions) { 1 } else { 8 };

/// The longest time, in milliseconds, in which a host of `alive` delivered nothing.
fn longest_pause(seed: u64, hosts: usize, faults: &[Act], alive: Hosts) -> u64 {
    let end = FAULT + WATCHED;
    let mut plan = Plan {
        seed,
        end,
        ..Plan::calm(hosts)
    };
    let mut at = 1200 * MS;
    while at < end {
        for host in 0..hosts {
            let label = Some(format!("{host}@{at}"));
            let act = Act::Submit {
                host,
                bytes: 20,
                label,
            };
            plan.steps.push(Step { at, act });
        }
        at += EACH;
    }
    // Anywhere in a rotation of the token.
    let at = FAULT + seed * 137_000 % (3 * MS);
    plan.steps
        .extend(faults.iter().cloned().map(|act| Step { at, act }));
    plan.steps.sort_by_key(|step| step.at);

    let mut last = vec![at; hosts];
    let mut longest = 0;
    let mut watch = |line: &Line| {
        let Some(host) = line.host else { return };
        let is_delivery = line.text.starts_with("has ") && line.text.contains('@');
        if is_delivery && alive.has(host) && line.at > at && line.at < end {
            longest = longest.max(line.at - last[host]);
            last[host] = line.at;
        }
    };
    run_watched(&plan, Some(&mut watch)).unwrap_or_else(|failure| panic!("{failure}"));
    for host in alive.iter() {
        longest = longest.max(end - last[host]);
    }
    longest / MS
}

fn one(host: usize) -> Hosts {
    [host].into_iter().collect()
}

/// Five of the least times after which a host asks whether the owner is gone.
fn bound() -> u64 {
    let loss = Plan::calm(1).params.times.loss_min.as_millis();
    5 * u64::try_from(loss).expect("milliseconds")
}

/// Runs each case with many networks, prints the median and the longest, and asserts the bound.
fn within(what: &str, cases: &[(usize, Vec<Act>, Hosts)]) {
    let mut pauses: Vec<u64> = cases
        .iter()
        .flat_map(|(hosts, faults, alive)| {
            (1..=SEEDS).map(move |seed| longest_pause(seed, *hosts, faults, *alive))
        })
        .collect();
    pauses.sort_unstable();
    let (median, longest) = (pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
    println!(
        "{what}: median {median} ms, longest {longest} ms of {} runs",
        pauses.len()
    );
    assert!(longest <= bound(), "{what}: {longest} ms");
    // The token was with those that failed, or came to them.
    assert!(median >= bound() / 10, "{what}: the fault had no effect");
}

/// Three and five hosts, and each of them once as the victim.
fn victims(fault: impl Fn(usize, usize) -> Act) -> Vec<(usize, Vec<Act>, Hosts)> {
    [3, 5]
        .into_iter()
        .flat_map(|hosts| (0..hosts).map(move |victim| (hosts, victim)))
        .map(|(hosts, victim)| {
            let alive = Hosts::first(hosts).minus(one(victim));
            (hosts, vec![fault(hosts, victim)], alive)
        })
        .collect()
}

#[test]
fn a_host_that_dies_stops_the_others_for_five_loss_times_at_most() {
    let forget = |_, host| Act::Forget {
        host,
        span: FOREVER,
    };
    within("a host dies", &victims(forget));
}

#[test]
fn a_host_that_stands_still_stops_the_others_for_five_loss_times_at_most() {
    let pause = |_, host| Act::Pause {
        host,
        span: FOREVER,
    };
    within("a host stands still", &victims(pause));
}

#[test]
fn a_host_that_hears_nobody_stops_the_others_for_five_loss_times_at_most() {
    let deaf = |hosts, host| Act::Cut {
        from: Hosts::first(hosts).minus(one(host)),
        to: one(host),
        span: FOREVER,
    };
    within("a host hears nobody", &victims(deaf));
}

#[test]
fn a_host_that_nobody_hears_stops_the_others_for_five_loss_times_at_most() {
    let mute = |hosts, host| Act::Cut {
        from: one(host),
        to: Hosts::first(hosts).minus(one(host)),
        span: FOREVER,
    };
    within("nobody hears a host", &victims(mute));
}

#[test]
fn two_of_five_hosts_that_die_stop_the_others_for_five_loss_times_at_most() {
    let cases: Vec<_> = (0..5)
        .flat_map(|a| (a + 1..5).map(move |b| (a, b)))
        .map(|(a, b)| {
            let faults = [a, b].map(|host| Act::Forget {
                host,
                span: FOREVER,
            });
            let alive = Hosts::first(5).minus(one(a)).minus(one(b));
            (5, faults.to_vec(), alive)
        })
        .collect();
    within("two of five die", &cases);
}

#[test]
fn a_partition_stops_the_larger_side_for_five_loss_times_at_most() {
    let cases: Vec<_> = (0..5)
        .flat_map(|a| (a + 1..5).map(move |b| (a, b)))
        .map(|(a, b)| {
            let small: Hosts = [a, b].into_iter().collect();
            let large = Hosts::first(5).minus(small);
            let sides = vec![small, large];
            (
                5,
                vec![Act::Partition {
                    sides,
                    span: FOREVER,
                }],
                large,
            )
        })
        .collect();
    within("two and three are parted", &cases);
}
