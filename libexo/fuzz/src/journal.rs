//! A journal's files after a disk did something to them.
//!
//! An input is a row of edits of a good journal's files: which file, what to do, where, and bytes.

use libexo::ids::Position;
use libexo::journal::faulty::Disk;
use libexo::journal::{Journal, Opened, Record, Settings, Storage, Vote};

use super::input::Input;

const SETTINGS: Settings = Settings {
    ring: 7,
    generation: 0x0102_0304_0506_0708,
    segment_bytes: 512,
};

/// Opening says what it found; what is whole can be gone on with, and is whole again.
pub fn run(bytes: &[u8]) {
    let disk = good();
    let names = Storage::names(&disk).expect("nothing fails");
    let mut input = Input(bytes);
    while !input.is_empty() {
        let name = &names[usize::from(input.u8()) % names.len()];
        let mut file = disk.bytes(name).unwrap_or_default();
        edit(&mut file, &mut input);
        disk.put(name, &file);
    }
    if let Ok((mut vote, _)) = Vote::open(disk.clone()) {
        vote.write(b"again").expect("nothing fails");
    }
    let opened = Journal::open(disk.clone(), SETTINGS).expect("nothing fails");
    let Opened::Whole {
        mut journal, log, ..
    } = opened
    else {
        Journal::start_over(disk, SETTINGS).expect("nothing fails");
        return;
    };
    let next = log.tail().next();
    let more = Record::Entry {
        position: next,
        bytes: b"more",
    };
    journal.append(&[more]).expect("it goes on");
    journal.sync().expect("nothing fails");
    drop(journal);
    match Journal::open(disk, SETTINGS).expect("nothing fails") {
        Opened::Whole {
            log: again, torn, ..
        } => {
            assert_eq!(torn, None);
            assert_eq!((again.base, again.tail()), (log.base, next));
            assert_eq!(again.entries[..log.entries.len()], log.entries);
            assert_eq!(again.state, log.state);
        }
        other => panic!("what went on is lost: {other:?}"),
    }
}

fn edit(file: &mut Vec<u8>, input: &mut Input<'_>) {
    let what = input.u8();
    let at = usize::from(input.u16()) % (file.len() + 1);
    let len = usize::from(input.u8());
    match what % 5 {
        0 => file.truncate(at),
        1 => {
            let bytes = input.bytes(len);
            let end = (at + bytes.len()).min(file.len());
            file.splice(at..end, bytes.iter().copied());
        }
        2 => file.extend_from_slice(input.bytes(len)),
        3 => {
            let from = usize::from(input.u16()) % (file.len() + 1);
            let piece = file[from..file.len().min(from + len)].to_vec();
            file.splice(at..at, piece);
        }
        // A mutation that knows the format: the header's check is made right.
        _ => {
            if file.len() >= 64 {
                file[8 + at % 52] ^= u8::try_from(len).expect("it was a byte");
                let check = crc32c::crc32c(&file[..60]);
                file[60..64].copy_from_slice(&check.to_le_bytes());
            }
        }
    }
}

/// Three segments, a state, a cut, units, and a vote.
fn good() -> Disk {
    let disk = Disk::new(1);
    let Ok(Opened::New(mut journal)) = Journal::open(disk.clone(), SETTINGS) else {
        panic!("an empty disk holds no journal");
    };
    let mut append = |unit: &[Record<'_>]| {
        journal.append(unit).expect("nothing fails");
        journal.sync().expect("nothing fails");
    };
    append(&[Record::State { bytes: b"state" }]);
    let entry = |position, bytes| Record::Entry {
        position: Position(position),
        bytes,
    };
    for position in 1..=9 {
        append(&[entry(position, &[b'a'; 70])]);
    }
    let keep = Position(8);
    append(&[Record::Cut { keep }, entry(9, b"nine"), entry(10, b"ten")]);
    append(&[entry(11, b"eleven")]);
    let (mut vote, _) = Vote::open(disk.clone()).expect("nothing fails");
    vote.write(b"promised").expect("nothing fails");
    disk
}

/// Nothing, and each kind of edit.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![2, 0, 100, 0, 0],
        vec![2, 1, 80, 0, 4, 1, 2, 3, 4],
        vec![1, 2, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![2, 3, 64, 0, 40, 90, 0],
        vec![0, 4, 20, 0, 1],
    ]
}
