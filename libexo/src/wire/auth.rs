//! Keyed authentication of frames: who has no key is not heard.
//!
//! A frame with [`Flags::AUTH`] ends in a trailer:
//!
//! ```text
//!  0       4       5     8        16                 32
//!  key id  sender  zero  counter  tag (16 bytes)
//! ```
//!
//! The key of a sender is `BLAKE3-derive("exo ring v1", master ‖ ring ‖ sender)`; the tag is keyed
//! BLAKE3 over header ‖ payload ‖ trailer without tag, cut to 128 bits. The sender is the host that
//! put the frame on the network, which may be forwarding another's. Its counter begins at its
//! incarnation, so that it grows over restarts, too. Whoever has the master key can speak as any
//! host: this stops outsiders, not a corrupt member. Frames are not encrypted.
//!
//! Deviation from the specification: there the tag is the author's and its key belongs to
//! generation and incarnation, so that forwarders must keep every tag. A replayed frame is to the
//! protocol a late duplicate, which it must bear anyway.

use super::header::{CHECK_AT, Flags, Frame, HEADER_BYTES, TRAILER_BYTES, check_of};
use crate::ids::HostId;

const CONTEXT: &str = "exo ring v1";
const TAG_AT: usize = 16;
/// How far a counter may lag behind the highest seen.
pub const WINDOW: u64 = 1024;

/// The key that all hosts of a ring share.
#[derive(Clone)]
pub struct MasterKey {
    /// Its number, so that two can be told apart while keys change.
    pub id: u32,
    /// Its bytes.
    pub bytes: [u8; 32],
}

impl core::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MasterKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl MasterKey {
    fn sender_key(&self, ring: u32, sender: HostId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&self.bytes);
        hasher.update(&ring.to_le_bytes());
        hasher.update(&[sender.0]);
        *hasher.finalize().as_bytes()
    }
}

/// Why a tag was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// There is no trailer.
    #[error("the frame has no tag")]
    Missing,
    /// Another key made it.
    #[error("key {found} is not in use")]
    Key {
        /// The key's number.
        found: u32,
    },
    /// The sender is no host of the ring.
    #[error("host {found} is not in the ring")]
    Sender {
        /// The host.
        found: u8,
    },
    /// The tag is not the key's.
    #[error("the tag is wrong")]
    Tag,
    /// The counter was seen, or is too old to tell.
    #[error("counter {counter} was seen before")]
    Replay {
        /// The counter.
        counter: u64,
    },
}

/// Seals what one host sends and lets in what the others sealed.
#[derive(Debug)]
pub struct Guard {
    key_id: u32,
    me: HostId,
    counter: u64,
    keys: Vec<[u8; 32]>,
    windows: Vec<ReplayWindow>,
}

impl Guard {
    /// The guard of host `me` among `hosts`; `inc` is its incarnation.
    #[must_use]
    pub fn new(master: &MasterKey, ring: u32, me: HostId, hosts: usize, inc: u64) -> Self {
        let keys = (0..=u8::MAX).take(hosts);
        Self {
            key_id: master.id,
            me,
            counter: inc,
            keys: keys
                .map(|host| master.sender_key(ring, HostId(host)))
                .collect(),
            windows: vec![ReplayWindow::default(); hosts],
        }
    }

    /// Turns a frame that [`super::emit`] made into a sealed one.
    pub fn seal(&mut self, bytes: &mut Vec<u8>) {
        self.counter += 1;
        bytes[4] |= Flags::AUTH.0.to_le_bytes()[0];
        let (head, payload) = bytes
            .split_first_chunk_mut::<HEADER_BYTES>()
            .expect("a frame has a header");
        let check = check_of(head, payload);
        head[CHECK_AT..].copy_from_slice(&check.to_le_bytes());
        bytes.extend_from_slice(&self.key_id.to_le_bytes());
        bytes.extend_from_slice(&[self.me.0, 0, 0, 0]);
        bytes.extend_from_slice(&self.counter.to_le_bytes());
        let tag = tag_of(&self.keys[usize::from(self.me.0)], bytes);
        bytes.extend_from_slice(&tag);
    }

    /// Verifies the tag of a parsed frame, whose bytes are `bytes`.
    ///
    /// # Errors
    ///
    /// [`AuthError`] unless a host of the ring made the tag and its counter is new.
    pub fn open(&mut self, frame: &Frame<'_>, bytes: &[u8]) -> Result<(), AuthError> {
        let trailer = frame.trailer.ok_or(AuthError::Missing)?;
        let (found, sender) = (u32_at(trailer, 0), trailer[4]);
        if found != self.key_id {
            return Err(AuthError::Key { found });
        }
        let Some(key) = self.keys.get(usize::from(sender)) else {
            return Err(AuthError::Sender { found: sender });
        };
        let tagged = &bytes[..bytes.len() - TRAILER_BYTES + TAG_AT];
        let computed = tag_of(key, tagged);
        // All bytes are compared, whichever differs first.
        let found_tag = &trailer[TAG_AT..];
        let differs = found_tag
            .iter()
            .zip(computed)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if differs != 0 || trailer[5..8] != [0; 3] {
            return Err(AuthError::Tag);
        }
        let counter = u64::from_le_bytes(*trailer[8..].first_chunk().expect("inside the trailer"));
        self.windows[usize::from(sender)].admit(counter)
    }
}

fn u32_at(trailer: &[u8; TRAILER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(*trailer[at..].first_chunk().expect("inside the trailer"))
}

fn tag_of(key: &[u8; 32], tagged: &[u8]) -> [u8; 16] {
    let hash = blake3::keyed_hash(key, tagged);
    *hash.as_bytes().first_chunk().expect("16 of 32 bytes")
}

/// Which counters of one sender were seen.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    highest: u64,
    seen: [u64; 16],
}

impl ReplayWindow {
    /// Lets a verified counter in once. The first counter of a sender is 1.
    ///
    /// # Errors
    ///
    /// [`AuthError::Replay`] if it was seen or is older than the window.
    pub fn admit(&mut self, counter: u64) -> Result<(), AuthError> {
        let replay = Err(AuthError::Replay { counter });
        if counter == 0 || counter.saturating_add(WINDOW) <= self.highest {
            return replay;
        }
        if counter > self.highest {
            if counter - self.highest >= WINDOW {
                self.seen = [0; 16];
            } else {
                (self.highest + 1..counter).for_each(|between| self.set(between, false));
            }
            self.highest = counter;
            self.set(counter, false);
        }
        if self.has(counter) {
            return replay;
        }
        self.set(counter, true);
        Ok(())
    }

    fn place(counter: u64) -> (usize, u64) {
        let bit = counter % WINDOW;
        (
            usize::try_from(bit / 64).expect("below 16"),
            1 << (bit % 64),
        )
    }

    fn has(&self, counter: u64) -> bool {
        let (word, bit) = Self::place(counter);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, counter: u64, is_seen: bool) {
        let (word, bit) = Self::place(counter);
        if is_seen {
            self.seen[word] |= bit;
        } else {
            self.seen[word] &= !bit;
        }
    }
}
