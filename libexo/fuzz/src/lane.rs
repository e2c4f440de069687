//! A submit ring whose application writes what it likes, whenever it likes.
//!
//! An input is a row of steps: a byte that says which, and its numbers.

use libexo::shm::submit_ring::{DATAGRAM_MAX, LaneHeader, SubmitDrain};

use super::input::Input;
use super::memory::Memory;

const CAPACITY: usize = 4096;
/// The word of the header that holds the tail.
const TAIL: usize = 128 / 8;
/// The first word of the data.
const DATA: usize = 4096 / 8;

/// Nothing is taken that was not published, no datagram is longer than one can be, and after the
/// first nonsense the session is over.
pub fn run(bytes: &[u8]) {
    let memory = Memory::new(CAPACITY);
    let header: &LaneHeader = memory.header();
    header.initialise(CAPACITY as u64);
    let mut drain = SubmitDrain::new(header, memory.area());
    let mut input = Input(bytes);
    let (mut tail, mut taken) = (0_u64, 0_u64);
    while !input.is_empty() {
        match input.u8() % 4 {
            0 => memory.put(usize::from(input.u16()), input.u64()),
            1 => memory.put(
                DATA + usize::from(input.u16()) % (CAPACITY / 8),
                input.u64(),
            ),
            2 => {
                tail = tail.wrapping_add(u64::from(input.u16()));
                memory.put(TAIL, tail);
            }
            _ => match pass(&mut drain, usize::from(input.u8() % 8)) {
                Some(count) => {
                    taken += count;
                    assert!(taken <= 1 << 40, "more than the input can have published");
                }
                None => return,
            },
        }
    }
}

/// One pass of the monitor over the lane. `None`: the session is over.
fn pass(drain: &mut SubmitDrain<&LaneHeader>, records_max: usize) -> Option<u64> {
    let pending = drain.pending_bytes().ok()?;
    assert!(pending <= drain.capacity_bytes());
    drain.fetch().ok()?;
    let mut taken = 0;
    for _ in 0..records_max {
        let Some(record) = drain.peek().ok()? else {
            break;
        };
        assert!(record.bytes.len() <= DATAGRAM_MAX);
        let record_bytes = record.record_bytes();
        assert!(record_bytes >= record.bytes.len() + 8);
        drain.take(record_bytes);
        taken += record_bytes as u64;
        assert!(taken <= pending, "more than was published");
    }
    drain.release();
    Some(taken)
}

/// Records and skips as an application makes them.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut steps = Vec::new();
    let mut put = |index: u16, word: u64| {
        steps.push(1);
        steps.extend_from_slice(&index.to_le_bytes());
        steps.extend_from_slice(&word.to_le_bytes());
    };
    put(0, 5 | 1 << 32); // 5 bytes under grant 1
    put(1, 0x006f_6c6c_6568);
    put(2, 1 << 31 | 2 << 32); // 16 bytes to be skipped
    put(4, 0);
    let mut all = steps.clone();
    all.extend_from_slice(&[2, 40, 0, 3, 7]);
    let mut half = steps.clone();
    half.extend_from_slice(&[2, 12, 0, 3, 7]);
    let mut often = Vec::new();
    for _ in 0..3 {
        often.extend_from_slice(&steps);
        often.extend_from_slice(&[2, 0, 16, 3, 7, 3, 7]);
    }
    vec![all, half, often]
}
