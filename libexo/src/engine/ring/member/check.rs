//! The invariants of one host, and a look at its state.

use super::{Counters, Member};
use crate::engine::Violation;
use crate::engine::marks::Marks;
use crate::engine::params::TURN_BYTES_LIMIT;
use crate::ids::{Epoch, HostId, Position};

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
    /// Whether no majority answers.
    pub is_halted: bool,
    /// What was counted.
    pub counters: Counters,
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
            is_halted: self.is_halted,
            counters: self.counters,
        }
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
        if self.crash_vector[usize::from(self.me.0)] != self.inc {
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
