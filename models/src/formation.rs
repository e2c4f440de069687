//! How a generation begins: can two of them both get a majority of builders?
//!
//! Hosts begin without any state. A founder asks with a ballot, hosts promise, and with enough
//! promises it begins the generation of that number. A restart loses everything but what the host
//! keeps. Two sets of rules say what becomes of hosts that hear of a generation ([`Hearing`]).

use std::collections::BTreeSet;
use std::fmt;

use stateright::{Model, Property};

use crate::letter;

/// No two generations have a majority of builders.
pub const ONE_GENERATION: &str = "one generation";
/// Some generation has one.
pub const FORMS: &str = "a generation is formed";

/// What a host does that hears of a generation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hearing {
    /// It builds in it if it promised just that ballot, and else waits to be admitted.
    Waits,
    /// As decision 0008 has it: without a generation, it builds in it unless it promised a higher
    /// ballot. In one in which it knows of nothing agreed, it goes over to one in which something is.
    Enters,
    /// The same, but it goes over to any other generation that it hears of.
    Strays,
}

/// The rules, and how much of what they allow is searched.
#[derive(Clone, Debug)]
pub struct Formation {
    /// Number of configured hosts, up to 8.
    pub hosts: u8,
    /// Promises that a founder needs, its own included.
    pub promises: usize,
    /// Whether {promised, generation} outlives a restart.
    pub keeps_record: bool,
    /// What a host does that hears of a generation.
    pub hearing: Hearing,
    /// The highest ballot that is explored.
    pub ballots: u8,
    /// Restarts.
    pub restarts: u8,
}

impl Formation {
    const fn majority(&self) -> usize {
        self.hosts as usize / 2 + 1
    }

    /// Whether a majority of the hosts built in a generation.
    fn is_formed(&self, state: &State, generation: u8) -> bool {
        let builders = state.built.iter().filter(|(of, _)| *of == generation);
        builders.count() >= self.majority()
    }

    fn formed(&self, state: &State) -> usize {
        let generations = 1..=self.ballots;
        generations
            .filter(|generation| self.is_formed(state, *generation))
            .count()
    }
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// It belongs to no generation.
    Empty,
    /// It builds in one.
    Builds,
    /// It knows of one and waits to be admitted.
    Waits,
}

/// A host.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Host {
    mode: Mode,
    generation: u8,
    promised: u8,
    kept_promised: u8,
    kept_generation: u8,
    life: u8,
    /// Whether it knows that something is agreed in its generation.
    knows_agreed: bool,
    campaign: Option<(u8, BTreeSet<u8>)>,
}

impl Host {
    const NEW: Self = Self {
        mode: Mode::Empty,
        generation: 0,
        promised: 0,
        kept_promised: 0,
        kept_generation: 0,
        life: 0,
        knows_agreed: false,
        campaign: None,
    };

    fn promise(&mut self, ballot: u8, keeps_record: bool) {
        self.promised = ballot;
        self.campaign = None;
        if keeps_record {
            self.kept_promised = ballot;
        }
    }

    fn build(&mut self, generation: u8, keeps_record: bool) {
        self.promise(generation.max(self.promised), keeps_record);
        self.belong(Mode::Builds, generation, keeps_record);
    }

    const fn belong(&mut self, mode: Mode, generation: u8, keeps_record: bool) {
        self.mode = mode;
        self.generation = generation;
        if keeps_record {
            self.kept_generation = generation;
        }
    }

    fn restart(&mut self) {
        let is_of_a_generation = self.kept_generation > 0;
        *self = Self {
            mode: if is_of_a_generation {
                Mode::Waits
            } else {
                Mode::Empty
            },
            generation: self.kept_generation,
            promised: self.kept_promised,
            life: self.life + 1,
            kept_promised: self.kept_promised,
            kept_generation: self.kept_generation,
            knows_agreed: false,
            campaign: None,
        };
    }
}

/// What hosts send, each to all.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Frame {
    /// A founder asks for promises.
    Prepare(u8),
    /// A host promises a ballot.
    Promise(u8, u8),
    /// The generation of a ballot begins.
    Install(u8),
    /// Something is agreed in a generation.
    Agreed(u8),
}

/// All hosts and all frames.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    hosts: Vec<Host>,
    frames: BTreeSet<Frame>,
    /// Generation and builder.
    built: BTreeSet<(u8, u8)>,
    restarts: u8,
}

/// A step of one host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// It asks for promises with its next ballot.
    Ask(u8),
    /// It takes a frame.
    Take(u8, Frame),
    /// It has enough promises and begins its generation.
    Begin(u8),
    /// It learns that something is agreed in its generation.
    Agree(u8),
    /// It restarts without memory.
    Restart(u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(who) => write!(f, "{} asks for promises", letter(*who)),
            Self::Begin(who) => write!(f, "{} begins its generation", letter(*who)),
            Self::Agree(who) => write!(f, "{} agrees in its generation", letter(*who)),
            Self::Restart(who) => write!(f, "{} restarts without memory", letter(*who)),
            Self::Take(who, frame) => {
                let who = letter(*who);
                match frame {
                    Frame::Prepare(ballot) => write!(f, "{who} promises ballot {ballot}"),
                    Frame::Promise(ballot, from) => {
                        write!(
                            f,
                            "{who} gets {}'s promise of ballot {ballot}",
                            letter(*from)
                        )
                    }
                    Frame::Install(ballot) => write!(f, "{who} hears of generation {ballot}"),
                    Frame::Agreed(ballot) => {
                        write!(f, "{who} hears of something agreed in generation {ballot}")
                    }
                }
            }
        }
    }
}

impl Model for Formation {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            hosts: vec![Host::NEW; usize::from(self.hosts)],
            frames: BTreeSet::new(),
            built: BTreeSet::new(),
            restarts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, host) in (0..self.hosts).zip(&state.hosts) {
            let has_lived = host.mode != Mode::Empty || host.promised > 0 || host.life > 0;
            if state.restarts < self.restarts && has_lived {
                actions.push(Action::Restart(who));
            }
            if host.mode == Mode::Empty {
                actions.push(Action::Ask(who));
                actions.push(Action::Begin(who));
            } else if self.hearing != Hearing::Waits && !host.knows_agreed {
                actions.push(Action::Agree(who));
            }
            let frames = state.frames.iter();
            let heard = frames.filter(|frame| match frame {
                Frame::Agreed(_) => true,
                Frame::Install(_) if self.hearing == Hearing::Strays => true,
                Frame::Install(_) | Frame::Prepare(_) | Frame::Promise(..) => {
                    host.mode == Mode::Empty
                }
            });
            actions.extend(heard.map(|frame| Action::Take(who, *frame)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        if self.formed(last) > 1 {
            return None;
        }
        let mut state = last.clone();
        match action {
            Action::Ask(who) => {
                let host = &mut state.hosts[usize::from(who)];
                let mut ballot = host.promised + 1;
                while (ballot - 1) % self.hosts != who {
                    ballot += 1;
                }
                if ballot > self.ballots {
                    return None;
                }
                host.promise(ballot, self.keeps_record);
                host.campaign = Some((ballot, BTreeSet::from([who])));
                state.frames.insert(Frame::Prepare(ballot));
            }
            Action::Take(who, frame) => {
                let host = &mut state.hosts[usize::from(who)];
                match frame {
                    Frame::Prepare(ballot) if ballot > host.promised => {
                        host.promise(ballot, self.keeps_record);
                        state.frames.insert(Frame::Promise(ballot, who));
                    }
                    Frame::Prepare(_) => return None,
                    Frame::Promise(ballot, from) => {
                        let (asked, promises) = host.campaign.as_mut()?;
                        if *asked != ballot || !promises.insert(from) {
                            return None;
                        }
                    }
                    Frame::Install(ballot) if ballot == host.promised => {
                        host.build(ballot, self.keeps_record);
                        state.built.insert((ballot, who));
                    }
                    Frame::Install(ballot) if self.hearing != Hearing::Waits => {
                        let is_old = host.mode == Mode::Empty && ballot < host.promised;
                        if is_old || ballot == host.generation || host.knows_agreed {
                            return None;
                        }
                        host.build(ballot, self.keeps_record);
                        state.built.insert((ballot, who));
                    }
                    Frame::Install(ballot) => {
                        host.belong(Mode::Waits, ballot, self.keeps_record);
                        host.campaign = None;
                    }
                    Frame::Agreed(ballot) => {
                        if host.generation == ballot || host.knows_agreed {
                            return None;
                        }
                        host.build(ballot, self.keeps_record);
                        state.built.insert((ballot, who));
                    }
                }
            }
            Action::Agree(who) => {
                let generation = state.hosts[usize::from(who)].generation;
                if !self.is_formed(&state, generation) {
                    return None;
                }
                state.hosts[usize::from(who)].knows_agreed = true;
                state.frames.insert(Frame::Agreed(generation));
            }
            Action::Begin(who) => {
                let host = &mut state.hosts[usize::from(who)];
                let (ballot, promises) = host.campaign.as_ref()?;
                if promises.len() < self.promises {
                    return None;
                }
                let ballot = *ballot;
                host.build(ballot, self.keeps_record);
                state.frames.insert(Frame::Install(ballot));
                state.built.insert((ballot, who));
            }
            Action::Restart(who) => {
                state.restarts += 1;
                state.hosts[usize::from(who)].restart();
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_GENERATION, |model: &Self, state: &State| {
                model.formed(state) <= 1
            }),
            Property::sometimes(FORMS, |model: &Self, state: &State| {
                model.formed(state) >= 1
            }),
        ]
    }
}
