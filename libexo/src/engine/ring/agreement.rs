//! Which position a majority has built on, and which one every member has.

use crate::ids::{HostId, Position};

/// The highest position at or above which `quorum` distinct hosts have written in the present
/// epoch (R3); `None` while fewer hosts have written. `last` holds each host's highest position.
pub(super) fn agreed_position(last: &[Option<Position>], quorum: usize) -> Option<Position> {
    let highest_with_quorum = |candidate: &Position| {
        last.iter()
            .flatten()
            .filter(|position| *position >= candidate)
            .count()
            >= quorum
    };
    last.iter()
        .flatten()
        .copied()
        .filter(highest_with_quorum)
        .max()
}

/// The highest position that every member of `ring` holds: each has written at or above it.
pub(super) fn safe_position(last: &[Option<Position>], ring: &[HostId]) -> Position {
    let of = |host: &HostId| last.get(usize::from(host.0)).copied().flatten();
    ring.iter()
        .map(|host| of(host).unwrap_or_default())
        .min()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(numbers: &[u64]) -> Vec<Option<Position>> {
        numbers
            .iter()
            .map(|number| (*number > 0).then_some(Position(*number)))
            .collect()
    }

    #[test]
    fn a_majority_of_distinct_writers_agrees() {
        // n = 5, turns 1..=3 written by hosts 0, 1, 2: position 1 has three builders.
        assert_eq!(
            agreed_position(&positions(&[1, 2, 3, 0, 0]), 3),
            Some(Position(1))
        );
        // Host 0 writes position 4: three distinct hosts at 2 or above.
        assert_eq!(
            agreed_position(&positions(&[4, 2, 3, 0, 0]), 3),
            Some(Position(2))
        );
        assert_eq!(agreed_position(&positions(&[1, 2, 0, 0, 0]), 3), None);
        assert_eq!(agreed_position(&positions(&[7]), 1), Some(Position(7)));
    }

    #[test]
    fn a_silent_member_holds_nothing() {
        let ring = [HostId(0), HostId(1), HostId(2)];
        assert_eq!(safe_position(&positions(&[4, 5, 0]), &ring), Position(0));
        assert_eq!(safe_position(&positions(&[4, 5, 3]), &ring), Position(3));
        assert_eq!(
            safe_position(&positions(&[4, 5, 0]), &ring[..2]),
            Position(4)
        );
    }
}
