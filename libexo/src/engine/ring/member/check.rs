//! The invariants of one host, and a look at its state.

use core::time::Duration;

use super::{Counters, HostSet, Journal, Member};
use crate::engine::Violation;
use crate::engine::marks::Marks;
use crate::engine::params::TURN_BYTES_LIMIT;
use crate::ids::{Epoch, HostId, Position};
use crate::wire::FrameError;
use crate::wire::key::KeyId;

/// The state of a host as operators and tests see it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The generation, or 0.
    pub generation: u64,
    /// The host's incarnation.
    pub inc: u64,
    /// Whether it waits to be admitted after it lost its memory.
    pub is_amnesiac: bool,
    /// The highest epoch promised.
    pub promised: Epoch,
    /// The epoch that it works in.
    pub joined: Epoch,
    /// Tail, agreed and safe.
    pub marks: Marks,
    /// The log begins after this position.
    pub base: Position,
    /// The members.
    pub ring: Vec<HostId>,
    /// Own messages that are not delivered yet.
    pub queued: usize,
    /// Whether the token rests here.
    pub is_parked: bool,
    /// Whether it only listens.
    pub is_listener: bool,
    /// Whether no majority answers.
    pub is_halted: bool,
    /// What was counted.
    pub counters: Counters,
    /// The host that the token is with; `None` before the first view.
    pub owner: Option<HostId>,
    /// What is delivered.
    pub delivered: Position,
    /// How far the own journal is on stable storage; `None` without a journal.
    pub synced: Option<Position>,
    /// Bytes on their way to the journal.
    pub journal_backlog_bytes: usize,
    /// Bytes of the log in memory.
    pub log_bytes: usize,
    /// Smoothed time from one turn to the next while the ring is busy; 0 until it was measured.
    pub hop: Duration,
    /// Smoothed distance of a hop from `hop`.
    pub hop_deviation: Duration,
    /// Smoothed time from one own turn to the next while the ring is busy; 0 until measured.
    pub rotation: Duration,
    /// Times in force.
    pub timeouts: Timeouts,
    /// Every host that votes.
    pub hosts: Vec<HostLag>,
}

/// Times in force: those that follow what was measured, and those that grew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Until the last turn is sent again.
    pub resend: Duration,
    /// Without progress, until others are asked whether they see none, either.
    pub loss: Duration,
    /// Until a gap is asked for.
    pub nack: Duration,
    /// Until a founder gives up.
    pub epoch: Duration,
    /// Until this host asks to come in again.
    pub join: Duration,
    /// Between two signs of life of a resting token.
    pub park: Duration,
}

/// How far a host is, as far as its turns in this epoch tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostLag {
    /// The host.
    pub host: HostId,
    /// Whether it takes turns.
    pub is_member: bool,
    /// Its highest incarnation known; 0 for none.
    pub inc: u64,
    /// The highest position that it is known to hold; 0 for none.
    pub holds: Position,
    /// The highest position known to be on its stable storage; 0 for none.
    pub stores: Position,
    /// Positions between `holds` and the tail here.
    pub lag: u64,
    /// The key that it last sealed with; `None` in an open ring, or when it was not heard.
    pub key: Option<KeyId>,
    /// Why its frames are refused, if some were in the last seconds.
    pub refused: Option<FrameError>,
}

impl Member {
    pub(in crate::engine::ring) fn inspect(&self) -> Inspection {
        Inspection {
            generation: self.generation,
            inc: self.inc,
            is_amnesiac: self.is_amnesiac,
            promised: self.promised,
            joined: self.joined,
            marks: self.marks,
            base: self.log.base(),
            ring: self.log.ring().iter().collect(),
            queued: self.queued(),
            is_parked: self.is_parked,
            is_listener: self.is_listener(),
            is_halted: self.is_halted,
            counters: self.counters,
            owner: self.log.owner_of_next(),
            delivered: self.deliverer.done(),
            synced: self.journal.as_ref().map(Journal::synced),
            journal_backlog_bytes: self.journal.as_ref().map_or(0, Journal::backlog_bytes),
            log_bytes: self.log.bytes(),
            hop: self.hop.mean(),
            hop_deviation: self.hop.deviation(),
            rotation: self.hop.rotation(),
            timeouts: self.timeouts(),
            hosts: self.lags(),
        }
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts {
            resend: self.hop.resend(&self.params.times),
            loss: self.loss_time(),
            nack: self.nack_wait(),
            epoch: self.epoch_delay,
            join: self.join_delay.max(self.removal_wait()),
            park: self.params.times.park,
        }
    }

    fn lags(&self) -> Vec<HostLag> {
        let (ring, tail) = (self.log.ring(), self.marks.tail());
        let lag = |host: HostId| {
            let index = usize::from(host.0);
            // Nothing is known of how far listeners are.
            let holds = self.last.get(index).copied().unwrap_or_default();
            HostLag {
                host,
                is_member: ring.contains(host),
                inc: self.crash_vector.get(index).copied().unwrap_or(0),
                holds,
                stores: self.stored.get(index).copied().unwrap_or_default(),
                lag: if self.listens(host) {
                    0
                } else {
                    tail.0 - holds.0.min(tail.0)
                },
                key: self.guard.key_of(host),
                refused: self.disagreement(host),
            }
        };
        HostSet::first(self.told.len()).iter().map(lag).collect()
    }

    pub(in crate::engine::ring) fn held(&self) -> Vec<(Position, Epoch, u64)> {
        let entries = self.log.entries();
        entries
            .map(|entry| (entry.position, entry.epoch, entry.digest))
            .collect()
    }

    pub(in crate::engine::ring) fn check(&self) -> Result<(), Violation> {
        if let Some(violation) = &self.fatal {
            return Err(violation.clone());
        }
        let broken = |rule, found: String| Err(Violation { rule, found });
        let (base, done) = (self.log.base(), self.deliverer.done());
        let (agreed, tail) = (self.marks.agreed(), self.marks.tail());
        if !(base <= agreed && agreed <= tail && tail == self.log.tail() && done <= agreed) {
            return broken(
                "I2",
                format!("base {base:?}, done {done:?}, {:?}", self.marks),
            );
        }
        if self.joined > self.promised {
            return broken(
                "I2",
                format!("joined {:?} > {:?}", self.joined, self.promised),
            );
        }
        if done < base {
            return broken(
                "I2",
                format!("trimmed {base:?} before {done:?} was delivered"),
            );
        }
        let own = self.crash_vector.get(usize::from(self.me.0));
        if own.is_some_and(|own| *own != self.inc) {
            return broken("I11", format!("{:?} and {}", self.crash_vector, self.inc));
        }
        let early_max = self.params.early_bytes_max.max(2 * TURN_BYTES_LIMIT);
        if self.early.bytes() > early_max {
            return broken("I12", format!("{} bytes came early", self.early.bytes()));
        }
        if self.is_parked && !self.is_owner() {
            return broken("I5", "parked without the token".to_owned());
        }
        Ok(())
    }
}
