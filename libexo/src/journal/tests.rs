use super::faulty::Disk;
use super::*;
use proptest::prelude::*;
use std::fs;

const SETTINGS: Settings = Settings {
    ring: 7,
    generation: 0x0102_0304_0506_0708,
    segment_bytes: 512,
};
const FIRST: &str = "0000000000000001.journal";

fn entry(position: u64, bytes: &[u8]) -> Record<'_> {
    let position = Position(position);
    Record::Entry { position, bytes }
}

fn begin(disk: &Disk, settings: Settings) -> Journal<Disk> {
    match Journal::open(disk.clone(), settings) {
        Ok(Opened::New(journal)) => journal,
        other => panic!("{other:?}"),
    }
}

fn whole(disk: &Disk, settings: Settings) -> (Log, Option<Torn>) {
    match Journal::open(disk.clone(), settings) {
        Ok(Opened::Whole { log, torn, .. }) => (log, torn),
        other => panic!("{other:?}"),
    }
}

fn lost(disk: &Disk) -> Damage {
    match Journal::open(disk.clone(), SETTINGS) {
        Ok(Opened::Lost(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

/// Three segments: states, cuts, units, the last synced in two batches.
fn filled() -> Disk {
    let disk = Disk::new(1);
    let mut journal = begin(&disk, SETTINGS);
    journal
        .append(&[Record::State { bytes: b"state" }])
        .unwrap();
    for position in 1..=9 {
        let bytes = vec![b'a'; 64 + usize::try_from(position).unwrap()];
        journal.append(&[entry(position, &bytes)]).unwrap();
        journal.sync().unwrap();
    }
    let keep = Position(8);
    let unit = [Record::Cut { keep }, entry(9, b"nine"), entry(10, b"ten")];
    journal.append(&unit).unwrap();
    journal.sync().unwrap();
    journal.append(&[entry(11, b"eleven")]).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.segment_count(), 3);
    disk
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let words: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn bytes_are_those_of_the_document() {
    let disk = Disk::new(1);
    let mut journal = begin(&disk, SETTINGS);
    journal
        .append(&[Record::State { bytes: b"state" }])
        .unwrap();
    journal.sync().unwrap();
    let keep = Position(4);
    journal
        .append(&[Record::Cut { keep }, entry(5, b"five")])
        .unwrap();
    journal.sync().unwrap();
    let (mut vote, _) = Vote::open(disk.clone()).unwrap();
    vote.write(b"promised").unwrap();
    let mut found = String::new();
    for name in [MANIFEST_NAME, FIRST, "vote"] {
        let bytes = disk.bytes(name).unwrap();
        found += &format!("{name}\n{}\n", hex(&bytes));
    }
    assert_eq!(found, include_str!("golden.hex"));
}

#[test]
fn a_journal_is_replayed_as_it_was_written() {
    let (log, torn) = whole(&filled(), SETTINGS);
    assert_eq!(torn, None);
    assert_eq!((log.base, log.tail()), (Position(0), Position(11)));
    assert_eq!(log.entries[7], vec![b'a'; 72]);
    assert_eq!(
        log.entries[8..],
        [b"nine".to_vec(), b"ten".to_vec(), b"eleven".to_vec()]
    );
    assert_eq!(log.state.as_deref(), Some(&b"state"[..]));
}

/// Every bit of damage is seen: it is a loss, or the last batch is cut, which may be torn.
#[test]
fn every_byte_altered_is_damage_or_cuts_the_last_batch() {
    let original = filled();
    let (good, _) = whole(&original.copy(), SETTINGS);
    let mut cut_count = 0;
    for name in original.names().unwrap() {
        let bytes = original.bytes(&name).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            let disk = original.copy();
            disk.put(&name, &altered);
            match Journal::open(disk, SETTINGS).unwrap() {
                Opened::Lost(damage) => assert_eq!(damage.file, name),
                Opened::Whole { log, torn, .. } => {
                    let torn = torn.expect("an alteration went unseen");
                    assert_eq!((torn.file, log.tail()), (name.clone(), Position(10)));
                    assert_eq!(log.entries, good.entries[..10]);
                    cut_count += 1;
                }
                Opened::New(_) => panic!("{name}: damage looks like a first start"),
            }
        }
    }
    assert_eq!(cut_count, HEAD_BYTES + 8, "the last record and no other");
}

#[test]
fn every_length_cut_off_is_damage_or_an_earlier_batch() {
    let original = filled();
    for name in original.names().unwrap() {
        let bytes = original.bytes(&name).unwrap();
        for len in 0..bytes.len() {
            let disk = original.copy();
            disk.put(&name, &bytes[..len]);
            match Journal::open(disk, SETTINGS).unwrap() {
                Opened::Lost(damage) => assert_eq!(damage.file, name),
                Opened::Whole { log, .. } => {
                    assert!(name.ends_with("3.journal"), "{name} cut to {len}");
                    assert!([8, 9, 10].contains(&log.tail().0), "{:?}", log.tail());
                }
                Opened::New(_) => panic!("{name}: damage looks like a first start"),
            }
        }
    }
}

#[test]
fn every_missing_file_is_damage() {
    let original = filled();
    for name in original.names().unwrap() {
        let disk = original.copy();
        disk.take(&name);
        let found = lost(&disk).found;
        assert!(
            matches!(found, Found::Missing | Found::Unnamed),
            "{name}: {found}"
        );
    }
}

#[test]
fn what_an_earlier_life_left_behind_the_end_is_not_replayed() {
    let disk = Disk::new(1);
    let mut journal = begin(&disk, SETTINGS);
    journal.append(&[entry(1, b"aaaa")]).unwrap();
    journal.sync().unwrap();
    let torn_at = disk.bytes(FIRST).unwrap().len();
    journal
        .append(&[entry(2, b"bbbb"), entry(3, b"cccc")])
        .unwrap();
    journal.sync().unwrap();
    // The write of both was torn in the first, and cut; the cut itself did not reach the disk.
    let mut bytes = disk.bytes(FIRST).unwrap();
    disk.put(FIRST, &bytes[..torn_at]);
    let Ok(Opened::Whole { mut journal, .. }) = Journal::open(disk.clone(), SETTINGS) else {
        panic!("it is whole");
    };
    journal.append(&[entry(2, b"dddd")]).unwrap();
    journal.sync().unwrap();
    let new = disk.bytes(FIRST).unwrap();
    bytes[..new.len()].copy_from_slice(&new);
    disk.put(FIRST, &bytes);
    let (log, torn) = whole(&disk, SETTINGS);
    assert_eq!(log.entries, [b"aaaa", b"dddd"]);
    assert_eq!(torn.unwrap().found, Found::Record(RecordError::Link));
}

#[test]
fn damage_names_file_place_and_what_to_do() {
    let disk = filled();
    let mut bytes = disk.bytes(FIRST).unwrap();
    bytes[HEADER_BYTES] ^= 1;
    disk.put(FIRST, &bytes);
    assert_eq!(
        lost(&disk).to_string(),
        "0000000000000001.journal, byte 64: no record begins here; this host starts as one that \
         lost its memory and takes the order from the others (check the disk; what was there is \
         kept as *.damaged)"
    );
}

#[test]
fn journal_of_another_generation_is_no_memory_of_this_one() {
    let disk = filled();
    let generation = 9;
    let other = Settings {
        generation,
        ..SETTINGS
    };
    let opened = Journal::open(disk, other).unwrap();
    let Opened::Lost(damage) = opened else {
        panic!("{opened:?}");
    };
    let (ring, generation) = (SETTINGS.ring, SETTINGS.generation);
    assert_eq!(damage.found, Found::OtherRing { ring, generation });
}

#[test]
fn starting_over_keeps_what_was_there_and_a_crash_in_it_still_looks_lost() {
    let original = filled();
    original.take(FIRST);
    for calls in 0..40 {
        let disk = original.copy();
        disk.fail_after(calls, 5);
        let result = Journal::start_over(disk.clone(), SETTINGS);
        disk.heal();
        disk.crash();
        match (result, Journal::open(disk.clone(), SETTINGS).unwrap()) {
            (Err(_), Opened::Lost(_)) => {}
            // The manifest was renamed, and only the folder's sync failed.
            (Ok(_) | Err(_), Opened::Whole { log, .. }) => {
                assert_eq!(log, Log::default());
                let kept = disk.names().unwrap();
                assert_eq!(
                    kept.iter()
                        .filter(|name| segment_file::is_damaged(name))
                        .count(),
                    2
                );
            }
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn segments_are_removed_when_all_their_entries_lie_below() {
    let disk = filled();
    let Ok(Opened::Whole { mut journal, .. }) = Journal::open(disk.clone(), SETTINGS) else {
        panic!("it is whole");
    };
    assert_eq!(journal.remove_below(Position(4)).unwrap(), 0);
    assert_eq!(journal.remove_below(Position(5)).unwrap(), 1);
    assert_eq!(disk.bytes(FIRST), None);
    assert_eq!(journal.remove_below(Position(100)).unwrap(), 1);
    let (log, _) = whole(&disk, SETTINGS);
    assert_eq!((log.base, log.tail()), (Position(8), Position(11)));
    assert_eq!(
        log.state.as_deref(),
        Some(&b"state"[..]),
        "it is carried on"
    );
}

#[test]
#[should_panic(expected = "an entry follows the tail")]
fn entry_that_leaves_a_gap_is_a_mistake_of_ours() {
    let mut journal = begin(&Disk::new(1), SETTINGS);
    journal.append(&[entry(2, b"")]).unwrap();
}

#[test]
fn vote_altered_in_any_byte_is_lost() {
    let original = Disk::new(1);
    let (mut vote, found) = Vote::open(original.clone()).unwrap();
    assert_eq!(found, VoteFound::Nothing);
    vote.write(b"promised").unwrap();
    let bytes = original.bytes("vote").unwrap();
    for at in 0..bytes.len() {
        for altered in [flipped(&bytes, at), bytes[..at].to_vec()] {
            let disk = original.copy();
            disk.put("vote", &altered);
            let (_, found) = Vote::open(disk).unwrap();
            assert!(matches!(found, VoteFound::Lost(_)), "{at}: {found:?}");
        }
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (at % 8);
    bytes
}

#[test]
fn vote_missing_beside_a_journal_is_lost_and_no_first_start() {
    let (_, found) = Vote::open(filled()).unwrap();
    let VoteFound::Lost(damage) = found else {
        panic!("{found:?}");
    };
    assert_eq!(damage.found, Found::Missing);
}

#[test]
fn failure_is_final_and_says_what_to_do() {
    let disk = Disk::new(1);
    let mut journal = begin(&disk, SETTINGS);
    journal.append(&[entry(1, b"one")]).unwrap();
    disk.fail_after(1, 28);
    let first = journal.sync().unwrap_err().to_string();
    assert_eq!(
        first,
        "cannot sync 0000000000000001.journal: No space left on device (os error 28) (this host \
         stops ordering; give the disk space or repair it, then restart the monitor)"
    );
    disk.heal();
    let later = journal.sync().unwrap_err().to_string();
    assert_eq!(
        later,
        format!("nothing is written since an earlier failure: {first}")
    );
}

#[test]
fn real_folder_is_locked_private_and_replayed() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("journal");
    let folder = Folder::open(&path).unwrap();
    let refused = Folder::open(&path).unwrap_err();
    assert!(matches!(refused, FolderError::Busy { .. }), "{refused}");
    let Ok(Opened::New(mut journal)) = Journal::open(folder.clone(), SETTINGS) else {
        panic!("it is empty");
    };
    for position in 1..=20 {
        journal.append(&[entry(position, &[7; 100])]).unwrap();
        journal.sync().unwrap();
    }
    assert!(journal.remove_below(Position(10)).unwrap() > 0);
    let (mut vote, _) = Vote::open(folder.clone()).unwrap();
    vote.write(b"promised").unwrap();
    drop((journal, vote, folder));
    for entry in fs::read_dir(&path).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may not read or write it");
    }
    let folder = Folder::open(&path).unwrap();
    let (_, found) = Vote::open(folder.clone()).unwrap();
    assert_eq!(found, VoteFound::Whole(b"promised".to_vec()));
    let Ok(Opened::Whole { log, .. }) = Journal::open(folder, SETTINGS) else {
        panic!("it is whole");
    };
    assert_eq!(log.tail(), Position(20));
    assert!(log.entries.iter().all(|bytes| bytes == &[7; 100]));
}

#[test]
fn folder_that_cannot_be_made_says_why() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("missing/journal");
    let refused = Folder::open(&path).unwrap_err().to_string();
    assert!(refused.starts_with("cannot make /"), "{refused}");
    assert!(
        refused.ends_with("and this one belong to the monitor)"),
        "{refused}"
    );
}

/// A number from everywhere, small ones more often.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4u64,
        any::<u64>(),
        (0..4u64).prop_map(|less| u64::MAX - less)
    ]
}

proptest! {
    /// Whoever makes the checks right can make a journal say anything, but not end the monitor.
    #[test]
    fn wrong_numbers_under_right_checks_end_nothing(
        number in any_number(),
        field in 0..5usize,
        in_manifest: bool,
        keep in any_number(),
        lens in prop::collection::vec(0..99usize, 0..4),
    ) {
        let disk = Disk::new(1);
        let mut journal = begin(&disk, SETTINGS);
        journal.append(&[entry(1, b"one")]).unwrap();
        let keep = Position(keep.min(u64::MAX - 9));
        journal.append(&[Record::Cut { keep }]).unwrap();
        for (position, len) in (keep.0 + 1..).zip(lens) {
            journal.append(&[entry(position, &vec![1; len])]).unwrap();
        }
        journal.sync().unwrap();
        let (name, end) = if in_manifest { (MANIFEST_NAME, 44) } else { (FIRST, 60) };
        let mut bytes = disk.bytes(name).unwrap();
        let at = 16 + 8 * field.min((end - 16) / 8 - 1);
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&check.to_le_bytes());
        disk.put(name, &bytes);
        let opened = Journal::open(disk.clone(), SETTINGS).unwrap();
        if matches!(opened, Opened::Lost(_)) {
            let mut journal = Journal::start_over(disk, SETTINGS).unwrap();
            journal.append(&[entry(1, b"one")]).unwrap();
            journal.sync().unwrap();
        }
    }
}
