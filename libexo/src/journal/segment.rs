//! The segment that is written: a file, a buffer, and how much of both is on stable storage.

use super::record::{self, Framing, Place, Record};
use super::segment_file::{self, HEADER_BYTES, Header};
use super::storage::{Storage, StorageFile, write_all};
use super::{JournalError, Sealed, Settings};
use crate::ids::Position;

/// A buffer of this size is written without waiting for a sync.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// What a new segment begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening<'a> {
    pub(super) number: u64,
    pub(super) first: Position,
    pub(super) previous_bytes: u64,
    pub(super) state: Option<&'a [u8]>,
}

/// Where the writing of a segment stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) number: u64,
    /// The header's check.
    pub(super) check: u32,
    /// The check of the last record, or of the header.
    pub(super) link: u32,
    pub(super) written_bytes: u64,
    pub(super) highest: Position,
}

impl Mark {
    /// Remembers which positions the segment holds.
    pub(super) fn note(&mut self, record: &Record<'_>) {
        if let Record::Entry { position, .. } = record {
            self.highest = self.highest.max(*position);
        }
    }
}

#[derive(Debug)]
pub(super) struct Segment<F> {
    file: F,
    mark: Mark,
    synced_bytes: u64,
    buffer: Vec<u8>,
}

impl<F: StorageFile> Segment<F> {
    /// Goes on where a replay has ended; everything up to there is on stable storage.
    pub(super) const fn resume(file: F, mark: Mark) -> Self {
        Self {
            file,
            synced_bytes: mark.written_bytes,
            mark,
            buffer: Vec::new(),
        }
    }

    /// Makes a segment and puts its header and the latest state on stable storage.
    pub(super) fn begin<S: Storage<File = F>>(
        storage: &S,
        settings: &Settings,
        opening: &Opening<'_>,
    ) -> Result<Self, JournalError> {
        let name = segment_file::name(opening.number);
        let (bytes, mark) = opening_bytes(settings, opening);
        let file = storage
            .create(&name)
            .map_err(JournalError::io("make", &name))?;
        write_all(&file, 0, &bytes).map_err(JournalError::io("write", &name))?;
        file.sync().map_err(JournalError::io("sync", &name))?;
        storage
            .sync_folder()
            .map_err(JournalError::io("sync the folder of", &name))?;
        Ok(Self::resume(file, mark))
    }

    pub(super) const fn number(&self) -> u64 {
        self.mark.number
    }

    pub(super) const fn len_bytes(&self) -> u64 {
        self.mark.written_bytes + self.buffer.len() as u64
    }

    pub(super) const fn sealed(&self) -> Sealed {
        Sealed {
            number: self.mark.number,
            highest: self.mark.highest,
        }
    }

    pub(super) fn push(&mut self, record: &Record<'_>, more: bool) {
        self.mark.note(record);
        let offset = usize::try_from(self.len_bytes()).expect("Settings bounds it");
        let framing = Framing {
            place: Place {
                segment_check: self.mark.check,
                offset,
            },
            more,
            synced: self.synced_bytes,
            link: self.mark.link,
        };
        self.mark.link = record::emit(&mut self.buffer, record, &framing);
    }

    pub(super) fn flush_if_large(&mut self) -> Result<(), JournalError> {
        if self.buffer.len() < BUFFER_BYTES_MAX {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        write_all(&self.file, self.mark.written_bytes, &self.buffer).map_err(JournalError::io(
            "write",
            &segment_file::name(self.number()),
        ))?;
        self.mark.written_bytes = self.len_bytes();
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.synced_bytes == self.len_bytes() {
            return Ok(());
        }
        self.flush()?;
        self.file
            .sync()
            .map_err(JournalError::io("sync", &segment_file::name(self.number())))?;
        self.synced_bytes = self.mark.written_bytes;
        Ok(())
    }
}

/// Header and latest state, and where the segment then stands.
fn opening_bytes(settings: &Settings, opening: &Opening<'_>) -> (Vec<u8>, Mark) {
    let state = opening.state.map(|bytes| Record::State { bytes });
    let state_len = state.map_or(0, |state| state.len_in_file());
    let header = Header {
        ring: settings.ring,
        generation: settings.generation,
        number: opening.number,
        first: opening.first,
        previous_bytes: opening.previous_bytes,
        opening_bytes: (HEADER_BYTES + state_len) as u64,
    };
    let (head, check) = header.emit();
    let mut bytes = head.to_vec();
    let mut mark = Mark {
        number: opening.number,
        check,
        link: check,
        written_bytes: header.opening_bytes,
        highest: Position(0),
    };
    if let Some(state) = &state {
        let framing = Framing {
            place: Place {
                segment_check: check,
                offset: HEADER_BYTES,
            },
            more: false,
            synced: 0,
            link: check,
        };
        mark.link = record::emit(&mut bytes, state, &framing);
    }
    (bytes, mark)
}
