//! `parse(emit(x)) == x`, and nothing else gets in.

use libexo::engine::ring::Memory;
use libexo::ids::{Epoch, GroupId, HostId, Position};
use libexo::wire::auth::{AuthError, Guard, MasterKey, ReplayWindow};
use libexo::wire::body::{
    Base, Cause, Join, Missing, Mode, Prepare, Promise, View, emit_nack, parse_nack,
};
use libexo::wire::memory::{StoredEntry, StoredState};
use libexo::wire::record::Record;
use libexo::wire::{Flags, Frame, Header, HostSet, Kind, ParseError, batch, emit};
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

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
            ring: 7,
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
        let frame = Frame::parse(&bytes, 7).expect("just made");
        prop_assert_eq!(frame.header, header);
        prop_assert_eq!(frame.payload, &payload[..]);
        prop_assert_eq!(Frame::parse(&bytes, 8), Err(ParseError::Ring { found: 7 }));
    }

    #[test]
    fn one_changed_bit_is_noticed(header in headers(), payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0..8) {
        let mut bytes = emit(&header, &payload);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Frame::parse(&bytes, 7).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::parse(&bytes, 7);
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
            crash_vector: vector,
        };
        let mut bytes = Vec::new();
        promise.emit(&mut bytes);
        prop_assert_eq!(Promise::parse(&bytes), Ok(promise));
        let join = Join { inc: a, mode: Mode::Normal, promised: Epoch(b), tail_epoch: Epoch(c), generation: f };
        let mut bytes = Vec::new();
        join.emit(&mut bytes);
        prop_assert_eq!(Join::parse(&bytes), Ok(join));
        let list = [Missing { position: Position(a), first: 3, last: 9 }];
        let mut bytes = Vec::new();
        emit_nack(&list, &mut bytes);
        prop_assert_eq!(parse_nack(&bytes), Ok(list.to_vec()));
        let record = Record { promised: Epoch(a), generation: b, inc: c };
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
    fn a_sealed_frame_opens_once_and_unaltered_only(header in headers(), at in any::<usize>()) {
        let key = MasterKey { id: 4, bytes: [3; 32] };
        let mut sender = Guard::new(&key, 7, HostId(1), 3, 5);
        let mut receiver = Guard::new(&key, 7, HostId(2), 3, 5);
        let mut bytes = emit(&header, b"payload");
        sender.seal(&mut bytes);
        let frame = Frame::parse(&bytes, 7).expect("sealing keeps the check right");
        let mut altered = bytes.clone();
        let tail = altered.len() - 32;
        altered[tail + at % 32] ^= 1;
        let other = Frame::parse(&altered, 7).expect("the check does not cover the trailer");
        prop_assert!(receiver.open(&other, &altered).is_err());
        prop_assert_eq!(receiver.open(&frame, &bytes), Ok(()));
        prop_assert_eq!(receiver.open(&frame, &bytes), Err(AuthError::Replay { counter: 6 }));
        let stranger = MasterKey { id: 4, bytes: [4; 32] };
        let mut stranger = Guard::new(&stranger, 7, HostId(2), 3, 5);
        prop_assert_eq!(stranger.open(&frame, &bytes), Err(AuthError::Tag));
    }
}

#[test]
fn a_frame_without_a_tag_is_refused_by_who_has_a_key() {
    let key = MasterKey {
        id: 4,
        bytes: [3; 32],
    };
    let mut guard = Guard::new(&key, 7, HostId(2), 3, 5);
    let header = Header {
        kind: Kind::Wake,
        flags: Flags::default(),
        src: HostId(1),
        dst: HostId(0),
        ring: 7,
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
    let bytes = emit(&header, &[]);
    let frame = Frame::parse(&bytes, 7).expect("well formed");
    assert_eq!(guard.open(&frame, &bytes), Err(AuthError::Missing));
}
