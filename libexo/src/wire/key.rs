//! The secret that all hosts of a ring share, and the one line of text that it is kept in. Several
//! of them, while it is being changed: [`super::keys`].
//!
//! ```text
//! exo-key-1:<64 hexadecimal digits: the key>:<8 digits: their check>
//! ```
//!
//! The check is the first bytes of BLAKE3-derive("exo key check v1", key), so that a line that was
//! mistyped or cut is refused and not taken for another key. The fingerprint is the first 8 bytes
//! of BLAKE3-derive("exo key fingerprint v1", key): it names the key and tells nothing about it,
//! may be printed and read out, and its first half is the [`KeyId`] that frames carry.
//!
//! No error and no `Debug` of this module shows a part of a key.

use core::fmt;

use crate::ids::HostId;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Characters of a key's line.
pub const LINE_BYTES: usize = PREFIX.len() + 2 * KEY_BYTES + 1 + 2 * CHECK_BYTES;

const PREFIX: &str = "exo-key-1:";
const CHECK_BYTES: usize = 4;
const CHECK_CONTEXT: &str = "exo key check v1";
const FINGERPRINT_CONTEXT: &str = "exo key fingerprint v1";

/// A ring's key. Whoever has it can speak as any host of the ring.
#[derive(Clone, Eq, PartialEq)]
pub struct Key([u8; KEY_BYTES]);

/// Shows the fingerprint only.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}

/// Names a key without telling anything about it: `5ad1-09c3-77e0-b12f`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint([u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i] = self.0;
        write!(
            f,
            "{a:02x}{b:02x}-{c:02x}{d:02x}-{e:02x}{g:02x}-{h:02x}{i:02x}"
        )
    }
}

impl Fingerprint {
    /// Its first half, as frames carry it.
    #[must_use]
    pub fn id(self) -> KeyId {
        KeyId(*self.0.first_chunk().expect("4 of 8 bytes"))
    }
}

/// Which key sealed a frame: the first half of its fingerprint.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:02x}{b:02x}-{c:02x}{d:02x}")
    }
}

/// Why a text is no key. Each says what is wrong and what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is nothing.
    #[error("the key is empty (make one with exo keygen, or copy the other hosts' file)")]
    Empty,
    /// More than one line.
    #[error("there is more than one line (a key is one line)")]
    Lines,
    /// It does not begin as a key does.
    #[error("this is no key: it does not begin with {PREFIX} (exo keygen makes keys)")]
    Prefix,
    /// A key of a form that this version does not know.
    #[error(
        "this is a key of another version (this one reads {PREFIX}; update exo, or make a key with exo keygen)"
    )]
    Version,
    /// Cut, or with something added.
    #[error("the key has {found} characters instead of {LINE_BYTES} (copy the whole line again)")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// Something that is no digit.
    #[error("character {at} of the key is not one of 0-9 and a-f (copy the line again)")]
    Digit {
        /// Which one, from 1.
        at: usize,
    },
    /// Key and check do not belong together.
    #[error("the key's check does not fit: at least one character is wrong (copy the line again)")]
    Check,
}

impl Key {
    /// A key of 32 bytes from a source that nobody can guess.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key of one sender for one purpose.
    pub(super) fn derive(&self, context: &'static str, ring: u32, sender: HostId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        hasher.update(&ring.to_le_bytes());
        hasher.update(&[sender.0]);
        *hasher.finalize().as_bytes()
    }

    /// The secret in the form that [`parse`](Self::parse) reads, without a line's end.
    #[must_use]
    pub fn reveal(&self) -> String {
        let check: [u8; CHECK_BYTES] = derived(CHECK_CONTEXT, &self.0);
        format!("{PREFIX}{}:{}", hex(&self.0), hex(&check))
    }

    /// What the key is called.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(derived(FINGERPRINT_CONTEXT, &self.0))
    }

    /// Reads a key's line. White space around it is ignored, capital digits are taken.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let line = text.trim();
        if line.is_empty() {
            return Err(KeyError::Empty);
        }
        if line.contains(['\n', '\r']) {
            return Err(KeyError::Lines);
        }
        let Some(rest) = line.strip_prefix(PREFIX) else {
            let is_other = line.starts_with("exo-key-");
            return Err(if is_other {
                KeyError::Version
            } else {
                KeyError::Prefix
            });
        };
        let found = line.chars().count();
        if found != LINE_BYTES {
            return Err(KeyError::Length { found });
        }
        let separator = 2 * KEY_BYTES;
        for (index, letter) in rest.chars().enumerate() {
            let is_right = if index == separator {
                letter == ':'
            } else {
                letter.is_ascii_hexdigit()
            };
            if !is_right {
                let at = PREFIX.len() + index + 1;
                return Err(KeyError::Digit { at });
            }
        }
        let (digits, check) = (&rest[..separator], &rest[separator + 1..]);
        let key = Self(unhex(digits).ok_or(KeyError::Check)?);
        let check: [u8; CHECK_BYTES] = unhex(check).ok_or(KeyError::Check)?;
        if check != derived(CHECK_CONTEXT, &key.0) {
            return Err(KeyError::Check);
        }
        Ok(key)
    }
}

fn derived<const N: usize>(context: &str, bytes: &[u8]) -> [u8; N] {
    let hash = blake3::derive_key(context, bytes);
    *hash.first_chunk().expect("at most 32 bytes are asked for")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of digits that were looked at.
fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "exo-key-1:\
        0707070707070707070707070707070707070707070707070707070707070707:";

    fn key() -> Key {
        Key::from_bytes([7; KEY_BYTES])
    }

    #[test]
    fn a_keys_line_is_read_as_it_was_written() {
        let line = key().reveal();
        assert!(line.starts_with(LINE), "{line}");
        assert_eq!(line.len(), LINE_BYTES);
        assert_eq!(Key::parse(&line), Ok(key()));
        assert_eq!(Key::parse(&format!("  {line}\r\n")), Ok(key()));
        assert_eq!(
            Key::parse(&line.to_uppercase().replace("EXO-KEY", "exo-key")),
            Ok(key())
        );
    }

    #[test]
    fn one_wrong_character_is_noticed_wherever_it_is() {
        let line = key().reveal();
        for at in 0..line.len() {
            for other in ["0", "1", "f", "x", ":", " ", "é"] {
                let mut changed = line.clone();
                changed.replace_range(at..=at, other);
                if changed != line {
                    assert!(Key::parse(&changed).is_err(), "{other} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_cut_line_is_refused_with_its_length() {
        let line = key().reveal();
        for len in "exo-key-1:".len()..line.len() {
            let found = len;
            assert_eq!(Key::parse(&line[..len]), Err(KeyError::Length { found }));
        }
        let longer = format!("{line}0");
        let found = LINE_BYTES + 1;
        assert_eq!(Key::parse(&longer), Err(KeyError::Length { found }));
    }

    #[test]
    fn what_is_no_key_is_called_by_its_fault() {
        let line = key().reveal();
        assert_eq!(Key::parse(" \n"), Err(KeyError::Empty));
        assert_eq!(Key::parse(&format!("{line}\n{line}")), Err(KeyError::Lines));
        assert_eq!(Key::parse("ssh-ed25519 AAAA"), Err(KeyError::Prefix));
        assert_eq!(Key::parse("exo-key-2:00:00"), Err(KeyError::Version));
        let digit = line.replacen("07", "0O", 1);
        assert_eq!(Key::parse(&digit), Err(KeyError::Digit { at: 12 }));
        let mistyped = line.replacen("07", "70", 1);
        assert_eq!(Key::parse(&mistyped), Err(KeyError::Check));
    }

    #[test]
    fn nothing_but_the_fingerprint_is_shown() {
        let shown = format!("{:?} {:#?}", key(), Some(key()));
        assert!(shown.contains(&key().fingerprint().to_string()), "{shown}");
        assert!(!shown.contains("0707"), "{shown}");
        let id = key().fingerprint().id().to_string();
        assert!(key().fingerprint().to_string().starts_with(&id));
    }
}
