//! The vote file: the small record without which a host is one that lost its memory.
//!
//! ```text
//!  0           8        12      16                 16 + length
//!  "EXOVOTE1"  version  length  the record's bytes check
//! ```
//!
//! The bytes are the ring's own ({promised, generation, incarnation} with a check of their own).
//! The file is replaced whole; what is in it is on stable storage when [`Vote::write`] returns.

use super::damage::{Damage, Found};
use super::manifest::MANIFEST_NAME;
use super::record::u32_at;
use super::segment_file::{self, VERSION};
use super::small_file;
use super::storage::Storage;
use super::{Health, JournalError};

/// Most bytes of the record.
pub const VOTE_BYTES_MAX: usize = 4096;

const VOTE_NAME: &str = "vote";
const MAGIC: [u8; 8] = *b"EXOVOTE1";
const HEAD_BYTES: usize = 16;
const CHECK_BYTES: usize = 4;

/// Keeper of the vote file.
#[derive(Debug)]
pub struct Vote<S> {
    storage: S,
    health: Health,
}

/// What was in the vote file at a start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VoteFound {
    /// There is none, and no journal: this host never took part here.
    Nothing,
    /// The record that was written last.
    Whole(Vec<u8>),
    /// There was one, and it cannot be read: the host lost its memory, and is no first start.
    Lost(Damage),
}

impl<S: Storage> Vote<S> {
    /// Reads the vote file. What is found is on stable storage when this returns.
    ///
    /// # Errors
    ///
    /// The storage cannot be read or written.
    pub fn open(storage: S) -> Result<(Self, VoteFound), JournalError> {
        let found = match small_file::read(&storage, VOTE_NAME)? {
            Some(file) => match parse(&file) {
                Ok(bytes) => VoteFound::Whole(bytes.to_vec()),
                Err(found) => lost(found),
            },
            None if holds_journal(&storage)? => lost(Found::Missing),
            None => VoteFound::Nothing,
        };
        let mut vote = Self {
            storage,
            health: Health::default(),
        };
        if let VoteFound::Whole(bytes) = &found {
            // It may be in the system's memory only, if the start before could not sync it.
            vote.write(bytes)?;
        }
        Ok((vote, found))
    }

    /// Puts a record in the place of the one before. It is on stable storage when this returns.
    ///
    /// # Errors
    ///
    /// Nobody knows which of both a restart will find; nothing is written from then on.
    ///
    /// # Panics
    ///
    /// With more than [`VOTE_BYTES_MAX`] bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.health.ask()?;
        let result = small_file::replace(&self.storage, VOTE_NAME, &emit(bytes));
        self.health.note(result)
    }
}

fn lost(found: Found) -> VoteFound {
    VoteFound::Lost(Damage {
        file: VOTE_NAME.to_owned(),
        offset: 0,
        found,
    })
}

fn holds_journal<S: Storage>(storage: &S) -> Result<bool, JournalError> {
    let names = storage
        .names()
        .map_err(JournalError::io("list the folder of", VOTE_NAME))?;
    Ok(names
        .iter()
        .any(|name| name == MANIFEST_NAME || segment_file::is_damaged(name)))
}

fn emit(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() <= VOTE_BYTES_MAX, "{} bytes", bytes.len());
    let len = u32::try_from(bytes.len()).expect("checked above");
    let mut file = Vec::with_capacity(HEAD_BYTES + bytes.len() + CHECK_BYTES);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&len.to_le_bytes());
    file.extend_from_slice(bytes);
    let check = crc32c::crc32c(&file);
    file.extend_from_slice(&check.to_le_bytes());
    file
}

fn parse(file: &[u8]) -> Result<&[u8], Found> {
    if file.len() < HEAD_BYTES + CHECK_BYTES {
        return Err(Found::ShortHeader);
    }
    let (text, check) = file.split_at(file.len() - CHECK_BYTES);
    let (found, computed) = (u32_at(check, 0), crc32c::crc32c(text));
    let bytes = &text[HEAD_BYTES..];
    let is_ours = text[..8] == MAGIC && usize::try_from(u32_at(text, 12)) == Ok(bytes.len());
    if found != computed || !is_ours {
        return Err(Found::HeaderCheck { found, computed });
    }
    let version = u32_at(text, 8);
    if version != VERSION {
        return Err(Found::Version { version });
    }
    Ok(bytes)
}
