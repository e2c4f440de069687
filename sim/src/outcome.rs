//! What a schedule came to, and why it failed.

use core::fmt;

use libexo::engine::ring::Counters;

use crate::fault::Counts;

/// What a schedule came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Schedules added up.
    pub schedules: u64,
    /// Events handled.
    pub events: u64,
    /// Deliveries checked.
    pub deliveries: u64,
    /// Frames sent, one for each receiver.
    pub frames: u64,
    /// How often each kind of fault came.
    pub faults: Counts,
    /// Schedules that had to make progress after healing, and did.
    pub healed: u64,
    /// The longest of these took so many virtual milliseconds.
    pub heal_ms_max: u64,
    /// Schedules that were run twice, with the same history.
    pub repeated: u64,
    /// Engines' counters at the end of each life, added up by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Digest of the whole history: every event with its time, every frame's bytes, every
    /// delivery, every loss.
    pub history: u64,
}

impl Outcome {
    /// Adds another schedule's.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.frames += other.frames;
        self.faults += other.faults;
        self.healed += other.healed;
        self.heal_ms_max = self.heal_ms_max.max(other.heal_ms_max);
        self.repeated += other.repeated;
        self.history = self.history.wrapping_add(other.history);
        for (name, more) in &other.counters {
            self.count(name, *more);
        }
    }

    fn count(&mut self, name: &'static str, more: u64) {
        match self.counters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += more,
            None => self.counters.push((name, more)),
        }
    }

    /// A counter's sum.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let found = self.counters.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, sum)| *sum)
    }

    pub(crate) fn count_all(&mut self, it: &Counters) {
        for (name, more) in [
            ("turns", it.turns),
            ("resends", it.resends),
            ("nacks", it.nacks),
            ("repairs", it.repairs),
            ("relays", it.relays),
            ("campaigns", it.campaigns),
            ("campaigns_planned", it.campaigns_planned),
            ("founded", it.founded),
            ("tails_fetched", it.tails_fetched),
            ("installed", it.installed),
            ("cut", it.cut),
            ("resubmitted", it.resubmitted),
            ("gaps", it.gaps),
            ("parks", it.parks),
            ("wakes", it.wakes),
            ("admitted", it.admitted),
            ("leaves", it.leaves),
            ("void_promises", it.void_promises),
            ("not_admitted", it.not_admitted),
            ("fetches", it.fetches),
            ("fragmented", it.fragmented),
            ("remembered", it.remembered),
            ("generations_left", it.generations_left),
            ("removed", it.removed),
            ("generations_forsaken", it.generations_forsaken),
            ("throttled", it.throttled),
            ("deferred", it.deferred),
            ("frames_dropped", it.frames_dropped()),
        ] {
            self.count(name, more);
        }
    }

    pub(crate) fn count_listener(&mut self, it: &Counters) {
        for (name, more) in [
            ("listener_lives", 1),
            ("listener_nacks", it.nacks),
            ("listener_installed", it.installed),
            ("listener_cut", it.cut),
            ("listener_gaps", it.gaps),
            ("listener_fetches", it.fetches),
            ("listener_generations_left", it.generations_left),
            ("listener_frames_dropped", it.frames_dropped()),
        ] {
            self.count(name, more);
        }
    }
}

/// The command that replays a schedule.
#[must_use]
pub fn replay_command(seed: u64, hosts: usize) -> String {
    format!("exo sim replay {seed} --hosts {hosts}")
}

/// Why a schedule failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The schedule.
    pub seed: u64,
    /// How many hosts vote in it.
    pub hosts: usize,
    /// Virtual time, in microseconds.
    pub at_us: u64,
    /// Which guarantee does not hold.
    pub guarantee: &'static str,
    /// What was seen.
    pub seen: String,
}

impl Failure {
    /// The command that replays it.
    #[must_use]
    pub fn replay(&self) -> String {
        replay_command(self.seed, self.hosts)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} at {} µs; replay with: {}",
            self.guarantee,
            self.seen,
            self.at_us,
            self.replay()
        )
    }
}

impl std::error::Error for Failure {}
