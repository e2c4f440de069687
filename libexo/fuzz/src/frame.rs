//! Bytes from the network, up to the typed bodies.

use libexo::ids::{Epoch, GroupId, HostId, Position};
use libexo::wire::auth::{Guard, Protection};
use libexo::wire::body::{
    Base, Cause, Fetch, Fetched, Join, Missing, Mode, Park, Prepare, Promise, Refuse, View,
    emit_nack, parse_nack, push_fetched,
};
use libexo::wire::key::Key;
use libexo::wire::keys::Keys;
use libexo::wire::{Flags, Frame, Header, HostSet, Kind, RingId, batch, emit};

/// The ring of all inputs.
pub const RING: RingId = RingId {
    number: 7,
    table: 0xC1C2_C3C4,
};
/// Where a frame's check stands.
const CHECK_AT: usize = 56;

/// The three ways to protect a ring, with a key that is being changed.
pub fn protections() -> [Protection; 3] {
    let keys = || {
        let keys = Keys::from(Key::from_bytes([7; 32]));
        keys.with_next(Key::from_bytes([8; 32])).expect("two keys")
    };
    [
        Protection::Open,
        Protection::Tagged(keys()),
        Protection::Encrypted(keys()),
    ]
}

/// As they are, and with a right check, behind which few mutations get by themselves.
pub fn run(bytes: &[u8]) {
    look_at(bytes);
    let mut bytes = bytes.to_vec();
    if repair(&mut bytes) {
        look_at(&bytes);
    }
}

/// Writes length and check of an open frame anew. False: too short for a header.
pub fn repair(bytes: &mut [u8]) -> bool {
    let Some(rest) = bytes.len().checked_sub(CHECK_AT + 4) else {
        return false;
    };
    let Ok(len) = u16::try_from(rest) else {
        return false;
    };
    bytes[4] &= !(64 | 128);
    bytes[50..52].copy_from_slice(&len.to_le_bytes());
    let check = crc32c::crc32c(&bytes[..CHECK_AT]);
    let check = crc32c::crc32c_append(check, &[0; 4]);
    let check = crc32c::crc32c_append(check, &bytes[CHECK_AT + 4..]);
    bytes[CHECK_AT..CHECK_AT + 4].copy_from_slice(&check.to_le_bytes());
    true
}

fn look_at(bytes: &[u8]) {
    bodies(bytes);
    let Ok(frame) = Frame::parse(bytes, RING) else {
        return;
    };
    let header = frame.header;
    assert_eq!(header.ring, RING);
    assert!(header.part < header.parts);
    if frame.trailer.is_none() {
        let again = emit(&header, frame.payload);
        let again = Frame::parse(&again, RING).expect("just made");
        assert_eq!((again.header, again.payload), (header, frame.payload));
    }
    let mut plain = Vec::new();
    for protection in protections() {
        let mut guard = Guard::new(&protection, RING, HostId(0), 3, 1);
        let opened = guard.open(HostId(2), frame, bytes, &mut plain);
        if let Ok(opened) = opened {
            assert_eq!(opened.payload.len(), frame.payload.len());
            assert!(opened.trailer.is_none());
            bodies(opened.payload);
        }
    }
    bodies(frame.payload);
}

/// What is a body comes back as it is; what is none is refused.
fn bodies(bytes: &[u8]) {
    macro_rules! comes_back {
        ($body:ident) => {
            if let Ok(body) = $body::parse(bytes) {
                let mut again = Vec::new();
                body.emit(&mut again);
                assert_eq!($body::parse(&again), Ok(body), stringify!($body));
            }
        };
    }
    comes_back!(Base);
    comes_back!(Fetch);
    comes_back!(Join);
    comes_back!(Park);
    comes_back!(Prepare);
    comes_back!(Promise);
    comes_back!(Refuse);
    comes_back!(View);
    if let Ok(list) = parse_nack(bytes) {
        let mut again = Vec::new();
        emit_nack(&list, &mut again);
        assert_eq!(again, bytes);
    }
    let mut frames_bytes = 0;
    for bytes in Fetched(bytes) {
        frames_bytes += bytes.len();
        // One level deep, as the engine reads it.
        let _ = Frame::parse(bytes, RING);
    }
    assert!(frames_bytes <= bytes.len());
    if let Ok(count) = batch::check(bytes) {
        assert!(count <= bytes.len() / batch::ENTRY_HEAD_BYTES);
    }
}

/// A header as good as any.
pub const fn header(kind: Kind) -> Header {
    Header {
        kind,
        flags: Flags(0),
        src: HostId(2),
        dst: HostId(0),
        ring: RING,
        generation: 0,
        epoch: Epoch(0x102),
        seq: Position(1),
        prev: 0xA1A2_A3A4_A5A6_A7A8,
        behind: 1,
        credit: 16,
        part: 0,
        parts: 1,
        count: 0,
    }
}

/// One frame of each kind, open and sealed.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (kind, body) in seed_bodies() {
        for protection in protections() {
            let mut bytes = emit(&header(kind), &body);
            Guard::new(&protection, RING, HostId(2), 3, 1000).seal(&mut bytes);
            seeds.push(bytes);
        }
        seeds.push(body);
    }
    seeds
}

/// Kinds with a body each.
pub fn seed_bodies() -> Vec<(Kind, Vec<u8>)> {
    let made = |emit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        emit(&mut bytes);
        bytes
    };
    let entry = batch::Entry {
        group: GroupId(5),
        number: 1,
        flags: batch::FIRST | batch::LAST,
        origin: 0x1388_0050,
        data: b"hello",
    };
    let turn = made(&|out| batch::push(out, &entry));
    let view = View {
        author_inc: 77,
        cause: Cause::Formation,
        generation_high: 0,
        tail_epoch: Epoch(0),
        base: Position(0),
        base_digest: 0,
        ring: HostSet::first(3),
        admitted: HostSet::first(3),
        joined: HostSet::first(3),
        left: HostSet::default(),
        bounds: vec![(Epoch(0x102), Position(1))],
        crash_vector: vec![1, 1, 77],
    };
    let view = made(&|out| view.emit(out));
    let crash_vector = vec![1, 1, 77];
    let prepare = Prepare {
        inc: 77,
        tail_epoch: Epoch(0),
        since: 70,
        crash_vector: crash_vector.clone(),
        earliest: crash_vector.clone(),
    };
    let promise = Promise {
        to_inc: 1,
        inc: 77,
        tail_epoch: Epoch(0),
        base: Position(0),
        agreed: Position(0),
        since: 70,
        crash_vector: crash_vector.clone(),
        earliest: crash_vector,
    };
    let join = Join {
        inc: 77,
        mode: Mode::Virgin,
        promised: Epoch(0),
        tail_epoch: Epoch(0),
        generation: 0,
        since: 70,
    };
    let nack = [Missing {
        position: Position(1),
        first: 0,
        last: 3,
    }];
    let fetch = Fetch {
        from: Position(1),
        to: Position(1),
        digest: 0,
        is_late: false,
    };
    let base = Base {
        ring: HostSet::first(3),
        author: 2,
        senders: vec![(1, 0), (1, 0), (77, 1)],
    };
    let base = made(&|out| base.emit(out));
    let install = emit(&header(Kind::Install), &view);
    let fetched = made(&|out| {
        push_fetched(out, &emit(&header(Kind::Base), &base));
        push_fetched(out, &install);
    });
    vec![
        (Kind::Turn, turn),
        (Kind::Install, view),
        (Kind::Prepare, made(&|out| prepare.emit(out))),
        (Kind::Promise, made(&|out| promise.emit(out))),
        (
            Kind::Refuse,
            made(&|out| Refuse::Promised(Epoch(0x202)).emit(out)),
        ),
        (Kind::Join, made(&|out| join.emit(out))),
        (Kind::Nack, made(&|out| emit_nack(&nack, out))),
        (Kind::Fetch, made(&|out| fetch.emit(out))),
        (Kind::Fetched, fetched),
        (Kind::Base, base),
        (Kind::Park, made(&|out| Park { until_ms: 100 }.emit(out))),
        (Kind::Wake, Vec::new()),
        (Kind::Probe, 70_u64.to_le_bytes().to_vec()),
        (Kind::ProbeAck, 70_u64.to_le_bytes().to_vec()),
    ]
}
