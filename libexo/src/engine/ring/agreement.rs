//! Which position a majority has built on, and which one every member has.

use crate::ids::Position;
use crate::planted::{self, Mistake};
use crate::wire::HostSet;

/// The highest position at or above which `quorum` distinct hosts have written in the present
/// epoch (R3); `None` while fewer hosts have written. `last` holds each host's highest position,
/// 0 for none; `scratch` is memory to sort in.
pub(super) fn agreed_position(
    last: &[Position],
    quorum: usize,
    scratch: &mut Vec<Position>,
) -> Option<Position> {
    let quorum = quorum - usize::from(planted::is(Mistake::QuorumLessOne));
    let is_twice = planted::is(Mistake::WriterCountedTwice);
    let have_written = last.iter().filter(|position| **position > Position(0));
    if have_written.count() + usize::from(is_twice) < quorum {
        return None;
    }
    scratch.clear();
    scratch.extend_from_slice(last);
    if is_twice {
        scratch.extend(last.iter().max().copied());
    }
    let (_, nth, _) = scratch.select_nth_unstable_by(quorum - 1, |a, b| b.cmp(a));
    Some(*nth)
}

/// The highest position that every member of `ring` holds: each has written at or above it.
pub(super) fn safe_position(last: &[Position], ring: &HostSet) -> Position {
    let of = |index: usize| last.get(index).copied().unwrap_or_default();
    ring.iter()
        .map(|host| of(usize::from(host.0)))
        .filter(|position| *position > Position(0) || !planted::is(Mistake::SilentHolds))
        .min()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostId;

    fn agreed(numbers: &[u64], quorum: usize) -> Option<Position> {
        let last: Vec<Position> = numbers.iter().copied().map(Position).collect();
        agreed_position(&last, quorum, &mut Vec::new())
    }

    #[test]
    fn a_majority_of_distinct_writers_agrees() {
        // n = 5, turns 1..=3 written by hosts 0, 1, 2: position 1 has three builders.
        assert_eq!(agreed(&[1, 2, 3, 0, 0], 3), Some(Position(1)));
        // Host 0 writes position 4: three distinct hosts at 2 or above.
        assert_eq!(agreed(&[4, 2, 3, 0, 0], 3), Some(Position(2)));
        assert_eq!(agreed(&[1, 2, 0, 0, 0], 3), None);
        assert_eq!(agreed(&[7], 1), Some(Position(7)));
    }

    #[test]
    fn a_silent_member_holds_nothing() {
        let ring = HostSet::first(3);
        let safe = |numbers: [u64; 3], ring| safe_position(&numbers.map(Position), ring);
        assert_eq!(safe([4, 5, 0], &ring), Position(0));
        assert_eq!(safe([4, 5, 3], &ring), Position(3));
        assert_eq!(safe([4, 5, 0], &ring.without(HostId(2))), Position(4));
    }
}
