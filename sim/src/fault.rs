//! The kinds of faults, their names, and how often each came.

use core::fmt;
use core::ops::AddAssign;

/// A kind of fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Fault {
    /// A frame is lost by chance, at a cut link or before a slow host.
    Loss,
    /// A frame comes twice.
    Duplication,
    /// A frame overtakes an earlier one of the same link.
    Reordering,
    /// Bytes of a frame change on the way.
    Corruption,
    /// A host restarts without its memory.
    Forget,
    /// A host ends and comes back with what its journal holds.
    Crash,
    /// All hosts crash at once.
    PowerCut,
    /// A crash or a disk error loses units that were not synced yet.
    LostTail,
    /// A host stands still and then goes on; frames to it are lost meanwhile or wait.
    Pause,
    /// A host takes long over every frame.
    Slow,
    /// Sides do not hear each other.
    Partition,
    /// Some hosts do not hear some others, which hear them.
    OneWay,
    /// A link goes up and down.
    Flapping,
    /// A host that only listens ends and starts anew.
    ListenerEnds,
    /// A host leaves by its own turn, and comes back.
    Leave,
    /// A disk takes long over every sync.
    SlowDisk,
    /// A disk fails; its host halts until it is repaired.
    DiskError,
    /// A host's clock starts anywhere.
    ClockOffset,
    /// A host's clock runs fast, slowly or not at all.
    ClockRate,
    /// A host's clock jumps ahead.
    ClockJump,
}

impl Fault {
    /// All kinds, in the order of the table.
    pub const ALL: [Self; 20] = [
        Self::Loss,
        Self::Duplication,
        Self::Reordering,
        Self::Corruption,
        Self::Forget,
        Self::Crash,
        Self::PowerCut,
        Self::LostTail,
        Self::Pause,
        Self::Slow,
        Self::Partition,
        Self::OneWay,
        Self::Flapping,
        Self::ListenerEnds,
        Self::Leave,
        Self::SlowDisk,
        Self::DiskError,
        Self::ClockOffset,
        Self::ClockRate,
        Self::ClockJump,
    ];

    /// Its name in tables and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "frame lost",
            Self::Duplication => "frame doubled",
            Self::Reordering => "frame overtaken",
            Self::Corruption => "frame corrupted",
            Self::Forget => "restart without memory",
            Self::Crash => "crash with memory",
            Self::PowerCut => "power cut of all",
            Self::LostTail => "unsynced tail lost",
            Self::Pause => "pause",
            Self::Slow => "slow host",
            Self::Partition => "partition",
            Self::OneWay => "one-way cut",
            Self::Flapping => "flapping link",
            Self::ListenerEnds => "listener restarts",
            Self::Leave => "leave and return",
            Self::SlowDisk => "slow disk",
            Self::DiskError => "disk error",
            Self::ClockOffset => "clock offset",
            Self::ClockRate => "clock rate",
            Self::ClockJump => "clock jump",
        }
    }

    /// How often it must come in [`SCHEDULES_LEAST`] schedules or more; fewer prove nothing.
    #[must_use]
    pub const fn least(self) -> u64 {
        match self {
            Self::Loss | Self::Duplication | Self::Reordering | Self::Corruption => 1000,
            // The disk is mostly faster than the crash.
            Self::LostTail => 20,
            _ => 50,
        }
    }
}

/// From so many schedules on each kind has to come [`Fault::least`] times.
pub const SCHEDULES_LEAST: u64 = 1000;

/// How often each kind came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts([u64; Fault::ALL.len()]);

impl Counts {
    /// One more.
    pub const fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often this kind came.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Every kind and how often it came.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().map(|fault| (fault, self.of(fault)))
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let sums = self.0.iter_mut().zip(other.0);
        sums.for_each(|(sum, more)| *sum += more);
    }
}

/// The table: kind, count, and what is asked for.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>12} {:>8}", "fault", "came", "least")?;
        for (fault, count) in self.iter() {
            writeln!(f, "{:<24} {count:>12} {:>8}", fault.name(), fault.least())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_place_in_the_table() {
        let mut counts = Counts::default();
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
            counts.count(fault);
        }
        assert!(counts.iter().all(|(_, count)| count == 1));
    }
}
