//! The ring's rules in searches that take minutes, and gigabytes for a while.

use exo_models::ring::Ring;

use crate::stories::assert_states;

/// Three hosts: complete.
#[test]
#[ignore = "minutes; make soak"]
fn three_hosts_keep_every_promise() {
    let ring = |positions, campaigns| Ring {
        campaigns,
        ..Ring::new(3, positions)
    };
    let itself = |ring| Ring {
        counts_self: true,
        ..ring
    };
    let restarts = |restarts, ring| Ring { restarts, ..ring };
    for (ring, states) in [
        (ring(4, 2), 201_095),
        (itself(ring(5, 2)), 567_744),
        (itself(restarts(1, ring(3, 2))), 1_783_912),
        (ring(3, 3), 2_570_584),
        (restarts(2, ring(3, 2)), 7_003_597),
    ] {
        println!("{ring:?}");
        assert_states(&ring, None, states, &[]);
    }
}

/// More, and more hosts: complete up to so many steps.
#[test]
#[ignore = "minutes; make soak"]
fn more_hosts_keep_every_promise_up_to_a_depth() {
    let three = Ring {
        campaigns: 2,
        counts_self: true,
        ..Ring::new(3, 4)
    };
    let four = Ring {
        campaigns: 2,
        restarts: 1,
        ..Ring::new(4, 3)
    };
    let five = Ring {
        campaigns: 2,
        ..Ring::new(5, 2)
    };
    for (ring, steps, states) in [
        (
            Ring {
                restarts: 1,
                ring_changes: 1,
                ..three.clone()
            },
            16,
            7_282_956,
        ),
        (
            Ring {
                campaigns: 3,
                ..three
            },
            18,
            7_709_097,
        ),
        (four, 12, 4_119_031),
        (five, 12, 3_103_397),
        (
            Ring {
                campaigns: 1,
                restarts: 1,
                counts_self: true,
                ..Ring::new(5, 3)
            },
            12,
            2_666_185,
        ),
        (
            Ring {
                campaigns: 2,
                restarts: 1,
                ..Ring::new(5, 3)
            },
            8,
            2_347_064,
        ),
    ] {
        println!("{ring:?}");
        assert_states(&ring, Some(steps), states, &[]);
    }
}
