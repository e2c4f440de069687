//! The header that every frame begins with, and the one place where a frame is let in.

use crate::ids::{Epoch, HostId, Position};
use crate::planted::{self, Mistake};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 60;
/// Bytes of the trailer of an authenticated frame.
pub const TRAILER_BYTES: usize = 32;
/// Where the tag begins in the trailer.
pub(super) const TAG_AT: usize = 16;
/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = TRAILER_BYTES - TAG_AT;
/// The first two bytes of every frame.
pub const MAGIC: u16 = 0x7845;
/// The only version there is.
pub const VERSION: u8 = 2;

/// Offset of the check in the header.
pub(super) const CHECK_AT: usize = 56;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Kind {
    /// What one host broadcasts when it has the token.
    Turn = 1,
    /// The token rests with the sender.
    Park = 2,
    /// Somebody has something to send.
    Wake = 3,
    /// Missing positions and parts.
    Nack = 4,
    /// A host asks to come in.
    Join = 6,
    /// A founder asks for promises.
    Prepare = 7,
    /// The answer to it.
    Promise = 8,
    /// No, with the reason.
    Refuse = 9,
    /// The turn that opens an epoch.
    Install = 10,
    /// Asks for a range of the log.
    Fetch = 11,
    /// The range.
    Fetched = 12,
    /// "I have seen no progress."
    Probe = 13,
    /// "Nor have I."
    ProbeAck = 14,
    /// Where a trimmed log begins; only inside [`Kind::Fetched`].
    Base = 16,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Turn,
            2 => Self::Park,
            3 => Self::Wake,
            4 => Self::Nack,
            6 => Self::Join,
            7 => Self::Prepare,
            8 => Self::Promise,
            9 => Self::Refuse,
            10 => Self::Install,
            11 => Self::Fetch,
            12 => Self::Fetched,
            13 => Self::Probe,
            14 => Self::ProbeAck,
            16 => Self::Base,
            _ => return None,
        })
    }
}

/// The bits of the header's `flags`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(pub u16);

impl Flags {
    /// Sent again.
    pub const RTX: Self = Self(1);
    /// Sent again for the second time or later.
    pub const RTX2: Self = Self(2);
    /// Forwarded by another host.
    pub const RELAY: Self = Self(4);
    /// A turn that a WAKE asked for.
    pub const WOKEN: Self = Self(8);
    /// The payload is a VIEW body.
    pub const VIEW: Self = Self(16);
    /// A turn without payload.
    pub const EMPTY: Self = Self(32);
    /// A trailer with a tag follows the payload.
    pub const AUTH: Self = Self(64);
    /// The payload is encrypted; only with [`Flags::AUTH`].
    pub const ENCRYPTED: Self = Self(128);
    /// For the host in `dst` only.
    pub const UNICAST: Self = Self(256);
    /// A planned change of epoch.
    pub const PLANNED: Self = Self(512);

    /// A turn of a host whose log up to and with it is on stable storage.
    pub const SYNCED: Self = Self(1024);

    /// Bits that a receiver knows.
    const KNOWN: u16 = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128 | 256 | 512 | 1024;
    /// Bits that a receiver may ignore.
    const IGNORED: u16 = 0xF000;

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other`, too.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What all hosts of a ring must agree on before they hear each other.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RingId {
    /// The ring's number.
    pub number: u32,
    /// The number of the table of hosts, see [`super::table::digest`].
    pub table: u32,
}

/// The header's fields; magic, version, length and check are made and tested on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// See [`Flags`].
    pub flags: Flags,
    /// The author, which need not be who forwarded it.
    pub src: HostId,
    /// For whom, with [`Flags::UNICAST`].
    pub dst: HostId,
    /// Which ring, as the author knows it.
    pub ring: RingId,
    /// Low half of the generation; 0 before there is one.
    pub generation: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// The position; in control frames the sender's tail.
    pub seq: Position,
    /// D(seq − 1); in control frames D(tail).
    pub prev: u64,
    /// seq − agreed at the author, at most 65535.
    pub behind: u16,
    /// Payload that the author can take in a turn, in units of 4 KiB.
    pub credit: u16,
    /// Which part this is, from 0.
    pub part: u16,
    /// How many parts there are, at least 1.
    pub parts: u16,
    /// Batch entries that begin in this part.
    pub count: u16,
}

/// Why a frame from the network was refused. Never fatal: it is counted and dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than a header.
    #[error("a frame of {len_bytes} bytes is shorter than its header")]
    Truncated {
        /// What there was.
        len_bytes: usize,
    },
    /// Not ours.
    #[error("magic {found:#06x} is not ours")]
    Magic {
        /// What was found.
        found: u16,
    },
    /// A version that this host does not speak.
    #[error("it speaks version {found}, this host {VERSION} (run the same release on all hosts)")]
    Version {
        /// What was found.
        found: u8,
    },
    /// Another ring's frame.
    #[error("it belongs to ring {found}, this host to ring {own} (give one of them another port)")]
    Ring {
        /// What was found.
        found: u32,
        /// This host's ring.
        own: u32,
    },
    /// Its table of hosts is another.
    #[error("its table of hosts is {found:08x}, ours {own:08x} (make the host tables the same)")]
    Table {
        /// The number of its table.
        found: u32,
        /// The number of ours.
        own: u32,
    },
    /// The payload's length and the frame's do not fit.
    #[error("{found_bytes} bytes where the header announces {announced_bytes}")]
    Length {
        /// Bytes of the frame.
        found_bytes: usize,
        /// Header, payload and trailer.
        announced_bytes: usize,
    },
    /// The bytes changed on the way.
    #[error("check {found:#010x} does not match {computed:#010x}")]
    Check {
        /// What the frame says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A kind that this version does not have.
    #[error("there is no kind {found}")]
    Kind {
        /// What was found.
        found: u8,
    },
    /// A flag that may not be ignored.
    #[error("flags {found:#06x} are not all known")]
    Flags {
        /// What was found.
        found: u16,
    },
    /// `part` is not below `parts`.
    #[error("part {part} of {parts}")]
    Part {
        /// Which part.
        part: u16,
        /// Of how many.
        parts: u16,
    },
}

/// A frame whose header was checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// What follows it.
    pub payload: &'a [u8],
    /// Key id, counter and tag, with [`Flags::AUTH`]; not verified here.
    pub trailer: Option<&'a [u8; TRAILER_BYTES]>,
}

impl<'a> Frame<'a> {
    /// Checks `bytes` and gives them a type.
    ///
    /// Bytes after the announced length are refused; on Ethernet the receiver cuts the padding
    /// off first.
    ///
    /// # Errors
    ///
    /// The first [`ParseError`] found.
    pub fn parse(bytes: &'a [u8], ring: RingId) -> Result<Self, ParseError> {
        let len_bytes = bytes.len();
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(ParseError::Truncated { len_bytes });
        };
        let raw = RawHeader(head);
        raw.known_here()?;
        let flags = raw.u16(4);
        let trailer_bytes = if flags & Flags::AUTH.0 == 0 {
            0
        } else {
            TRAILER_BYTES
        };
        let payload_bytes = usize::from(raw.u16(50));
        let announced_bytes = HEADER_BYTES + payload_bytes + trailer_bytes;
        if announced_bytes != len_bytes {
            return Err(ParseError::Length {
                found_bytes: len_bytes,
                announced_bytes,
            });
        }
        let (payload, trailer) = rest.split_at(payload_bytes);
        let checked = &rest[..payload_bytes + trailer.len().min(TAG_AT)];
        let (found, computed) = (raw.u32(CHECK_AT), check_of(head, checked));
        if found != computed && !planted::is(Mistake::CheckIgnored) {
            return Err(ParseError::Check { found, computed });
        }
        // After the check: a changed bit must not look like another configuration.
        raw.same_ring(ring)?;
        let header = raw.header(flags)?;
        Ok(Self {
            header,
            payload,
            trailer: trailer.first_chunk(),
        })
    }
}

struct RawHeader<'a>(&'a [u8; HEADER_BYTES]);

impl RawHeader<'_> {
    fn chunk<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.0[at..]
            .first_chunk()
            .expect("offsets of the layout lie in the header")
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.chunk(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.chunk(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.chunk(at))
    }

    fn known_here(&self) -> Result<(), ParseError> {
        let (magic, version) = (self.u16(0), self.0[2]);
        if magic != MAGIC {
            return Err(ParseError::Magic { found: magic });
        }
        if version != VERSION {
            return Err(ParseError::Version { found: version });
        }
        Ok(())
    }

    fn ring(&self) -> RingId {
        RingId {
            number: self.u32(8),
            table: self.u32(52),
        }
    }

    fn same_ring(&self, ring: RingId) -> Result<(), ParseError> {
        let found = self.ring();
        if found.number != ring.number {
            let (found, own) = (found.number, ring.number);
            return Err(ParseError::Ring { found, own });
        }
        if found.table != ring.table {
            let (found, own) = (found.table, ring.table);
            return Err(ParseError::Table { found, own });
        }
        Ok(())
    }

    fn header(&self, flags: u16) -> Result<Header, ParseError> {
        let Some(kind) = Kind::from_byte(self.0[3]) else {
            return Err(ParseError::Kind { found: self.0[3] });
        };
        let is_half_sealed = flags & Flags::ENCRYPTED.0 != 0 && flags & Flags::AUTH.0 == 0;
        if flags & !(Flags::KNOWN | Flags::IGNORED) != 0 || is_half_sealed {
            return Err(ParseError::Flags { found: flags });
        }
        let (part, parts) = (self.u16(44), self.u16(46));
        if part >= parts {
            return Err(ParseError::Part { part, parts });
        }
        Ok(Header {
            kind,
            flags: Flags(flags & Flags::KNOWN),
            src: HostId(self.0[6]),
            dst: HostId(self.0[7]),
            ring: self.ring(),
            generation: self.u32(12),
            epoch: Epoch(self.u64(16)),
            seq: Position(self.u64(24)),
            prev: self.u64(32),
            behind: self.u16(40),
            credit: self.u16(42),
            part,
            parts,
            count: self.u16(48),
        })
    }
}

/// CRC32C of the header, its check field taken as zero, the payload, and the trailer without tag.
fn check_of(head: &[u8; HEADER_BYTES], rest: &[u8]) -> u32 {
    let mut unchecked = *head;
    unchecked[CHECK_AT..].fill(0);
    crc32c::crc32c_append(crc32c::crc32c(&unchecked), rest)
}

/// Writes the check of a frame whose tag is not there yet.
pub(super) fn write_check(bytes: &mut [u8]) {
    let (head, rest) = bytes
        .split_first_chunk_mut::<HEADER_BYTES>()
        .expect("a frame has a header");
    let check = check_of(head, rest);
    head[CHECK_AT..].copy_from_slice(&check.to_le_bytes());
}

/// The frame's bytes, unsealed; [`super::auth::Guard::seal`] adds the tag.
#[must_use]
pub fn emit(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    draft(header, payload, &mut bytes);
    write_check(&mut bytes);
    bytes
}

/// The same without a check, which sealing writes anew, in memory that is there already.
pub(crate) fn draft(header: &Header, payload: &[u8], bytes: &mut Vec<u8>) {
    let len = u16::try_from(payload.len()).expect("a part is cut to the frame's size");
    let mut head = [0; HEADER_BYTES];
    write_fields(&mut head, header, len);
    bytes.clear();
    bytes.reserve(HEADER_BYTES + payload.len() + TRAILER_BYTES);
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
}

fn write_fields(head: &mut [u8; HEADER_BYTES], header: &Header, len: u16) {
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_le_bytes());
    put(2, &[VERSION, header.kind as u8]);
    put(4, &header.flags.0.to_le_bytes());
    put(6, &[header.src.0, header.dst.0]);
    put(8, &header.ring.number.to_le_bytes());
    put(12, &header.generation.to_le_bytes());
    put(16, &header.epoch.0.to_le_bytes());
    put(24, &header.seq.0.to_le_bytes());
    put(32, &header.prev.to_le_bytes());
    put(40, &header.behind.to_le_bytes());
    put(42, &header.credit.to_le_bytes());
    put(44, &header.part.to_le_bytes());
    put(46, &header.parts.to_le_bytes());
    put(48, &header.count.to_le_bytes());
    put(50, &len.to_le_bytes());
    put(52, &header.ring.table.to_le_bytes());
}
