//! One record of a segment file: bytes ⇄ typed record.
//!
//! ```text
//!  0      4      8       12    13     14  16        24      28    32
//!  magic  check  length  kind  flags  0   position  synced  link  body, padded with 0 to 8
//! ```
//!
//! `check` is CRC-32C, begun with the segment's own check and the record's offset, over all that
//! follows it, padding included: a record that lies in the wrong place is none. `link` is the
//! check of the record before, so that what an earlier life left behind the end never counts.
//! `synced`, in units of 8 bytes, says how much of the file was on stable storage when the record
//! was written: it tells a torn end from damage ([`super::replay`]).

use crate::ids::Position;

/// Bytes before a record's body.
pub const HEAD_BYTES: usize = 32;
/// Most bytes of one record's body; a turn of a ring is far below it.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Records begin at multiples of this.
pub(super) const UNIT_BYTES: usize = 8;

const MAGIC: u32 = 0x6352_4a45; // "EJRc"
const FLAG_MORE: u8 = 1;
const KIND_ENTRY: u8 = 1;
const KIND_CUT: u8 = 2;
const KIND_STATE: u8 = 3;

/// What the journal keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Record<'a> {
    /// An entry of the log, right behind the one before.
    Entry {
        /// Its place.
        position: Position,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// The next entry is the one after `keep`. What is held up to `keep` stays if it reaches
    /// `keep`; everything else is void.
    Cut {
        /// The last position that stays.
        keep: Position,
    },
    /// What the owner of the log must know beside it, in the place of what it said before.
    State {
        /// Its bytes.
        bytes: &'a [u8],
    },
}

impl Record<'_> {
    /// Bytes that it takes in a segment.
    #[must_use]
    pub fn len_in_file(&self) -> usize {
        padded(HEAD_BYTES + self.parts().2.len())
    }

    fn parts(&self) -> (u8, Position, &[u8]) {
        match self {
            Self::Entry { position, bytes } => (KIND_ENTRY, *position, bytes),
            Self::Cut { keep } => (KIND_CUT, *keep, &[]),
            Self::State { bytes } => (KIND_STATE, Position(0), bytes),
        }
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The file ends inside it.
    #[error("the file ends inside a record")]
    Short,
    /// Something else is there.
    #[error("no record begins here")]
    Magic,
    /// More than any record has.
    #[error("a record of {0} bytes")]
    Length(u32),
    /// Altered or torn.
    #[error("a record whose check {found:#010x} is not {computed:#010x}")]
    Check {
        /// What it says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// It follows another record than the one before it.
    #[error("a record that follows another one than that before it")]
    Link,
    /// Whole, and nothing that this version writes.
    #[error("a record of kind {kind} with flags {flags}, which this version does not know")]
    Kind {
        /// Its kind.
        kind: u8,
        /// Its flags.
        flags: u8,
    },
}

/// What the check of a record begins with: its segment and its place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment_check: u32,
    pub(super) offset: usize,
}

/// A record as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<'a> {
    pub(super) record: Record<'a>,
    /// The next record belongs to the same unit.
    pub(super) more: bool,
    /// Bytes of the file that were on stable storage when this was written.
    pub(super) synced: usize,
    /// Its own check, which the next record carries.
    pub(super) check: u32,
    /// The check of the record before.
    pub(super) link: u32,
    /// Where the next record begins.
    pub(super) end: usize,
}

/// How a record goes into a file, beside what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    pub(super) place: Place,
    pub(super) more: bool,
    pub(super) synced: u64,
    pub(super) link: u32,
}

/// Appends a record's bytes to `out` and returns its check.
pub(super) fn emit(out: &mut Vec<u8>, record: &Record<'_>, framing: &Framing) -> u32 {
    let (kind, position, body) = record.parts();
    assert!(body.len() <= BODY_BYTES_MAX, "{} bytes", body.len());
    let len = u32::try_from(body.len()).expect("checked above");
    let synced = u32::try_from(framing.synced / UNIT_BYTES as u64)
        .expect("Settings bounds a segment's length");
    let start = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[kind, u8::from(framing.more) * FLAG_MORE, 0, 0]);
    out.extend_from_slice(&position.0.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.extend_from_slice(&framing.link.to_le_bytes());
    out.extend_from_slice(body);
    out.resize(start + padded(HEAD_BYTES + body.len()), 0);
    let check = check_of(framing.place, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&check.to_le_bytes());
    check
}

/// Reads the record that begins at `place.offset` of `file`.
pub(super) fn parse(file: &[u8], place: Place) -> Result<Parsed<'_>, RecordError> {
    let bytes = &file[place.offset..];
    let head = bytes.first_chunk::<HEAD_BYTES>();
    let head = head.ok_or(RecordError::Short)?;
    if u32_at(head, 0) != MAGIC {
        return Err(RecordError::Magic);
    }
    let (found, len) = (u32_at(head, 4), u32_at(head, 8));
    let body_len = usize::try_from(len).unwrap_or(usize::MAX);
    if body_len > BODY_BYTES_MAX {
        return Err(RecordError::Length(len));
    }
    let total = padded(HEAD_BYTES + body_len);
    let whole = bytes.get(..total).ok_or(RecordError::Short)?;
    let computed = check_of(place, &whole[8..]);
    if found != computed {
        return Err(RecordError::Check { found, computed });
    }
    let (kind, flags, position) = (head[12], head[13], Position(u64_at(head, 16)));
    let body = &whole[HEAD_BYTES..HEAD_BYTES + body_len];
    let record = match kind {
        KIND_ENTRY => Record::Entry {
            position,
            bytes: body,
        },
        KIND_CUT => Record::Cut { keep: position },
        KIND_STATE => Record::State { bytes: body },
        _ => return Err(RecordError::Kind { kind, flags }),
    };
    if flags & !FLAG_MORE != 0 {
        return Err(RecordError::Kind { kind, flags });
    }
    Ok(Parsed {
        record,
        more: flags & FLAG_MORE != 0,
        synced: usize::try_from(u32_at(head, 24)).unwrap_or(usize::MAX / UNIT_BYTES) * UNIT_BYTES,
        check: found,
        link: u32_at(head, 28),
        end: place.offset + total,
    })
}

fn check_of(place: Place, bytes: &[u8]) -> u32 {
    let offset = (place.offset as u64).to_le_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(place.segment_check, &offset), bytes)
}

const fn padded(len: usize) -> usize {
    len.next_multiple_of(UNIT_BYTES)
}

/// The number at `at`; the caller has looked at the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// The number at `at`; the caller has looked at the length.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
