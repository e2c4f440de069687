//! The journal against a disk that tears, forgets and fails, from random sequences of calls.

use libexo::ids::Position;
use libexo::journal::faulty::Disk;
use libexo::journal::{Journal, Log, Opened, Record, Settings, Vote, VoteFound};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SETTINGS: Settings = Settings {
    ring: 7,
    generation: 0x1234_5678_9abc_def0,
    segment_bytes: 2048,
};
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What the journal should hold, kept in the simplest way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, Vec<u8>>,
    tail: u64,
    state: Option<Vec<u8>>,
}

impl Model {
    fn append(&mut self, bytes: &[u8]) {
        self.tail += 1;
        self.entries.insert(self.tail, bytes.to_vec());
    }

    fn cut(&mut self, keep: u64) {
        let reaches = keep <= self.tail && keep + 1 >= self.first();
        self.entries
            .retain(|&position, _| reaches && position <= keep);
        self.tail = keep;
    }

    fn first(&self) -> u64 {
        let first = self.entries.keys().next();
        first.copied().unwrap_or(self.tail + 1)
    }

    /// Whether `log` is this, but for entries below `removed`, which may be gone.
    fn is(&self, log: &Log, removed: u64) -> bool {
        let is_held =
            |(position, bytes): (u64, &Vec<u8>)| self.entries.get(&position) == Some(bytes);
        let held = log.entries.iter().enumerate();
        let base = log.base.0;
        held.map(|(index, bytes)| (base + 1 + index as u64, bytes))
            .all(is_held)
            && log.tail().0 == self.tail
            && log.state == self.state
            && (base < self.first() || base < removed)
    }

    fn follow(&mut self, log: &Log) {
        let numbers = log.base.0 + 1..;
        self.entries = numbers.zip(log.entries.iter().cloned()).collect();
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Entries that hold together, with bodies of these lengths.
    Append(Vec<usize>),
    /// Cut so many, then append so many, as one unit.
    Replace(u64, usize),
    /// Leave out so many positions.
    Skip(u64),
    State(usize),
    Sync,
    /// Remove all but so many positions.
    Remove(u64),
    /// The power fails.
    Crash,
    /// The monitor ends, the system stays.
    Restart,
    /// After so many calls the disk fails.
    Fail(u64, i32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let errno = prop_oneof![Just(EIO), Just(ENOSPC)];
    let step = prop_oneof![
        8 => prop::collection::vec(0..900usize, 1..4).prop_map(Step::Append),
        2 => (0..6u64, 0..4usize).prop_map(|(cut, count)| Step::Replace(cut, count)),
        1 => (1..9u64).prop_map(Step::Skip),
        1 => (0..300usize).prop_map(Step::State),
        6 => Just(Step::Sync),
        1 => (0..20u64).prop_map(Step::Remove),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
        1 => (0..12u64, errno).prop_map(|(calls, errno)| Step::Fail(calls, errno)),
    ];
    prop::collection::vec(step, 1..80)
}

struct World {
    disk: Disk,
    journal: Option<Journal<Disk>>,
    /// As after each unit since the last sync; the first is what was synced.
    allowed: Vec<Model>,
    removed: u64,
    filled: u8,
}

impl World {
    fn new(seed: u64, short_writes: bool) -> Self {
        let disk = Disk::new(seed);
        disk.write_short(short_writes);
        let mut world = Self {
            disk,
            journal: None,
            allowed: vec![Model::default()],
            removed: 0,
            filled: 0,
        };
        world.reopen();
        world
    }

    fn latest(&self) -> Model {
        self.allowed.last().expect("never empty").clone()
    }

    fn body(&mut self, len: usize) -> Vec<u8> {
        self.filled = self.filled.wrapping_add(1);
        vec![self.filled; len]
    }

    /// Opens what is there, without faults, and compares.
    fn reopen(&mut self) {
        self.journal = None;
        self.disk.heal();
        match Journal::open(self.disk.clone(), SETTINGS).expect("the disk is well") {
            Opened::Lost(damage) => panic!("a crash looks like damage: {damage}"),
            Opened::New(journal) => {
                assert_eq!(self.allowed[0], Model::default(), "what was synced is gone");
                self.journal = Some(journal);
                self.allowed = vec![Model::default()];
            }
            Opened::Whole { journal, log, .. } => {
                let is_one = |model: &&Model| model.is(&log, self.removed);
                let mut model = self
                    .allowed
                    .iter()
                    .find(is_one)
                    .cloned()
                    .unwrap_or_else(|| {
                        panic!("{log:?} is none of {:?}", self.allowed);
                    });
                model.follow(&log);
                assert_eq!(journal.tail(), log.tail());
                self.journal = Some(journal);
                self.allowed = vec![model];
            }
        }
    }

    fn append(&mut self, unit: &[Record<'_>], next: Model) {
        let journal = self.journal.as_mut().expect("open");
        // Also if it fails: the disk may have got it.
        self.allowed.push(next);
        if journal.append(unit).is_err() {
            self.expect_stopped();
        }
    }

    fn append_entries(&mut self, mut model: Model, before: Option<u64>, lens: &[usize]) {
        let bodies: Vec<_> = lens.iter().map(|&len| self.body(len)).collect();
        let mut unit = Vec::new();
        if let Some(keep) = before {
            model.cut(keep);
            unit.push(Record::Cut {
                keep: Position(keep),
            });
        }
        for body in &bodies {
            model.append(body);
            unit.push(Record::Entry {
                position: Position(model.tail),
                bytes: body,
            });
        }
        self.append(&unit, model);
    }

    /// What has failed once says so from then on, and the monitor has to end.
    fn expect_stopped(&mut self) {
        let journal = self.journal.as_mut().expect("open");
        self.disk.heal();
        assert!(journal.sync().is_err(), "a sync after a failure");
        assert!(journal.append(&[]).is_err(), "an append after a failure");
        if self.filled.is_multiple_of(2) {
            self.disk.crash();
        }
        self.reopen();
    }

    fn step(&mut self, step: &Step) {
        let latest = self.latest();
        match step {
            Step::Append(lens) => self.append_entries(latest, None, lens),
            Step::Replace(cut, count) => {
                let keep = latest.tail.saturating_sub(*cut);
                self.append_entries(latest, Some(keep), &vec![40; *count]);
            }
            Step::Skip(count) => {
                let keep = latest.tail + count;
                self.append_entries(latest, Some(keep), &[9]);
            }
            Step::State(len) => {
                let bytes = self.body(*len);
                let state = Some(bytes.clone());
                self.append(
                    &[Record::State { bytes: &bytes }],
                    Model { state, ..latest },
                );
            }
            Step::Sync => match self.journal.as_mut().expect("open").sync() {
                Ok(()) => self.allowed = vec![latest],
                Err(_) => self.expect_stopped(),
            },
            Step::Remove(keep) => {
                self.removed = self.removed.max(latest.tail.saturating_sub(*keep));
                let journal = self.journal.as_mut().expect("open");
                if journal.remove_below(Position(self.removed)).is_err() {
                    self.expect_stopped();
                }
            }
            Step::Crash => {
                self.disk.crash();
                self.reopen();
            }
            Step::Restart => self.reopen(),
            Step::Fail(calls, errno) => self.disk.fail_after(*calls, *errno),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1500)))]

    #[test]
    fn journal_after_any_crash_has_what_was_synced_and_nothing_torn(
        seed: u64,
        short_writes: bool,
        steps in steps(),
    ) {
        let mut world = World::new(seed, short_writes);
        for step in &steps {
            world.step(step);
        }
        // What a replay has shown is on stable storage.
        world.reopen();
        world.disk.crash();
        world.reopen();
    }

    #[test]
    fn vote_of_a_journal_after_any_crash_is_the_old_or_the_new(
        seed: u64,
        faults in prop::collection::vec((0..7u64, any::<bool>()), 1..30),
    ) {
        let disk = Disk::new(seed);
        let mut allowed: Vec<Option<Vec<u8>>> = vec![None];
        for (number, &(calls, crashes)) in faults.iter().enumerate() {
            disk.heal();
            let (mut vote, found) = Vote::open(disk.clone()).expect("the disk is well");
            let found = match found {
                VoteFound::Nothing => None,
                VoteFound::Whole(bytes) => Some(bytes),
                VoteFound::Lost(damage) => panic!("a crash looks like damage: {damage}"),
            };
            prop_assert!(allowed.contains(&found));
            disk.fail_after(calls, EIO);
            let new = vec![u8::try_from(number).expect("few"); number];
            let written = vote.write(&new);
            allowed = match written {
                Ok(()) => vec![Some(new)],
                Err(_) => {
                    disk.heal();
                    prop_assert!(vote.write(b"later").is_err());
                    vec![found, Some(new)]
                }
            };
            if crashes {
                disk.crash();
            }
        }
    }
}

/// More with `EXO_SOAK=1`.
fn cases(few: u32) -> u32 {
    if std::env::var_os("EXO_SOAK").is_some() {
        few * 200
    } else {
        few
    }
}
