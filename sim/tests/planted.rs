//! Mistakes planted into the ring, one at a time: schedules find each of them, and find nothing
//! where none is planted. `docs/planted.md` holds the table that this prints.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::Instant;

use exo_sim::{Plan, run};
use libexo::planted::{Mistake, plant};

/// A mistake that as many schedules do not find is not found.
const SCHEDULES_MAX: u64 = 10_000;
/// The slice has the mistakes that the table says as many schedules find.
const SLICE_SCHEDULES: u64 = 10;
/// So many may it take in the slice: a change of the engine changes what a seed comes to.
const SLICE_MAX: u64 = 300;

/// Found by the frame-by-frame runs of `scripts.rs`, and by no schedule.
const SCRIPTED: [Mistake; 2] = [Mistake::AdmitsUnknown, Mistake::DeadPromisesCount];

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A schedule that shows a mistake.
struct Found {
    seed: u64,
    /// The guarantee or the invariant that does not hold.
    by: String,
    seen: String,
}

/// Assertions are kept for whoever catches them; they would fill the output.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("seeker") {
                let text = info.payload_as_str().unwrap_or("not a text");
                PANIC.set(Some(text.replace('\n', " ")));
            } else {
                before(info);
            }
        }));
    });
}

/// What an assertion is called: the invariants that its text ends with, or its text.
fn name_of(assertion: &str) -> String {
    let named = assertion.rfind("(I").or_else(|| assertion.rfind("(R"));
    let end = named.and_then(|from| {
        assertion[from..]
            .find(')')
            .map(|len| (from + 1, from + len))
    });
    match end {
        Some((from, to)) => format!("{} (assertion)", &assertion[from..to]),
        None => format!("{assertion} (assertion)"),
    }
}

/// What one schedule shows with whatever is planted in this thread.
fn look(seed: u64) -> Option<Found> {
    let result = panic::catch_unwind(|| run(&Plan::new(seed, None)));
    match result {
        Ok(Ok(_)) => None,
        Ok(Err(failure)) => Some(Found {
            seed,
            by: failure.guarantee.to_owned(),
            seen: failure.seen,
        }),
        Err(_) => {
            let seen = PANIC.take().unwrap_or_default();
            let by = name_of(&seen);
            Some(Found { seed, by, seen })
        }
    }
}

/// The first schedule that shows the mistake; and what the same one shows without.
fn seek(mistake: Mistake, schedules_max: u64) -> (Option<Found>, Option<Found>) {
    plant(Some(mistake));
    let found = (1..=schedules_max).find_map(look);
    plant(None);
    let without = found.as_ref().and_then(|found| look(found.seed));
    (found, without)
}

fn row(mistake: Mistake, found: Option<&Found>) -> String {
    let (by, schedules) = match found {
        Some(found) => (&found.by[..], found.seed.to_string()),
        None => ("**nothing**", "–".to_owned()),
    };
    format!("{} {by} | {schedules} |", head(mistake))
}

/// The part of a row that does not depend on schedules.
fn head(mistake: Mistake) -> String {
    let (name, rule) = (mistake.name(), mistake.rule());
    let (what, file) = (mistake.what(), mistake.file());
    format!("| `{name}` | {rule} | {what} | `{file}` |")
}

/// Seeks all of them on all processors. Returns the rows, in order, and what is wrong with some.
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "what was found, and how long it took, is what this is for"
)]
fn seek_all(mistakes: &[Mistake], schedules_max: u64) -> (Vec<String>, Vec<String>) {
    keep_panics();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(vec![None; mistakes.len()]);
    let work = || {
        // Relaxed: each index is taken once, and nothing else is shared by it.
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(mistake) = mistakes.get(index)
        {
            let since = Instant::now();
            let (found, without) = seek(*mistake, schedules_max);
            let seen = found.as_ref().map_or("", |found| &found.seen[..]);
            let seen: String = seen.chars().take(160).collect();
            let row = row(*mistake, found.as_ref());
            println!("{row}\n    {:.1} s: {seen}", since.elapsed().as_secs_f64());
            let name = mistake.name();
            let wrong = match (found, without) {
                (None, _) => Some(format!("{name} is not found")),
                (_, Some(it)) => Some(format!("{} fails without {name}: {}", it.seed, it.seen)),
                (Some(_), None) => None,
            };
            rows.lock().expect("nobody panics with it")[index] = Some((row, wrong));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            let seeker = thread::Builder::new().name("seeker".to_owned());
            seeker.spawn_scoped(scope, work).expect("a thread starts");
        }
    });
    let rows = rows.into_inner().expect("nobody panics with it");
    let rows: Vec<_> = rows.into_iter().map(|row| row.expect("sought")).collect();
    let (rows, wrong): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    (rows, wrong.into_iter().flatten().collect())
}

/// Those that schedules find.
fn sought() -> impl Iterator<Item = Mistake> {
    let all = Mistake::ALL.iter().copied();
    all.filter(|mistake| !SCRIPTED.contains(mistake))
}

/// The published table's lines.
fn published() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/planted.md");
    let text = fs::read_to_string(path).expect("a readable file");
    text.lines().map(str::to_owned).collect()
}

/// How many schedules the published table says that it takes.
fn published_schedules(mistake: Mistake) -> Option<u64> {
    let lines = published();
    let line = lines.iter().find(|line| line.starts_with(&head(mistake)))?;
    line.trim_end_matches(" |").rsplit(' ').next()?.parse().ok()
}

#[test]
fn the_published_table_has_every_mistake() {
    let mut missing = String::new();
    for mistake in sought() {
        if published_schedules(mistake).is_none_or(|count| count > SCHEDULES_MAX) {
            writeln!(missing, "{}", head(mistake)).expect("a string takes it");
        }
    }
    assert!(missing.is_empty(), "not in docs/planted.md:\n{missing}");
    let rows = published();
    let rows = rows.iter().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Mistake::ALL.len(), "a row for each, and no other");
    for mistake in SCRIPTED {
        let name = format!("| `{}` | {} |", mistake.name(), mistake.rule());
        let is_it = |line: &String| line.starts_with(&name);
        assert!(
            published().iter().any(is_it),
            "not in docs/planted.md: {name}"
        );
    }
}

#[test]
fn mistakes_that_show_soon_are_found() {
    let is_soon = |it: &Mistake| published_schedules(*it).is_some_and(|n| n <= SLICE_SCHEDULES);
    let soon: Vec<_> = sought().filter(is_soon).collect();
    assert!(soon.len() >= 20, "only {} show soon", soon.len());
    let (_, wrong) = seek_all(&soon, SLICE_MAX);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `EXO_PLANTED=name,name` seeks some of them, `EXO_PLANTED_SCHEDULES=100` not for long.
#[test]
#[ignore = "minutes: make planted"]
fn every_mistake_is_found() {
    let some = std::env::var("EXO_PLANTED").ok();
    let is_asked = |it: &Mistake| {
        let names = some.as_ref().map(|some| some.split(','));
        names.is_none_or(|mut names| names.any(|name| name == it.name()))
    };
    let asked: Vec<_> = sought().filter(is_asked).collect();
    let most = std::env::var("EXO_PLANTED_SCHEDULES").ok();
    let most = most.map_or(SCHEDULES_MAX, |most| most.parse().expect("a number"));
    let (rows, wrong) = seek_all(&asked, most);
    println!("\n| mistake | breaks | what is done wrongly | where | found by | schedules |");
    println!("| --- | --- | --- | --- | --- | --- |\n{}", rows.join("\n"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
