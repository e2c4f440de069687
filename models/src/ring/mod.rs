//! The ring's rules (`docs/ring.md`, R1 to R9), each of which can be taken away.
//!
//! A turn is one message or a change of the ring. State transfer is one step: a promise and an
//! installation carry the log itself. Epoch 0 is the formed ring; later epochs are numbered
//! `counter * hosts + founder + 1`, so that each has one possible founder (R1).
//!
//! Not here: parts, batches, resends, parking, credit, trimming, time. None of them may append,
//! agree or promise other than through these steps.

mod state;
pub mod walk;

use std::cmp::Reverse;
use std::sync::Arc;

use stateright::{Model, Property};

pub use state::{
    Action, Campaign, Chosen, Content, Entry, Fault, Frame, Host, Hosts, Promise, State,
};

/// No two hosts ever agree on different turns for one position, and nothing agreed is cut.
pub const ONE_ORDER: &str = "one order";
/// A sender's messages are agreed in order, each once, none missing.
pub const EACH_ONCE: &str = "each message once and in order";
/// One (epoch, position) has one content, and one log below it.
pub const MATCHING: &str = "equal epoch and position, equal log";
/// A founder's log holds everything agreed in older epochs.
pub const FOUNDED_ON_AGREED: &str = "founders hold what was agreed";
/// Two positions are agreed in some state.
pub const AGREES: &str = "something is agreed";
/// So is a turn of a later epoch.
pub const AGREES_LATER: &str = "a later epoch agrees";

/// A rule taken away.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mutant {
    /// M1, against R2: a host may assume the token inside an epoch, as on the slides.
    SkipsOwners,
    /// M2, against R3: writers of older epochs count towards agreement.
    CountsOldEpochs,
    /// M3, against R5: the longest tail wins, whatever its epoch.
    TakesLongestTail,
    /// M4, against R4: a promise does not end work in the older epoch.
    PromisesWithoutStopping,
    /// M5, against R6: a host that lost its memory goes on at once.
    ForgetsForgetting,
    /// M6, against R8: promises of dead incarnations count.
    CountsDeadPromises,
    /// M7, against R7: an epoch admits whoever is known when it is founded.
    AdmitsUnheard,
    /// M8, against R4: one promise less than a majority is enough.
    FoundsWithTooFew,
    /// M9, against R9: a message not yet agreed is sent again, whether or not it is in the new log.
    ResendsBlindly,
    /// M10, against R6: an admitted host takes part before it holds the epoch's log.
    JoinsTooEarly,
}

impl Mutant {
    /// All, M1 first.
    pub const ALL: [Self; 10] = [
        Self::SkipsOwners,
        Self::CountsOldEpochs,
        Self::TakesLongestTail,
        Self::PromisesWithoutStopping,
        Self::ForgetsForgetting,
        Self::CountsDeadPromises,
        Self::AdmitsUnheard,
        Self::FoundsWithTooFew,
        Self::ResendsBlindly,
        Self::JoinsTooEarly,
    ];
}

/// The rules, and how much of what they allow is searched.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Number of configured hosts, up to 8.
    pub hosts: u8,
    /// Positions that are explored.
    pub positions: usize,
    /// Campaigns for a new epoch that may be started.
    pub campaigns: u8,
    /// Restarts without memory.
    pub restarts: u8,
    /// Whether a host counts itself as holder of its last position (R3').
    pub counts_self: bool,
    /// Changes of the ring inside an epoch: leaving, and coming back with memory.
    pub ring_changes: u8,
    /// Whether [`MATCHING`] and [`FOUNDED_ON_AGREED`] are judged, too. They fail before anybody
    /// agrees on anything wrong.
    pub judges_logs: bool,
    /// The rule that is taken away.
    pub mutant: Option<Mutant>,
}

impl Ring {
    /// All rules, nothing but turns.
    #[must_use]
    pub const fn new(hosts: u8, positions: usize) -> Self {
        Self {
            hosts,
            positions,
            campaigns: 0,
            restarts: 0,
            counts_self: false,
            ring_changes: 0,
            judges_logs: true,
            mutant: None,
        }
    }

    /// A majority of the configured hosts.
    #[must_use]
    pub const fn majority(&self) -> usize {
        self.hosts as usize / 2 + 1
    }

    /// The ring in force behind a log.
    #[must_use]
    pub fn ring(&self, log: &[Entry]) -> Hosts {
        let changes = log.iter().rev().filter_map(|entry| match entry.content {
            Content::View { ring, .. } => Some(ring),
            Content::Message { .. } => None,
        });
        changes
            .into_iter()
            .next()
            .unwrap_or_else(|| (0..self.hosts).collect())
    }

    /// Who may write behind a log: the next ring member after its last author (R2).
    #[must_use]
    pub fn owner(&self, log: &[Entry]) -> u8 {
        let Some(last) = log.last() else {
            return 0;
        };
        let ring = self.ring(log);
        (1..=self.hosts)
            .map(|distance| (last.author() + distance) % self.hosts)
            .find(|host| ring.contains(*host))
            .expect("a ring has a majority of the hosts")
    }

    fn lacks(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// How many positions a host agrees on (R3).
    fn agreed(&self, who: u8, host: &Host) -> usize {
        let counts_old = self.lacks(Mutant::CountsOldEpochs);
        let mut writers = Hosts::default();
        if self.counts_self && host.promised == host.joined {
            writers.insert(who);
        }
        for (position, entry) in host.log.iter().enumerate().rev() {
            if entry.epoch != host.joined && !counts_old {
                return 0;
            }
            writers.insert(entry.author());
            if writers.count() >= self.majority() {
                return position + 1;
            }
        }
        0
    }

    /// Whether a host takes, writes and counts turns of its epoch (R4, R6).
    fn works(&self, host: &Host) -> bool {
        let keeps_promise = host.promised == host.joined;
        host.has_memory && (keeps_promise || self.lacks(Mutant::PromisesWithoutStopping))
    }

    /// The next own message of a host (R9).
    fn next_message(&self, who: u8, host: &Host) -> Content {
        let known = if self.lacks(Mutant::ResendsBlindly) {
            &host.log[..host.agreed]
        } else {
            &host.log[..]
        };
        let is_own = |entry: &&Entry| match entry.content {
            Content::Message { source, life, .. } => source == who && life == host.life,
            Content::View { .. } => false,
        };
        Content::Message {
            source: who,
            life: host.life,
            number: state::small(known.iter().filter(is_own).count() + 1),
        }
    }

    /// The promises that count, and the lives known to those who gave them (R8).
    fn usable<'a>(&self, campaign: &'a Campaign) -> (Vec<&'a Promise>, Vec<u8>) {
        let mut lives = campaign.lives.clone();
        for promise in &campaign.promises {
            state::merge(&mut lives, &promise.lives);
        }
        let counts_dead = self.lacks(Mutant::CountsDeadPromises);
        let is_alive = |promise: &&Promise| promise.life >= lives[usize::from(promise.from)];
        let usable = campaign.promises.iter();
        (
            usable
                .filter(|promise| counts_dead || is_alive(promise))
                .collect(),
            lives,
        )
    }

    fn write(&self, state: &mut State, who: u8, content: Content) {
        let host = state.host_mut(who);
        let frame = Frame::Turn {
            epoch: host.joined,
            position: host.log.len(),
            epoch_below: host.log.last().map_or(0, |entry| entry.epoch),
            content,
        };
        host.log.push(Entry {
            epoch: host.joined,
            content,
        });
        state.send(frame);
    }

    fn campaign(&self, state: &mut State, who: u8) {
        state.campaigns += 1;
        let host = state.host_mut(who);
        let mut epoch = host.promised + 1;
        while (epoch - 1) % self.hosts != who {
            epoch += 1;
        }
        host.promised = epoch;
        host.campaign = Some(Campaign {
            epoch,
            lives: host.lives.clone(),
            joiners: host.joiners,
            promises: vec![host.promise(who)],
        });
        let (life, lives) = (host.life, host.lives.clone());
        state.send(Frame::Prepare {
            epoch,
            from: who,
            life,
            lives,
        });
    }

    /// Opens the epoch of a campaign with the best tail among the promises (R5).
    fn found(&self, state: &mut State, who: u8) -> Option<()> {
        let host = &state.hosts[usize::from(who)];
        let campaign = host.campaign.clone()?;
        let (usable, lives) = self.usable(&campaign);
        let by_length = self.lacks(Mutant::TakesLongestTail);
        let best = usable.iter().max_by_key(|promise| {
            let epoch = promise.log.last().map_or(0, |entry| entry.epoch);
            let rank = if by_length { 0 } else { epoch };
            (rank, promise.log.len(), Reverse(promise.from))
        })?;
        if best.log.len() >= self.positions || host.promised != campaign.epoch {
            return None;
        }
        let mut ring: Hosts = usable.iter().map(|promise| promise.from).collect();
        ring.extend(campaign.joiners);
        // R7: only lives that every promiser learned of with the request are admitted.
        let mut admitted = campaign.lives.clone();
        if self.lacks(Mutant::AdmitsUnheard) {
            ring.extend(host.joiners);
            admitted = lives.clone();
            state::merge(&mut admitted, &host.lives);
        }
        let mut log = best.log.clone();
        log.push(Entry {
            epoch: campaign.epoch,
            content: Content::View { by: who, ring },
        });
        if self.judges_logs {
            state.judge_founder(campaign.epoch, &log);
        }
        let frame = Frame::Install {
            epoch: campaign.epoch,
            log: log.clone(),
            admitted,
            lives: lives.clone(),
        };
        state.host_mut(who).enter(campaign.epoch, log, &lives, ring);
        state.send(frame);
        Some(())
    }

    fn take(&self, state: &mut State, who: u8, frame: &Frame) -> Option<()> {
        let host = state.host_mut(who);
        match frame {
            Frame::Turn {
                epoch,
                position,
                epoch_below,
                content,
            } => {
                let below = host.log.last().map_or(0, |entry| entry.epoch);
                let fits =
                    *epoch == host.joined && *position == host.log.len() && *epoch_below == below;
                if !self.works(host) || !fits {
                    return None;
                }
                host.log.push(Entry {
                    epoch: *epoch,
                    content: *content,
                });
            }
            Frame::Prepare {
                epoch,
                from,
                life,
                lives,
            } => {
                if !host.has_memory || *epoch <= host.promised {
                    return None;
                }
                host.promised = *epoch;
                host.campaign = None;
                state::merge(&mut host.lives, lives);
                let promise = host.promise(who);
                state.send(Frame::Promise {
                    epoch: *epoch,
                    to: *from,
                    to_life: *life,
                    promise,
                });
            }
            Frame::Promise {
                epoch,
                to,
                to_life,
                promise,
            } => {
                let campaign = host.campaign.as_mut()?;
                if *to != who || *to_life != host.life || campaign.epoch != *epoch {
                    return None;
                }
                // One promise of each host: the newest life's.
                let others = &mut campaign.promises;
                if let Some(index) = others.iter().position(|other| other.from == promise.from) {
                    if others[index].life >= promise.life {
                        return None;
                    }
                    others.remove(index);
                }
                others.push(promise.clone());
                others.sort();
            }
            Frame::Install {
                epoch,
                log,
                admitted,
                lives,
            } => {
                if *epoch < host.promised || *epoch <= host.joined {
                    return None;
                }
                if !host.has_memory {
                    if admitted[usize::from(who)] != host.life {
                        return None;
                    }
                    host.has_memory = true;
                    if self.lacks(Mutant::JoinsTooEarly) {
                        host.promised = *epoch;
                        return Some(());
                    }
                }
                let ring = self.ring(log);
                host.enter(*epoch, log.clone(), lives, ring);
            }
            Frame::Join { from, life } => {
                if !self.hears(who, host, *from, *life) {
                    return None;
                }
                host.lives[usize::from(*from)] = *life;
                host.joiners.insert(*from);
            }
        }
        Some(())
    }

    /// Whether a host learns something from a restarted one's wish to join.
    fn hears(&self, who: u8, host: &Host, from: u8, life: u8) -> bool {
        let known = host.lives[usize::from(from)];
        let is_waiting = host.joiners.contains(from) || self.ring(&host.log).contains(from);
        from != who && (life > known || life == known && !is_waiting)
    }

    /// Whether a host could do something with a frame; [`Self::take`] has the last word.
    fn is_useful(&self, who: u8, host: &Host, frame: &Frame) -> bool {
        match frame {
            Frame::Turn {
                epoch, position, ..
            } => *epoch == host.joined && *position == host.log.len(),
            Frame::Prepare { epoch, from, .. } => *from != who && *epoch > host.promised,
            Frame::Promise { to, .. } => *to == who && host.campaign.is_some(),
            Frame::Install { epoch, .. } => *epoch >= host.promised && *epoch > host.joined,
            Frame::Join { from, life } => self.hears(who, host, *from, *life),
        }
    }

    /// What agreement comes to after a step, and whether it is right.
    fn judge(&self, state: &mut State) {
        for who in 0..self.hosts {
            let host = &state.hosts[usize::from(who)];
            if !host.has_memory {
                continue;
            }
            let agreed = self.agreed(who, host).max(host.agreed);
            if agreed > host.log.len() {
                state.fault = Some(Fault::AgreedCut);
                return;
            }
            if agreed != host.agreed {
                state.host_mut(who).agreed = agreed;
            }
            state.judge_agreed(who);
        }
        if self.judges_logs && state.fault.is_none() {
            state.judge_matching();
        }
    }
}

impl Model for Ring {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.hosts)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, host) in (0..self.hosts).zip(&state.hosts) {
            for frame in &state.frames {
                if self.is_useful(who, host, frame) {
                    actions.push(Action::Take(who, Arc::clone(frame)));
                }
            }
            if self.works(host) && host.log.len() < self.positions {
                let is_owner = self.owner(&host.log) == who;
                let mut latest = host.log.iter().rev().take(self.majority() - 1);
                let assumes =
                    self.lacks(Mutant::SkipsOwners) && !latest.any(|entry| entry.author() == who);
                if is_owner || assumes {
                    actions.push(Action::Write(who));
                }
                if is_owner && state.ring_changes < self.ring_changes {
                    let ring = self.ring(&host.log);
                    if ring.contains(who) && ring.count() > self.majority() {
                        actions.push(Action::Leave(who));
                    }
                    let outside = (0..self.hosts).filter(|other| {
                        !ring.contains(*other) && state.hosts[usize::from(*other)].has_memory
                    });
                    actions.extend(outside.map(|other| Action::Admit(who, other)));
                }
            }
            if host.has_memory && state.campaigns < self.campaigns {
                actions.push(Action::Campaign(who));
            }
            if let Some(campaign) = &host.campaign {
                let spared = usize::from(self.lacks(Mutant::FoundsWithTooFew));
                if self.usable(campaign).0.len() + spared >= self.majority() {
                    actions.push(Action::Found(who));
                }
            }
            let has_lived = !host.log.is_empty() || host.promised > 0;
            if state.restarts < self.restarts && has_lived {
                actions.push(Action::Restart(who));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        if last.fault.is_some() {
            return None;
        }
        let mut state = last.clone();
        match action {
            Action::Write(who) => {
                let content = self.next_message(who, &state.hosts[usize::from(who)]);
                self.write(&mut state, who, content);
            }
            Action::Leave(who) => {
                state.ring_changes += 1;
                let mut ring = self.ring(&state.hosts[usize::from(who)].log);
                ring.remove(who);
                self.write(&mut state, who, Content::View { by: who, ring });
            }
            Action::Admit(who, other) => {
                state.ring_changes += 1;
                let mut ring = self.ring(&state.hosts[usize::from(who)].log);
                ring.insert(other);
                self.write(&mut state, who, Content::View { by: who, ring });
            }
            Action::Campaign(who) => self.campaign(&mut state, who),
            Action::Found(who) => self.found(&mut state, who)?,
            Action::Restart(who) => {
                state.restarts += 1;
                let forgets = self.lacks(Mutant::ForgetsForgetting);
                let life = state.host_mut(who).restart(who, forgets);
                state.send(Frame::Join { from: who, life });
            }
            Action::Take(who, frame) => self.take(&mut state, who, &frame)?,
        }
        self.judge(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_ORDER, |_, state: &State| {
                !matches!(state.fault, Some(Fault::Disagreement | Fault::AgreedCut))
            }),
            Property::always(EACH_ONCE, |_, state: &State| {
                !matches!(state.fault, Some(Fault::AgreedTwice | Fault::OutOfOrder))
            }),
        ];
        if self.judges_logs {
            properties.push(Property::always(MATCHING, |_, state: &State| {
                state.fault != Some(Fault::TwoContents)
            }));
            properties.push(Property::always(FOUNDED_ON_AGREED, |_, state: &State| {
                state.fault != Some(Fault::AgreedMissing)
            }));
        }
        properties.push(Property::sometimes(AGREES, |_, state: &State| {
            state.chosen.len() >= 2
        }));
        if self.campaigns > 0 {
            properties.push(Property::sometimes(AGREES_LATER, |_, state: &State| {
                state.chosen.iter().any(|chosen| chosen.entry.epoch > 0)
            }));
        }
        properties
    }
}
