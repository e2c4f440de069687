//! What the tests of all models ask: does it hold everywhere, and is this the shortest way to break it?

use exo_models::search::{Searchable, fails, search, tell};

/// Asserts that a story breaks `property`, and that no shorter one does.
#[track_caller]
pub(crate) fn assert_shortest<M: Searchable>(model: &M, property: &str, story: &[&str]) {
    assert_breaks(model, property, story);
    let shorter = search(model, Some(story.len() - 1));
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

/// Asserts that a search met so many states, without leaving any out when it has no bound.
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
        let is_bounded = steps.is_some();
        let is_reached = outcome.reached.contains(property.name);
        if property.expectation == stateright::Expectation::Sometimes && !is_bounded {
            assert!(is_reached, "never: {}", property.name);
        }
    }
}
