//! The ordered log on disk, and the small record of what a host promised.
//!
//! ```text
//!  append ─▶ buffer ─▶ sync: one write, one fdatasync ─▶ segment file, segment file, …
//!  Vote::write ─▶ vote file, replaced whole
//! ```
//!
//! Format and the meaning of each damage: `docs/journal.md`. The journal knows positions and
//! bytes; what an entry says is its owner's. It works in the folder of a [`Storage`], which is
//! locked against a second monitor ([`Folder`]). Never here: when to sync, what waits for it, and
//! what a host without memory does.
//!
//! A write or sync that fails stops the journal for good. After a failed `fsync` the system
//! forgets which bytes were not written, so that a later one proves nothing about them.

mod damage;
pub mod faulty;
mod manifest;
mod record;
mod replay;
mod segment;
mod segment_file;
mod small_file;
mod storage;
#[cfg(test)]
mod tests;
mod vote;

pub use damage::{Damage, Found, Torn};
pub use manifest::MANIFEST_NAME;
pub use record::{BODY_BYTES_MAX, HEAD_BYTES, Record, RecordError};
pub use replay::{Log, Opened};
pub use segment_file::HEADER_BYTES;
pub use storage::{Folder, FolderError, LOCK_NAME, Storage, StorageFile};
pub use vote::{VOTE_BYTES_MAX, Vote, VoteFound};

use crate::ids::Position;
use manifest::Manifest;
use segment::Segment;
use std::collections::VecDeque;
use std::io;

/// What a journal belongs to, and the size of its files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Number of the ring.
    pub ring: u32,
    /// The ring's generation: a journal of another one is no memory of this one.
    pub generation: u64,
    /// A segment that has grown to this is followed by the next. At most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
}

/// Longest segment: one unit more still has offsets that fit a record's `synced`.
pub const SEGMENT_BYTES_MAX: u64 = 16 << 30;

/// A good length of a segment: half a second of a full gigabit network.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Why a journal cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The storage refuses.
    #[error(
        "cannot {action} {file}: {source} (this host stops ordering; give the disk space or repair \
         it, then restart the monitor)"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file of the journal's folder.
        file: String,
        /// The system's answer.
        source: io::Error,
    },
    /// It failed before and writes nothing any more.
    #[error("nothing is written since an earlier failure: {first}")]
    Stopped {
        /// That failure.
        first: String,
    },
}

impl JournalError {
    fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }
}

/// Remembers the first failure, after which nothing is tried again.
#[derive(Debug, Default)]
struct Health {
    first_failure: Option<String>,
}

impl Health {
    fn ask(&self) -> Result<(), JournalError> {
        match &self.first_failure {
            None => Ok(()),
            Some(first) => Err(JournalError::Stopped {
                first: first.clone(),
            }),
        }
    }

    fn note<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            self.first_failure.get_or_insert_with(|| error.to_string());
        }
        result
    }
}

/// A segment that is full.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    number: u64,
    /// The highest position written in it, cut or not.
    highest: Position,
}

/// An open journal: the writer of its log.
#[derive(Debug)]
pub struct Journal<S: Storage> {
    storage: S,
    settings: Settings,
    sealed: VecDeque<Sealed>,
    segment: Segment<S::File>,
    tail: Position,
    state: Option<Vec<u8>>,
    health: Health,
}

impl<S: Storage> Journal<S> {
    /// Opens the journal of a folder and replays it. Everything replayed is on stable storage
    /// when this returns.
    ///
    /// # Errors
    ///
    /// The storage cannot be read or written. Damage is no error: see [`Opened::Lost`].
    pub fn open(storage: S, settings: Settings) -> Result<Opened<S>, JournalError> {
        settings.check();
        replay::open(storage, settings)
    }

    /// Begins an empty journal in the place of one that was lost, or that belongs to a generation
    /// that has ended. The old segments become `*.damaged`; such ones of before are removed.
    ///
    /// # Errors
    ///
    /// The storage cannot be read or written.
    pub fn start_over(storage: S, settings: Settings) -> Result<Self, JournalError> {
        settings.check();
        let number = replay::set_aside(&storage)?;
        Self::begin(storage, settings, number)
    }

    fn begin(storage: S, settings: Settings, number: u64) -> Result<Self, JournalError> {
        let opening = segment::Opening {
            number,
            first: Position(1),
            previous_bytes: 0,
            state: None,
        };
        let segment = Segment::begin(&storage, &settings, &opening)?;
        let (first, last) = (number, number);
        Manifest { first, last }.write(&storage, &settings)?;
        Ok(Self {
            storage,
            settings,
            sealed: VecDeque::new(),
            segment,
            tail: Position(0),
            state: None,
            health: Health::default(),
        })
    }

    /// Position of the last entry, synced or not.
    #[must_use]
    pub const fn tail(&self) -> Position {
        self.tail
    }

    /// Number of segment files.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.sealed.len() + 1
    }

    /// Appends records that hold together: after a crash either all of them are found, or none.
    /// They are on stable storage once the next [`sync`](Self::sync) has returned.
    ///
    /// # Errors
    ///
    /// What was buffered could not be written; the journal has stopped.
    ///
    /// # Panics
    ///
    /// If an entry does not follow the one before, or is longer than [`BODY_BYTES_MAX`].
    pub fn append(&mut self, unit: &[Record<'_>]) -> Result<(), JournalError> {
        self.health.ask()?;
        for (index, record) in unit.iter().enumerate() {
            self.take(record);
            self.segment.push(record, index + 1 < unit.len());
        }
        let result = self.segment.flush_if_large();
        self.health.note(result)
    }

    fn take(&mut self, record: &Record<'_>) {
        match record {
            Record::Entry { position, .. } => {
                assert_eq!(*position, self.tail.next(), "an entry follows the tail");
                self.tail = *position;
            }
            Record::Cut { keep } => self.tail = *keep,
            Record::State { bytes } => self.state = Some(bytes.to_vec()),
        }
    }

    /// Puts what was appended on stable storage; without effect if nothing was.
    ///
    /// # Errors
    ///
    /// Nobody knows what of it a restart will find; the journal has stopped, and no later call
    /// succeeds.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.health.ask()?;
        let result = self.segment.sync().and_then(|()| self.rotate_if_full());
        self.health.note(result)
    }

    fn rotate_if_full(&mut self) -> Result<(), JournalError> {
        if self.segment.len_bytes() < self.settings.segment_bytes {
            return Ok(());
        }
        let opening = segment::Opening {
            number: self.segment.number() + 1,
            first: self.tail.next(),
            previous_bytes: self.segment.len_bytes(),
            state: self.state.as_deref(),
        };
        let next = Segment::begin(&self.storage, &self.settings, &opening)?;
        let manifest = Manifest {
            first: self.first_segment(),
            last: opening.number,
        };
        manifest.write(&self.storage, &self.settings)?;
        let full = std::mem::replace(&mut self.segment, next);
        self.sealed.push_back(full.sealed());
        Ok(())
    }

    fn first_segment(&self) -> u64 {
        let first = self.sealed.front();
        first.map_or_else(|| self.segment.number(), |sealed| sealed.number)
    }

    /// Removes the oldest segments as long as all their entries lie below `position`, and says
    /// how many.
    ///
    /// # Errors
    ///
    /// The storage refuses; the journal has stopped.
    pub fn remove_below(&mut self, position: Position) -> Result<usize, JournalError> {
        self.health.ask()?;
        let is_below = |sealed: &&Sealed| sealed.highest < position;
        let count = self.sealed.iter().take_while(is_below).count();
        if count == 0 {
            return Ok(0);
        }
        let removed: Vec<_> = self.sealed.drain(..count).collect();
        let result = self.remove(&removed);
        self.health.note(result.map(|()| count))
    }

    fn remove(&self, removed: &[Sealed]) -> Result<(), JournalError> {
        // First the manifest: a segment that it does not name is a leftover, one that it names and
        // that is missing is damage.
        let manifest = Manifest {
            first: self.first_segment(),
            last: self.segment.number(),
        };
        manifest.write(&self.storage, &self.settings)?;
        for sealed in removed {
            let name = segment_file::name(sealed.number);
            self.storage
                .remove(&name)
                .map_err(JournalError::io("remove", &name))?;
        }
        Ok(())
    }
}

impl Settings {
    fn check(&self) {
        assert!(self.segment_bytes <= SEGMENT_BYTES_MAX);
    }
}

/// No position and no segment's number is as large: what is computed from them does not overflow.
const NUMBER_MAX: u64 = 1 << 62;

fn expect_number(number: u64) -> Result<(), Found> {
    if number <= NUMBER_MAX {
        return Ok(());
    }
    Err(Found::Number { number })
}

fn expect_ring(settings: &Settings, ring: u32, generation: u64) -> Result<(), Found> {
    if (ring, generation) == (settings.ring, settings.generation) {
        return Ok(());
    }
    Err(Found::OtherRing { ring, generation })
}
