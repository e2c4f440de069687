//! The ring as the published slides describe it, with one switch for each gap that they leave.
//!
//! Source: M. P. Grosvenor, M. Fayed, A. W. Moore, "Exo: Atomic Broadcast for the Rack-Scale
//! Computer", the slides. Hosts hold a log, and a history: the sources of the last n/2 messages. A
//! broadcast carries the sender's sequence number and history; who takes it appends it. A position
//! is agreed when n/2 later messages stand on it. A message is taken only if its source is not in
//! the receiver's history, and a host whose own id is not in its history may assume the token.

use std::collections::BTreeSet;
use std::fmt;

use stateright::{Model, Property};

use crate::letter;

/// Nobody agrees on two messages for one position.
pub const AGREEMENT: &str = "uniform agreement";
/// With every frame deliverable to every host, some host can do something.
pub const NOT_WEDGED: &str = "never wedged";
/// The same with any one host silent for good, which a majority should survive.
pub const ONE_SILENT: &str = "goes on with one silent host";

/// How a host gives up entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recovery {
    /// It never does.
    Never,
    /// It takes a prefix that a majority holds identically.
    Identical,
    /// It asks any majority, itself included, and takes the longest log among the answers.
    Longest,
}

/// A reading of the slides, and how much of it is searched.
#[derive(Clone, Debug)]
pub struct Slides {
    /// Number of hosts, up to 7.
    pub hosts: u8,
    /// Positions that are explored.
    pub positions: usize,
    /// Broadcasts that are explored, of all hosts together.
    pub frames: usize,
    /// Whether a receiver compares the frame's history with its own.
    pub compares_history: bool,
    /// Whether a receiver appends through a different history, and then only keeps its agreement
    /// pointer.
    pub appends_through: bool,
    /// How a host gives up entries.
    pub recovery: Recovery,
    /// Restarts with an empty log.
    pub restarts: u8,
}

impl Slides {
    /// Histories compared, nothing ever replaced, nobody restarts.
    #[must_use]
    pub const fn new(hosts: u8, positions: usize, frames: usize) -> Self {
        Self {
            hosts,
            positions,
            frames,
            compares_history: true,
            appends_through: false,
            recovery: Recovery::Never,
            restarts: 0,
        }
    }

    const fn tolerated(&self) -> usize {
        self.hosts as usize / 2
    }

    const fn majority(&self) -> usize {
        self.tolerated() + 1
    }

    fn history_of(&self, log: &[Message]) -> Vec<u8> {
        let latest = log.iter().rev().take(self.tolerated());
        latest.map(|message| message.source).collect()
    }

    /// Agreed positions of a host.
    fn agreed(&self, host: &Host) -> usize {
        let built_on = host.log.len().saturating_sub(self.tolerated());
        host.frozen.unwrap_or(built_on)
    }

    fn append(&self, host: &mut Host, message: Message, history_below: &[u8]) {
        host.log.push(message);
        if host.frozen.is_some() {
            host.history = [&[message.source], history_below].concat();
            host.history.truncate(self.tolerated());
        } else {
            host.history = self.history_of(&host.log);
        }
    }

    fn adopt(&self, host: &mut Host, log: Vec<Message>) {
        host.history = self.history_of(&log);
        host.log = log;
        host.frozen = None;
    }

    /// Whether `who` finds a majority, itself included and `silent` not, in which the log of `from`
    /// is the longest.
    fn is_longest(&self, state: &State, who: u8, from: u8, silent: Option<u8>) -> bool {
        let length = |host: u8| state.hosts[usize::from(host)].log.len();
        let answers = (0..self.hosts)
            .filter(|host| Some(*host) != silent && length(*host) <= length(from))
            .count();
        who != from
            && Some(from) != silent
            && length(who) <= length(from)
            && answers >= self.majority()
    }

    fn holders(&self, state: &State, prefix: &[Message], silent: Option<u8>) -> usize {
        (0..self.hosts)
            .filter(|host| Some(*host) != silent)
            .filter(|host| state.hosts[usize::from(*host)].log.starts_with(prefix))
            .count()
    }

    fn judge(&self, state: &mut State) {
        for host in &state.hosts {
            for (position, message) in host.log[..self.agreed(host)].iter().enumerate() {
                match state.chosen.get(position) {
                    None => state.chosen.push(*message),
                    Some(chosen) if chosen != message => state.has_conflict = true,
                    Some(_) => {}
                }
            }
        }
    }

    /// Whether the bounds end the exploration here, which is no fault of the rules.
    fn is_at_bound(&self, state: &State) -> bool {
        state.frames.len() >= self.frames
            || state
                .hosts
                .iter()
                .any(|host| host.log.len() >= self.positions)
    }

    /// Whether somebody other than `silent` can do something that a perfect network allows.
    fn can_move(&self, state: &State, silent: Option<u8>) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.into_iter().any(|action| {
            let is_possible = match &action {
                Action::Restart(_) => false,
                Action::Send(host) | Action::Take(host, _) => Some(*host) != silent,
                Action::TakeLongest { who, from } => {
                    Some(*who) != silent && self.is_longest(state, *who, *from, silent)
                }
                Action::TakePrefix { who, from, length } => {
                    let prefix = &state.hosts[usize::from(*from)].log[..*length];
                    Some(*who) != silent
                        && Some(*from) != silent
                        && self.holders(state, prefix, silent) >= self.majority()
                }
            };
            is_possible && self.next_state(state, action).is_some()
        })
    }
}

/// A message: its source, and which of its source's it is, from 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Message {
    /// Who sent it.
    pub source: u8,
    /// 1 for the source's first.
    pub number: u8,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", letter(self.source), self.number)
    }
}

/// What a host keeps.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Host {
    /// The messages taken, from position 0.
    pub log: Vec<Message>,
    /// Sources of the latest, newest first.
    pub history: Vec<u8>,
    /// Messages sent so far, in all lives.
    pub sent: u8,
    /// Agreement stays here after a mismatch.
    pub frozen: Option<usize>,
}

/// A broadcast.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Frame {
    /// The sequence number: the position of its message.
    pub position: usize,
    /// Its message.
    pub message: Message,
    /// The sender's history.
    pub history: Vec<u8>,
}

/// All hosts and all frames.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// By id.
    pub hosts: Vec<Host>,
    /// Every frame ever sent.
    pub frames: BTreeSet<Frame>,
    /// What the first host to agree on a position saw there.
    pub chosen: Vec<Message>,
    /// Another host agreed on something else.
    pub has_conflict: bool,
    /// Restarts so far.
    pub restarts: u8,
}

/// A step of one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// It holds the token, or assumes it after a time-out, and broadcasts.
    Send(u8),
    /// It receives a frame and appends its message.
    Take(u8, Frame),
    /// It restarts with an empty log.
    Restart(u8),
    /// It takes the longest log among a majority's answers.
    TakeLongest {
        /// Who asked.
        who: u8,
        /// Whose log it is.
        from: u8,
    },
    /// It takes a prefix that a majority holds.
    TakePrefix {
        /// Who asked.
        who: u8,
        /// One of those that hold it.
        from: u8,
        /// Its length.
        length: usize,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(host) => write!(f, "{} sends", letter(*host)),
            Self::Take(host, frame) => write!(
                f,
                "{} takes {} at {}",
                letter(*host),
                frame.message,
                frame.position
            ),
            Self::Restart(host) => write!(f, "{} restarts empty", letter(*host)),
            Self::TakeLongest { who, from } => {
                write!(
                    f,
                    "{} takes over the log of {}",
                    letter(*who),
                    letter(*from)
                )
            }
            Self::TakePrefix { who, from, length } => write!(
                f,
                "{} takes over {length} messages of {}",
                letter(*who),
                letter(*from)
            ),
        }
    }
}

impl Model for Slides {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            hosts: vec![Host::default(); usize::from(self.hosts)],
            frames: BTreeSet::new(),
            chosen: Vec::new(),
            has_conflict: false,
            restarts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, host) in (0..self.hosts).zip(&state.hosts) {
            for frame in &state.frames {
                if frame.message.source != who && frame.position == host.log.len() {
                    actions.push(Action::Take(who, frame.clone()));
                }
            }
            if host.log.len() < self.positions && state.frames.len() < self.frames {
                actions.push(Action::Send(who));
            }
            for from in (0..self.hosts).filter(|from| *from != who) {
                match self.recovery {
                    Recovery::Never => {}
                    Recovery::Longest => {
                        if self.is_longest(state, who, from, None) {
                            actions.push(Action::TakeLongest { who, from });
                        }
                    }
                    Recovery::Identical => {
                        let length_max = state.hosts[usize::from(from)].log.len();
                        actions.extend((1..=length_max).map(|length| Action::TakePrefix {
                            who,
                            from,
                            length,
                        }));
                    }
                }
            }
            if state.restarts < self.restarts && !host.log.is_empty() {
                actions.push(Action::Restart(who));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        if last.has_conflict {
            return None;
        }
        let mut state = last.clone();
        match action {
            Action::Send(who) => {
                let host = &mut state.hosts[usize::from(who)];
                if host.history.contains(&who) {
                    return None;
                }
                host.sent += 1;
                let message = Message {
                    source: who,
                    number: host.sent,
                };
                let history = host.history.clone();
                state.frames.insert(Frame {
                    position: host.log.len(),
                    message,
                    history: history.clone(),
                });
                self.append(host, message, &history);
            }
            Action::Take(who, frame) => {
                let host = &mut state.hosts[usize::from(who)];
                if host.history.contains(&frame.message.source) {
                    return None;
                }
                if frame.history != host.history {
                    if self.appends_through {
                        host.frozen = Some(self.agreed(host));
                    } else if self.compares_history {
                        return None;
                    }
                }
                self.append(host, frame.message, &frame.history);
            }
            Action::Restart(who) => {
                state.restarts += 1;
                let host = &mut state.hosts[usize::from(who)];
                *host = Host {
                    sent: host.sent,
                    ..Host::default()
                };
            }
            Action::TakeLongest { who, from } => {
                let source = &last.hosts[usize::from(from)];
                let host = &mut state.hosts[usize::from(who)];
                let is_same = host.log == source.log && host.frozen.is_none();
                if is_same || source.frozen.is_some() {
                    return None;
                }
                self.adopt(host, source.log.clone());
            }
            Action::TakePrefix { who, from, length } => {
                let prefix = &last.hosts[usize::from(from)].log[..length];
                let host = &mut state.hosts[usize::from(who)];
                if self.holders(last, prefix, None) < self.majority()
                    || host.log.starts_with(prefix)
                {
                    return None;
                }
                self.adopt(host, prefix.to_vec());
            }
        }
        self.judge(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(AGREEMENT, |_, state: &State| !state.has_conflict),
            Property::always(NOT_WEDGED, |model: &Self, state: &State| {
                state.has_conflict || model.is_at_bound(state) || model.can_move(state, None)
            }),
            Property::always(ONE_SILENT, |model: &Self, state: &State| {
                state.has_conflict
                    || model.is_at_bound(state)
                    || (0..model.hosts).all(|silent| model.can_move(state, Some(silent)))
            }),
        ]
    }
}
