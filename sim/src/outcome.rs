//! What a schedule came to, and why it failed.

use core::fmt;

use libexo::engine::ring::Counters;

use crate::plan::FAULTS;

/// What a schedule came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Schedules added up.
    pub schedules: u64,
    /// Events handled.
    pub events: u64,
    /// Deliveries checked.
    pub deliveries: u64,
    /// Faults of each kind, in the order of [`crate::plan::FAULTS`].
    pub faults: [u64; FAULTS.len()],
    /// Frames sent, lost, doubled and altered.
    pub frames: [u64; 4],
    /// Schedules that had to make progress after healing, and did.
    pub healed: u64,
    /// The longest of these took so many virtual milliseconds.
    pub heal_ms_max: u64,
    /// Engines' counters at the end of each life, added up by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Hash of everything that was delivered, for comparing two runs.
    pub trace: u64,
}

impl Outcome {
    /// Adds another schedule's.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.healed += other.healed;
        self.heal_ms_max = self.heal_ms_max.max(other.heal_ms_max);
        self.trace ^= other.trace;
        self.faults
            .iter_mut()
            .zip(other.faults)
            .for_each(|(sum, more)| *sum += more);
        self.frames
            .iter_mut()
            .zip(other.frames)
            .for_each(|(sum, more)| *sum += more);
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
            ("frames_dropped", it.frames_dropped()),
        ] {
            self.count(name, more);
        }
    }
}

/// Why a schedule failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The schedule.
    pub seed: u64,
    /// Virtual time, in microseconds.
    pub at_us: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} µs; replay with: cargo run --release -p exo-sim -- {}",
            self.what, self.at_us, self.seed
        )
    }
}

impl std::error::Error for Failure {}
