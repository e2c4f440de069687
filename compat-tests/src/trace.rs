//! The order in which members received, datagram by datagram, as `member.c` writes it down.

use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Sender and number, eight bytes each.
const ENTRY_BYTES: usize = 16;

/// Sender and number of a datagram.
pub type Entry = (u64, u64);

/// What one member received, in that order.
#[derive(Clone, Debug)]
pub struct Trace {
    name: String,
    /// Each datagram.
    pub entries: Vec<Entry>,
}

/// How many datagrams are in a trace that is still being written.
///
/// # Errors
///
/// When there is no such file.
pub fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len() / ENTRY_BYTES as u64)
}

impl Trace {
    /// The trace of the member that people call `name`.
    ///
    /// # Errors
    ///
    /// When there is no such file.
    pub fn read(name: &str, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().expect("half an entry"));
        Ok(Self {
            name: name.to_owned(),
            entries: bytes
                .chunks_exact(ENTRY_BYTES)
                .map(|entry| (word(&entry[..8]), word(&entry[8..])))
                .collect(),
        })
    }

    /// Is every sender's sequence without a gap, a repetition and a step back?
    ///
    /// # Errors
    ///
    /// The place where it is not.
    pub fn ensure_each_sender_in_order(&self) -> Result<()> {
        let mut last = HashMap::new();
        for (place, (sender, number)) in self.entries.iter().enumerate() {
            if let Some(before) = last.insert(sender, *number) {
                ensure!(
                    *number == before + 1,
                    "{}, place {place}: number {number} of sender {sender:x} after {before}",
                    self.name
                );
            }
        }
        Ok(())
    }

    /// The part of `other` that this one begins with, or the other way round: from the later
    /// beginning to the earlier end. `None` when the one that begins later begins behind the end.
    fn common<'a>(&'a self, other: &'a Self) -> Option<(&'a [Entry], &'a [Entry])> {
        let find = |first: Option<&Entry>, in_: &[Entry]| {
            first.and_then(|first| in_.iter().position(|entry| entry == first))
        };
        let (a, b) = (&self.entries[..], &other.entries[..]);
        let (a, b) = match (find(b.first(), a), find(a.first(), b)) {
            (Some(at), _) => (&a[at..], b),
            (None, Some(at)) => (a, &b[at..]),
            (None, None) => return None,
        };
        let length = a.len().min(b.len());
        Some((&a[..length], &b[..length]))
    }

    /// Do two members that were there at the same time have one order?
    ///
    /// # Errors
    ///
    /// The place where they differ; or that they have nothing in common.
    pub fn ensure_agrees(&self, other: &Self) -> Result<()> {
        let (a, b) = self
            .common(other)
            .with_context(|| format!("{} and {} have nothing in common", self.name, other.name))?;
        if let Some(place) = (0..a.len()).find(|place| a[*place] != b[*place]) {
            anyhow::bail!(
                "{} and {} differ {place} places after the first that both have: {:x?} and {:x?}",
                self.name,
                other.name,
                a[place],
                b[place]
            );
        }
        Ok(())
    }
}

/// Is there one order that all of them are parts of, each without a gap?
///
/// Those that were never there at the same time are compared through others.
///
/// # Errors
///
/// Two that differ, or one that has nothing in common with the others.
pub fn ensure_one_order(traces: &[Trace]) -> Result<()> {
    let mut waiting: Vec<&Trace> = traces.iter().collect();
    let mut reached: Vec<&Trace> = waiting.pop().into_iter().collect();
    ensure!(!reached.is_empty(), "no traces");
    for trace in traces {
        trace.ensure_each_sender_in_order()?;
    }
    while let Some(next) = waiting
        .iter()
        .position(|trace| reached.iter().any(|other| other.common(trace).is_some()))
    {
        let trace = waiting.swap_remove(next);
        for other in &reached {
            if other.common(trace).is_some() {
                other.ensure_agrees(trace)?;
            }
        }
        reached.push(trace);
    }
    let names = |them: &[&Trace]| them.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    ensure!(
        waiting.is_empty(),
        "{:?} have nothing in common with {:?}",
        names(&waiting),
        names(&reached)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(name: &str, numbers: &[u64]) -> Trace {
        Trace {
            name: name.to_owned(),
            entries: numbers
                .iter()
                .map(|number| (number / 10, number % 10))
                .collect(),
        }
    }

    #[test]
    fn parts_of_one_order_agree() {
        let all = trace("all", &[11, 21, 12, 31, 13, 22]);
        let late = trace("late", &[12, 31, 13, 22, 14]);
        let short = trace("short", &[11, 21, 12]);
        ensure_one_order(&[all, late, short]).unwrap();
    }

    #[test]
    fn a_changed_place_a_gap_and_a_stranger_are_found() {
        let all = || trace("all", &[11, 21, 12, 31, 13, 22]);
        ensure_one_order(&[all(), trace("swapped", &[21, 12, 13, 31])]).unwrap_err();
        ensure_one_order(&[all(), trace("gap", &[11, 21, 31])]).unwrap_err();
        ensure_one_order(&[all(), trace("twice", &[11, 21, 12, 12])]).unwrap_err();
        ensure_one_order(&[all(), trace("stranger", &[41])]).unwrap_err();
        ensure_one_order(&[trace("back", &[12, 11])]).unwrap_err();
    }
}
