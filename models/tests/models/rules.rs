//! The ring's rules: nothing goes wrong with all of them, and something does without any one.
//!
//! Turns are numbered from 0. Epoch `counter * hosts + founder + 1` has the one founder that its
//! number says; epoch 0 is the formed ring.

use crate::stories::{assert_breaks, assert_shortest, assert_states};
use exo_models::ring::{EACH_ONCE, Mutant, ONE_ORDER, Ring};
use exo_models::search::{fails, tell};

/// Asserts that a story breaks `property` without the rule, is the shortest to do so, and comes to no
/// harm with the rule.
#[track_caller]
fn assert_needed(mutant: Mutant, ring: &Ring, property: &str, story: &[&str]) {
    let without = Ring {
        mutant: Some(mutant),
        judges_logs: false,
        ..ring.clone()
    };
    assert_shortest(&without, property, story);
    if let Ok(end) = tell(ring, story) {
        assert!(!fails(ring, property, &end), "the rule changes nothing");
    }
}

fn three(campaigns: u8, restarts: u8) -> Ring {
    Ring {
        campaigns,
        restarts,
        ..Ring::new(3, 5)
    }
}

#[test]
fn m1_without_one_owner_a_host_that_assumes_the_token_forks_the_epoch() {
    let story = [
        "A writes",
        "B takes A's turn 0 of epoch 0",
        // B agrees on A's turn.
        "B writes",
        "C writes",
        // C agrees on its own.
        "C takes B's turn 1 of epoch 0",
    ];
    assert_needed(Mutant::SkipsOwners, &three(0, 0), ONE_ORDER, &story);
}

#[test]
fn m2_counting_writers_of_old_epochs_agrees_on_what_a_later_founder_may_lack() {
    let story = [
        "A writes",
        "B asks for promises",
        "C promises epoch 2",
        "B gets C's promise of epoch 2",
        // From nothing: C has not seen A's turn.
        "B founds its epoch",
        "C asks for promises",
        "A promises epoch 3",
        "A asks for promises",
        "B promises epoch 4",
        "A gets B's promise of epoch 4",
        // On B's first turn of epoch 2: A counts B and itself.
        "A founds its epoch",
        "C gets A's promise of epoch 3",
        // On A's turn of epoch 0: C counts A and itself.
        "C founds its epoch",
    ];
    assert_needed(Mutant::CountsOldEpochs, &three(3, 0), ONE_ORDER, &story);
}

#[test]
fn m3_taking_the_longest_tail_gives_up_what_a_newer_epoch_agreed_on() {
    let story = [
        "A writes",
        "B asks for promises",
        "C promises epoch 2",
        "B gets C's promise of epoch 2",
        "B founds its epoch",
        "B asks for promises",
        "A promises epoch 5",
        "B gets A's promise of epoch 5",
        // A's turn of epoch 0 is as long as B's of epoch 2.
        "B founds its epoch",
        "C enters epoch 2",
        // C agrees on B's turn of epoch 2.
        "C writes",
        "C enters epoch 5",
    ];
    assert_needed(Mutant::TakesLongestTail, &three(3, 0), ONE_ORDER, &story);
}

#[test]
fn m4_going_on_after_a_promise_agrees_on_what_the_founder_does_not_know() {
    let story = [
        "A writes",
        "B asks for promises",
        "B takes A's turn 0 of epoch 0",
        // B agrees on A's turn, in the epoch that it wants to leave.
        "B writes",
        "C promises epoch 2",
        "B gets C's promise of epoch 2",
        // With the logs as they were when promised.
        "B founds its epoch",
    ];
    let mutant = Mutant::PromisesWithoutStopping;
    assert_needed(mutant, &three(1, 0), ONE_ORDER, &story);
}

#[test]
fn m5_a_host_that_goes_on_after_losing_its_memory_writes_a_turn_twice() {
    let story = [
        "A writes",
        "A restarts without memory",
        // For the same position of the same epoch.
        "A writes",
        "B takes A's turn 0 of epoch 0",
        "B writes",
        // A agrees on its second turn, B has agreed on the first.
        "A takes B's turn 1 of epoch 0",
    ];
    assert_needed(Mutant::ForgetsForgetting, &three(1, 1), ONE_ORDER, &story);
}

/// Up to where A's promise to E is older than its present life, in which it works in D's epoch. D hears
/// of that life before or after it asks for promises.
fn stale_promise(hears_before: bool) -> Vec<&'static str> {
    let hears = "D hears of life 1 of A";
    let mut story = vec![
        "E asks for promises",
        "A promises epoch 5",
        "A restarts without memory",
    ];
    story.extend(hears_before.then_some(hears));
    story.extend([
        "D asks for promises",
        "B promises epoch 4",
        "D gets B's promise of epoch 4",
        "C promises epoch 4",
        "D gets C's promise of epoch 4",
    ]);
    story.extend((!hears_before).then_some(hears));
    story.push("D founds its epoch");
    story
}

/// A, D and B agree in D's epoch; C has not heard of it and promises E's.
const AGREED_BEHIND_E: [&str; 8] = [
    "A enters epoch 4",
    "A writes",
    "B enters epoch 4",
    "B takes A's turn 1 of epoch 4, life 1",
    // B agrees on the first turn of epoch 4.
    "B writes",
    "C promises epoch 5",
    "E gets A's promise of epoch 5",
    "E gets C's promise of epoch 5",
];

fn five(mutant: Option<Mutant>) -> Ring {
    Ring {
        campaigns: 2,
        restarts: 1,
        mutant,
        judges_logs: false,
        ..Ring::new(5, 6)
    }
}

#[test]
fn m6_counting_the_promise_of_a_dead_life_founds_an_epoch_beside_an_agreed_turn() {
    let told = [&stale_promise(true)[..], &AGREED_BEHIND_E].concat();
    let end = ["E founds its epoch", "B enters epoch 5"];
    let story = [&told[..], &end].concat();
    assert_breaks(&five(Some(Mutant::CountsDeadPromises)), ONE_ORDER, &story);

    // C learned of A's new life with D's request, and tells E.
    let refusal = tell(&five(None), &story).expect_err("E has two promises that count");
    assert!(refusal.contains("E founds its epoch"), "{refusal}");
    tell(&five(None), &told).expect("until then nothing differs");
}

#[test]
fn m7_admitting_a_life_that_promisers_had_not_heard_of_hides_its_dead_promise() {
    let told = stale_promise(false);
    let end = ["E founds its epoch", "B enters epoch 5"];
    let story = [&told[..], &AGREED_BEHIND_E, &end].concat();
    assert_breaks(&five(Some(Mutant::AdmitsUnheard)), ONE_ORDER, &story);

    // A waits for an epoch whose founder knew of it.
    let refusal = tell(&five(None), &story).expect_err("A is not admitted");
    assert!(refusal.contains("A enters epoch 4"), "{refusal}");
    tell(&five(None), &told).expect("until then nothing differs");
}

#[test]
fn m8_founding_with_too_few_promises_starts_from_nothing_beside_an_agreed_turn() {
    let story = [
        "A writes",
        "B takes A's turn 0 of epoch 0",
        // B agrees on A's turn.
        "B writes",
        "C asks for promises",
        "C founds its epoch",
        "B enters epoch 3",
    ];
    assert_needed(Mutant::FoundsWithTooFew, &three(1, 0), ONE_ORDER, &story);
}

#[test]
fn m9_sending_again_without_looking_agrees_on_a_message_twice() {
    let story = [
        "A writes",
        "B asks for promises",
        "A promises epoch 2",
        "B gets A's promise of epoch 2",
        "B founds its epoch",
        // With its own message in the log, not yet agreed.
        "A enters epoch 2",
        "A writes",
        "B takes A's turn 2 of epoch 2",
        "B writes",
    ];
    assert_needed(Mutant::ResendsBlindly, &three(1, 0), EACH_ONCE, &story);
}

#[test]
fn m10_taking_part_before_the_log_is_whole_founds_an_epoch_on_nothing() {
    let story = [
        "A writes",
        "A restarts without memory",
        "B takes A's turn 0 of epoch 0",
        "B hears of life 1 of A",
        // B agrees on A's turn.
        "B writes",
        "B asks for promises",
        "C promises epoch 2",
        "B gets C's promise of epoch 2",
        "B founds its epoch",
        // Admitted, its log still empty.
        "A enters epoch 2",
        "A asks for promises",
        "C promises epoch 4",
        "A gets C's promise of epoch 4",
        "A founds its epoch",
        "B enters epoch 4",
    ];
    let ring = Ring {
        positions: 3,
        ..three(2, 1)
    };
    assert_needed(Mutant::JoinsTooEarly, &ring, ONE_ORDER, &story);
}

#[test]
fn two_hosts_keep_every_promise() {
    let ring = Ring {
        campaigns: 3,
        restarts: 1,
        ..Ring::new(2, 4)
    };
    assert_states(&ring, None, 34_343, &[]);
}

#[test]
fn three_hosts_keep_every_promise_through_two_epochs_and_a_restart() {
    let ring = Ring {
        campaigns: 2,
        restarts: 1,
        ..Ring::new(3, 3)
    };
    assert_states(&ring, None, 1_254_219, &[]);
}

#[test]
fn three_hosts_that_count_themselves_keep_every_promise_through_a_change_of_the_ring() {
    let ring = Ring {
        campaigns: 2,
        ring_changes: 1,
        counts_self: true,
        ..Ring::new(3, 4)
    };
    assert_states(&ring, None, 836_826, &[]);
}

#[test]
fn three_hosts_keep_every_promise_through_epoch_restart_and_change_of_the_ring() {
    let ring = Ring {
        campaigns: 1,
        restarts: 1,
        ring_changes: 1,
        ..Ring::new(3, 4)
    };
    assert_states(&ring, None, 142_908, &[]);
}

#[test]
fn five_hosts_that_count_themselves_keep_every_promise_for_ten_steps() {
    let ring = Ring {
        campaigns: 1,
        restarts: 1,
        counts_self: true,
        ..Ring::new(5, 3)
    };
    assert_states(&ring, Some(10), 825_174, &[]);
}
