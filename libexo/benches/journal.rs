//! Appends and syncs a second of the journal on the file system of a folder, one line a load.
//!
//! ```console
//! $ cargo bench -p libexo --features journal --bench journal -- FOLDER
//! ```
//!
//! FOLDER must be on the disk that is asked about; without one it is the system's for temporary
//! files. Compare within one run: the same disk gives another answer at another time of day.

#![allow(clippy::print_stdout, reason = "its output is for a person")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use libexo::ids::Position;
use libexo::journal::{
    Folder, Journal, JournalError, Opened, Record, SEGMENT_BYTES, Settings, Vote,
};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SETTINGS: Settings = Settings {
    ring: 1,
    generation: 1,
    segment_bytes: SEGMENT_BYTES,
};
const LOAD_TIME: Duration = Duration::from_secs(2);
const VOTES: usize = 200;
/// Bytes of an entry, entries a sync.
const LOADS: [(usize, u64); 7] = [
    (64, 1),
    (64, 100),
    (64, 1000),
    (1416, 1),
    (1416, 100),
    (65536, 1),
    (65536, 16),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let above = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let above = above.map_or_else(std::env::temp_dir, PathBuf::from);
    let path = above.join(format!("exo-journal-bench-{}", std::process::id()));
    let result = LOADS
        .iter()
        .try_for_each(|&(entry_bytes, batch)| load(&path, entry_bytes, batch))
        .and_then(|()| votes(&path));
    remove(&path)?;
    result
}

fn load(path: &Path, entry_bytes: usize, batch: u64) -> Result<(), Box<dyn std::error::Error>> {
    remove(path)?;
    let Opened::New(mut journal) = Journal::open(Folder::open(path)?, SETTINGS)? else {
        return Err("the folder was emptied, and holds a journal".into());
    };
    let body = vec![7; entry_bytes];
    let mut syncs = Vec::new();
    let start = Instant::now();
    while start.elapsed() < LOAD_TIME {
        syncs.push(one_batch(&mut journal, &body, batch)?);
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(journal);
    let start = Instant::now();
    let Opened::Whole { log, .. } = Journal::open(Folder::open(path)?, SETTINGS)? else {
        return Err("what was written is not found".into());
    };
    let replay = start.elapsed();
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    println!(
        "{entry_bytes:>6} B, {batch:>4} a sync: {:>9.0} entries/s {:>5.0} syncs/s, sync {}; \
         replay of {} entries: {replay:.0?}",
        count(log.entries.len()) / seconds,
        count(syncs.len()) / seconds,
        percentiles(&mut syncs),
        log.entries.len(),
    );
    Ok(())
}

/// Appends and syncs, and says how long the sync took.
fn one_batch(
    journal: &mut Journal<Folder>,
    body: &[u8],
    batch: u64,
) -> Result<Duration, JournalError> {
    for _ in 0..batch {
        let position = Position(journal.tail().0 + 1);
        let bytes = body;
        journal.append(&[Record::Entry { position, bytes }])?;
    }
    let start = Instant::now();
    journal.sync()?;
    Ok(start.elapsed())
}

fn votes(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    remove(path)?;
    let (mut vote, _) = Vote::open(Folder::open(path)?)?;
    let mut writes = Vec::new();
    for _ in 0..VOTES {
        let start = Instant::now();
        vote.write(&[1; 32])?;
        writes.push(start.elapsed());
    }
    println!("  vote: write {}", percentiles(&mut writes));
    Ok(())
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:.1?} p99 {:.1?}", at(50), at(99))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
