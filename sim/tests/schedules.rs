//! A bounded slice of schedules, on every run; more by hand with `exo-sim`.

use exo_sim::{Outcome, Plan, run};

/// Enough for every rare branch below, and under a minute when optimised. Unoptimised builds run
/// a tenth, which is too few for all the rare branches.
const COUNT: u64 = if cfg!(debug_assertions) { 60 } else { 600 };

fn count() -> u64 {
    let asked = std::env::var("EXO_SIM_SCHEDULES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(COUNT)
}

#[test]
fn every_schedule_keeps_the_guarantees() {
    exo_sim::name_seeds_of_panics();
    let mut total = Outcome::default();
    let mut failures = Vec::new();
    for seed in 1..=count() {
        match run(&Plan::new(seed, None)) {
            Ok(outcome) => total.add(&outcome),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if count() < 600 {
        return;
    }
    // A run that injected nothing, or never took the rare branches, proves nothing.
    for (kind, times) in exo_sim::plan::FAULTS.iter().zip(total.faults) {
        assert!(times >= 50, "{kind:?} came {times} times");
    }
    let [_, lost, doubled, altered] = total.frames;
    assert!(lost > 1000 && doubled > 1000 && altered > 50);
    let always = [
        "nacks",
        "repairs",
        "resends",
        "relays",
        "campaigns_planned",
        "founded",
        "installed",
        "resubmitted",
        "gaps",
        "parks",
        "wakes",
        "admitted",
        "leaves",
        "fragmented",
        "cut",
        "tails_fetched",
        "fetches",
        "remembered",
    ];
    for name in always {
        assert!(total.counter(name) > 0, "{name} never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 159, 265] {
        let plan = Plan::new(seed, None);
        let (first, second) = (run(&plan).expect("holds"), run(&plan).expect("holds"));
        assert_eq!(first.trace, second.trace);
        assert_eq!((first.events, first.frames), (second.events, second.frames));
        assert_eq!(first.counters, second.counters);
    }
}

/// Each found a mistake once; the text says which.
#[test]
fn schedules_that_once_failed_hold() {
    for (seed, _was) in [
        (
            49,
            "a host that had promised its own epoch never entered the living generation",
        ),
        (128, "an older record reached the disk after a newer one"),
        (
            206,
            "counters of a restarted host's seals met those of its earlier life",
        ),
        (
            30942,
            "a host took the time of its own repairs for the ring's, waited as long, and stayed behind",
        ),
    ] {
        run(&Plan::new(seed, None)).expect("holds");
    }
}
