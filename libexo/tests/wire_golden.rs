//! Frames pinned to the byte: whoever changes one changes the format's version.

use libexo::ids::{Epoch, GroupId, HostId, Position};
use libexo::wire::auth::{Guard, Protection};
use libexo::wire::body::{
    Base, Cause, Fetch, Join, Missing, Mode, Park, Prepare, Promise, Refuse, View, emit_nack,
};
use libexo::wire::key::Key;
use libexo::wire::memory::{StoredEntry, StoredState};
use libexo::wire::record::Record;
use libexo::wire::{Flags, Frame, Header, HostSet, Kind, RingId, batch, digest, emit};

const RING: RingId = RingId {
    number: 7,
    table: 0xC1C2_C3C4,
};

const fn header(kind: Kind) -> Header {
    Header {
        kind,
        flags: Flags(0),
        src: HostId(2),
        dst: HostId(0),
        ring: RING,
        generation: 0x1122_3344,
        epoch: Epoch(0x501),
        seq: Position(0x0102_0304),
        prev: 0xA1A2_A3A4_A5A6_A7A8,
        behind: 3,
        credit: 16,
        part: 0,
        parts: 1,
        count: 0,
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let words: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &words.join(" ");
        text.push('\n');
    }
    text
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut turn = Vec::new();
    let entry = batch::Entry {
        group: GroupId(5),
        number: 9,
        flags: batch::FIRST | batch::LAST,
        origin: 0x1388_0050,
        data: b"hello",
    };
    batch::push(&mut turn, &entry);
    let mut view = Vec::new();
    View {
        author_inc: 77,
        cause: Cause::Planned,
        generation_high: 0x5566_7788,
        tail_epoch: Epoch(0x400),
        base: Position(1),
        base_digest: 0xD1,
        ring: HostSet::first(3),
        admitted: HostSet::first(3),
        joined: HostSet::default().with(HostId(2)),
        left: HostSet::default(),
        bounds: vec![(Epoch(0x400), Position(2))],
        crash_vector: vec![1, 2, 77],
    }
    .emit(&mut view);
    let crash_vector = vec![1, 2, 3];
    let mut prepare = Vec::new();
    Prepare {
        inc: 3,
        tail_epoch: Epoch(0x400),
        since: 2,
        crash_vector: crash_vector.clone(),
        earliest: vec![1, 1, 2],
    }
    .emit(&mut prepare);
    let mut promise = Vec::new();
    let (base, agreed) = (Position(1), Position(2));
    Promise {
        to_inc: 2,
        inc: 3,
        tail_epoch: Epoch(0x400),
        base,
        agreed,
        since: 0,
        crash_vector,
        earliest: vec![1, 0, 2],
    }
    .emit(&mut promise);
    let mut refuse = Vec::new();
    Refuse::Promised(Epoch(0x601)).emit(&mut refuse);
    let mut join = Vec::new();
    Join {
        inc: 3,
        mode: Mode::Amnesiac,
        promised: Epoch(0x300),
        tail_epoch: Epoch(0),
        generation: 0x5566_7788_1122_3344,
        since: 2,
    }
    .emit(&mut join);
    let mut nack = Vec::new();
    emit_nack(
        &[Missing {
            position: Position(5),
            first: 1,
            last: 4,
        }],
        &mut nack,
    );
    let mut fetch = Vec::new();
    Fetch {
        from: Position(5),
        to: Position(9),
        digest: 0xD9,
        is_late: true,
    }
    .emit(&mut fetch);
    let mut ground = Vec::new();
    Base {
        ring: HostSet::first(2),
        author: 1,
        senders: vec![(1, 4), (2, 5)],
    }
    .emit(&mut ground);
    let mut park = Vec::new();
    Park { until_ms: 100 }.emit(&mut park);
    let key = Key::from_bytes([7; 32]);
    let sealed = |protection: &Protection, kind, body: &[u8]| {
        let mut bytes = emit(&header(kind), body);
        Guard::new(protection, RING, HostId(2), 3, 1000).seal(&mut bytes);
        bytes
    };
    let (tagged, encrypted) = (
        Protection::Tagged(key.clone().into()),
        Protection::Encrypted(key.into()),
    );
    let frame = |kind, body: &[u8]| emit(&header(kind), body);
    vec![
        (
            "turn",
            emit(
                &Header {
                    count: 1,
                    ..header(Kind::Turn)
                },
                &turn,
            ),
        ),
        (
            "turn, synced",
            emit(
                &Header {
                    flags: Flags::SYNCED.with(Flags::EMPTY),
                    ..header(Kind::Turn)
                },
                &[],
            ),
        ),
        ("install", frame(Kind::Install, &view)),
        ("prepare", frame(Kind::Prepare, &prepare)),
        ("promise", frame(Kind::Promise, &promise)),
        ("refuse", frame(Kind::Refuse, &refuse)),
        ("join", frame(Kind::Join, &join)),
        ("nack", frame(Kind::Nack, &nack)),
        ("fetch", frame(Kind::Fetch, &fetch)),
        ("base", frame(Kind::Base, &ground)),
        ("park", frame(Kind::Park, &park)),
        ("probe", frame(Kind::Probe, &77_u64.to_le_bytes())),
        ("wake, tagged", sealed(&tagged, Kind::Wake, &[])),
        ("park, tagged", sealed(&tagged, Kind::Park, &park)),
        ("wake, encrypted", sealed(&encrypted, Kind::Wake, &[])),
        ("park, encrypted", sealed(&encrypted, Kind::Park, &park)),
        (
            "record",
            Record {
                promised: Epoch(0x101),
                generation: 0x99,
                inc: 5,
                since: 4,
            }
            .emit(),
        ),
        ("journal entry", entry_in_journal(&turn)),
        ("journal state", state_in_journal()),
    ]
}

fn entry_in_journal(body: &[u8]) -> Vec<u8> {
    StoredEntry {
        kind: Kind::Turn,
        author: HostId(2),
        flags: Flags::SYNCED,
        part_bytes: 1384,
        epoch: Epoch(0x501),
        prev: 0xA1A2_A3A4_A5A6_A7A8,
        behind: 3,
        credit: 16,
        body,
    }
    .emit()
}

fn state_in_journal() -> Vec<u8> {
    StoredState {
        generation: 0x5566_7788_1122_3344,
        promised: Epoch(0x601),
        joined: Epoch(0x501),
        position: Position(9),
        epoch: Epoch(0x500),
        digest: 0xD9,
        base: Base {
            ring: HostSet::first(2),
            author: 1,
            senders: vec![(1, 4), (2, 5)],
        },
        crash_vector: vec![1, 2],
        earliest: vec![1, 0],
    }
    .emit()
}

#[test]
fn frames_are_these_bytes() {
    let mut text = String::new();
    for (name, bytes) in frames() {
        text += &format!("{name}, {} bytes\n{}\n", bytes.len(), hex(&bytes));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames.hex");
    if std::env::var_os("EXO_BLESS").is_some() {
        std::fs::write(path, &text).expect("a writable tree");
    }
    let golden = std::fs::read_to_string(path).expect("the golden file");
    assert_eq!(text, golden, "EXO_BLESS=1 writes the file anew");
}

#[test]
fn golden_frames_are_let_in() {
    let is_frame = |name: &str| name != "record" && !name.starts_with("journal");
    for (name, bytes) in frames().into_iter().filter(|(name, _)| is_frame(name)) {
        let frame = Frame::parse(&bytes, RING).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (frame.header.src, frame.header.epoch),
            (HostId(2), Epoch(0x501))
        );
    }
}

#[test]
fn an_encrypted_golden_frame_is_read_with_its_key() {
    let frames = frames();
    let bytes = |wanted: &str| {
        let found = frames.iter().find(|(name, _)| *name == wanted);
        &found.expect("it is pinned").1
    };
    let bytes = (bytes("park, encrypted"), bytes("park"));
    let frame = Frame::parse(bytes.0, RING).expect("well formed");
    let open = Frame::parse(bytes.1, RING).expect("well formed");
    assert_ne!(frame.payload, open.payload);
    let protection = Protection::Encrypted(Key::from_bytes([7; 32]).into());
    let mut plain = Vec::new();
    let mut guard = Guard::new(&protection, RING, HostId(0), 3, 1);
    let opened = guard.open(HostId(2), frame, bytes.0, &mut plain);
    assert_eq!(opened, Ok(open));
}

#[test]
fn digests_are_these_numbers() {
    let first = digest::first(0x99);
    let next = digest::next(first, Epoch(0x101), Position(1), HostId(1), b"abc");
    assert_eq!((first, next), (FIRST, NEXT));
}

const FIRST: u64 = 8_475_361_831_111_957_883;
const NEXT: u64 = 3_207_486_269_303_652_818;
