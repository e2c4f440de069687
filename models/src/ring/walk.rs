//! Random walks, far deeper than a search can look. Each ends in a fair phase, in which the network is
//! whole and nobody fails: every host must come back, and agree on something new from every other.

use std::sync::Arc;

use stateright::Model;

use super::{Action, Content, Fault, Frame, Ring, State};
use crate::letter;

/// Steps of a walk before its fair phase.
const STEPS_MAX: usize = 400;
/// For so many steps the same hosts are cut off.
const STEPS_CUT: usize = 25;

/// What walks came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Walks {
    /// Walks.
    pub runs: usize,
    /// Steps of all of them, without the fair phases.
    pub steps: usize,
    /// Positions agreed in all of them, without the fair phases.
    pub agreed: usize,
    /// Fair phases that brought everybody back.
    pub converged: usize,
    /// Walks after which no majority has memory, so that the ring rightly stands still.
    pub halted: usize,
}

/// A walk that shows a fault.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which of the walks, from 0.
    pub run: usize,
    /// What is wrong.
    pub what: String,
    /// The steps that lead there, without those of the fair phase.
    pub story: Vec<String>,
}

/// The bounds of a walk: wide enough for everything to come several times.
#[must_use]
pub const fn bounds(hosts: u8, counts_self: bool) -> Ring {
    Ring {
        campaigns: 14,
        restarts: 4,
        counts_self,
        ring_changes: 6,
        ..Ring::new(hosts, 40)
    }
}

/// Walks `runs` times through a ring, the same way for the same seed.
///
/// # Errors
///
/// The first walk that breaks a rule or does not come to an end as it should.
pub fn walk(ring: &Ring, runs: usize, seed: u64) -> Result<Walks, Box<Failure>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut walks = Walks::default();
    for run in 0..runs {
        let (state, story) = one_walk(ring, &mut random);
        let fails = |what: String| {
            let story = story.iter().map(ToString::to_string).collect();
            Box::new(Failure { run, what, story })
        };
        if let Some(fault) = state.fault {
            return Err(fails(format!("{fault:?}")));
        }
        walks.runs += 1;
        walks.steps += story.len();
        walks.agreed += state.chosen.len();
        let with_memory = state.hosts.iter().filter(|host| host.has_memory).count();
        if with_memory < ring.majority() {
            walks.halted += 1;
        } else {
            fair(ring, state).map_err(fails)?;
            walks.converged += 1;
        }
    }
    Ok(walks)
}

fn one_walk(ring: &Ring, random: &mut fastrand::Rng) -> (State, Vec<Action>) {
    let mut state = State::new(ring.hosts);
    let mut story = Vec::new();
    let mut cut_off = 0;
    let mut actions = Vec::new();
    for step in 0..STEPS_MAX {
        if step % STEPS_CUT == 0 {
            cut_off = if random.bool() { 0 } else { random.u8(..) };
        }
        let side = |host: u8| (cut_off >> host) & 1;
        let without_memory = state.hosts.iter().filter(|host| !host.has_memory).count();
        let may_forget = without_memory < usize::from(ring.hosts) - ring.majority();
        ring.actions(&state, &mut actions);
        actions.retain(|action| match action {
            Action::Take(who, frame) => side(*who) == side(frame.sender()),
            // Seldom more than the rules are made for.
            Action::Restart(_) => may_forget || random.u8(..50) == 0,
            _ => true,
        });
        let total: u32 = actions.iter().map(weight).sum();
        if total == 0 {
            break;
        }
        let mut left = random.u32(..total);
        let chosen = actions.drain(..).find(|action| {
            let weight = weight(action);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        });
        let action = chosen.expect("the number is below the sum of all weights");
        actions.clear();
        if let Some(next) = ring.next_state(&state, action.clone()) {
            story.push(action);
            state = next;
            if state.fault.is_some() {
                break;
            }
        }
    }
    (state, story)
}

/// Turns often, changes now and then, failures seldom.
fn weight(action: &Action) -> u32 {
    match action {
        Action::Write(_) => 150,
        Action::Take(_, frame) => match &**frame {
            Frame::Turn { .. } => 120,
            Frame::Install { .. } => 80,
            Frame::Prepare { .. } | Frame::Promise { .. } | Frame::Join { .. } => 60,
        },
        Action::Found(_) => 60,
        Action::Leave(_) | Action::Admit(..) => 10,
        Action::Campaign(_) => 4,
        Action::Restart(_) => 1,
    }
}

/// Everybody hears everything; a host with memory founds epochs until all are in the ring; then
/// each writes three times.
fn fair(bounds: &Ring, state: State) -> Result<(), String> {
    let ring = Ring {
        positions: usize::MAX,
        campaigns: u8::MAX,
        restarts: 0,
        ring_changes: 0,
        ..bounds.clone()
    };
    let before = state.chosen.len();
    let founder = (0..ring.hosts)
        .find(|host| state.hosts[usize::from(*host)].has_memory)
        .ok_or("nobody has memory")?;
    let mut healing = Healing { ring, state };
    healing.all_take(|frame| matches!(frame, Frame::Join { .. }))?;
    // Whoever is not yet in the ring of the first epoch promises the second.
    for _ in 0..2 {
        healing.found(founder)?;
    }
    for _ in 0..3 * healing.ring.hosts {
        let host = &healing.state.hosts[usize::from(founder)];
        let owner = healing.ring.owner(&host.log);
        healing.act(Action::Write(owner))?;
        healing.all_take(|frame| matches!(frame, Frame::Turn { .. }))?;
    }
    let state = healing.state;
    for (who, host) in (0..).zip(&state.hosts) {
        let name = letter(who);
        if !host.has_memory {
            return Err(format!("{name} did not come back"));
        }
        if host.log != state.hosts[0].log || host.agreed <= before {
            return Err(format!("{name} did not converge"));
        }
        let is_new = state.chosen[before..].iter().any(|chosen| {
            matches!(chosen.entry.content, Content::Message { source, life, .. }
                if source == who && life == host.life)
        });
        if !is_new {
            return Err(format!("nothing new from {name} is agreed"));
        }
    }
    Ok(())
}

/// A state in its fair phase.
struct Healing {
    ring: Ring,
    state: State,
}

impl Healing {
    fn act(&mut self, action: Action) -> Result<(), String> {
        let words = action.to_string();
        let next = self.ring.next_state(&self.state, action);
        self.state = next.ok_or_else(|| format!("refused: {words}"))?;
        match self.state.fault {
            None => Ok(()),
            Some(fault) => Err(format!("{fault:?} when healed")),
        }
    }

    /// Every host takes all those frames that it has a use for.
    fn all_take(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> Result<(), String> {
        let frames = self.state.frames.iter().filter(|frame| is_wanted(frame));
        let frames: Vec<Arc<Frame>> = frames.cloned().collect();
        for who in 0..self.ring.hosts {
            for frame in &frames {
                let host = &self.state.hosts[usize::from(who)];
                let action = Action::Take(who, Arc::clone(frame));
                if self.ring.is_useful(who, host, frame)
                    && self.ring.next_state(&self.state, action.clone()).is_some()
                {
                    self.act(action)?;
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, founder: u8) -> Result<(), String> {
        // The founder learns from refusals how high the others have promised.
        let highest = self.state.hosts.iter().map(|host| host.promised).max();
        let promised = |state: &State| state.hosts[usize::from(founder)].promised;
        while Some(promised(&self.state)) <= highest {
            self.act(Action::Campaign(founder))?;
        }
        let wanted = promised(&self.state);
        self.all_take(|frame| matches!(frame, Frame::Prepare { epoch, .. } if *epoch == wanted))?;
        self.all_take(|frame| matches!(frame, Frame::Promise { epoch, .. } if *epoch == wanted))?;
        self.act(Action::Found(founder))?;
        self.all_take(|frame| matches!(frame, Frame::Install { epoch, .. } if *epoch == wanted))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "walk {}: {}", self.run, self.what)?;
        self.story
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Whether a walk that failed broke a rule, rather than not coming to its end.
impl Failure {
    /// The fault, if it is one of the rules'.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        let faults = [
            Fault::Disagreement,
            Fault::AgreedCut,
            Fault::AgreedTwice,
            Fault::OutOfOrder,
            Fault::TwoContents,
            Fault::AgreedMissing,
        ];
        faults.iter().any(|fault| self.what == format!("{fault:?}"))
    }
}
