//! The readings of the published slides. Where the slides leave something open, each way to fill the gap
//! is a reading, and each reading breaks: it orders wrongly, or it comes to stand still for good.
//!
//! `A1` is the first message of A. Positions begin at 0.

use crate::stories::{assert_shortest, assert_states};
use exo_models::slides::{AGREEMENT, NOT_WEDGED, ONE_SILENT, Recovery, Slides};

/// L1. The only rule that the slides put into words (slide 68) is that a message is accepted if its
/// source is not in the history list. Whether the histories must be equal, too, is left to the
/// drawings. Reading: sequence numbers are compared, histories are not.
#[test]
fn l1_without_comparing_histories_two_hosts_agree_on_different_messages() {
    let slides = Slides {
        compares_history: false,
        ..Slides::new(3, 3, 9)
    };
    let story = [
        "A sends",
        "B takes A1 at 0",
        // B agrees on A1.
        "B sends",
        // C's time-out comes first; it has heard nothing.
        "C sends",
        // B is not in C's history, so C agrees on C1.
        "C takes B1 at 1",
    ];
    assert_shortest(&slides, AGREEMENT, &story);
}

/// L2. Slides 61 and 66 let a host assume the token after a time-out, and do not say what happens
/// when two time-outs fire at once. Reading: histories must be equal, and no entry is ever
/// replaced. That is safe, and a ring in which all time out together never moves again.
#[test]
fn l2_with_equal_histories_time_outs_that_meet_stop_the_ring_for_good() {
    let all_time_out = ["A sends", "B sends", "C sends", "D sends", "E sends"];
    for (hosts, count) in [(3, 3), (4, 4), (5, 5)] {
        let slides = Slides::new(hosts, 4, 6);
        assert_shortest(&slides, NOT_WEDGED, &all_time_out[..count]);
        assert_shortest(&slides, ONE_SILENT, &all_time_out[..count - 1]);
    }
}

#[test]
fn l2_with_equal_histories_never_orders_two_ways() {
    assert_states(
        &Slides::new(3, 7, 14),
        None,
        4298,
        &[NOT_WEDGED, ONE_SILENT],
    );
    assert_states(&Slides::new(4, 3, 6), None, 1836, &[NOT_WEDGED, ONE_SILENT]);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn l2_with_equal_histories_never_orders_two_ways_among_five() {
    assert_states(
        &Slides::new(5, 4, 6),
        None,
        109_692,
        &[NOT_WEDGED, ONE_SILENT],
    );
}

/// L3. Slide 80 has a host in error ask the others for their log and go on with a majority of
/// responses. It does not say what if the responses differ. Reading: a host replaces its tail by
/// what a majority holds identically. After time-outs that met there is no such thing.
#[test]
fn l3_with_identical_majorities_there_is_nothing_to_copy_when_time_outs_meet() {
    let slides = Slides {
        recovery: Recovery::Identical,
        ..Slides::new(3, 3, 9)
    };
    assert_shortest(&slides, NOT_WEDGED, &["A sends", "B sends", "C sends"]);
    assert_shortest(&slides, ONE_SILENT, &["A sends", "B sends"]);
    assert_states(&slides, None, 770, &[NOT_WEDGED, ONE_SILENT]);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn l3_with_identical_majorities_never_orders_two_ways_among_five() {
    let slides = Slides {
        recovery: Recovery::Identical,
        ..Slides::new(5, 4, 5)
    };
    assert_states(&slides, None, 605_622, &[ONE_SILENT]);
}

/// L4. The same gap. Reading: a host replaces its log by the longest among the responses of any
/// majority. Nobody ever stands still, but a majority may hold two logs of one length, one of which
/// somebody has agreed on.
#[test]
fn l4_with_the_longest_log_an_agreed_message_loses_a_tie() {
    let slides = Slides {
        recovery: Recovery::Longest,
        ..Slides::new(3, 3, 9)
    };
    let story = [
        "A sends",
        "B takes A1 at 0",
        // B agrees on A1.
        "B sends",
        "C sends",
        // A asked itself and C: both logs have one message.
        "A takes over the log of C",
        // On top of C1, which A thereby agrees on.
        "A sends",
    ];
    assert_shortest(&slides, AGREEMENT, &story);
    assert_states(&slides, None, 2564, &[AGREEMENT]);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn l4_with_the_longest_log_an_agreed_message_loses_a_tie_among_five() {
    let slides = Slides {
        recovery: Recovery::Longest,
        ..Slides::new(5, 4, 6)
    };
    let story = [
        "A sends",
        "B takes A1 at 0",
        "B sends",
        "C sends",
        "A takes over the log of C",
        "A sends",
        "C takes over the log of B",
        "B takes over the log of A",
        // On C1 and A2: B agrees on C1.
        "B sends",
        // On A1 and B1: C agrees on A1.
        "C sends",
    ];
    assert_shortest(&slides, AGREEMENT, &story);
}

/// L5. Hosts may restart (slide 27); what a host knows after a restart is not said. Reading: it
/// begins with an empty log. The history names sources only, so the message below looks the same.
#[test]
fn l5_with_a_restart_from_an_empty_log_a_second_first_message_is_built_on() {
    let slides = Slides {
        restarts: 1,
        ..Slides::new(3, 3, 9)
    };
    let story = [
        "A sends",
        "B takes A1 at 0",
        // B agrees on A1.
        "B sends",
        "A restarts empty",
        // A2, at position 0 again.
        "A sends",
        // The history [A] fits, and A agrees on A2.
        "A takes B1 at 1",
    ];
    assert_shortest(&slides, AGREEMENT, &story);
}

#[test]
#[ignore = "exhaustive; make soak"]
fn l5_with_a_restart_from_an_empty_log_a_second_first_message_is_built_on_among_five() {
    let slides = Slides {
        restarts: 1,
        ..Slides::new(5, 4, 6)
    };
    let story = [
        "A sends",
        "B takes A1 at 0",
        "B sends",
        "A restarts empty",
        "A sends",
        "C takes A2 at 0",
        "C takes B1 at 1",
        "C sends",
        "B takes C1 at 2",
    ];
    assert_shortest(&slides, AGREEMENT, &story);
}

/// L6. Slides 77 and 81: new messages can be added at the append pointer of a host in error, while
/// its agreement pointer stays. Nothing keeps that host from sending. Reading: it goes on. Then a
/// turn of a host that never held a message counts as built on that message.
#[test]
fn l6_with_appending_through_a_mismatch_a_host_vouches_for_what_it_never_held() {
    let slides = Slides {
        appends_through: true,
        ..Slides::new(5, 4, 7)
    };
    let story = [
        "A sends",
        "B takes A1 at 0",
        "B sends",
        "C takes A1 at 0",
        "C takes B1 at 1",
        // C agrees on A1.
        "C sends",
        "D sends",
        "E takes D1 at 0",
        "E sends",
        // A holds A1 below it, not D1.
        "A takes E1 at 1",
        "A sends",
        // E counts D, E and A, and agrees on D1.
        "E takes A2 at 2",
    ];
    assert_shortest(&slides, AGREEMENT, &story);
}

#[test]
fn l6_with_appending_through_a_mismatch_three_hosts_are_too_few_to_go_wrong() {
    let slides = Slides {
        appends_through: true,
        ..Slides::new(3, 4, 9)
    };
    assert_states(&slides, None, 914, &[NOT_WEDGED, ONE_SILENT]);
}
