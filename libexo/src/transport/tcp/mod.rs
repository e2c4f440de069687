//! TCP: one connection for each pair of hosts, which the one with the lower number makes.
//!
//! ```text
//! idle ──on_time──▶ connecting ──writable──▶ greeting ──hello──▶ open
//!  ▲ wait, doubling        │                     │                 │
//!  └───────────────────────┴──── error, silence, nonsense ─────────┘
//! ```
//!
//! Both sides first say who they are (`docs/transport.md` has the bytes). That keeps a wrong configuration apart, not an
//! attacker: frames are authenticated by the layer above. While there is no connection frames to
//! that peer are dropped, and a full send queue drops its oldest: fresh frames are worth more to
//! the protocol above, which repairs.

mod connection;
mod hello;
mod sockets;
mod strangers;
mod stream;

use core::mem::MaybeUninit;
use core::time::Duration;
use std::net::SocketAddr;

use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::counters::{Counters, DropReason};
use super::inbox::Inbox;
use super::peers::{Destination, Peers};
use super::system::{OpenError, failed};
use super::{SendError, Transport, check_lengths};
use crate::ids::HostId;
use crate::quorum::HOSTS_MAX;
use crate::time::Time;
use connection::{Connection, End, State};
use hello::Hello;
use sockets::LISTENER;
use strangers::{STRANGERS_MAX, Stranger};

/// How long a connection may take until the peer's hello is there.
const GREETING: Duration = Duration::from_secs(2);
/// First wait after a connection that failed or ended; doubles with each that fails.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// Longest wait: a host that comes back is found within it.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What a [`TcpTransport`] is made from.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// All hosts; this one listens on its first address. Several of one peer are tried in turn.
    pub peers: Peers<SocketAddr>,
    /// Length of the longest frame; the same on every host.
    pub frame_bytes_max: usize,
    /// Bytes that may wait for each peer.
    pub queue_bytes_max: usize,
}

impl TcpConfig {
    /// A part of a turn; larger ones only delay what stands behind them.
    pub const FRAME_BYTES: usize = 16 * 1024;
    /// Eight turns of 128 KiB.
    pub const QUEUE_BYTES: usize = 1 << 20;
}

/// A peer's connection, or when to try the next.
#[derive(Debug)]
struct Line {
    connection: Option<Connection>,
    /// When it is given up (not yet open), or tried again (none).
    deadline: Option<Time>,
    wait: Duration,
    attempts: usize,
}

/// Frames over a mesh of connections.
#[derive(Debug)]
pub struct TcpTransport {
    config: TcpConfig,
    own: SocketAddr,
    now: Time,
    epoll: OwnedFd,
    listener: OwnedFd,
    lines: Vec<Line>,
    strangers: Vec<Option<Stranger>>,
    /// Some connection holds whole frames that had no room.
    is_behind: bool,
    counters: Counters,
}

impl TcpTransport {
    /// Listens in the network namespace of this thread. Connections are made by
    /// [`on_time`](Transport::on_time).
    ///
    /// # Errors
    ///
    /// When this host has no address, or cannot listen on it; the text says what to do.
    pub fn open(config: TcpConfig) -> Result<Self, OpenError> {
        let me = config.peers.me();
        let own = config.peers.addresses(me).first();
        let own = *own.ok_or_else(|| OpenError::Configuration {
            what: format!("host {} (this one) has no address", me.0),
            hint: "add its own address to the peers",
        })?;
        if !(1..=1 << 24).contains(&config.frame_bytes_max) {
            return Err(OpenError::Configuration {
                what: format!("frames of {} bytes do not pass", config.frame_bytes_max),
                hint: "choose between 1 byte and 16 MiB",
            });
        }
        let listener = sockets::listen(own)?;
        let hint = "raise the limit of open files";
        let epoll =
            sockets::watch(listener.as_fd()).map_err(failed("make an epoll instance", hint))?;
        let line = || Line {
            connection: None,
            deadline: None,
            wait: RETRY_FIRST,
            attempts: 0,
        };
        let mut lines: Vec<_> = (0..HOSTS_MAX).map(|_| line()).collect();
        for (host, _) in config.peers.others().filter(|(host, _)| me < *host) {
            lines[usize::from(host.0)].deadline = Some(Time(0)); // at once
        }
        Ok(Self {
            config,
            own,
            now: Time(0),
            epoll,
            listener,
            lines,
            strangers: (0..STRANGERS_MAX).map(|_| None).collect(),
            is_behind: false,
            counters: Counters::default(),
        })
    }

    /// Is there an open connection to `host`?
    #[must_use]
    pub fn is_connected(&self, host: HostId) -> bool {
        let connection = self.lines[usize::from(host.0)].connection.as_ref();
        connection.is_some_and(|connection| connection.state == State::Open)
    }

    fn send_to(&mut self, host: HostId, frames: &[&[u8]]) {
        let line = &mut self.lines[usize::from(host.0)];
        let open = line
            .connection
            .as_mut()
            .filter(|line| line.state == State::Open);
        let Some(connection) = open else {
            self.counters
                .drop_frames(DropReason::NotConnected, frames.len() as u64);
            return;
        };
        for frame in frames {
            let dropped = connection.outbox.push(frame);
            self.counters
                .drop_frames(DropReason::QueueOverflow, dropped);
        }
        self.flush(host);
    }

    fn flush(&mut self, host: HostId) {
        let Some(connection) = &mut self.lines[usize::from(host.0)].connection else {
            return;
        };
        match connection.flush(&mut self.counters) {
            Ok(false) => {}
            Ok(true) => {
                if connection
                    .rewatch(self.epoll.as_fd(), u64::from(host.0))
                    .is_err()
                {
                    self.end(host, End::Gone);
                }
            }
            Err(end) => self.end(host, end),
        }
    }

    /// Takes the connection to `host` away and lets it be made again.
    fn end(&mut self, host: HostId, end: End) {
        let me = self.me();
        let line = &mut self.lines[usize::from(host.0)];
        let Some(connection) = line.connection.take() else {
            return;
        };
        if connection.state == State::Open {
            self.counters.disconnected += 1;
        }
        if end == End::Nonsense {
            self.counters.nonsense += 1;
        }
        self.counters
            .drop_frames(DropReason::QueueOverflow, connection.outbox.frames());
        line.deadline = (me < host).then(|| self.now.after(line.wait));
        line.wait = (line.wait * 2).min(RETRY_MAX);
    }

    fn connect(&mut self, host: HostId) {
        let line = &mut self.lines[usize::from(host.0)];
        let addresses = self.config.peers.addresses(host);
        let to = addresses[line.attempts % addresses.len()];
        line.attempts += 1;
        line.deadline = Some(self.now.after(GREETING));
        match sockets::connect(self.own, to) {
            Ok(socket) => {
                let mut connection = self.connection(socket, State::Connecting);
                connection.outbox.begin_with(&self.hello(host).emit());
                let watched = connection.watch(self.epoll.as_fd(), u64::from(host.0));
                self.lines[usize::from(host.0)].connection = Some(connection);
                if watched.is_err() {
                    self.end(host, End::Gone);
                }
            }
            Err(errno) => {
                self.counters.last_errno = errno.raw_os_error();
                line.deadline = Some(self.now.after(line.wait));
                line.wait = (line.wait * 2).min(RETRY_MAX);
            }
        }
    }

    fn connection(&self, socket: OwnedFd, state: State) -> Connection {
        let TcpConfig {
            frame_bytes_max,
            queue_bytes_max,
            ..
        } = self.config;
        Connection::new(socket, state, frame_bytes_max, queue_bytes_max)
    }

    fn hello(&self, to: HostId) -> Hello {
        let frame_bytes_max = u32::try_from(self.config.frame_bytes_max).expect("checked by open");
        Hello {
            from: self.me(),
            to,
            frame_bytes_max,
        }
    }

    /// What `host` must say to us.
    fn hello_from(&self, host: HostId) -> Hello {
        Hello {
            from: host,
            to: self.me(),
            ..self.hello(host)
        }
    }

    fn open_line(&mut self, host: HostId) {
        let line = &mut self.lines[usize::from(host.0)];
        if let Some(connection) = &mut line.connection {
            connection.state = State::Open;
        }
        line.deadline = None;
        line.wait = RETRY_FIRST;
        self.counters.connected += 1;
    }

    /// Puts what a peer sent into `inbox`.
    fn drain(&mut self, host: HostId, inbox: &mut Inbox) {
        let Some(connection) = &mut self.lines[usize::from(host.0)].connection else {
            return;
        };
        if connection.state != State::Open {
            return;
        }
        match connection.drain(host, inbox, &mut self.counters) {
            Ok(is_behind) => self.is_behind |= is_behind,
            Err(end) => self.end(host, end),
        }
    }

    /// A peer's socket is ready for something.
    fn on_ready(&mut self, host: HostId, flags: epoll::EventFlags, inbox: &mut Inbox) {
        if flags.contains(epoll::EventFlags::OUT) && self.finish_connect(host) {
            self.flush(host);
        }
        if !flags
            .intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP)
        {
            return;
        }
        let Some(connection) = &mut self.lines[usize::from(host.0)].connection else {
            return;
        };
        let read = connection.read();
        if connection.state == State::Greeting {
            self.expect_hello(host);
        }
        self.drain(host, inbox);
        // What came before the end has been taken, or is lost with it.
        if let Err(end) = read {
            self.end(host, end);
        }
    }

    fn finish_connect(&mut self, host: HostId) -> bool {
        let line = &mut self.lines[usize::from(host.0)];
        let Some(connection) = &mut line.connection else {
            return false;
        };
        if connection.state != State::Connecting {
            return true;
        }
        let done = connection.connected();
        if let Err(end) = done {
            self.end(host, end);
        }
        done.is_ok()
    }

    /// The answer to our own hello.
    fn expect_hello(&mut self, host: HostId) {
        let expected = self.hello_from(host);
        let Some(connection) = &mut self.lines[usize::from(host.0)].connection else {
            return;
        };
        match connection.hello() {
            Ok(None) => {}
            Ok(Some(hello)) if hello == expected => self.open_line(host),
            _ => self.end(host, End::Nonsense),
        }
    }

    /// Gives up what takes too long, tries again what is due.
    fn on_deadlines(&mut self) {
        for host in (0..=u8::MAX).map(HostId) {
            let line = &self.lines[usize::from(host.0)];
            if line.deadline.is_none_or(|deadline| deadline > self.now) {
                continue;
            }
            match line.connection.as_ref().map(|connection| connection.state) {
                None => self.connect(host),
                Some(State::Connecting) => self.end(host, End::Gone),
                Some(State::Greeting) => self.end(host, End::Nonsense),
                Some(State::Open) => {}
            }
        }
        for place in &mut self.strangers {
            if place
                .as_ref()
                .is_some_and(|stranger| stranger.deadline <= self.now)
            {
                *place = None;
                self.counters.nonsense += 1;
            }
        }
    }
}

impl Transport for TcpTransport {
    fn me(&self) -> HostId {
        self.config.peers.me()
    }

    fn mtu(&self) -> usize {
        self.config.frame_bytes_max
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        check_lengths(frames, self.mtu())?;
        match to {
            Destination::Host(host) => {
                if host == self.me() || self.config.peers.addresses(host).is_empty() {
                    return Err(SendError::UnknownHost { host });
                }
                self.send_to(host, frames);
            }
            Destination::All | Destination::Each => {
                for host in (0..=u8::MAX).map(HostId) {
                    if host != self.me() && !self.config.peers.addresses(host).is_empty() {
                        self.send_to(host, frames);
                    }
                }
            }
        }
        Ok(())
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        let before = inbox.len();
        if self.is_behind {
            self.is_behind = false;
            for host in (0..=u8::MAX).map(HostId) {
                self.drain(host, inbox);
            }
        }
        if inbox.is_full() {
            return inbox.len() - before;
        }
        let mut space = [MaybeUninit::uninit(); 64];
        let no_wait = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut space, Some(&no_wait)) else {
            return inbox.len() - before; // interrupted
        };
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            match usize::try_from(token) {
                _ if token == LISTENER => self.accept_all(),
                Ok(place @ HOSTS_MAX..) => self.greet(place - HOSTS_MAX, inbox),
                Ok(host) => {
                    let host = HostId(u8::try_from(host).expect("below HOSTS_MAX"));
                    self.on_ready(host, flags, inbox);
                }
                Err(_) => {}
            }
        }
        inbox.len() - before
    }

    fn on_time(&mut self, now: Time) -> Option<Time> {
        self.now = self.now.max(now);
        self.on_deadlines();
        let lines = self.lines.iter().filter_map(|line| line.deadline);
        let strangers = self
            .strangers
            .iter()
            .flatten()
            .map(|stranger| stranger.deadline);
        lines.chain(strangers).min()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn counters(&mut self) -> Counters {
        self.counters
    }
}
