//! The entries of a turn: one message or a piece of one each, behind a head of 16 bytes.
//!
//! ```text
//!  0      4      8    10    11   12          14
//!  group  msgno  len  flags kind source port destination port   data, padded to 4 bytes
//! ```

use super::reader::Reader;
use crate::ids::GroupId;

/// Bytes of an entry's head.
pub const ENTRY_HEAD_BYTES: usize = 16;
/// A message begins with this piece.
pub const FIRST: u8 = 1;
/// A message ends with this piece.
pub const LAST: u8 = 2;

/// One entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry<'a> {
    /// The group of the message.
    pub group: GroupId,
    /// Low half of the sender's number for the message.
    pub number: u32,
    /// Whether it begins and ends here: [`FIRST`], [`LAST`].
    pub flags: u8,
    /// What the sender wants to say about the message's origin; the two port fields.
    pub origin: u32,
    /// Its bytes, or some of them.
    pub data: &'a [u8],
}

impl Entry<'_> {
    /// Whether the message begins here.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.flags & FIRST != 0
    }

    /// Whether the message ends here.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.flags & LAST != 0
    }
}

/// Bytes that an entry with `data_bytes` takes.
#[must_use]
pub const fn entry_bytes(data_bytes: usize) -> usize {
    ENTRY_HEAD_BYTES + data_bytes.next_multiple_of(4)
}

/// Appends an entry to a turn's payload.
pub fn push(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let len = u16::try_from(entry.data.len()).expect("a piece is cut to 65535 bytes");
    out.extend_from_slice(&entry.group.0.to_le_bytes());
    out.extend_from_slice(&entry.number.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[entry.flags, 0]);
    out.extend_from_slice(&entry.origin.to_le_bytes());
    out.extend_from_slice(entry.data);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A payload whose bytes are not a row of entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("byte {at} of the payload begins no entry")]
pub struct BatchError {
    /// Where the row breaks.
    pub at: usize,
}

/// The entry that begins at `at`, and where the next begins; `None` at the end.
///
/// # Errors
///
/// [`BatchError`] if `at` begins no entry.
pub fn entry_at(payload: &[u8], at: usize) -> Result<Option<(Entry<'_>, usize)>, BatchError> {
    let Some(rest) = payload.get(at..) else {
        return Err(BatchError { at });
    };
    if rest.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader(rest);
    let entry = read_entry(&mut reader).ok_or(BatchError { at })?;
    Ok(Some((entry, payload.len() - reader.0.len())))
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Option<Entry<'a>> {
    let group = GroupId(reader.u32()?);
    let number = reader.u32()?;
    let len = usize::from(reader.u16()?);
    let flags = reader.u8()?;
    let kind = reader.u8()?;
    let origin = reader.u32()?;
    let data = reader.bytes(len)?;
    reader.bytes(len.next_multiple_of(4) - len)?;
    // Kind 0 is data; this version has no other.
    (kind == 0 && flags & !(FIRST | LAST) == 0).then_some(Entry {
        group,
        number,
        flags,
        origin,
        data,
    })
}

/// Checks a whole payload. Returns the number of entries.
///
/// # Errors
///
/// [`BatchError`] where the row of entries breaks.
pub fn check(payload: &[u8]) -> Result<usize, BatchError> {
    let mut at = 0;
    let mut count = 0;
    while let Some((_, next)) = entry_at(payload, at)? {
        at = next;
        count += 1;
    }
    Ok(count)
}
