//! What can be wrong with what a journal finds, in words for a person.

use super::record::RecordError;
use crate::ids::Position;
use std::fmt;

/// Damage that a crash alone does not leave behind: the host starts as one that lost its memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The file, within the journal's folder.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is there.
    pub found: Found,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            offset,
            found,
        } = self;
        write!(
            f,
            "{file}, byte {offset}: {found}; this host starts as one that lost its memory and \
             takes the order from the others (check the disk; what was there is kept as *.damaged)"
        )
    }
}

/// The end of the last segment, cut because it was never known to be on stable storage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Torn {
    /// The file, within the journal's folder.
    pub file: String,
    /// Where it ends now, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub cut_bytes: u64,
    /// What was found instead of a whole unit.
    pub found: Found,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            offset,
            cut_bytes,
            found,
        } = self;
        write!(
            f,
            "{file}: cut {cut_bytes} bytes at byte {offset} that a crash left unfinished ({found}); \
             nothing that was synced is missing unless the disk lost it"
        )
    }
}

/// What was found instead of what should be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Found {
    /// Nothing of this name.
    #[error("the file is missing")]
    Missing,
    /// Records that the manifest knows nothing of.
    #[error("records in a segment that the manifest does not name")]
    Unnamed,
    /// Shorter than a header.
    #[error("the file ends inside its header")]
    ShortHeader,
    /// Altered.
    #[error("a header whose check {found:#010x} is not {computed:#010x}, or of another kind")]
    HeaderCheck {
        /// What it says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// Written by another version.
    #[error(
        "format version {version}; this program reads version {}",
        super::segment_file::VERSION
    )]
    Version {
        /// Which.
        version: u32,
    },
    /// Of another ring or generation.
    #[error("it belongs to ring {ring}, generation {generation:#x}")]
    OtherRing {
        /// Which ring.
        ring: u32,
        /// Which generation.
        generation: u64,
    },
    /// Another segment under this name.
    #[error("it is segment {number:#x}")]
    OtherSegment {
        /// Which.
        number: u64,
    },
    /// Well checked, and nothing that a journal writes.
    #[error("a number that no journal reaches: {number:#x}")]
    Number {
        /// Which.
        number: u64,
    },
    /// A segment that is followed by others has lost or won bytes.
    #[error("{found_bytes} bytes where {expected_bytes} were written")]
    LengthChanged {
        /// What the next segment says.
        expected_bytes: u64,
        /// What it has.
        found_bytes: u64,
    },
    /// No record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Several records of which the last is missing.
    #[error("records that belong together, without the last of them")]
    OpenUnit,
    /// A record that does not follow what is before it.
    #[error("position {} where {} follows", found.0, expected.0)]
    OutOfPlace {
        /// What it says.
        found: Position,
        /// What would follow.
        expected: Position,
    },
}

impl Found {
    /// Whether an unfinished write can look like this.
    pub(super) const fn may_be_torn(&self) -> bool {
        match self {
            Self::Record(error) => !matches!(error, RecordError::Kind { .. }),
            Self::OpenUnit => true,
            _ => false,
        }
    }
}
