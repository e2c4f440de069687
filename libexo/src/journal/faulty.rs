//! A disk in memory that does what real ones do at their worst, from a seed.
//!
//! Until a sync, a write lives in the system's memory only. A [`crash`](Disk::crash) keeps any of
//! the writes since the last sync, whole, in pieces or not at all, in any order, and any of the
//! changed names. A failed sync forgets what it should have written, as Linux does: it can still
//! be read, and no later sync writes it. For tests and for the simulator.

use super::storage::{Storage, StorageFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// A disk with one folder. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

/// An open file of a [`Disk`].
#[derive(Clone, Debug)]
pub struct DiskFile {
    disk: Disk,
    file: usize,
}

#[derive(Debug)]
struct State {
    files: Vec<FileState>,
    names: Names,
    durable_names: Names,
    name_changes: Vec<NameChange>,
    random: u64,
    call_count: u64,
    fault: Option<Fault>,
    short_writes: bool,
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link {
        name: String,
        file: usize,
    },
    Move {
        from: String,
        to: String,
        file: usize,
    },
    Unlink {
        name: String,
    },
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    at_call: u64,
    errno: i32,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: Names::new(),
            durable_names: Names::new(),
            name_changes: Vec::new(),
            random: seed,
            call_count: 0,
            fault: None,
            short_writes: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the call after `calls` more on, every call that changes the disk fails with `errno`.
    pub fn fail_after(&self, calls: u64, errno: i32) {
        let mut state = self.state();
        let at_call = state.call_count + calls;
        state.fault = Some(Fault { at_call, errno });
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// Whether writes may take fewer bytes than they are given.
    pub fn write_short(&self, short_writes: bool) {
        self.state().short_writes = short_writes;
    }

    /// How many calls have changed the disk.
    #[must_use]
    pub fn call_count(&self) -> u64 {
        self.state().call_count
    }

    /// The power fails: what was not synced is there in any pieces or not.
    pub fn crash(&self) {
        let mut state = self.state();
        let changes = std::mem::take(&mut state.name_changes);
        for change in changes {
            if state.chance(2) {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        for file in 0..state.files.len() {
            state.crash_file(file);
        }
    }

    /// What is in a file; `None` if there is none.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let file = *state.names.get(name)?;
        Some(state.files[file].bytes.clone())
    }

    /// Puts a file on the disk, synced, as damage would.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.files.len();
        state.files.push(FileState {
            bytes: bytes.to_vec(),
            durable: bytes.to_vec(),
            changes: Vec::new(),
        });
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
    }

    /// Takes a name off the disk, synced, as damage would.
    pub fn take(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// A disk with the same contents, all synced, that shares nothing with this one.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state();
        let copy = Self::new(state.random);
        for (name, &file) in &state.names {
            copy.put(name, &state.files[file].bytes);
        }
        drop(state);
        copy
    }
}

impl State {
    /// A number below `bound` (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = (mixed ^ (mixed >> 31)) % (bound.max(1) as u64);
        usize::try_from(mixed).expect("below a usize")
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn call(&mut self) -> io::Result<()> {
        self.call_count += 1;
        match self.fault {
            Some(fault) if self.call_count > fault.at_call => {
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            _ => Ok(()),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn file_of(&self, name: &str) -> io::Result<usize> {
        let file = self.names.get(name).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn crash_file(&mut self, file: usize) {
        let changes = std::mem::take(&mut self.files[file].changes);
        for change in changes {
            match change {
                Change::Length(_) if self.chance(2) => {}
                Change::Length(_) => change.apply(&mut self.files[file].durable),
                Change::Write { offset, bytes } => self.tear(file, offset, &bytes),
            }
        }
        self.files[file].bytes = self.files[file].durable.clone();
    }

    /// Keeps a write whole, not at all, up to some byte, or in some of its sectors.
    fn tear(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        match self.below(4) {
            0 => {}
            1 => self.keep(file, offset, bytes),
            2 => {
                let end = self.below(bytes.len() + 1);
                self.keep(file, offset, &bytes[..end]);
            }
            _ => {
                let mut at = 0;
                while at < bytes.len() {
                    let in_sector = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
                    let end = bytes.len().min(at + in_sector);
                    if self.chance(2) {
                        self.keep(file, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }

    fn keep(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        Change::Write { offset, bytes }.apply(&mut self.files[file].durable);
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(bytes);
            }
            Self::Length(len) => file.resize(*len, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Move { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
        }
    }
}

impl Storage for Disk {
    type File = DiskFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<DiskFile> {
        let mut state = self.state();
        state.call()?;
        let file = state.files.len();
        state.files.push(FileState::default());
        let name = name.to_owned();
        state.change_names(NameChange::Link { name, file });
        let disk = self.clone();
        Ok(DiskFile { disk, file })
    }

    fn open(&self, name: &str) -> io::Result<Option<DiskFile>> {
        let file = self.state().names.get(name).copied();
        let disk = self.clone();
        Ok(file.map(|file| DiskFile { disk, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let file = state.file_of(from)?;
        let (from, to) = (from.to_owned(), to.to_owned());
        state.change_names(NameChange::Move { from, to, file });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.file_of(name)?;
        let name = name.to_owned();
        state.change_names(NameChange::Unlink { name });
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        let result = state.call();
        let changes = std::mem::take(&mut state.name_changes);
        result?;
        for change in changes {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }
}

impl DiskFile {
    fn change(&self, state: &mut State, change: Change) {
        let file = &mut state.files[self.file];
        change.apply(&mut file.bytes);
        file.changes.push(change);
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl StorageFile for DiskFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.files[self.file].bytes.get(index(offset)?..);
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let offset = index(offset)?;
        let fault = state.call();
        let is_short = fault.is_err() || state.short_writes;
        let mut count = bytes.len();
        if is_short && count > 0 {
            count = 1 + state.below(count);
        }
        // A write that fails may have changed the file, too.
        let bytes = bytes[..count].to_vec();
        self.change(&mut state, Change::Write { offset, bytes });
        fault.map(|()| count)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        self.change(&mut state, Change::Length(index(len_bytes)?));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.call();
        let file = &mut state.files[self.file];
        let changes = std::mem::take(&mut file.changes);
        result?;
        for change in changes {
            change.apply(&mut file.durable);
        }
        Ok(())
    }
}
