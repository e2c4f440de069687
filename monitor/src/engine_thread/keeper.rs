//! The journal of a host, on a thread of its own: the engine thread never waits for a disk.
//!
//! ```text
//!  engine ─▶ units ─▶ append, append, …, one sync ─▶ the last unit's number ─▶ engine
//! ```

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use libexo::engine::ring::Memory;
use libexo::engine::{LogRecord, Unit, UnitId};
use libexo::ids::Position;
use libexo::journal::{
    Folder, Journal, JournalError, MANIFEST_NAME, Opened, Record, SEGMENT_BYTES, Settings, Storage,
};

use super::waker::ring;

/// What is found at a start, and the writer that goes on behind it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) keeper: Opener,
    /// `None`: this host has no memory of its generation.
    pub(super) memory: Option<Memory>,
}

/// A journal that no thread writes yet.
#[derive(Debug)]
pub(super) struct Opener {
    folder: Folder,
    ring: u32,
    journal: Option<Journal<Folder>>,
}

/// The journal's thread, as the engine thread sees it.
#[derive(Debug)]
pub(super) struct Keeper {
    units: Option<Sender<Unit>>,
    shared: Arc<Shared>,
    told: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Number of the last unit on stable storage.
    synced: AtomicU64,
    failure: OnceLock<String>,
}

/// Opens the journal of `generation`, 0 if the host belongs to none.
pub(super) fn open(
    folder: Folder,
    ring: u32,
    generation: u64,
    hosts: usize,
) -> Result<Found, JournalError> {
    let mut opener = Opener {
        folder,
        ring,
        journal: None,
    };
    if generation == 0 {
        return Ok(Found {
            keeper: opener,
            memory: None,
        });
    }
    let log = match Journal::open(opener.folder.clone(), opener.settings(generation))? {
        Opened::New(_) => {
            tracing::error!("the journal of this host is gone: it starts without memory");
            None
        }
        Opened::Lost(damage) => {
            tracing::error!(%damage, "the journal is damaged: this host starts without memory");
            None
        }
        Opened::Whole { journal, log, torn } => {
            if let Some(torn) = torn {
                tracing::warn!(
                    ?torn,
                    "the journal ends in a write that was not finished: cut off"
                );
            }
            opener.journal = Some(journal);
            Some(log)
        }
    };
    let memory = log.and_then(|log| {
        let state = log.state.as_ref()?;
        match Memory::read(hosts, state, log.base, &log.entries) {
            // Its programs are gone; those to come joined later.
            Ok(memory) => {
                let tail = memory.tail();
                Some(memory.deliver_after(tail))
            }
            Err(error) => {
                tracing::error!(%error, "the journal is damaged: this host starts without memory");
                None
            }
        }
    });
    Ok(Found {
        keeper: opener,
        memory,
    })
}

/// Makes a journal void that an earlier start of this host kept: this life leaves no trace in it,
/// and who came back from it later would remember too little.
pub(super) fn forget(folder: &Folder, ring: u32, generation: u64) -> Result<(), JournalError> {
    let names = folder.names().map_err(|source| JournalError::Io {
        action: "list the folder of",
        file: MANIFEST_NAME.to_owned(),
        source,
    })?;
    let has_journal = names.iter().any(|name| name == MANIFEST_NAME);
    if has_journal {
        tracing::warn!(
            "[ring] keeps no journal any more: the one of an earlier start is set aside"
        );
        let opener = Opener {
            folder: folder.clone(),
            ring,
            journal: None,
        };
        Journal::start_over(folder.clone(), opener.settings(generation))?;
    }
    Ok(())
}

impl Opener {
    const fn settings(&self, generation: u64) -> Settings {
        Settings {
            ring: self.ring,
            generation,
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// Starts the thread. `bell` is written to after each sync.
    pub(super) fn start(self, bell: Arc<OwnedFd>) -> std::io::Result<Keeper> {
        let (units, incoming) = channel();
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("exo-journal".to_owned())
                .spawn(move || {
                    if let Err(error) = self.serve(&incoming, &shared, &bell) {
                        // Read by the engine thread, which ends of it.
                        let _ = shared.failure.set(error.to_string());
                        ring(&bell);
                    }
                })?
        };
        Ok(Keeper {
            units: Some(units),
            shared,
            told: 0,
            thread: Some(thread),
        })
    }

    fn serve(
        mut self,
        incoming: &Receiver<Unit>,
        shared: &Shared,
        bell: &OwnedFd,
    ) -> Result<(), JournalError> {
        while let Ok(first) = incoming.recv() {
            let mut last = first.id;
            let mut needed_after = self.write(&first)?;
            while let Ok(unit) = incoming.try_recv() {
                last = unit.id;
                needed_after = self.write(&unit)?.or(needed_after);
            }
            if let Some(journal) = &mut self.journal {
                journal.sync()?;
                if let Some(base) = needed_after {
                    journal.remove_below(base.next())?;
                }
            }
            shared.synced.store(last.0, Ordering::Release); // pairs with `Keeper::synced`
            ring(bell);
        }
        Ok(())
    }

    /// Appends one unit. Returns the position up to which its state needs nothing.
    fn write(&mut self, unit: &Unit) -> Result<Option<Position>, JournalError> {
        let mut base = None;
        let mut records = &unit.records[..];
        if let [LogRecord::Begin { generation }, rest @ ..] = records {
            let settings = self.settings(*generation);
            self.journal = Some(Journal::start_over(self.folder.clone(), settings)?);
            records = rest;
        }
        let records: Vec<_> = records
            .iter()
            .map(|record| match record {
                LogRecord::Begin { .. } => unreachable!("a journal begins at the start of a unit"),
                LogRecord::Entry { position, bytes } => Record::Entry {
                    position: *position,
                    bytes,
                },
                LogRecord::Cut { keep } => Record::Cut { keep: *keep },
                LogRecord::State { base: at, bytes } => {
                    base = Some(*at);
                    Record::State { bytes }
                }
            })
            .collect();
        let journal = self.journal.as_mut();
        journal
            .expect("a journal is begun before it is written to")
            .append(&records)?;
        Ok(base)
    }
}

impl Keeper {
    pub(super) fn write(&self, unit: Unit) {
        let units = self.units.as_ref().expect("taken at the end only");
        // The thread is gone after a failure, which `synced` reports.
        let _ = units.send(unit);
    }

    /// The last unit that has come to stable storage since this was asked before.
    pub(super) fn synced(&mut self) -> Option<UnitId> {
        if let Some(failure) = self.shared.failure.get() {
            // What was promised must be remembered; a host that cannot must not go on.
            panic!("the journal cannot be kept: {failure}");
        }
        let synced = self.shared.synced.load(Ordering::Acquire);
        (synced > self.told).then(|| {
            self.told = synced;
            UnitId(synced)
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.units.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
