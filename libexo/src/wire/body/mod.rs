//! Typed bodies of the frames that are not batches.

mod epoch;
mod join;
mod log;
mod turn;
mod view;

pub use epoch::{Prepare, Promise, Refuse};
pub use join::{Join, Mode};
pub use log::{Base, Fetch, Fetched, push_fetched};
pub use turn::{Missing, Park, Probe, emit_nack, parse_nack};
pub use view::{Cause, View};

use super::reader::Reader;

/// A body that does not have the form of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a {kind} body of {len_bytes} bytes does not have its form")]
pub struct BodyError {
    /// Which body was expected.
    pub kind: &'static str,
    /// How long it was.
    pub len_bytes: usize,
}

fn whole<'a, T>(
    kind: &'static str,
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Result<T, BodyError> {
    let mut reader = Reader(bytes);
    let body = read(&mut reader).filter(|_| reader.end().is_some());
    body.ok_or(BodyError {
        kind,
        len_bytes: bytes.len(),
    })
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn count_of<T>(list: &[T]) -> u16 {
    u16::try_from(list.len()).expect("lists of frames have fewer than 65536 members")
}
