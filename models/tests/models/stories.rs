//! What the tests of all models ask: does it hold everywhere, and is this the shortest way to break it?

use exo_models::search::{Searchable, fails, search, tell};
use stateright::Expectation;

/// Asserts that a story breaks `property`, and that no shorter one does.
#[track_caller]
pub(crate) fn assert_shortest<M: Searchable>(model: &M, property: &str, story: &[&str]) {
    assert_breaks(model, property, story);
    let shorter = search(model, Some(story.len() - 1));
    println!("no shorter one among {} states", shorter.states);
    let found = shorter
        .violations
        .iter()
        .find(|violation| violation.property == property);
    assert!(
        found.is_none(),
        "shorter: {}",
        found.expect("checked above")
    );
}

/// Asserts that a story breaks `property`.
#[track_caller]
pub(crate) fn assert_breaks<M: Searchable>(model: &M, property: &str, story: &[&str]) {
    let end = tell(model, story).unwrap_or_else(|error| panic!("{error}"));
    assert!(fails(model, property, &end), "\"{property}\" holds");
    println!("\"{property}\" fails after {} steps:", story.len());
    for line in story {
        println!("  {line}");
    }
}

/// Asserts that exactly the properties `broken` fail somewhere, that the search met so many states and
/// left none out unless it was told to, and that what should be possible is.
#[track_caller]
pub(crate) fn assert_states<M: Searchable>(
    model: &M,
    steps: Option<usize>,
    states: usize,
    broken: &[&str],
) {
    let outcome = search(model, steps);
    println!("{outcome}");
    let found: Vec<_> = outcome
        .violations
        .iter()
        .map(|violation| violation.property)
        .collect();
    assert_eq!(found, broken, "{outcome}");
    assert_eq!(outcome.is_exhaustive, steps.is_none());
    assert_eq!(outcome.states, states, "docs/models.md gives this number");
    for property in model.properties() {
        // A bounded search may end before anything is agreed.
        if property.expectation == Expectation::Sometimes && outcome.is_exhaustive {
            let is_reached = outcome.reached.contains(property.name);
            assert!(is_reached, "never: {}", property.name);
        }
    }
}
