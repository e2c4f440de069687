//! Forming a generation: what a host must keep so that there is only one.

use exo_models::formation::{Formation, Hearing, ONE_GENERATION};
use exo_models::search::{fails, tell};

use crate::stories::{assert_shortest, assert_states};

/// A majority forms; hosts keep {promised, generation} or nothing.
const MAJORITY: Formation = Formation {
    hosts: 3,
    promises: 2,
    keeps_record: true,
    hearing: Hearing::Waits,
    ballots: 4,
    restarts: 2,
};

const RESTARTED_BUILDER: [&str; 11] = [
    "A asks for promises",
    "B asks for promises",
    "C promises ballot 1",
    "A gets C's promise of ballot 1",
    "A begins its generation",
    "A restarts without memory",
    "A promises ballot 2",
    "B gets A's promise of ballot 2",
    "B begins its generation",
    // A and B build in generation 2,
    "A hears of generation 2",
    // and A, in its first life, and C in generation 1.
    "C hears of generation 1",
];

#[test]
fn with_the_record_a_majority_forms_one_generation() {
    assert_states(&MAJORITY, None, 91_509, &[]);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn with_the_record_a_majority_forms_one_generation_with_six_ballots() {
    let formation = Formation {
        ballots: 6,
        ..MAJORITY
    };
    assert_states(&formation, None, 2_408_161, &[]);
}

#[test]
fn without_the_record_one_restart_gives_two_generations_a_majority_each() {
    let formation = Formation {
        keeps_record: false,
        restarts: 1,
        ..MAJORITY
    };
    assert_shortest(&formation, ONE_GENERATION, &RESTARTED_BUILDER);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn without_the_record_all_hosts_form_one_generation_despite_one_restart() {
    let formation = Formation {
        promises: 3,
        keeps_record: false,
        ballots: 5,
        restarts: 1,
        ..MAJORITY
    };
    assert_states(&formation, None, 558_624, &[]);
}

/// Two memories are more than a ring of three may lose.
#[test]
#[ignore = "exhaustive; make soak"]
fn without_the_record_two_restarts_give_two_generations_even_if_all_must_promise() {
    let formation = Formation {
        promises: 3,
        keeps_record: false,
        ..MAJORITY
    };
    let story = [
        "A asks for promises",
        "B promises ballot 1",
        "A gets B's promise of ballot 1",
        "B asks for promises",
        "C promises ballot 1",
        "A gets C's promise of ballot 1",
        "A begins its generation",
        "A restarts without memory",
        "A promises ballot 2",
        "B gets A's promise of ballot 2",
        "C hears of generation 1",
        "C restarts without memory",
        "C promises ballot 2",
        "B gets C's promise of ballot 2",
        "B begins its generation",
        "A hears of generation 2",
    ];
    assert_shortest(&formation, ONE_GENERATION, &story);
}

/// What the engine does (decision 0008).
const ENGINE: Formation = Formation {
    hearing: Hearing::Enters,
    ..MAJORITY
};

#[test]
fn with_the_record_hosts_that_enter_and_go_over_form_one_generation() {
    assert_states(&ENGINE, None, 290_952, &[]);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn with_the_record_hosts_that_enter_and_go_over_form_one_generation_with_five_ballots() {
    let formation = Formation {
        ballots: 5,
        ..ENGINE
    };
    assert_states(&formation, None, 1_473_091, &[]);
}

#[test]
fn a_founder_whose_generation_nobody_enters_goes_over_to_the_one_that_is_formed() {
    let story = [
        "A asks for promises",
        "C promises ballot 1",
        "B asks for promises",
        "C promises ballot 2",
        "A gets C's promise of ballot 1",
        "A begins its generation",
        "B gets C's promise of ballot 2",
        "B begins its generation",
        "C hears of generation 2",
        "C agrees in its generation",
        "A hears of something agreed in generation 2",
    ];
    let end = tell(&ENGINE, &story).unwrap_or_else(|error| panic!("{error}"));
    assert!(!fails(&ENGINE, ONE_GENERATION, &end));
}

#[test]
fn going_over_without_evidence_gives_two_generations_a_majority_each() {
    let formation = Formation {
        hearing: Hearing::Strays,
        restarts: 0,
        ..MAJORITY
    };
    let story = [
        "A asks for promises",
        "C promises ballot 1",
        "B asks for promises",
        "C promises ballot 2",
        "A gets C's promise of ballot 1",
        "A begins its generation",
        "B gets C's promise of ballot 2",
        "B begins its generation",
        "C hears of generation 2",
        // And leaves it again, although it is formed.
        "C hears of generation 1",
    ];
    assert_shortest(&formation, ONE_GENERATION, &story);
}

#[test]
fn without_the_record_entering_and_going_over_give_two_generations_as_well() {
    let formation = Formation {
        keeps_record: false,
        restarts: 1,
        ..ENGINE
    };
    assert_shortest(&formation, ONE_GENERATION, &RESTARTED_BUILDER);
}
