//! A ring whose key changes: who accepts whom in which step, and what was seen stays seen.

use libexo::ids::{Epoch, HostId, Position};
use libexo::wire::auth::{AuthError, Guard, Protection};
use libexo::wire::key::{Key, KeyId};
use libexo::wire::keys::Keys;
use libexo::wire::{Flags, Frame, FrameError, Header, Kind, RingId, emit};
use proptest::prelude::*;

const RING: RingId = RingId {
    number: 7,
    table: 0x5151,
};
const HOSTS: u8 = 5;

fn key(number: usize) -> Key {
    let byte = u8::try_from(number).expect("few keys");
    Key::from_bytes([byte + 1; 32])
}

fn id(number: usize) -> KeyId {
    key(number).fingerprint().id()
}

/// The keys of a host that has taken so many steps. Three steps are one change.
fn keys_after(steps: usize) -> Keys {
    let keys = Keys::from(key(steps / 3));
    let next = || key(steps / 3 + 1);
    let add = |keys: Keys| keys.with_next(next()).expect("the first step");
    match steps % 3 {
        0 => keys,
        1 => add(keys),
        _ => add(keys).switch().expect("the second step"),
    }
}

fn frame(from: u8) -> Vec<u8> {
    let header = Header {
        kind: Kind::Turn,
        flags: Flags::default(),
        src: HostId(from),
        dst: HostId(0),
        ring: RING,
        generation: 1,
        epoch: Epoch(1),
        seq: Position(1),
        prev: 0,
        behind: 0,
        credit: 0,
        part: 0,
        parts: 1,
        count: 0,
    };
    emit(&header, b"payload")
}

fn sealed(guard: &mut Guard, me: u8) -> Vec<u8> {
    let mut bytes = frame(me);
    guard.seal(&mut bytes);
    bytes
}

fn let_in(guard: &mut Guard, from: u8, bytes: &[u8]) -> Result<(), FrameError> {
    let mut plain = Vec::new();
    let frame = Frame::parse(bytes, RING)?;
    let opened = guard.open(HostId(from), frame, bytes, &mut plain)?;
    assert_eq!(opened.payload, b"payload");
    Ok(())
}

type Protect = fn(Keys) -> Protection;
const PROTECTS: [Protect; 2] = [Protection::Tagged, Protection::Encrypted];

fn guard(protect: Protect, keys: Keys, me: u8) -> Guard {
    Guard::new(&protect(keys), RING, HostId(me), usize::from(HOSTS), 1)
}

/// Which key the frame says it was sealed with, and its counter.
fn trailer(bytes: &[u8]) -> (KeyId, u64) {
    let at = bytes.len() - 32;
    let id = *bytes[at..].first_chunk().expect("a trailer");
    let counter = *bytes[at + 8..].first_chunk().expect("a trailer");
    (KeyId(id), u64::from_le_bytes(counter))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Hosts take steps one by one; none takes a second before all have taken the first.
    #[test]
    fn hosts_in_neighbouring_steps_accept_each_other(
        orders in prop::collection::vec(Just((0..HOSTS).collect::<Vec<_>>()).prop_shuffle(), 1..7),
        protect in prop::sample::select(PROTECTS.to_vec()),
    ) {
        let mut guards: Vec<_> = (0..HOSTS).map(|me| guard(protect, keys_after(0), me)).collect();
        let mut used = std::collections::BTreeSet::new();
        for (step, order) in orders.iter().enumerate() {
            for changed in order {
                guards[usize::from(*changed)].change_keys(&keys_after(step + 1));
                for from in 0..HOSTS {
                    let bytes = sealed(&mut guards[usize::from(from)], from);
                    let (id, counter) = trailer(&bytes);
                    prop_assert!(used.insert((id.0, from, counter)), "a nonce comes twice");
                    for to in (0..HOSTS).filter(|to| *to != from) {
                        let to = &mut guards[usize::from(to)];
                        prop_assert_eq!(let_in(to, from, &bytes), Ok(()));
                        prop_assert_eq!(to.key_of(HostId(from)), Some(id));
                        let counter = AuthError::Replay { counter };
                        prop_assert_eq!(let_in(to, from, &bytes), Err(counter.into()));
                    }
                }
            }
        }
    }

    /// Of two hosts that are further apart at least one refuses the other, and names both keys. But
    /// one that has not dropped the old key may meet one that has added the next: both seal with
    /// the key in between.
    #[test]
    fn hosts_that_are_steps_apart_refuse_each_other_by_name(
        early in 0_usize..6,
        apart in 2_usize..6,
        protect in prop::sample::select(PROTECTS.to_vec()),
    ) {
        let steps = [early, early + apart];
        let refusals = [(0, 1), (1, 0)].map(|(from, to)| {
            let sender = u8::try_from(from).expect("0 or 1");
            let bytes = sealed(&mut guard(protect, keys_after(steps[from]), sender), sender);
            let found = trailer(&bytes).0;
            let own = keys_after(steps[to]).current().fingerprint().id();
            let mut receiver = guard(protect, keys_after(steps[to]), 1 - sender);
            match let_in(&mut receiver, sender, &bytes) {
                Ok(()) => false,
                Err(error) => {
                    assert_eq!(error, AuthError::Key { found, own }.into());
                    assert!(error.is_disagreement());
                    true
                }
            }
        });
        let is_one_key = apart == 2 && early % 3 == 2;
        prop_assert_eq!(refusals == [false, false], is_one_key, "{:?}: {:?}", steps, refusals);
        prop_assert!(apart < 4 || refusals == [true, true], "neither seals with a key of the other");
    }
}

#[test]
fn what_was_seen_under_a_key_stays_seen_while_the_key_stays() {
    for protect in PROTECTS {
        let mut sender = guard(protect, keys_after(0), 1);
        let mut receiver = guard(protect, keys_after(0), 0);
        let before = sealed(&mut sender, 1);
        assert_eq!(let_in(&mut receiver, 1, &before), Ok(()));
        let (_, counter) = trailer(&before);
        let replay = FrameError::from(AuthError::Replay { counter });
        for step in 1..=2 {
            receiver.change_keys(&keys_after(step));
            assert_eq!(let_in(&mut receiver, 1, &before), Err(replay));
        }
        receiver.change_keys(&keys_after(3));
        let error = AuthError::Key {
            found: id(0),
            own: id(1),
        };
        assert_eq!(let_in(&mut receiver, 1, &before), Err(error.into()));
    }
}

#[test]
fn who_has_the_old_key_only_keeps_nobody_from_speaking_under_the_new_one() {
    for protect in PROTECTS {
        let far = Guard::new(&protect(keys_after(0)), RING, HostId(1), 5, u64::MAX - 1);
        let (mut thief, mut sender) = (far, guard(protect, keys_after(2), 1));
        let mut receiver = guard(protect, keys_after(2), 0);
        let forged = sealed(&mut thief, 1);
        assert_eq!(let_in(&mut receiver, 1, &forged), Ok(()), "for a while");
        let bytes = sealed(&mut sender, 1);
        assert_eq!(let_in(&mut receiver, 1, &bytes), Ok(()));
    }
}

#[test]
fn counters_go_on_when_a_key_comes_back() {
    let mut sender = guard(Protection::Tagged, keys_after(0), 1);
    let mut counters = Vec::new();
    for step in [0, 1, 2, 1, 0, 3, 0] {
        sender.change_keys(&keys_after(step));
        counters.push(trailer(&sealed(&mut sender, 1)).1);
    }
    assert!(counters.is_sorted_by(|a, b| a < b), "{counters:?}");
}

#[test]
fn an_open_ring_has_no_keys_to_change() {
    let mut guard = Guard::new(&Protection::Open, RING, HostId(0), 2, 1);
    guard.change_keys(&keys_after(1));
    assert_eq!(sealed(&mut guard, 0), frame(0));
    assert_eq!(guard.key_of(HostId(0)), None);
}
