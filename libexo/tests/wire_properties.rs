//! `parse(emit(x)) == x`, and nothing else gets in.

use libexo::engine::ring::Memory;
use libexo::ids::{Epoch, GroupId, HostId, Position};
use libexo::wire::auth::{AuthError, Guard, Mode as Protected, Protection, ReplayWindow};
use libexo::wire::body::{
    Base, Cause, Join, Missing, Mode, Prepare, Promise, View, emit_nack, parse_nack,
};
use libexo::wire::key::Key;
use libexo::wire::memory::{StoredEntry, StoredState};
use libexo::wire::record::Record;
use libexo::wire::{
    Flags, Frame, FrameError, Header, HostSet, Kind, ParseError, RingId, batch, emit,
};
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

const RING: RingId = RingId {
    number: 7,
    table: 0xC1C2_C3C4,
};

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn guard(protection: &Protection, me: u8) -> Guard {
    Guard::new(protection, RING, HostId(me), 3, 5)
}

/// Both ways to seal, with the same key.
fn seals() -> impl Strategy<Value = Protection> {
    let (tagged, encrypted) = (
        Protection::Tagged(key(3).into()),
        Protection::Encrypted(key(3).into()),
    );
    prop_oneof![Just(tagged), Just(encrypted)]
}

/// What a host does with bytes from host `from`.
fn let_in(guard: &mut Guard, from: u8, bytes: &[u8]) -> Result<(Header, Vec<u8>), FrameError> {
    let frame = Frame::parse(bytes, RING)?;
    let mut plain = Vec::new();
    let frame = guard.open(HostId(from), frame, bytes, &mut plain)?;
    assert!(frame.trailer.is_none());
    Ok((frame.header, frame.payload.to_vec()))
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Turn),
        Just(Kind::Install),
        Just(Kind::Nack),
        Just(Kind::Probe)
    ]
}

fn headers() -> impl Strategy<Value = Header> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let small = (
        any::<u8>(),
        any::<u8>(),
        any::<u16>(),
        any::<u16>(),
        0..100_u16,
    );
    (kinds(), numbers, small).prop_map(|(kind, (epoch, seq, prev, generation), small)| {
        let (src, dst, behind, credit, part) = small;
        Header {
            kind,
            flags: Flags::RTX.with(Flags::UNICAST),
            src: HostId(src),
            dst: HostId(dst),
            ring: RING,
            generation,
            epoch: Epoch(epoch),
            seq: Position(seq),
            prev,
            behind,
            credit,
            part,
            parts: part + 1,
            count: 0,
        }
    })
}

fn sets() -> impl Strategy<Value = HostSet> {
    any::<[u64; 4]>().prop_map(HostSet::from_words)
}

proptest! {
    #[test]
    fn a_frame_comes_back(header in headers(), payload in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let bytes = emit(&header, &payload);
        let frame = Frame::parse(&bytes, RING).expect("just made");
        prop_assert_eq!(frame.header, header);
        prop_assert_eq!(frame.payload, &payload[..]);
        let other = |number, table| RingId { number, table };
        let ring = Frame::parse(&bytes, other(8, RING.table));
        prop_assert_eq!(ring, Err(ParseError::Ring { found: 7, own: 8 }));
        let table = Frame::parse(&bytes, other(7, 1));
        prop_assert_eq!(table, Err(ParseError::Table { found: RING.table, own: 1 }));
    }

    #[test]
    fn one_changed_bit_is_noticed(header in headers(), payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0..8) {
        let mut bytes = emit(&header, &payload);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Frame::parse(&bytes, RING).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::parse(&bytes, RING);
        let _ = (View::parse(&bytes), Prepare::parse(&bytes), Promise::parse(&bytes));
        let _ = (Join::parse(&bytes), parse_nack(&bytes), batch::check(&bytes));
        prop_assert!(Record::parse(&bytes).is_err());
    }

    #[test]
    fn a_batch_comes_back(pieces in proptest::collection::vec((any::<u32>(), any::<u32>(), 0..4_u8, proptest::collection::vec(any::<u8>(), 0..100)), 0..20)) {
        let mut body = Vec::new();
        for (group, number, flags, data) in &pieces {
            let group = GroupId(*group);
            batch::push(&mut body, &batch::Entry { group, number: *number, flags: *flags, origin: 1, data });
        }
        prop_assert_eq!(batch::check(&body), Ok(pieces.len()));
        let mut at = 0;
        for (group, number, flags, data) in &pieces {
            let (entry, next) = batch::entry_at(&body, at).expect("checked").expect("one more");
            prop_assert_eq!((entry.group.0, entry.number, entry.flags), (*group, *number, *flags));
            prop_assert_eq!(entry.data, &data[..]);
            at = next;
        }
        prop_assert_eq!(batch::entry_at(&body, at), Ok(None));
    }

    #[test]
    fn bodies_come_back(
        numbers in any::<[u64; 6]>(),
        half in any::<u32>(),
        ring in sets(),
        joined in sets(),
        vector in proptest::collection::vec(any::<u64>(), 0..256),
        bounds in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..50),
    ) {
        let [a, b, c, d, e, f] = numbers;
        let bounds = bounds.into_iter().map(|(epoch, first)| (Epoch(epoch), Position(first)));
        let view = View {
            author_inc: a,
            cause: Cause::Loss,
            generation_high: half,
            tail_epoch: Epoch(b),
            base: Position(c),
            base_digest: d,
            ring,
            admitted: joined,
            joined,
            left: ring,
            bounds: bounds.collect(),
            crash_vector: vector.clone(),
        };
        let mut bytes = Vec::new();
        view.emit(&mut bytes);
        prop_assert_eq!(View::parse(&bytes), Ok(view));
        bytes.pop();
        prop_assert!(View::parse(&bytes).is_err());
        let promise = Promise {
            to_inc: a,
            inc: b,
            tail_epoch: Epoch(c),
            base: Position(d),
            agreed: Position(e),
            since: f,
            earliest: vector.iter().rev().copied().collect(),
            crash_vector: vector,
        };
        let mut bytes = Vec::new();
        promise.emit(&mut bytes);
        prop_assert_eq!(Promise::parse(&bytes), Ok(promise));
        let join = Join { inc: a, mode: Mode::Normal, promised: Epoch(b), tail_epoch: Epoch(c), generation: f, since: d };
        let mut bytes = Vec::new();
        join.emit(&mut bytes);
        prop_assert_eq!(Join::parse(&bytes), Ok(join));
        let list = [Missing { position: Position(a), first: 3, last: 9 }];
        let mut bytes = Vec::new();
        emit_nack(&list, &mut bytes);
        prop_assert_eq!(parse_nack(&bytes), Ok(list.to_vec()));
        let record = Record { promised: Epoch(a), generation: b, inc: c, since: d };
        prop_assert_eq!(Record::parse(&record.emit()), Ok(record));
    }

    #[test]
    fn what_a_journal_keeps_comes_back(numbers in any::<[u64; 6]>(), ring in sets(), senders in proptest::collection::vec(any::<(u64, u64)>(), 1..9), body in proptest::collection::vec(any::<u8>(), 0..99), at in any::<usize>()) {
        let [generation, promised, joined, position, epoch, digest] = numbers;
        let entry = StoredEntry {
            kind: Kind::Install,
            author: HostId(7),
            flags: Flags::VIEW,
            part_bytes: 1384,
            epoch: Epoch(epoch),
            prev: digest,
            behind: 1,
            credit: 2,
            body: &body,
        };
        let stored = entry.emit();
        prop_assert_eq!(StoredEntry::parse(&stored), Ok(entry));
        let state = StoredState {
            generation,
            promised: Epoch(promised),
            joined: Epoch(joined),
            position: Position(position >> 2),
            epoch: Epoch(epoch),
            digest,
            crash_vector: senders.iter().map(|(inc, _)| *inc).collect(),
            earliest: senders.iter().map(|(_, number)| *number).collect(),
            base: Base { ring, author: 0, senders: senders.clone() },
        };
        let bytes = state.emit();
        prop_assert_eq!(StoredState::parse(&bytes), Ok(state.clone()));
        prop_assert!(StoredState::parse(&bytes[..at % bytes.len()]).is_err());
        // Whatever else is there is refused, and never a panic.
        let hosts = senders.len();
        let whole = Memory::read(hosts, &bytes, state.position, &[]);
        prop_assert_eq!(whole.map(|memory| memory.tail()).ok(), Some(state.position));
        prop_assert!(Memory::read(hosts + 1, &bytes, state.position, &[]).is_err());
        prop_assert!(Memory::read(hosts, &bytes, state.position.next(), &[]).is_err());
        prop_assert!(Memory::read(hosts, &bytes, state.position, std::slice::from_ref(&body)).is_err());
        prop_assert!(Memory::read(hosts, &bytes, state.position, &[entry.emit()]).is_err());
    }

    #[test]
    fn a_counter_is_let_in_once(counters in proptest::collection::vec(1..3000_u64, 1..300)) {
        let mut window = ReplayWindow::default();
        let mut seen = std::collections::HashSet::new();
        let mut highest = 0;
        for counter in counters {
            let is_new = !seen.contains(&counter) && counter + 1024 > highest;
            prop_assert_eq!(window.admit(counter).is_ok(), is_new, "{}", counter);
            if is_new {
                seen.insert(counter);
                highest = highest.max(counter);
            }
        }
    }

    #[test]
    fn a_sealed_frame_comes_back_once(seal in seals(), header in headers(), payload in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let (mut sender, mut receiver) = (guard(&seal, 1), guard(&seal, 2));
        let mut bytes = emit(&header, &payload);
        let open_bytes = bytes.len();
        sender.seal(&mut bytes);
        prop_assert_eq!(bytes.len(), open_bytes + seal.mode().overhead_bytes());
        let is_hidden = payload.len() > 16 && seal.mode() == Protected::Encrypted;
        prop_assert!(!is_hidden || !bytes.windows(payload.len()).any(|window| window == payload));
        prop_assert_eq!(let_in(&mut receiver, 1, &bytes), Ok((header, payload)));
        let again = let_in(&mut receiver, 1, &bytes);
        prop_assert_eq!(again, Err(AuthError::Replay { counter: 6 }.into()));
    }

    #[test]
    fn one_changed_bit_of_a_sealed_frame_is_noticed_and_named(seal in seals(), header in headers(), payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0..8) {
        let (mut sender, mut receiver) = (guard(&seal, 1), guard(&seal, 2));
        let mut bytes = emit(&header, &payload);
        sender.seal(&mut bytes);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        let error = let_in(&mut receiver, 1, &bytes).expect_err("a bit changed");
        let tag = bytes.len() - 16;
        let is_named = match &error {
            FrameError::Seal(error) => *error == AuthError::Tag && at >= tag,
            FrameError::Form(ParseError::Magic { .. }) => at < 2,
            FrameError::Form(ParseError::Version { .. }) => at == 2,
            // The flag of the trailer, and the payload's length.
            FrameError::Form(ParseError::Length { .. }) => at == 4 || at == 50 || at == 51,
            FrameError::Form(ParseError::Check { .. }) => at > 2 && at < tag,
            FrameError::Form(_) => false,
        };
        prop_assert!(is_named, "byte {}: {:?}", at, error);
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(let_in(&mut receiver, 1, &bytes), Ok((header, payload)));
    }

    #[test]
    fn an_attacker_who_makes_the_check_right_still_needs_the_key(seal in seals(), header in headers(), payload in proptest::collection::vec(any::<u8>(), 1..200), at in any::<usize>()) {
        let (mut sender, mut receiver) = (guard(&seal, 1), guard(&seal, 2));
        let mut bytes = emit(&header, &payload);
        sender.seal(&mut bytes);
        // What the tag covers, but for what says which frame it is at all.
        let fields: Vec<usize> = (12..52).filter(|at| !matches!(at, 44..=47 | 50 | 51)).chain(60..60 + payload.len()).collect();
        let at = fields[at % fields.len()];
        bytes[at] ^= 1;
        let tag = bytes.len() - 16;
        let check = {
            let head = crc32c::crc32c(&bytes[..56]);
            crc32c::crc32c_append(crc32c::crc32c_append(head, &[0; 4]), &bytes[60..tag])
        };
        bytes[56..60].copy_from_slice(&check.to_le_bytes());
        prop_assert_eq!(let_in(&mut receiver, 1, &bytes), Err(AuthError::Tag.into()));
    }

    #[test]
    fn hosts_that_are_configured_differently_refuse_each_other_by_name(header in headers()) {
        let all = [Protection::Open, Protection::Tagged(key(3).into()), Protection::Encrypted(key(3).into())];
        for sealer in &all {
            for opener in &all {
                let mut bytes = emit(&Header { src: HostId(1), ..header }, b"payload");
                guard(sealer, 1).seal(&mut bytes);
                let answer = let_in(&mut guard(opener, 2), 1, &bytes);
                let (found, own) = (sealer.mode(), opener.mode());
                if found == own {
                    prop_assert!(answer.is_ok());
                } else {
                    let error = FrameError::from(AuthError::Mode { found, own });
                    prop_assert!(error.is_disagreement());
                    prop_assert_eq!(answer, Err(error));
                }
            }
        }
        for (sealer, opener) in [
            (Protection::Tagged(key(3).into()), Protection::Tagged(key(4).into())),
            (Protection::Encrypted(key(3).into()), Protection::Encrypted(key(4).into())),
        ] {
            let mut bytes = emit(&header, b"payload");
            guard(&sealer, 1).seal(&mut bytes);
            let (found, own) = (key(3).fingerprint().id(), key(4).fingerprint().id());
            let error = FrameError::from(AuthError::Key { found, own });
            prop_assert!(error.is_disagreement());
            prop_assert_eq!(let_in(&mut guard(&opener, 2), 1, &bytes), Err(error));
        }
    }

    #[test]
    fn a_host_that_speaks_as_another_is_noticed(seal in seals(), header in headers()) {
        let send = |me| {
            let mut bytes = emit(&header, b"payload");
            guard(&seal, me).seal(&mut bytes);
            bytes
        };
        let own_id = FrameError::from(AuthError::OwnId { me: 2 });
        prop_assert_eq!(let_in(&mut guard(&seal, 2), 1, &send(2)), Err(own_id));
        let impostor = FrameError::from(AuthError::Impostor { says: 1 });
        prop_assert_eq!(let_in(&mut guard(&seal, 2), 0, &send(1)), Err(impostor));
        prop_assert!(own_id.is_disagreement() && impostor.is_disagreement());
    }
}

fn bare(kind: Kind, src: u8, flags: Flags) -> Vec<u8> {
    let header = Header {
        kind,
        flags,
        src: HostId(src),
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
    emit(&header, &[])
}

#[test]
fn in_an_open_ring_only_forwarded_turns_may_name_another_author() {
    let mut guard = guard(&Protection::Open, 2);
    let mut answer = |kind, src, flags| {
        let bytes = bare(kind, src, flags);
        let_in(&mut guard, 1, &bytes).map(|_| ())
    };
    let again = Flags::RTX;
    for kind in [Kind::Turn, Kind::Install] {
        assert_eq!(answer(kind, 1, Flags::default()), Ok(()));
        assert_eq!(answer(kind, 0, again), Ok(()));
        // An own turn comes back as a repair.
        assert_eq!(answer(kind, 2, again), Ok(()));
    }
    let own_id = AuthError::OwnId { me: 2 };
    assert_eq!(answer(Kind::Turn, 2, Flags::default()), Err(own_id.into()));
    assert_eq!(answer(Kind::Probe, 2, again), Err(own_id.into()));
    let impostor = AuthError::Impostor { says: 0 };
    assert_eq!(answer(Kind::Wake, 0, again), Err(impostor.into()));
}

#[test]
fn a_frame_that_is_encrypted_without_a_tag_is_refused() {
    let bytes = bare(Kind::Wake, 1, Flags::ENCRYPTED);
    let error = ParseError::Flags { found: 128 };
    assert_eq!(Frame::parse(&bytes, RING), Err(error));
}
