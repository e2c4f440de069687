//! Every state of a model up to a bound, and stories: lists of actions in words.
//!
//! The search is stateright's, breadth first on one thread, so that a bounded search is complete up
//! to its bound. A checker that goes on after its first finding may report a later one; therefore a
//! violation counts as shortest here when the search with one step less finds none.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What stateright asks of a model, and actions in words.
pub trait Searchable:
    Model<
        State: Clone + PartialEq + Hash + Send + Sync + 'static,
        Action: Clone + PartialEq + Display,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<M> Searchable for M
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + PartialEq + Hash + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Display,
{
}

/// What a search met.
#[derive(Clone, Debug)]
pub struct Outcome<S> {
    /// Distinct states, with those one step beyond the bound, which were not judged.
    pub states: usize,
    /// Steps to the furthest states that were judged.
    pub steps: usize,
    /// Whether the bound left nothing out.
    pub is_exhaustive: bool,
    /// How properties that must always hold come to fail.
    pub violations: Vec<Violation<S>>,
    /// The properties that should hold in some state and do.
    pub reached: BTreeSet<&'static str>,
}

impl<S> Display for Outcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, .. } = self;
        let extent = if self.is_exhaustive {
            "complete"
        } else {
            "complete up to them"
        };
        write!(f, "{states} states, {steps} steps, {extent}")?;
        if self.violations.is_empty() {
            return write!(f, ", no violation");
        }
        let mut violations = self.violations.iter();
        violations.try_for_each(|violation| write!(f, "\n{violation}"))
    }
}

/// How a property comes to fail.
#[derive(Clone, Debug)]
pub struct Violation<S> {
    /// The property.
    pub property: &'static str,
    /// The actions from the start.
    pub story: Vec<String>,
    /// Where they lead.
    pub end: S,
    /// Distinct states that the search had met.
    pub states: usize,
}

impl<S> Display for Violation<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.story.len();
        write!(f, "\"{}\" fails after {steps} steps:", self.property)?;
        for line in &self.story {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// Judges every state that at most `steps` actions lead to, or every state at all.
///
/// # Panics
///
/// When the model panics.
pub fn search<M: Searchable>(model: &M, steps: Option<usize>) -> Outcome<M::State> {
    run(model, steps, HasDiscoveries::All)
}

/// The shortest way to make `property` fail, with at most `steps_max` actions.
///
/// # Panics
///
/// When the model panics.
pub fn shortest<M: Searchable>(
    model: &M,
    property: &'static str,
    steps_max: usize,
) -> Option<Violation<M::State>> {
    (0..=steps_max).find_map(|steps| {
        let wanted = HasDiscoveries::AllOf(BTreeSet::from([property]));
        let outcome = run(model, Some(steps), wanted);
        let mut violations = outcome.violations.into_iter();
        violations.find(|violation| violation.property == property)
    })
}

fn run<M: Searchable>(model: &M, steps: Option<usize>, until: HasDiscoveries) -> Outcome<M::State> {
    // The checker counts the first state as depth 1 and does not judge those at the target.
    let target = steps.map(|steps| steps + 2);
    let mut builder = model.clone().checker().finish_when(until);
    if let Some(target) = target {
        builder = builder.target_max_depth(target);
    }
    let checker = builder.spawn_bfs().join();
    let depth = checker.max_depth();
    let mut outcome = Outcome {
        states: checker.unique_state_count(),
        steps: target.map_or(depth, |target| depth.min(target - 1)) - 1,
        is_exhaustive: target.is_none_or(|target| depth < target),
        violations: Vec::new(),
        reached: BTreeSet::new(),
    };
    for property in model.properties() {
        let Some(path) = checker.discovery(property.name) else {
            continue;
        };
        match property.expectation {
            Expectation::Always | Expectation::Eventually => {
                outcome.violations.push(Violation {
                    property: property.name,
                    end: path.last_state().clone(),
                    story: path
                        .into_actions()
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    states: outcome.states,
                });
            }
            Expectation::Sometimes => {
                outcome.reached.insert(property.name);
            }
        }
    }
    outcome
}

/// The actions that lead somewhere from a state.
pub fn offered<M: Searchable>(model: &M, state: &M::State) -> Vec<(M::Action, M::State)> {
    let mut actions = Vec::new();
    model.actions(state, &mut actions);
    actions
        .into_iter()
        .filter_map(|action| {
            let next = model.next_state(state, action.clone())?;
            Some((action, next))
        })
        .collect()
}

/// Where a story leads: each line is an action as it displays itself.
///
/// # Errors
///
/// The first line that no action, or more than one, answers to, with what was on offer there.
pub fn tell<M: Searchable>(model: &M, story: &[&str]) -> Result<M::State, String> {
    let mut state = model
        .init_states()
        .pop()
        .ok_or("the model has no first state")?;
    for (index, line) in story.iter().enumerate() {
        let mut offers = offered(model, &state);
        let mut fitting = offers
            .extract_if(.., |(action, _)| action.to_string() == *line)
            .collect::<Vec<_>>();
        if fitting.len() != 1 {
            let words: Vec<_> = offers
                .iter()
                .map(|(action, _)| action.to_string())
                .collect();
            let (step, count) = (index + 1, fitting.len());
            return Err(format!(
                "step {step}, \"{line}\": {count} such actions beside {words:#?}"
            ));
        }
        state = fitting.remove(0).1;
    }
    Ok(state)
}

/// Whether a property that must always hold fails in a state.
///
/// # Panics
///
/// When the model has no property of that name.
pub fn fails<M: Searchable>(model: &M, property: &str, state: &M::State) -> bool {
    let properties = model.properties();
    let found = properties.iter().find(|other| other.name == property);
    let property = found.expect("a property of the model");
    !(property.condition)(model, state)
}
