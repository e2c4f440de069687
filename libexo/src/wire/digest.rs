//! The digest that chains the log: equal digests at a position mean equal logs up to it.
//!
//! `D(0) = H(generation)`, `D(s) = H(D(s − 1), epoch, s, author, body)`, with H = XXH3-64 over the
//! little-endian concatenation. It catches faulty hosts and memory; safety does not rest on it.

use core::hash::Hasher as _;

use twox_hash::XxHash3_64;
use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};

use crate::ids::{Epoch, HostId, Position};

/// D(0) of a generation.
#[must_use]
pub fn first(generation: u64) -> u64 {
    of(&generation.to_le_bytes())
}

/// D(position), given D(position − 1).
#[must_use]
pub fn next(prev: u64, epoch: Epoch, position: Position, author: HostId, body: &[u8]) -> u64 {
    let mut head = [0; 25];
    head[..8].copy_from_slice(&prev.to_le_bytes());
    head[8..16].copy_from_slice(&epoch.0.to_le_bytes());
    head[16..24].copy_from_slice(&position.0.to_le_bytes());
    head[24] = author.0;
    if body.is_empty() {
        return of(&head); // the same, and needs no memory to collect pieces in
    }
    // The default secret as it lies in the program: the other hasher copies it into new memory.
    let mut hasher = RawHasher::new(SecretBuffer::default());
    hasher.write(&head);
    hasher.write(body);
    hasher.finish()
}

/// H of some bytes.
#[must_use]
pub fn of(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}
