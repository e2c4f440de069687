//! Told stories: every file in `scenarios` runs, and what it expects comes true.

use std::fs;
use std::path::Path;

use exo_sim::{Failure, run, scenario, shrink};
use libexo::wire::auth::Mode;

/// So many networks for each story; fewer where the build is slow.
const SEEDS: u64 = if cfg!(debug_assertions) { 1 } else { 20 };

/// A scenario is not what its seed alone would come to.
fn describe(name: &str, failure: &Failure) -> String {
    let Failure { seed, at_us, .. } = failure;
    format!(
        "{name}: {}: {} at {at_us} µs; replay with: exo sim replay --scenario \
         sim/tests/scenarios/{name} (and the line `seed {seed}` in it)\n",
        failure.guarantee, failure.seen
    )
}

#[test]
fn a_failing_scenario_names_its_file_and_seed() {
    let text = "hosts 2\nseed 5\nat 300ms expect halted A\nend 1s\n";
    let plan = scenario::parse(text).expect("it is understood");
    let failure = run(&plan).expect_err("nobody is halted");
    let text = describe("story.txt", &failure);
    let command = "exo sim replay --scenario sim/tests/scenarios/story.txt (and the line `seed 5`";
    assert!(text.contains(command), "{text}");
}

#[test]
fn every_scenario_comes_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut count = 0;
    let mut wrong = String::new();
    for file in fs::read_dir(folder).expect("a readable folder") {
        let path = file.expect("a readable folder").path();
        let text = fs::read_to_string(&path).expect("a readable file");
        let name = path.file_name().expect("a file").to_string_lossy();
        let plan = scenario::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Another seed is another network: the story must not hang on one.
        for seed in 1..=SEEDS {
            let mut plan = plan.clone();
            plan.seed += seed - 1;
            if let Err(failure) = run(&plan) {
                wrong += &describe(&name, &failure);
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 10, "only {count} scenarios were found");
}

/// A message to a host that is cut off, among much else that has nothing to do with it.
#[test]
fn a_failing_schedule_shrinks_to_what_makes_it_fail() {
    let text = "hosts 3\nloss 50\nencrypted\nevery 5ms from 100ms to 900ms submit A\n\
        at 200ms pause B for 50ms\nat 300ms slow A each 1ms for 100ms\n\
        at 400ms cut AB > C\nat 500ms submit A lost\nat 600ms flap A B times 3 each 5ms\n\
        at 900ms expect delivered lost at C\nend 1s\n";
    let plan = scenario::parse(text).expect("it is understood");
    let failure = run(&plan).expect_err("C is cut off");
    assert_eq!(failure.guarantee, "expectation");
    let small = shrink(&plan, &failure, 1000);
    // Without the message it is not delivered, either.
    let steps: Vec<_> = small
        .plan
        .steps
        .iter()
        .map(|step| step.act.to_string())
        .collect();
    assert_eq!(steps, ["expect delivered lost at C"]);
    assert_eq!((small.plan.loss, small.plan.mode), (0, Mode::Open));
    let again = shrink(&plan, &failure, 1000);
    assert_eq!((small.plan, small.tried), (again.plan, again.tried));
}

#[test]
fn what_two_steps_cause_together_keeps_both() {
    let text = "hosts 3\nevery 5ms from 100ms to 900ms submit B\nat 300ms pause C for 20ms\n\
        at 500ms submit A secret\nat 900ms expect missing secret at B\nend 1s\n";
    let plan = scenario::parse(text).expect("it is understood");
    let failure = run(&plan).expect_err("B has it");
    let small = shrink(&plan, &failure, 1000);
    let steps: Vec<_> = small
        .plan
        .steps
        .iter()
        .map(|step| step.act.to_string())
        .collect();
    assert_eq!(steps, ["submit A secret 20", "expect missing secret at B"]);
}

#[test]
fn an_expectation_that_does_not_come_true_fails() {
    for wrong in [
        "expect ring AB at A",
        "expect delivered nothing at A",
        "expect missing there at C",
        "expect halted A",
        "expect forgotten B",
    ] {
        let text = format!("hosts 3\nat 300ms submit A there\nat 900ms {wrong}\nend 1s\n");
        let plan = scenario::parse(&text).expect("it is understood");
        let failure = run(&plan).expect_err(wrong);
        assert_eq!(failure.guarantee, "expectation", "{failure}");
    }
}
