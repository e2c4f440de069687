//! Opening a journal after whatever ended its last life.
//!
//! A crash leaves the segments whole but for the end of the last one: what was appended since the
//! last sync may be there, torn, or missing, in any pieces. Each record says how much of the file
//! was on stable storage when it was written. So bytes that are no record are **torn** if nothing
//! in the file was written after they had been synced; then everything from that unit on is cut.
//! Otherwise, and anywhere else, they are **damage**, and the host has lost its memory: a log with
//! a hole must not be taken for one without.
//!
//! Damage to the very last batch cannot be told from a torn write and is cut, too.

use super::damage::{Damage, Found, Torn};
use super::manifest::{MANIFEST_NAME, Manifest};
use super::record::{self, Parsed, Place, Record, RecordError, UNIT_BYTES};
use super::segment::{Mark, Segment};
use super::segment_file::{self, HEADER_BYTES, Header};
use super::storage::{Storage, StorageFile as _, write_all};
use super::{Health, Journal, JournalError, NUMBER_MAX, Sealed, Settings, small_file};
use crate::ids::Position;
use std::collections::VecDeque;

/// What opening a journal found.
#[derive(Debug)]
pub enum Opened<S: Storage> {
    /// No journal; an empty one was begun.
    New(Journal<S>),
    /// Everything that was synced.
    Whole {
        /// Goes on behind it.
        journal: Journal<S>,
        /// What it holds.
        log: Log,
        /// What a crash had left unfinished.
        torn: Option<Torn>,
    },
    /// The host lost its memory. Nothing was changed; [`Journal::start_over`] begins anew.
    Lost(Damage),
}

/// The log as it was when the journal ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Log {
    /// The position before the first entry held.
    pub base: Position,
    /// The entries, without a gap.
    pub entries: Vec<Vec<u8>>,
    /// What the owner said last beside them.
    pub state: Option<Vec<u8>>,
}

impl Log {
    /// Position of the last entry.
    #[must_use]
    pub fn tail(&self) -> Position {
        Position(self.base.0 + self.entries.len() as u64)
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<(), Found> {
        match record {
            Record::Entry { position, bytes } => {
                let expected = self.tail().next();
                if *position != expected {
                    let found = *position;
                    return Err(Found::OutOfPlace { found, expected });
                }
                self.entries.push(bytes.to_vec());
            }
            Record::Cut { keep } => {
                super::expect_number(keep.0)?;
                self.cut(*keep);
            }
            Record::State { bytes } => self.state = Some(bytes.to_vec()),
        }
        Ok(())
    }

    fn cut(&mut self, keep: Position) {
        let kept = keep.0.checked_sub(self.base.0);
        match kept.and_then(|kept| usize::try_from(kept).ok()) {
            Some(kept) if kept <= self.entries.len() => self.entries.truncate(kept),
            _ => {
                self.entries.clear();
                self.base = keep;
            }
        }
    }
}

/// Why a replay ends early.
enum Stop {
    Damage(Damage),
    Failed(JournalError),
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

fn damage(file: &str, offset: usize, found: Found) -> Stop {
    Stop::Damage(Damage {
        file: file.to_owned(),
        offset: offset as u64,
        found,
    })
}

pub(super) fn open<S: Storage>(storage: S, settings: Settings) -> Result<Opened<S>, JournalError> {
    match open_whole(storage, settings) {
        Ok(opened) => Ok(opened),
        Err(Stop::Damage(damage)) => Ok(Opened::Lost(damage)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn open_whole<S: Storage>(storage: S, settings: Settings) -> Result<Opened<S>, Stop> {
    let names = names(&storage)?;
    let Some(bytes) = small_file::read(&storage, MANIFEST_NAME)? else {
        if names.iter().any(|name| segment_file::is_damaged(name)) {
            return Err(damage(MANIFEST_NAME, 0, Found::Missing)); // set aside, then interrupted
        }
        remove_leftovers(&storage, &names, None)?;
        return Ok(Opened::New(Journal::begin(storage, settings, 1)?));
    };
    let manifest =
        Manifest::parse(&bytes, &settings).map_err(|found| damage(MANIFEST_NAME, 0, found))?;
    let mut replay = Replay::new(settings);
    for number in manifest.first..manifest.last {
        let file = read_segment(&storage, number)?;
        replay.read_sealed(number, &file)?;
    }
    let file = read_segment(&storage, manifest.last)?;
    let (end, torn) = replay.read_last(manifest.last, &file)?;
    remove_leftovers(&storage, &names, Some(manifest))?;
    let segment = settle(&storage, &file, &end)?;
    // The manifest, too, may be in the system's memory only.
    manifest.write(&storage, &settings)?;
    let journal = Journal {
        storage,
        settings,
        sealed: replay.sealed,
        segment,
        tail: replay.log.tail(),
        state: replay.log.state.clone(),
        health: Health::default(),
    };
    let log = replay.log;
    Ok(Opened::Whole { journal, log, torn })
}

fn names<S: Storage>(storage: &S) -> Result<Vec<String>, JournalError> {
    let mut names = storage
        .names()
        .map_err(JournalError::io("list the folder of", MANIFEST_NAME))?;
    names.sort();
    Ok(names)
}

fn read_segment<S: Storage>(storage: &S, number: u64) -> Result<Vec<u8>, Stop> {
    let name = segment_file::name(number);
    let file = small_file::read(storage, &name)?;
    file.ok_or_else(|| damage(&name, 0, Found::Missing))
}

/// Removes segments that the manifest does not name: below its first they were being removed,
/// above its last one was being begun and holds nothing that was appended.
fn remove_leftovers<S: Storage>(
    storage: &S,
    names: &[String],
    manifest: Option<Manifest>,
) -> Result<(), Stop> {
    for name in names {
        let Some(number) = segment_file::number(name) else {
            continue;
        };
        if manifest.is_some_and(|manifest| (manifest.first..=manifest.last).contains(&number)) {
            continue;
        }
        if manifest.is_none_or(|manifest| number > manifest.last) {
            let bytes = small_file::read(storage, name)?.unwrap_or_default();
            let header = Header::parse(&bytes);
            if header.is_ok_and(|(header, _)| bytes.len() as u64 > header.opening_bytes) {
                return Err(damage(name, 0, Found::Unnamed));
            }
        }
        storage
            .remove(name)
            .map_err(JournalError::io("remove", name))?;
    }
    Ok(())
}

/// Cuts what is torn, and writes again what may be in the system's memory only: when a sync
/// failed, the system forgets that it was never written. Then it is synced.
fn settle<S: Storage>(
    storage: &S,
    bytes: &[u8],
    end: &End,
) -> Result<Segment<S::File>, JournalError> {
    let name = segment_file::name(end.mark.number);
    let file = storage
        .open(&name)
        .and_then(|file| file.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .map_err(JournalError::io("open", &name))?;
    file.set_len(end.mark.written_bytes)
        .map_err(JournalError::io("cut", &name))?;
    write_all(&file, end.synced as u64, &bytes[end.synced..end.good])
        .map_err(JournalError::io("write", &name))?;
    file.sync().map_err(JournalError::io("sync", &name))?;
    Ok(Segment::resume(file, end.mark))
}

/// Gives up what a folder holds and returns the number for the first segment of a new journal.
///
/// The manifest stays until the new one takes its place. It names segments that are gone, and the
/// new number is none of theirs, so that a crash in between still looks like a loss.
pub(super) fn set_aside<S: Storage>(storage: &S) -> Result<u64, JournalError> {
    let names = names(storage)?;
    let segments: Vec<_> = names
        .iter()
        .filter_map(|name| segment_file::number(name))
        .collect();
    let mut kept = Vec::new();
    for &number in &segments {
        let (from, to) = (
            segment_file::name(number),
            segment_file::damaged_name(number),
        );
        storage
            .rename(&from, &to)
            .map_err(JournalError::io("rename", &from))?;
        kept.push(to);
    }
    storage
        .sync_folder()
        .map_err(JournalError::io("sync the folder of", MANIFEST_NAME))?;
    let is_older = |name: &&String| segment_file::is_damaged(name) && !kept.contains(name);
    // What was set aside before is kept if there is nothing to take its place.
    for name in names.iter().filter(is_older).filter(|_| !kept.is_empty()) {
        storage
            .remove(name)
            .map_err(JournalError::io("remove", name))?;
    }
    let manifest = small_file::read(storage, MANIFEST_NAME)?.unwrap_or_default();
    let named = Manifest::last_of(&manifest).unwrap_or(0);
    let ours = segments.into_iter().filter(|&number| number <= NUMBER_MAX);
    Ok(ours.max().unwrap_or(0).max(named) + 1)
}

struct Replay {
    settings: Settings,
    log: Log,
    sealed: VecDeque<Sealed>,
    previous_len: Option<usize>,
}

/// How far the last segment is good.
struct End {
    mark: Mark,
    good: usize,
    /// How much of it was on stable storage for certain.
    synced: usize,
}

/// What the records of one segment come to.
struct Walk {
    mark: Mark,
    /// Behind the last whole unit.
    good: usize,
    /// What the header and whole records say was on stable storage.
    synced: usize,
    /// The check of the last record, also of a unit without its end.
    link: u32,
    /// Where and why it went no further.
    bad: Option<(usize, Found)>,
}

impl Replay {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            log: Log::default(),
            sealed: VecDeque::new(),
            previous_len: None,
        }
    }

    /// A segment that others follow: nothing in it was being written.
    fn read_sealed(&mut self, number: u64, file: &[u8]) -> Result<(), Stop> {
        let walk = self.walk(number, file)?;
        if let Some((offset, found)) = walk.bad {
            return Err(damage(&segment_file::name(number), offset, found));
        }
        self.previous_len = Some(file.len());
        self.sealed.push_back(Sealed {
            number,
            highest: walk.mark.highest,
        });
        Ok(())
    }

    fn read_last(&mut self, number: u64, file: &[u8]) -> Result<(End, Option<Torn>), Stop> {
        let walk = self.walk(number, file)?;
        let name = segment_file::name(number);
        let mut end = End {
            mark: walk.mark,
            good: walk.good,
            synced: walk.synced,
        };
        let whole = (file.len(), Found::Record(RecordError::Short));
        let (offset, found) = walk.bad.unwrap_or(whole);
        let place = Place {
            segment_check: walk.mark.check,
            offset,
        };
        end.synced = end.synced.max(latest_mark(file, place));
        if walk.good < end.synced || !found.may_be_torn() {
            return Err(damage(&name, offset, found)); // it was synced, and is not there
        }
        if walk.bad.is_none() {
            return Ok((end, None));
        }
        let torn = Torn {
            file: name,
            offset: walk.good as u64,
            cut_bytes: (file.len() - walk.good) as u64,
            found,
        };
        Ok((end, Some(torn)))
    }

    /// Reads records into the log, unit by unit, until the end or something else than a record.
    fn walk(&mut self, number: u64, file: &[u8]) -> Result<Walk, Stop> {
        let (header, check) = self.header(number, file)?;
        let mut walk = Walk::new(&header, check);
        let mut unit: Vec<Record<'_>> = Vec::new();
        let mut at = HEADER_BYTES;
        while at < file.len() {
            let place = Place {
                segment_check: check,
                offset: at,
            };
            let parsed = match parse_next(file, place, walk.link) {
                Ok(parsed) => parsed,
                Err(found) => {
                    walk.bad = Some((at, found));
                    return Ok(walk);
                }
            };
            unit.push(parsed.record);
            walk.pass(&parsed);
            if !parsed.more {
                for record in unit.drain(..) {
                    let applied = self.log.apply(&record);
                    applied.map_err(|found| damage(&segment_file::name(number), at, found))?;
                    walk.mark.note(&record);
                }
                walk.finish_unit(&parsed);
            }
            at = parsed.end;
        }
        if walk.good < file.len() {
            walk.bad = Some((file.len(), Found::OpenUnit));
        }
        Ok(walk)
    }

    fn header(&mut self, number: u64, file: &[u8]) -> Result<(Header, u32), Stop> {
        let name = segment_file::name(number);
        let (header, check) = Header::parse(file).map_err(|found| damage(&name, 0, found))?;
        header
            .expect(&self.settings, number)
            .map_err(|found| damage(&name, 0, found))?;
        let (expected, found) = (self.log.tail().next(), header.first);
        let Some(previous_len) = self.previous_len else {
            self.log.base = Position(found.0.saturating_sub(1));
            return Ok((header, check));
        };
        if previous_len as u64 != header.previous_bytes {
            let previous = segment_file::name(number - 1);
            let changed = Found::LengthChanged {
                expected_bytes: header.previous_bytes,
                found_bytes: previous_len as u64,
            };
            return Err(damage(&previous, previous_len, changed));
        }
        if found != expected {
            return Err(damage(&name, 0, Found::OutOfPlace { found, expected }));
        }
        Ok((header, check))
    }
}

impl Walk {
    fn new(header: &Header, check: u32) -> Self {
        Self {
            mark: Mark {
                number: header.number,
                check,
                link: check,
                written_bytes: HEADER_BYTES as u64,
                highest: Position(0),
            },
            good: HEADER_BYTES,
            synced: usize::try_from(header.opening_bytes).unwrap_or(usize::MAX),
            link: check,
            bad: None,
        }
    }

    fn pass(&mut self, parsed: &Parsed<'_>) {
        self.synced = self.synced.max(parsed.synced);
        self.link = parsed.check;
    }

    fn finish_unit(&mut self, parsed: &Parsed<'_>) {
        self.good = parsed.end;
        self.mark.link = parsed.check;
        self.mark.written_bytes = parsed.end as u64;
    }
}

fn parse_next(file: &[u8], place: Place, link: u32) -> Result<Parsed<'_>, Found> {
    let parsed = record::parse(file, place)?;
    if parsed.link != link {
        return Err(RecordError::Link.into());
    }
    Ok(parsed)
}

/// The highest `synced` of any record behind `place`, wherever one may begin.
fn latest_mark(file: &[u8], place: Place) -> usize {
    let begin = place.offset.next_multiple_of(UNIT_BYTES);
    let places = (begin..file.len()).step_by(UNIT_BYTES);
    places
        .filter_map(|offset| record::parse(file, Place { offset, ..place }).ok())
        .map(|parsed| parsed.synced)
        .max()
        .unwrap_or(0)
}
