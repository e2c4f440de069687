//! The keys of one host: the one that it seals with, and those that it accepts beside it while the
//! ring's key is being changed.
//!
//! ```text
//! exo-key-1:<digits>:<check>         seals and is accepted
//! exo-key-1:<digits>:<check> next    is accepted; seals after the next step
//! exo-key-1:<digits>:<check> old     is accepted; sealed before the last step
//! ```
//!
//! A change has three steps, each taken by all hosts before any takes the next: [`Keys::with_next`],
//! [`Keys::switch`], [`Keys::drop_old`]. Hosts that are one step apart accept each other; hosts that
//! are further apart may not.
//!
//! Deviation from the specification: there the old key is accepted for one rotation after the
//! first turn under the new. Here an operator says when each step is done, because a host that is
//! down for a while must still be let in, and only people know which.

use core::fmt;
use core::fmt::Write as _;

use super::key::{Key, KeyError};

/// What a key is to a host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// It seals with it.
    Current,
    /// It accepts it and is to seal with it later.
    Next,
    /// It accepts it and sealed with it before.
    Old,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Old => "old",
        })
    }
}

/// One key that seals; perhaps others that are accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    current: Key,
    next: Option<Key>,
    old: Option<Key>,
}

impl From<Key> for Keys {
    fn from(key: Key) -> Self {
        Self {
            current: key,
            next: None,
            old: None,
        }
    }
}

/// Why a text holds no keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is nothing, or nothing but accepted keys.
    #[error(
        "no key is the one to seal with (exactly one line is a key and no word; copy the other hosts' file)"
    )]
    NoCurrent,
    /// A line is no key.
    #[error("line {line}: {error}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why.
        error: KeyError,
    },
    /// Something else follows the key.
    #[error("line {line}: behind a key stands `next`, `old` or nothing")]
    Word {
        /// Which, from 1.
        line: usize,
    },
    /// Two keys have one role.
    #[error("line {line} is a second {role} key (take one of them out)")]
    Role {
        /// Which, from 1.
        line: usize,
        /// The role.
        role: Role,
    },
    /// Two keys have one id.
    #[error("line {line} has the id of a key above it (take one of them out)")]
    Twice {
        /// Which, from 1.
        line: usize,
    },
}

/// Why a step of a change cannot be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StepError {
    /// A key waits already.
    #[error("a next key is there already: switch to it before another is added")]
    NextWaits,
    /// The last change is not over.
    #[error("an old key is there still: drop it before another change begins")]
    OldStays,
    /// No key waits.
    #[error("there is no next key to switch to")]
    NoNext,
    /// None is there.
    #[error("there is no old key to drop")]
    NoOld,
    /// It cannot be told from one that is there.
    #[error("the key has the id of one that is there")]
    Twice,
}

impl Keys {
    /// The key that seals.
    #[must_use]
    pub const fn current(&self) -> &Key {
        &self.current
    }

    /// All of them with their roles, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &Key)> {
        let next = self.next.as_ref().map(|key| (Role::Next, key));
        let old = self.old.as_ref().map(|key| (Role::Old, key));
        [Some((Role::Current, &self.current)), next, old]
            .into_iter()
            .flatten()
    }

    /// First step: `key` is accepted, too.
    ///
    /// # Errors
    ///
    /// [`StepError`] unless there is one key, with another id.
    pub fn with_next(self, key: Key) -> Result<Self, StepError> {
        if self.next.is_some() {
            return Err(StepError::NextWaits);
        }
        if self.old.is_some() {
            return Err(StepError::OldStays);
        }
        if self.has_id_of(&key) {
            return Err(StepError::Twice);
        }
        let next = Some(key);
        Ok(Self { next, ..self })
    }

    /// Second step: the next key seals, and the one that did is accepted.
    ///
    /// # Errors
    ///
    /// [`StepError`] unless there is a next key and no old one.
    pub fn switch(self) -> Result<Self, StepError> {
        if self.old.is_some() {
            return Err(StepError::OldStays);
        }
        Ok(Self {
            current: self.next.ok_or(StepError::NoNext)?,
            next: None,
            old: Some(self.current),
        })
    }

    /// Third step: the old key is not accepted any more.
    ///
    /// # Errors
    ///
    /// [`StepError::NoOld`].
    pub fn drop_old(self) -> Result<Self, StepError> {
        match self.old {
            None => Err(StepError::NoOld),
            Some(_) => Ok(Self { old: None, ..self }),
        }
    }

    /// Reads lines of keys, each with a word for its role. Empty lines are ignored.
    ///
    /// # Errors
    ///
    /// [`KeysError`]: the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let (mut current, mut next, mut old) = (None, None, None);
        let mut ids = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let mut words = text.split_whitespace();
            let Some(word) = words.next() else {
                continue;
            };
            let key = Key::parse(word).map_err(|error| KeysError::Line { line, error })?;
            let (role, place) = match (words.next(), words.next()) {
                (None, None) => (Role::Current, &mut current),
                (Some("next"), None) => (Role::Next, &mut next),
                (Some("old"), None) => (Role::Old, &mut old),
                _ => return Err(KeysError::Word { line }),
            };
            let id = key.fingerprint().id();
            if ids.contains(&id) {
                return Err(KeysError::Twice { line });
            }
            ids.push(id);
            if place.replace(key).is_some() {
                return Err(KeysError::Role { line, role });
            }
        }
        Ok(Self {
            current: current.ok_or(KeysError::NoCurrent)?,
            next,
            old,
        })
    }

    /// The lines that [`parse`](Self::parse) reads. Whoever sees them has the keys.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut text = String::new();
        for (role, key) in self.iter() {
            let line = key.reveal();
            // Writing to a String cannot fail.
            let _ = match role {
                Role::Current => writeln!(text, "{line}"),
                Role::Next | Role::Old => writeln!(text, "{line} {role}"),
            };
        }
        text
    }

    fn has_id_of(&self, key: &Key) -> bool {
        let id = key.fingerprint().id();
        self.iter().any(|(_, own)| own.fingerprint().id() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; 32])
    }

    fn roles(keys: &Keys) -> Vec<(Role, Key)> {
        let keys = keys.iter().map(|(role, key)| (role, key.clone()));
        keys.collect()
    }

    #[test]
    fn a_change_has_three_steps_in_one_order() {
        let alone = Keys::from(key(1));
        assert_eq!(alone.clone().switch(), Err(StepError::NoNext));
        assert_eq!(alone.clone().drop_old(), Err(StepError::NoOld));
        assert_eq!(alone.clone().with_next(key(1)), Err(StepError::Twice));
        let added = alone.with_next(key(2)).expect("the first step");
        assert_eq!(
            roles(&added),
            [(Role::Current, key(1)), (Role::Next, key(2))]
        );
        assert_eq!(added.clone().with_next(key(3)), Err(StepError::NextWaits));
        assert_eq!(added.clone().drop_old(), Err(StepError::NoOld));
        let taken = added.switch().expect("the second step");
        assert_eq!(
            roles(&taken),
            [(Role::Current, key(2)), (Role::Old, key(1))]
        );
        assert_eq!(taken.clone().with_next(key(3)), Err(StepError::OldStays));
        assert_eq!(taken.clone().switch(), Err(StepError::OldStays));
        let done = taken.drop_old().expect("the third step");
        assert_eq!(done, Keys::from(key(2)));
    }

    #[test]
    fn keys_are_read_as_they_were_written_in_whatever_order() {
        let alone = Keys::from(key(1));
        let added = alone.clone().with_next(key(2)).expect("the first step");
        let taken = added.clone().switch().expect("the second step");
        for keys in [alone, added, taken] {
            let text = keys.reveal();
            assert_eq!(Keys::parse(&text), Ok(keys.clone()), "{text}");
            let lines: Vec<_> = text.lines().rev().collect();
            let turned = format!("\n  {}\r\n\n", lines.join("\r\n"));
            assert_eq!(Keys::parse(&turned), Ok(keys), "{turned}");
        }
    }

    #[test]
    fn what_is_no_list_of_keys_is_called_by_its_line() {
        let [one, two] = [1, 2].map(|byte| key(byte).reveal());
        let wrong = |text: &str| Keys::parse(text).expect_err("wrong");
        assert_eq!(wrong(""), KeysError::NoCurrent);
        assert_eq!(wrong(&format!("{one} next")), KeysError::NoCurrent);
        let error = KeyError::Prefix;
        assert_eq!(
            wrong(&format!("{one}\nkey")),
            KeysError::Line { line: 2, error }
        );
        for word in ["new", "NEXT", "next old"] {
            let text = format!("\n{one} {word}");
            assert_eq!(wrong(&text), KeysError::Word { line: 2 }, "{text}");
        }
        assert_eq!(
            wrong(&format!("{one}\n{two}")),
            KeysError::Role {
                line: 2,
                role: Role::Current
            }
        );
        assert_eq!(
            wrong(&format!("{one}\n{one} old")),
            KeysError::Twice { line: 2 }
        );
    }
}
