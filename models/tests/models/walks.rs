//! Random walks with a fair phase at the end: with all rules they come to their end, and they find a
//! missing one by themselves.

use exo_models::ring::walk::{Walks, bounds, walk};
use exo_models::ring::{Mutant, Ring};

#[track_caller]
fn assert_ends(hosts: u8, counts_self: bool, runs: usize, seed: u64) {
    let walks =
        walk(&bounds(hosts, counts_self), runs, seed).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{hosts} hosts: {walks:?}");
    let Walks {
        runs: ran,
        agreed,
        converged,
        halted,
        ..
    } = walks;
    assert_eq!((ran, converged + halted), (runs, runs));
    // A walk that agrees on little proves little.
    assert!(agreed > 2 * runs && converged * 10 > runs * 9);
}

#[test]
fn walks_of_all_rules_end_with_everybody_back() {
    for (hosts, counts_self) in [
        (3, false),
        (3, true),
        (4, true),
        (5, false),
        (5, true),
        (7, true),
    ] {
        assert_ends(hosts, counts_self, 300, 11);
    }
}

#[test]
#[ignore = "120,000 walks; make soak"]
fn many_walks_of_all_rules_end_with_everybody_back() {
    for (hosts, counts_self) in [
        (3, true),
        (4, true),
        (5, false),
        (5, true),
        (6, true),
        (7, true),
    ] {
        assert_ends(hosts, counts_self, 20_000, 12);
    }
}

#[test]
fn the_same_seed_gives_the_same_walks() {
    let run = || walk(&bounds(5, true), 20, 3).expect("all rules");
    assert_eq!(run(), run());
}

/// Those that a search finds within a few steps. The others need a chain of events that no walk meets by
/// chance.
#[test]
fn walks_find_a_missing_rule() {
    for mutant in [
        Mutant::SkipsOwners,
        Mutant::TakesLongestTail,
        Mutant::PromisesWithoutStopping,
        Mutant::ForgetsForgetting,
        Mutant::FoundsWithTooFew,
        Mutant::ResendsBlindly,
    ] {
        let ring = Ring {
            mutant: Some(mutant),
            ..bounds(5, false)
        };
        let failure = walk(&ring, 2000, 11).expect_err("nothing was found");
        println!("{mutant:?}: walk {}, {}", failure.run, failure.what);
        assert!(
            failure.is_fault() || failure.what.contains("when healed"),
            "{failure}"
        );
    }
}
