//! Requests and replies: fixed layouts, length-checked, versioned. `docs/control.md` draws them.
//!
//! ```text
//!  0 magic:u32  version:u16  kind:u16  id:u32  body bytes:u32   body …
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::ids::{GrantId, GroupId, SessionId, SocketId};

/// First word of every packet.
const MAGIC: u32 = u32::from_le_bytes(*b"exo1");
/// Version of this protocol; both sides must have the same.
pub const VERSION: u16 = 1;
/// Largest packet.
pub const PACKET_MAX: usize = 512;
const HEADER_BYTES: usize = 16;

/// Why a socket left shared memory for kernel delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DemoteReason {
    /// `fdopen`: stdio reads without the hooks.
    Fdopen = 1,
    /// `exec` of a program that the shim cannot be loaded into.
    Exec = 2,
    /// `io_uring_setup`: the ring reads without the hooks.
    IoUring = 3,
    /// `splice` and its kin.
    Splice = 4,
    /// A socket filter was attached, which only the kernel can run.
    Filter = 5,
    /// The descriptor was passed to a process that did not attach.
    Passed = 6,
}

impl DemoteReason {
    /// The word that operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fdopen => "fdopen",
            Self::Exec => "exec of a program without the shim",
            Self::IoUring => "io_uring",
            Self::Splice => "splice",
            Self::Filter => "socket filter",
            Self::Passed => "descriptor passed to another process",
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Fdopen,
            2 => Self::Exec,
            3 => Self::IoUring,
            4 => Self::Splice,
            5 => Self::Filter,
            6 => Self::Passed,
            _ => return None,
        })
    }
}

/// What an operator asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Query {
    /// Everything the monitor knows, as JSON.
    Status,
    /// Mark one more group, with the defaults of the configuration.
    AddGroup {
        /// Its address and port.
        address: SocketAddr,
    },
    /// Read the configuration again.
    Reload,
    /// Stop in order.
    Stop,
    /// How long a message of no group needs through the order.
    Ping,
    /// Nothing is left of the ring's generation; these hosts begin another.
    Form {
        /// Bit `n % 64` of word `n / 64` is host `n`.
        hosts: [u64; 4],
    },
    /// What the hosts of the ring measure between each other.
    Probe,
}

/// What an application or an operator asks of the monitor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// Attach this process. Answer: [`Reply::Welcome`] with board and lane.
    Hello,
    /// Serve this open file description. With it: the monitor's end of the doorbell pair and,
    /// optionally, a socket that holds the program's own address in the kernel.
    OpenSocket {
        /// `SO_COOKIE` of the program's socket.
        cookie: u64,
        /// Its inode, as `/proc/PID/fd` shows it.
        inode: u64,
        /// Whether it is an IPv6 socket.
        inet6: bool,
        /// Whether the socket that comes along takes unicast datagrams to be relayed.
        relay: bool,
        /// What the program bound.
        bound: SocketAddr,
    },
    /// Make a socket a member of a group.
    Join {
        /// The socket.
        socket: SocketId,
        /// The group's address and port.
        group: SocketAddr,
        /// Interface index that the program named, or 0.
        interface: u32,
    },
    /// End a membership.
    Leave {
        /// The socket.
        socket: SocketId,
        /// The slot of its page.
        slot: u32,
    },
    /// Ask for the right to submit.
    Grant {
        /// The group's address and port.
        group: SocketAddr,
        /// The address that receivers shall see.
        source: SocketAddr,
        /// Time to live or hop limit.
        ttl: u8,
        /// Type of service or traffic class.
        tos: u8,
        /// `IP_MULTICAST_LOOP` is off.
        no_loop: bool,
    },
    /// Look which sockets are gone, and answer when their addresses are free again.
    Sweep,
    /// Attach to a socket that this process inherited or was given.
    Adopt {
        /// Its `SO_COOKIE`.
        cookie: u64,
    },
    /// The log of a group that a socket is a member of.
    Log {
        /// The socket.
        socket: SocketId,
        /// The group.
        group: GroupId,
    },
    /// Switch a socket to kernel delivery. With it: the program's own socket and, optionally, a raw
    /// socket that is connected to it and can send from foreign addresses.
    Demote {
        /// The socket.
        socket: SocketId,
        /// Why.
        reason: DemoteReason,
    },
    /// Put the doorbell right for a socket that is looked at from outside from now on.
    Ring {
        /// The socket.
        socket: SocketId,
    },
    /// The socket that holds the program's own address in the kernel. Answer: [`Reply::Done`] with
    /// it, if there is one.
    Holder {
        /// The socket.
        socket: SocketId,
    },
    /// This process has closed its last descriptor of a socket.
    Closed {
        /// The socket.
        socket: SocketId,
    },
    /// On a connection of its own: answer when the session's lane has room again.
    WaitRoom {
        /// The session.
        session: SessionId,
    },
    /// An operator's question.
    Ask(Query),
}

/// What the monitor answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Attached. Descriptors: board, lane.
    Welcome {
        /// The session's number.
        session: SessionId,
    },
    /// A socket page. Descriptor: the page.
    Socket {
        /// The socket's number.
        socket: SocketId,
    },
    /// Joined. Descriptor: the group's log.
    Joined {
        /// The slot of the socket's page.
        slot: u32,
        /// The group.
        group: GroupId,
    },
    /// Granted.
    Granted {
        /// The grant's number.
        grant: GrantId,
    },
    /// A log. Descriptor: the log.
    Log,
    /// Done.
    Done,
    /// A document. Descriptor: a memfd with its text.
    Document {
        /// Bytes of text.
        len: u64,
    },
    /// Refused, with the errno that the application shall see.
    Refused {
        /// The errno.
        errno: i32,
    },
}

/// Why a packet could not be understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than its header, or than its header says, or longer.
    #[error("packet of {len} bytes does not have the length of its kind")]
    Length {
        /// Bytes of the packet.
        len: usize,
    },
    /// Not ours.
    #[error("packet begins with {found:#010x}")]
    Magic {
        /// The word that was found.
        found: u32,
    },
    /// Another version.
    #[error("packet has version {found}, this side has {VERSION}")]
    Version {
        /// The version that was found.
        found: u16,
    },
    /// A kind that does not exist.
    #[error("packet kind {found} is unknown")]
    Kind {
        /// The kind that was found.
        found: u16,
    },
    /// A field with an impossible value.
    #[error("packet kind {kind} has a field out of range")]
    Field {
        /// The packet's kind.
        kind: u16,
    },
}

/// A packet being written.
#[derive(Debug)]
pub struct Packet {
    bytes: [u8; PACKET_MAX],
    len: usize,
}

impl Packet {
    fn begin(kind: u16, id: u32) -> Self {
        let mut packet = Self {
            bytes: [0; PACKET_MAX],
            len: 0,
        };
        packet.put(&MAGIC.to_le_bytes());
        packet.put(&VERSION.to_le_bytes());
        packet.put(&kind.to_le_bytes());
        packet.put(&id.to_le_bytes());
        packet.put(&0_u32.to_le_bytes());
        packet
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn u32(mut self, value: u32) -> Self {
        self.put(&value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.put(&value.to_le_bytes());
        self
    }

    fn bytes4(mut self, value: [u8; 4]) -> Self {
        self.put(&value);
        self
    }

    fn address(self, address: SocketAddr) -> Self {
        let (family, scope, octets) = match address {
            SocketAddr::V4(v4) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&v4.ip().octets());
                (4, 0, octets)
            }
            SocketAddr::V6(v6) => (6, v6.scope_id(), v6.ip().octets()),
        };
        let [low, high] = address.port().to_le_bytes();
        let mut packet = self.bytes4([family, 0, low, high]).u32(scope);
        packet.put(&octets);
        packet
    }

    /// The finished bytes.
    #[must_use]
    pub fn as_bytes(&mut self) -> &[u8] {
        let body = u32::try_from(self.len - HEADER_BYTES).expect("below PACKET_MAX");
        self.bytes[12..16].copy_from_slice(&body.to_le_bytes());
        &self.bytes[..self.len]
    }
}

/// The fields of a received packet, taken from the front.
struct Fields<'a> {
    rest: &'a [u8],
    kind: u16,
    len: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (field, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ParseError::Length { len: self.len })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, ParseError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, ParseError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    const fn bad_field(&self) -> ParseError {
        ParseError::Field { kind: self.kind }
    }

    fn flag(&self, byte: u8) -> Result<bool, ParseError> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad_field()),
        }
    }

    fn address(&mut self) -> Result<SocketAddr, ParseError> {
        let [family, _, low, high] = self.take::<4>()?;
        let scope = self.u32()?;
        let octets = self.take::<16>()?;
        let port = u16::from_le_bytes([low, high]);
        match family {
            4 => {
                let v4 = Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
                Ok(SocketAddr::new(IpAddr::V4(v4), port))
            }
            6 => Ok(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(octets),
                port,
                0,
                scope,
            ))),
            _ => Err(self.bad_field()),
        }
    }

    fn end<T>(self, value: T) -> Result<T, ParseError> {
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err(ParseError::Length { len: self.len })
        }
    }
}

fn open(bytes: &[u8]) -> Result<(u16, u32, Fields<'_>), ParseError> {
    let len = bytes.len();
    let (header, rest) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(ParseError::Length { len })?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let found = word(0);
    if found != MAGIC {
        return Err(ParseError::Magic { found });
    }
    let found = u16::from_le_bytes([header[4], header[5]]);
    if found != VERSION {
        return Err(ParseError::Version { found });
    }
    let kind = u16::from_le_bytes([header[6], header[7]]);
    if word(12) as usize != rest.len() {
        return Err(ParseError::Length { len });
    }
    Ok((kind, word(8), Fields { rest, kind, len }))
}

impl Request {
    /// The request as a packet with number `id`, which its reply repeats.
    #[must_use]
    pub fn emit(&self, id: u32) -> Packet {
        match *self {
            Self::Hello => Packet::begin(1, id),
            Self::OpenSocket {
                cookie,
                inode,
                inet6,
                relay,
                bound,
            } => Packet::begin(2, id)
                .u64(cookie)
                .u64(inode)
                .bytes4([u8::from(inet6), u8::from(relay), 0, 0])
                .address(bound),
            Self::Join {
                socket,
                group,
                interface,
            } => Packet::begin(3, id)
                .u32(socket.0)
                .address(group)
                .u32(interface),
            Self::Leave { socket, slot } => Packet::begin(4, id).u32(socket.0).u32(slot),
            Self::Grant {
                group,
                source,
                ttl,
                tos,
                no_loop,
            } => Packet::begin(5, id).address(group).address(source).bytes4([
                ttl,
                tos,
                u8::from(no_loop),
                0,
            ]),
            Self::Sweep => Packet::begin(6, id),
            Self::Adopt { cookie } => Packet::begin(7, id).u64(cookie),
            Self::Log { socket, group } => Packet::begin(8, id).u32(socket.0).u32(group.0),
            Self::Demote { socket, reason } => {
                Packet::begin(9, id)
                    .u32(socket.0)
                    .bytes4([reason as u8, 0, 0, 0])
            }
            Self::Ring { socket } => Packet::begin(10, id).u32(socket.0),
            Self::WaitRoom { session } => Packet::begin(11, id).u32(session.0),
            Self::Holder { socket } => Packet::begin(16, id).u32(socket.0),
            Self::Closed { socket } => Packet::begin(17, id).u32(socket.0),
            Self::Ask(Query::Status) => Packet::begin(12, id),
            Self::Ask(Query::AddGroup { address }) => Packet::begin(13, id).address(address),
            Self::Ask(Query::Reload) => Packet::begin(14, id),
            Self::Ask(Query::Stop) => Packet::begin(15, id),
            Self::Ask(Query::Ping) => Packet::begin(18, id),
            Self::Ask(Query::Form { hosts }) => hosts
                .iter()
                .fold(Packet::begin(19, id), |packet, word| packet.u64(*word)),
            Self::Ask(Query::Probe) => Packet::begin(20, id),
        }
    }

    /// The request and its number in a packet.
    ///
    /// # Errors
    ///
    /// [`ParseError`]: the peer is not a correct shim or command line of this version.
    pub fn parse(bytes: &[u8]) -> Result<(Self, u32), ParseError> {
        let (kind, id, mut fields) = open(bytes)?;
        let request = match kind {
            1 => Self::Hello,
            2 => {
                let (cookie, inode) = (fields.u64()?, fields.u64()?);
                let [inet6, relay, _, _] = fields.take::<4>()?;
                let (inet6, relay) = (fields.flag(inet6)?, fields.flag(relay)?);
                Self::OpenSocket {
                    cookie,
                    inode,
                    inet6,
                    relay,
                    bound: fields.address()?,
                }
            }
            3 => Self::Join {
                socket: SocketId(fields.u32()?),
                group: fields.address()?,
                interface: fields.u32()?,
            },
            4 => Self::Leave {
                socket: SocketId(fields.u32()?),
                slot: fields.u32()?,
            },
            5 => {
                let (group, source) = (fields.address()?, fields.address()?);
                let [ttl, tos, no_loop, _] = fields.take::<4>()?;
                Self::Grant {
                    group,
                    source,
                    ttl,
                    tos,
                    no_loop: fields.flag(no_loop)?,
                }
            }
            6 => Self::Sweep,
            7 => Self::Adopt {
                cookie: fields.u64()?,
            },
            8 => Self::Log {
                socket: SocketId(fields.u32()?),
                group: GroupId(fields.u32()?),
            },
            9 => {
                let socket = SocketId(fields.u32()?);
                let [reason, ..] = fields.take::<4>()?;
                let reason = DemoteReason::from_byte(reason).ok_or_else(|| fields.bad_field())?;
                Self::Demote { socket, reason }
            }
            10 => Self::Ring {
                socket: SocketId(fields.u32()?),
            },
            11 => Self::WaitRoom {
                session: SessionId(fields.u32()?),
            },
            12 => Self::Ask(Query::Status),
            13 => Self::Ask(Query::AddGroup {
                address: fields.address()?,
            }),
            14 => Self::Ask(Query::Reload),
            15 => Self::Ask(Query::Stop),
            18 => Self::Ask(Query::Ping),
            19 => Self::Ask(Query::Form {
                hosts: [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?],
            }),
            20 => Self::Ask(Query::Probe),
            16 => Self::Holder {
                socket: SocketId(fields.u32()?),
            },
            17 => Self::Closed {
                socket: SocketId(fields.u32()?),
            },
            found => return Err(ParseError::Kind { found }),
        };
        fields.end((request, id))
    }
}

impl Reply {
    /// The reply to request `id` as a packet.
    #[must_use]
    pub fn emit(&self, id: u32) -> Packet {
        match *self {
            Self::Welcome { session } => Packet::begin(0x8001, id).u32(session.0),
            Self::Socket { socket } => Packet::begin(0x8002, id).u32(socket.0),
            Self::Joined { slot, group } => Packet::begin(0x8003, id).u32(slot).u32(group.0),
            Self::Granted { grant } => Packet::begin(0x8005, id).u32(grant.0),
            Self::Log => Packet::begin(0x8008, id),
            Self::Done => Packet::begin(0x8006, id),
            Self::Document { len } => Packet::begin(0x800c, id).u64(len),
            Self::Refused { errno } => Packet::begin(0x80ff, id).u32(errno.unsigned_abs()),
        }
    }

    /// The reply and the number of its request in a packet.
    ///
    /// # Errors
    ///
    /// [`ParseError`]: the monitor has another version.
    pub fn parse(bytes: &[u8]) -> Result<(Self, u32), ParseError> {
        let (kind, id, mut fields) = open(bytes)?;
        let reply = match kind {
            0x8001 => Self::Welcome {
                session: SessionId(fields.u32()?),
            },
            0x8002 => Self::Socket {
                socket: SocketId(fields.u32()?),
            },
            0x8003 => Self::Joined {
                slot: fields.u32()?,
                group: GroupId(fields.u32()?),
            },
            0x8005 => Self::Granted {
                grant: GrantId(fields.u32()?),
            },
            0x8008 => Self::Log,
            0x8006 => Self::Done,
            0x800c => Self::Document { len: fields.u64()? },
            0x80ff => {
                let errno = i32::try_from(fields.u32()?).map_err(|_| fields.bad_field())?;
                Self::Refused { errno }
            }
            found => return Err(ParseError::Kind { found }),
        };
        fields.end((reply, id))
    }
}

#[cfg(test)]
mod tests;
