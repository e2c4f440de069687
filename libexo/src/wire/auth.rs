//! Who is heard: modes of a ring, tags, encryption, and counters that pass once.
//!
//! A frame with [`Flags::AUTH`] ends in a trailer:
//!
//! ```text
//!  0       4       5     8        16                 32
//!  key id  sender  zero  counter  tag (16 bytes)
//! ```
//!
//! | mode | flags | the tag is |
//! | --- | --- | --- |
//! | open | – | none: whoever reaches the port is heard |
//! | tagged | AUTH | that of the cipher (`wire::cipher`) over header ‖ payload ‖ trailer without tag, with nothing to encrypt |
//! | encrypted | AUTH, ENCRYPTED | that of the cipher, which hides the payload |
//!
//! The keys of a sender are BLAKE3-derive(context, master ‖ ring number ‖ sender) with the contexts
//! "exo ring tag v3" and "exo ring cipher v2"; probes ([`Guard::of_probes`]) have contexts of their
//! own, so that neither can be replayed as the other. The sender is the host that put the frame on the
//! network, which may be forwarding another's. Its counter begins at its incarnation, so that it
//! grows over restarts, too. Whoever has the master key can speak as any host: this stops
//! outsiders, not a corrupt member.
//!
//! A guard seals with one key and accepts several ([`super::keys`]), told apart by the key id.
//!
//! Deviation from the specification: there the tag is the author's and its key belongs to
//! generation and incarnation, so that forwarders must keep every tag. A replayed frame is to the
//! protocol a late duplicate, which it must bear anyway.

use core::fmt;

use super::cipher::{Associated, Cipher};
use super::header::{
    CHECK_AT, Flags, Frame, HEADER_BYTES, Header, Kind, RingId, TAG_AT, TAG_BYTES, TRAILER_BYTES,
    write_check,
};
use super::key::{Fingerprint, Key, KeyId};
use super::keys::Keys;
use crate::ids::HostId;
use crate::planted::{self, Mistake};

const TAG_CONTEXT: &str = "exo ring tag v3";
const CIPHER_CONTEXT: &str = "exo ring cipher v2";
const PROBE_TAG_CONTEXT: &str = "exo probe tag v1";
const PROBE_CIPHER_CONTEXT: &str = "exo probe cipher v1";
/// How far a counter may lag behind the highest seen.
pub const WINDOW: u64 = 1024;

/// What a ring does to its frames. All hosts of a ring do the same.
#[derive(Clone, Debug, Default)]
pub enum Protection {
    /// Nothing: whoever reaches the port is heard.
    #[default]
    Open,
    /// Frames carry a tag; they can be read on the way and not altered.
    Tagged(Keys),
    /// Payloads are encrypted, too. Headers stay readable.
    Encrypted(Keys),
}

impl Protection {
    /// Its name without the keys.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Open => Mode::Open,
            Self::Tagged(_) => Mode::Tagged,
            Self::Encrypted(_) => Mode::Encrypted,
        }
    }
}

/// The kind of a [`Protection`], as a frame's flags say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// No tag.
    Open,
    /// A tag.
    Tagged,
    /// A tag, and the payload encrypted.
    Encrypted,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Tagged => "tagged",
            Self::Encrypted => "encrypted",
        })
    }
}

impl Mode {
    /// What a frame with these flags is.
    #[must_use]
    pub const fn of(flags: Flags) -> Self {
        if flags.has(Flags::ENCRYPTED) {
            Self::Encrypted
        } else if flags.has(Flags::AUTH) {
            Self::Tagged
        } else {
            Self::Open
        }
    }

    /// Bytes that a frame grows by when it is sealed.
    #[must_use]
    pub const fn overhead_bytes(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Tagged | Self::Encrypted => TRAILER_BYTES,
        }
    }

    const fn flags(self) -> Flags {
        match self {
            Self::Open => Flags(0),
            Self::Tagged => Flags::AUTH,
            Self::Encrypted => Flags::AUTH.with(Flags::ENCRYPTED),
        }
    }
}

/// Why a well-formed frame was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Its ring is protected in another way.
    #[error(
        "its frames are {found}, ours {own} (set key_file and encryption the same on all hosts)"
    )]
    Mode {
        /// What the frame is.
        found: Mode,
        /// What this host's frames are.
        own: Mode,
    },
    /// Another key made the tag.
    #[error(
        "it has key {found}, which is not accepted here, where {own} is in use (copy one key file to all hosts and reload; exo keygen --fingerprint FILE shows whose is which)"
    )]
    Key {
        /// The first half of its fingerprint.
        found: KeyId,
        /// That of the key that this host seals with.
        own: KeyId,
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
    /// It comes from one host's address and speaks as another host.
    #[error("it says that it is host {says} (give each host its own number)")]
    Impostor {
        /// Whom it claims to be.
        says: u8,
    },
    /// It speaks as this host.
    #[error("it says that it is this host, {me} (two hosts have one number: change one)")]
    OwnId {
        /// This host.
        me: u8,
    },
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
    mode: Mode,
    place: Place,
    me: HostId,
    /// One for all keys: a key that was taken away and comes back meets no nonce again.
    counter: u64,
    /// The one that seals first; empty in an open ring.
    keys: Vec<Accepted>,
    /// Which key each host last sealed with.
    heard: Vec<Option<KeyId>>,
}

/// What keys of senders are made from, beside the ring's key.
#[derive(Clone, Copy, Debug)]
struct Place {
    context: &'static str,
    ring: u32,
    hosts: usize,
}

/// One of the ring's keys, for all its senders.
#[derive(Debug)]
struct Accepted {
    id: KeyId,
    fingerprint: Fingerprint,
    /// By host. Windows are each key's own: who has an old key moves none of a new one.
    senders: Vec<Sender>,
}

impl Accepted {
    fn new(place: Place, key: &Key) -> Self {
        let sender = |host| Sender {
            cipher: Box::new(Cipher::new(&key.derive(
                place.context,
                place.ring,
                HostId(host),
            ))),
            window: ReplayWindow::default(),
        };
        let fingerprint = key.fingerprint();
        Self {
            id: fingerprint.id(),
            fingerprint,
            senders: (0..=u8::MAX).take(place.hosts).map(sender).collect(),
        }
    }
}

struct Sender {
    cipher: Box<Cipher>,
    window: ReplayWindow,
}

/// Without the key.
impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Guard {
    /// The guard of host `me` among `hosts`; `inc` is its incarnation.
    #[must_use]
    pub fn new(protection: &Protection, ring: RingId, me: HostId, hosts: usize, inc: u64) -> Self {
        let contexts = [TAG_CONTEXT, CIPHER_CONTEXT];
        Self::with_contexts(contexts, protection, ring, me, hosts, inc)
    }

    /// The same for frames that probe the network beside the ring and never enter it.
    #[must_use]
    pub fn of_probes(
        protection: &Protection,
        ring: RingId,
        me: HostId,
        hosts: usize,
        inc: u64,
    ) -> Self {
        let contexts = [PROBE_TAG_CONTEXT, PROBE_CIPHER_CONTEXT];
        Self::with_contexts(contexts, protection, ring, me, hosts, inc)
    }

    fn with_contexts(
        [tagged, encrypted]: [&'static str; 2],
        protection: &Protection,
        ring: RingId,
        me: HostId,
        hosts: usize,
        inc: u64,
    ) -> Self {
        let (context, keys) = match protection {
            Protection::Open => (tagged, None),
            Protection::Tagged(keys) => (tagged, Some(keys)),
            Protection::Encrypted(keys) => (encrypted, Some(keys)),
        };
        let mut guard = Self {
            mode: protection.mode(),
            place: Place {
                context,
                ring: ring.number,
                hosts,
            },
            me,
            counter: inc,
            keys: Vec::new(),
            heard: vec![None; hosts],
        };
        if let Some(keys) = keys {
            guard.change_keys(keys);
        }
        guard
    }

    /// Seals and accepts with `keys` from now on; those that stay keep what was seen under them.
    /// Nothing in an open ring.
    pub fn change_keys(&mut self, keys: &Keys) {
        if self.mode == Mode::Open {
            return;
        }
        let mut earlier = core::mem::take(&mut self.keys);
        let accepted = |(_, key): (_, &Key)| {
            let is_same = |it: &Accepted| it.fingerprint == key.fingerprint();
            match earlier.iter().position(is_same) {
                Some(index) => earlier.swap_remove(index),
                None => Accepted::new(self.place, key),
            }
        };
        self.keys = keys.iter().map(accepted).collect();
    }

    /// The key that `host` seals with, as far as its frames told; for this host the one in force.
    #[must_use]
    pub fn key_of(&self, host: HostId) -> Option<KeyId> {
        if host == self.me {
            return self.keys.first().map(|key| key.id);
        }
        self.heard.get(usize::from(host.0)).copied().flatten()
    }

    /// Counters go on above `inc`, if they are not there yet.
    pub fn raise(&mut self, inc: u64) {
        self.counter = self.counter.max(inc);
    }

    /// The counter of the last frame sealed.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// The highest counter of a host that was let in; 0 for none, and in an open ring.
    #[must_use]
    pub fn highest(&self, host: HostId) -> u64 {
        let senders = self.keys.iter().map(|key| &key.senders);
        let of_host = senders.filter_map(|senders| senders.get(usize::from(host.0)));
        of_host
            .map(|sender| sender.window.highest)
            .max()
            .unwrap_or(0)
    }

    /// What this guard does to frames.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Turns a frame that [`super::emit`] made into what goes on the network.
    pub fn seal(&mut self, bytes: &mut Vec<u8>) {
        let Some(key) = self.keys.first() else {
            return write_check(bytes); // an open ring
        };
        let own = &key.senders[usize::from(self.me.0)];
        self.counter += 1;
        bytes[4] |= self.mode.flags().0.to_le_bytes()[0];
        let mut trailer = [0; TAG_AT];
        trailer[..4].copy_from_slice(&key.id.0);
        trailer[4] = self.me.0;
        trailer[8..].copy_from_slice(&self.counter.to_le_bytes());
        let (head, payload) = bytes
            .split_first_chunk_mut::<HEADER_BYTES>()
            .expect("a frame has a header");
        let encrypted = (self.mode == Mode::Encrypted)
            .then(|| own.cipher.close(&associated(head, &trailer), payload));
        bytes.extend_from_slice(&trailer);
        write_check(bytes);
        let tag = encrypted.unwrap_or_else(|| own.cipher.tag(bytes));
        bytes.extend_from_slice(&tag);
    }

    /// Lets in what host `from` put on the network: `frame` was parsed from `bytes`. What comes out
    /// is the frame as its author made it; an encrypted payload is in `plain`, which needs a
    /// capacity of 65535 bytes for that not to allocate.
    ///
    /// # Errors
    ///
    /// [`AuthError`] unless it is protected as this ring is, a host of the ring made the tag, that
    /// host is `from` and not this one, and its counter is new. In an open ring, where nobody can
    /// prove anything, who sent it must be `from` unless the frame was forwarded.
    pub fn open<'a>(
        &mut self,
        from: HostId,
        frame: Frame<'a>,
        bytes: &[u8],
        plain: &'a mut Vec<u8>,
    ) -> Result<Frame<'a>, AuthError> {
        let (found, own) = (Mode::of(frame.header.flags), self.mode);
        if found != own {
            return Err(AuthError::Mode { found, own });
        }
        let Some(trailer) = frame.trailer else {
            return self.open_untagged(from, frame);
        };
        let (found, own) = (KeyId(part(trailer, 0)), self.keys[0].id);
        let Some(key) = self.keys.iter_mut().find(|key| key.id == found) else {
            return Err(AuthError::Key { found, own });
        };
        let says = trailer[4];
        let Some(sender) = key.senders.get_mut(usize::from(says)) else {
            return Err(AuthError::Sender { found: says });
        };
        let tag = part(trailer, TAG_AT);
        let (payload, checked) = if self.mode == Mode::Encrypted {
            let head = bytes.first_chunk().expect("it was parsed");
            let associated = associated(head, &part(trailer, 0));
            plain.clear();
            plain.resize(frame.payload.len(), 0);
            let opened = sender.cipher.open(&associated, frame.payload, plain, &tag);
            (&plain[..], opened)
        } else {
            let tagged = &bytes[..bytes.len() - TAG_BYTES];
            (frame.payload, sender.cipher.check(tagged, &tag))
        };
        if checked.is_err() && !planted::is(Mistake::TagIgnored) {
            return Err(AuthError::Tag);
        }
        if trailer[5..8] != [0; 3] {
            return Err(AuthError::Tag);
        }
        who(self.me, from, HostId(says))?;
        sender.window.admit(u64::from_le_bytes(part(trailer, 8)))?;
        self.heard[usize::from(says)] = Some(found);
        Ok(Frame {
            header: without_seal(frame.header),
            payload,
            trailer: None,
        })
    }

    fn open_untagged<'a>(&self, from: HostId, frame: Frame<'a>) -> Result<Frame<'a>, AuthError> {
        let header = &frame.header;
        let can_be_forwarded = matches!(header.kind, Kind::Turn | Kind::Install);
        if !(can_be_forwarded && header.flags.has(Flags::RTX)) {
            who(self.me, from, header.src)?;
        }
        Ok(frame)
    }
}

/// Whether `says` may be what `from` says it is.
fn who(me: HostId, from: HostId, says: HostId) -> Result<(), AuthError> {
    if says == me || from == me {
        return Err(AuthError::OwnId { me: me.0 });
    }
    if says != from {
        return Err(AuthError::Impostor { says: says.0 });
    }
    Ok(())
}

fn without_seal(header: Header) -> Header {
    let flags = header.flags.without(Flags::AUTH).without(Flags::ENCRYPTED);
    Header { flags, ..header }
}

fn part<const N: usize>(trailer: &[u8; TRAILER_BYTES], at: usize) -> [u8; N] {
    *trailer[at..].first_chunk().expect("inside the trailer")
}

fn associated(head: &[u8; HEADER_BYTES], trailer: &[u8; TAG_AT]) -> Associated {
    let mut associated = [0; CHECK_AT + TAG_AT];
    associated[..CHECK_AT].copy_from_slice(&head[..CHECK_AT]);
    associated[CHECK_AT..].copy_from_slice(trailer);
    associated
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
