//! A log whose bytes change under its reader.
//!
//! An input is a row of steps. Some append records as the monitor does, with a floor that is
//! raised in time; others write words into data, tail and cursor, as a lapped reader sees them, or
//! a program that scribbles over its own page.

use std::sync::atomic::{AtomicU64, Ordering};

use libexo::ids::{Seq, SessionId};
use libexo::shm::log::{Cursor, LogHeader, LogReader, LogWriter, Look, Origin, raise_floor};
use libexo::time::Timestamp;

use super::input::Input;
use super::memory::Memory;

const CAPACITY: usize = 4096;
const DATA: usize = 4096 / 8;

/// Nothing longer than a datagram is shown, and reading neither fails nor ends the process.
pub fn run(bytes: &[u8]) {
    let memory = Memory::new(CAPACITY);
    let header: &LogHeader = memory.header();
    header.initialise(CAPACITY as u64);
    let mut writer = LogWriter::new(header, memory.area());
    let reader = LogReader::new(header, memory.area());
    let words = [0, 0, u64::MAX].map(AtomicU64::new);
    let [next, floor, end] = &words;
    let cursor = Cursor { next, floor, end };
    let mut input = Input(bytes);
    let mut seq = Seq(0);
    while !input.is_empty() {
        match input.u8() % 5 {
            0 => {
                let len = usize::from(input.u16()) % 2000;
                let payload = vec![input.u8(); len];
                seq = Seq(seq.0 + 1);
                make_room(&writer, floor, len);
                writer.append(seq, Timestamp(1), &origin(input.u8()), &payload);
                writer.publish();
            }
            1 => memory.put(
                DATA + usize::from(input.u16()) % (CAPACITY / 8),
                input.u64(),
            ),
            2 => words[usize::from(input.u8() % 3)].store(input.u64(), Ordering::Relaxed),
            3 => memory.put(usize::from(input.u16()) % DATA, input.u64()),
            _ => read(&reader, cursor),
        }
    }
    read(&reader, cursor);
}

/// As the monitor does before it writes over what a slow reader has not read.
fn make_room(writer: &LogWriter<&LogHeader>, floor: &AtomicU64, len: usize) {
    let mut slowest = writer.tail().saturating_sub(CAPACITY as u64);
    while !writer.has_room(slowest, len) {
        slowest += 8;
    }
    raise_floor(floor, slowest);
}

fn origin(flags: u8) -> Origin {
    let source = if flags & 1 == 0 {
        "10.0.0.1:5000"
    } else {
        "[fe80::1%3]:80"
    };
    Origin {
        source: source.parse().expect("an address"),
        ttl: 1,
        tos: 0,
        no_loop: (flags & 2 != 0).then_some(SessionId(1)),
    }
}

fn read(reader: &LogReader<&LogHeader>, cursor: Cursor<'_>) {
    let _ = reader.is_empty(cursor);
    if let Look::Found(position, record) = reader.look(cursor) {
        let len = usize::try_from(record.head.len).expect("32 bits");
        assert!(len <= 65_536, "longer than any datagram");
        let mut bytes = vec![0; len.min(100)];
        record.read(&mut bytes);
        let _ = (record.origin(), record.is_extended());
        let _ = reader.is_whole(cursor, position);
        if reader.advance(cursor, position, &record.head) {
            let next = cursor.next.load(Ordering::Relaxed);
            assert!(next > position, "the cursor goes on");
        }
    }
}

/// A row of records with reading between; then a scribbled cursor and a torn head.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut good = Vec::new();
    for len in [5_u8, 200, 0] {
        good.extend_from_slice(&[0, len, 1, b'x', len & 3, 4]);
    }
    let mut torn = good.clone();
    torn.extend_from_slice(&[0, 9, 0, b'y', 0, 1, 2, 0, 255, 255, 255, 255, 0, 0, 0, 0, 4]);
    let mut scribbled = good.clone();
    scribbled.extend_from_slice(&[0, 9, 0, b'y', 0, 2, 0]);
    scribbled.extend_from_slice(&8_u64.to_le_bytes());
    scribbled.extend_from_slice(&[4, 4]);
    vec![good, torn, scribbled]
}
