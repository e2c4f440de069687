//! The control thread: attaches processes and operators, and makes and unmakes what they use.
//!
//! One epoll loop over the listening socket, the connections, a pidfd for each attached process,
//! signals, and the sockets whose unicast datagrams are relayed. Every packet is parsed into a
//! [`Request`] before anything is done with it; what cannot be
//! parsed ends that connection, is logged once, and is nobody else's business.

mod handlers;
mod listener;
mod relay;
mod session;
mod status;
mod sweep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libexo::control::channel::{Channel, Descriptors};
use libexo::control::message::{PACKET_MAX, Reply, Request};
use libexo::ids::{GroupId, SessionId, SocketId};
use libexo::shm::board::{Board, Counter, MarkedGroup};
use libexo::shm::region::Descriptor;
use libexo::time::Time;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SigSet, SignalFd};
use rustix::io::Errno;

use crate::clock;
use crate::config::{Arguments, Config, GroupSettings, Loaded};
use crate::engine_thread::EngineThread;
use crate::engine_thread::command::{Command, EngineHandle, Notice};
use crate::engine_thread::envelope::are_one;
pub use crate::engine_thread::network::NetworkError;
use crate::engine_thread::network::{Host, read_keys};
use crate::key_file::Keys;
use crate::mapped::{self, Mapped};
use crate::probe::{Choice, Prober};
use crate::undertaker::Undertaker;
pub use listener::ListenError;
use listener::Listener;
use session::{Connection, Session, Socket};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const SIGNALS: Token = Token(2);
const FIRST_FREE: usize = 16;
/// Most connections at one time; more are closed at once.
const CONNECTIONS_MAX: usize = 16_384;

/// One group of the monitor.
#[derive(Debug)]
struct Group {
    id: GroupId,
    settings: GroupSettings,
    log: Descriptor,
}

/// Where numbers of sessions and sockets begin: a number that an earlier monitor gave means nothing
/// to this one.
fn first_number() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // Half of the numbers are left to count through.
    let random = RandomState::new().hash_one(()) & 0x7fff_ffff;
    u32::try_from(random).expect("31 bits") | 1
}

/// What an event token stands for.
#[derive(Clone, Copy, Debug)]
enum Source {
    Connection,
    Process(SessionId),
    Relay(SocketId),
}

/// Why a monitor cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The control socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The way to the other hosts.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Shared memory, threads or the event loop.
    #[error("cannot set up {what}: {source}")]
    System {
        /// What was being set up.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// The control thread's state.
#[derive(Debug)]
pub struct Control {
    poll: Poll,
    listener: Listener,
    signals: Option<SignalFd>,
    socket_path: PathBuf,
    config_path: Option<PathBuf>,
    config: Config,
    arguments: Arguments,
    started: Time,
    engine: EngineHandle,
    thread: EngineThread,
    /// Probes between hosts, or why there are none.
    prober: Result<Prober, String>,
    /// The ring's keys in force; none in an open ring, or without other hosts.
    keys: Option<Keys>,
    /// With `transport = "auto"`: how frames to all are sent at present.
    choice: Option<Arc<Choice>>,
    undertaker: Undertaker,
    board: Mapped<Board>,
    board_fd: Descriptor,
    groups: Vec<Group>,
    sources: HashMap<usize, Source>,
    connections: HashMap<usize, Connection>,
    sessions: BTreeMap<SessionId, Session>,
    sockets: BTreeMap<SocketId, Socket>,
    next_token: usize,
    next_session: u32,
    next_socket: u32,
    /// Since when nobody is attached.
    idle_since: Time,
    stopping: bool,
}

impl Control {
    /// Makes everything ready: from the return on, processes can attach.
    ///
    /// # Errors
    ///
    /// [`StartError`]; in particular another monitor that has the socket, with its pid.
    pub fn start(
        loaded: Loaded,
        config_path: Option<PathBuf>,
        arguments: Arguments,
        undertaker: Undertaker,
    ) -> Result<Self, StartError> {
        let config = loaded.config;
        let poll = Poll::new().map_err(system("the event loop"))?;
        let listener = Listener::bind(&config.monitor.socket)?;
        let register = |fd: RawFd, token| {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
        };
        register(listener.raw(), LISTENER).map_err(system("the control socket"))?;
        let (board_fd, board) =
            mapped::board().map_err(|errno| system("shared memory (memfd)")(errno.into()))?;
        let engine = EngineHandle::new(board.clone());
        let waker = Waker::new(poll.registry(), WAKER).map_err(system("the event loop"))?;
        let waker = Arc::new(waker);
        let mut host = Host::open(&config.ring, &config.hosts)?;
        let probes = host.as_mut().and_then(|host| host.probes.take());
        let keys = host.as_mut().and_then(|host| host.keys.take());
        let choice = host.as_mut().and_then(|host| host.choice.take());
        let probes = probes.unwrap_or_else(|| Err("there are no other hosts".to_owned()));
        let prober = match probes {
            Ok(responder) => {
                let waker = Arc::clone(&waker);
                let started = Prober::start(responder, move || {
                    // As below.
                    let _ = waker.wake();
                });
                Ok(started.map_err(system("the thread of probes"))?)
            }
            Err(why) => Err(why),
        };
        let thread = EngineThread::start(
            engine.clone(),
            board.clone(),
            config.monitor.spin,
            host,
            move || {
                // An error means that the control thread is gone, and with it who would listen.
                let _ = waker.wake();
            },
        )
        .map_err(system("the engine thread"))?;
        let mut control = Self {
            poll,
            listener,
            signals: None,
            socket_path: config.monitor.socket.clone(),
            config_path,
            config,
            arguments,
            started: clock::now(),
            engine,
            thread,
            prober,
            keys,
            choice,
            undertaker,
            board,
            board_fd,
            groups: Vec::new(),
            sources: HashMap::new(),
            connections: HashMap::new(),
            sessions: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_token: FIRST_FREE,
            next_session: first_number(),
            next_socket: first_number(),
            idle_since: clock::now(),
            stopping: false,
        };
        for settings in control.config.groups.clone() {
            control
                .add_group(settings)
                .map_err(|errno| system("a group's log")(errno.into()))?;
        }
        Ok(control)
    }

    /// Takes SIGTERM and SIGINT as a request to stop and SIGHUP as one to reload, instead of
    /// dying of them. Call in the process's first thread before others exist.
    ///
    /// # Errors
    ///
    /// What `signalfd` says.
    pub fn take_signals(&mut self, blocked: &SigSet) -> std::io::Result<()> {
        let signals =
            SignalFd::with_flags(blocked, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        self.poll.registry().register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Where the monitor listens.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket_path
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    ///
    /// What the event loop says; nothing that a peer does ends it.
    pub fn run(&mut self) -> std::io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !self.stopping {
            match self.poll.poll(&mut events, self.next_deadline()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let tokens: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            // Deaths first: what the dead left behind must be gone before a living one asks.
            let is_death =
                |token: &Token| matches!(self.sources.get(&token.0), Some(Source::Process(_)));
            let (deaths, others): (Vec<_>, Vec<_>) = tokens.into_iter().partition(is_death);
            for token in deaths.into_iter().chain(others) {
                self.on_event(token);
            }
            self.look_for_idleness();
        }
        self.thread.stop();
        tracing::info!("stopped");
        Ok(())
    }

    fn on_event(&mut self, token: Token) {
        match token {
            LISTENER => self.accept(),
            WAKER => {
                self.on_notices();
                self.on_probed();
            }
            SIGNALS => self.on_signals(),
            Token(number) => match self.sources.get(&number).copied() {
                Some(Source::Connection) => self.on_readable(number),
                Some(Source::Process(session)) => self.on_death(session),
                Some(Source::Relay(socket)) => self.relay(socket),
                None => {} // closed by an earlier event of the same batch
            },
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let idle_exit = self.config.monitor.idle_exit;
        if idle_exit.is_zero() || !self.sessions.is_empty() {
            return None;
        }
        let end = self.idle_since.after(idle_exit);
        Some(end.since(clock::now()) + Duration::from_millis(1))
    }

    fn look_for_idleness(&mut self) {
        let idle_exit = self.config.monitor.idle_exit;
        let now = clock::now();
        if !self.sessions.is_empty() {
            self.idle_since = now;
        } else if !idle_exit.is_zero() && now.since(self.idle_since) >= idle_exit {
            tracing::info!(after = ?idle_exit, "nobody is attached: stopping");
            self.stopping = true;
        }
    }

    fn on_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let mut asked = Vec::new();
        while let Ok(Some(signal)) = signals.read_signal() {
            asked.push(i32::try_from(signal.ssi_signo).unwrap_or(0));
        }
        for signal in asked {
            if signal == Signal::SIGHUP as i32 {
                // The log has what is wrong; the old configuration stays.
                let _ = self.reload();
            } else {
                tracing::info!(signal, "asked to stop");
                self.stopping = true;
            }
        }
    }

    fn accept(&mut self) {
        while let Some((channel, identity)) = self.listener.accept() {
            if self.connections.len() >= CONNECTIONS_MAX {
                tracing::warn!(pid = identity.pid, "too many connections: refused");
                continue;
            }
            let token = self.take_token();
            let fd = channel.descriptor().raw();
            let registered =
                self.poll
                    .registry()
                    .register(&mut SourceFd(&fd), Token(token), Interest::READABLE);
            if let Err(error) = registered {
                tracing::warn!(pid = identity.pid, %error, "cannot watch a connection: refused");
                continue;
            }
            self.sources.insert(token, Source::Connection);
            self.connections.insert(
                token,
                Connection {
                    channel,
                    identity,
                    session: None,
                },
            );
        }
    }

    const fn take_token(&mut self) -> usize {
        self.next_token += 1;
        self.next_token
    }

    fn on_readable(&mut self, token: usize) {
        // Bounded, so that one that never stops talking does not keep the others waiting; mio's
        // edge-triggered event does not come again, so what is left is asked for by hand.
        for _ in 0..64 {
            let Some(connection) = self.connections.get(&token) else {
                return;
            };
            let mut bytes = [0; PACKET_MAX];
            let mut descriptors = Descriptors::default();
            match connection.channel.receive(&mut bytes, &mut descriptors) {
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(Errno::CONNRESET) => return self.close(token),
                Err(errno) => return self.misbehaves(token, &format!("packet refused: {errno}")),
                Ok(len) => match Request::parse(&bytes[..len]) {
                    Err(error) => return self.misbehaves(token, &error.to_string()),
                    Ok((request, id)) => {
                        if !self.handle(token, request, id, descriptors) {
                            return;
                        }
                    }
                },
            }
        }
        let Some(connection) = self.connections.get(&token) else {
            return;
        };
        let fd = connection.channel.descriptor().raw();
        let again =
            self.poll
                .registry()
                .reregister(&mut SourceFd(&fd), Token(token), Interest::READABLE);
        if again.is_err() {
            self.close(token);
        }
    }

    /// A peer said what no correct one says: its session ends, logged once.
    fn misbehaves(&mut self, token: usize, why: &str) {
        let Some(connection) = self.connections.get(&token) else {
            return;
        };
        let (pid, session) = (connection.identity.pid, connection.session);
        tracing::warn!(
            pid,
            why,
            "control message not understood: connection closed"
        );
        self.board.count(Counter::BadRequests, 1);
        self.close(token);
        if let Some(session) = session {
            self.board.count(Counter::SessionsExpelled, 1);
            self.end_session(session);
        }
    }

    fn close(&mut self, token: usize) {
        self.sources.remove(&token);
        if let Some(connection) = self.connections.remove(&token) {
            let fd = connection.channel.descriptor().raw();
            // The descriptor closes right after, which deregisters it in any case.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    fn answer(&mut self, token: usize, reply: Reply, id: u32, descriptors: &[&Descriptor]) -> bool {
        use rustix::fd::AsFd;
        let Some(connection) = self.connections.get(&token) else {
            return false;
        };
        let borrowed: Vec<_> = descriptors
            .iter()
            .map(|descriptor| descriptor.as_fd())
            .collect();
        let sent = connection
            .channel
            .send(reply.emit(id).as_bytes(), &borrowed);
        if let Err(errno) = sent {
            let pid = connection.identity.pid;
            tracing::debug!(pid, %errno, "an answer could not be sent: connection closed");
            self.close(token);
            return false;
        }
        true
    }

    fn on_death(&mut self, session: SessionId) {
        self.end_session(session);
    }

    /// Ends a session: its lane is drained to its end and closed, its sockets go when nobody else
    /// has them.
    fn end_session(&mut self, session: SessionId) {
        let Some(session) = self.sessions.remove(&session) else {
            return;
        };
        tracing::debug!(
            pid = session.identity.pid,
            session = session.id.0,
            "session ended"
        );
        self.sources.remove(&session.token);
        let fd = session.pidfd.raw();
        // Closing the pidfd right after deregisters it in any case.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        self.engine.ask(|done| Command::EndLane {
            session: session.id,
            done,
        });
        let mut tables = session.tables;
        self.sweep_with(&mut tables);
        let tokens: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.session == Some(session.id))
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.close(token);
        }
    }

    fn on_notices(&mut self) {
        while let Some(notice) = self.engine.notices.pop() {
            match notice {
                Notice::LaneCorrupt { session, why } => {
                    let pid = self.sessions.get(&session).map_or(0, |s| s.identity.pid);
                    tracing::warn!(pid, why, "submit ring is corrupt: session ended");
                    self.board.count(Counter::SessionsExpelled, 1);
                    self.end_session(session);
                }
                Notice::CursorCorrupt { socket, why } => {
                    let session = self.sockets.get(&socket).map(|s| s.session);
                    let pid = session
                        .and_then(|s| self.sessions.get(&s))
                        .map_or(0, |s| s.identity.pid);
                    tracing::warn!(
                        pid,
                        socket = socket.0,
                        why,
                        "socket page is corrupt: socket ended"
                    );
                    self.board.count(Counter::SessionsExpelled, 1);
                    self.drop_socket(socket);
                }
                Notice::SocketGone { socket } => self.drop_socket(socket),
                Notice::Pong { asked, taken } => self.on_pong(asked, taken),
                Notice::Starving { group } => {
                    tracing::debug!(
                        group = self.group_name(group),
                        "senders wait for a slow reader"
                    );
                    self.sweep();
                }
                Notice::Gapped {
                    group,
                    socket,
                    datagrams,
                } => {
                    let group = self.group_name(group);
                    tracing::warn!(
                        group,
                        socket = socket.0,
                        datagrams,
                        "slow reader lost datagrams (policy gap)"
                    );
                }
                Notice::Expelled { group, socket } => {
                    let group = self.group_name(group);
                    tracing::warn!(
                        group,
                        socket = socket.0,
                        "slow reader expelled (policy expel)"
                    );
                }
            }
        }
    }

    fn on_probed(&mut self) {
        let reports = self
            .prober
            .as_ref()
            .map_or_else(|_| Vec::new(), Prober::reports);
        for (asked, report) in reports {
            // Who does not wait for it any more closed the connection.
            self.answer_document(asked.token, asked.id, &report);
        }
    }

    /// Forgets the sockets that no process has open any more.
    fn sweep(&mut self) {
        self.sweep_with(&mut []);
    }

    fn sweep_with(&mut self, more: &mut [std::fs::File]) {
        let Some(listed) = self.listed_inodes(more) else {
            return;
        };
        let is_listed = |socket: &Socket, listed: &HashSet<u64>| {
            if socket.queue.is_some() {
                sweep::is_held_elsewhere(socket.inode)
            } else {
                listed.contains(&socket.inode)
            }
        };
        let mut gone: Vec<SocketId> = self
            .sockets
            .values()
            .filter(|socket| !is_listed(socket, &listed))
            .map(|socket| socket.id)
            .collect();
        if gone.is_empty() {
            return;
        }
        // The kernel writes its list a page at a time and finds its place again by counting: a
        // socket that closes meanwhile hides another one. So what is missing is looked for again,
        // and in the process that opened it.
        let Some(listed) = self.listed_inodes(more) else {
            return;
        };
        gone.retain(|id| {
            let socket = &self.sockets[id];
            let owner = self.sessions.get(&socket.session);
            let has_it = |owner: &Session| sweep::has_socket(owner.identity.pid, socket.inode);
            !is_listed(socket, &listed) && !owner.is_some_and(has_it)
        });
        for socket in gone {
            self.drop_socket(socket);
        }
    }

    /// The UDP sockets in the network namespaces of all sessions, and in those of `more`. `None`:
    /// no list could be read.
    fn listed_inodes(&mut self, more: &mut [std::fs::File]) -> Option<HashSet<u64>> {
        let mut inodes = HashSet::new();
        let mut tables = 0;
        for table in more {
            tables += usize::from(sweep::read_inodes(table, &mut inodes));
        }
        // Sessions of one namespace show the same table; reading it more than once is only work.
        let mut namespaces = HashSet::new();
        for session in self.sessions.values_mut() {
            let namespace = std::fs::read_link(format!("/proc/{}/ns/net", session.identity.pid));
            if namespace.is_ok_and(|namespace| !namespaces.insert(namespace)) {
                continue;
            }
            for table in &mut session.tables {
                tables += usize::from(sweep::read_inodes(table, &mut inodes));
            }
        }
        (tables > 0 || self.sessions.is_empty()).then_some(inodes)
    }

    fn drop_socket(&mut self, id: SocketId) {
        self.engine.send(Command::Forget { socket: id });
        self.undertaker.forget(id);
        if let Some(socket) = self.sockets.remove(&id) {
            if let (Some(token), Some(holder)) = (socket.relay_token, &socket.holder) {
                self.sources.remove(&token);
                let fd = holder.raw();
                // Closed right after in any case.
                let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
            }
            tracing::debug!(socket = id.0, "socket gone");
        }
    }

    /// Adds a group and shows it on the board.
    fn add_group(&mut self, settings: GroupSettings) -> Result<GroupId, Errno> {
        if let Some(group) = self
            .groups
            .iter()
            .find(|g| g.settings.address == settings.address)
        {
            return Ok(group.id);
        }
        if self.groups.len() >= libexo::shm::board::MARKS_MAX {
            return Err(Errno::NOSPC);
        }
        let is_one = |other: &&Group| are_one(other.settings.address, settings.address);
        if let Some(other) = self.groups.iter().find(is_one) {
            tracing::error!(
                group = settings.name,
                other = other.settings.name,
                "two groups have the same number between hosts: give one of them another port"
            );
            return Err(Errno::EXIST);
        }
        let id = GroupId(u32::try_from(self.groups.len() + 1).map_err(|_| Errno::NOSPC)?);
        let made = mapped::log(settings.log_bytes)?;
        let slow = settings.slow_member.clone();
        self.engine.send(Command::AddGroup {
            id,
            address: settings.address,
            header: made.header,
            area: made.area,
            slow,
        });
        tracing::info!(group = settings.name, address = %settings.address, "group marked");
        self.groups.push(Group {
            id,
            settings,
            log: made.fd,
        });
        self.show_marks();
        Ok(id)
    }

    fn show_marks(&self) {
        let marks: Vec<MarkedGroup> = self
            .groups
            .iter()
            .map(|group| MarkedGroup {
                address: group.settings.address,
                id: group.id,
                log_bytes: group.settings.log_bytes,
            })
            .collect();
        self.board.set_marks(&marks);
    }

    /// Reads the configuration again. What is wrong with a new one is logged, and the old one
    /// stays whole. Groups can be added and their policies changed, and the file with the ring's
    /// keys is read again; nothing else changes while the monitor runs.
    fn reload(&mut self) -> Result<(), String> {
        let path = self.config_path.clone();
        let loaded = crate::config::load(path.as_deref(), path.is_some(), &self.arguments)
            .map_err(|errors| {
                tracing::error!(%errors, "new configuration refused: the old one stays");
                errors.to_string()
            })?;
        self.reload_keys()?;
        for settings in &loaded.config.groups {
            let known = self
                .groups
                .iter_mut()
                .find(|g| g.settings.address == settings.address);
            if let Some(group) = known {
                if group.settings.log_bytes != settings.log_bytes {
                    tracing::warn!(
                        group = settings.name,
                        "the log keeps its size until the monitor is restarted"
                    );
                }
                group.settings = GroupSettings {
                    log_bytes: group.settings.log_bytes,
                    ..settings.clone()
                };
                let slow = settings.slow_member.clone();
                self.engine.send(Command::SetSlow { id: group.id, slow });
            } else {
                self.add_group(settings.clone()).map_err(|errno| {
                    tracing::error!(group = settings.name, %errno, "group cannot be added");
                    format!("group {} cannot be added: {errno}", settings.name)
                })?;
            }
        }
        for group in &self.groups {
            let address = group.settings.address;
            if !loaded
                .config
                .groups
                .iter()
                .any(|settings| settings.address == address)
            {
                tracing::warn!(%address, "a group that is gone from the configuration stays until the monitor is restarted");
            }
        }
        let (ring, hosts) = (&self.config.ring, &self.config.hosts);
        if (ring, hosts) != (&loaded.config.ring, &loaded.config.hosts) {
            tracing::warn!("[ring] and [[host]] stay as they are until the monitor is restarted");
        }
        self.config = Config {
            ring: ring.clone(),
            hosts: hosts.clone(),
            ..loaded.config
        };
        tracing::info!("configuration reloaded");
        Ok(())
    }

    /// Reads the ring's keys again, from the file that was named at the start.
    fn reload_keys(&mut self) -> Result<(), String> {
        let Some(earlier) = &self.keys else {
            return Ok(());
        };
        let found = read_keys(&self.config.ring).map_err(|error| {
            tracing::error!(%error, "keys refused: nothing is changed");
            error.to_string()
        })?;
        let Some(keys) = found.filter(|found| found != earlier) else {
            return Ok(());
        };
        let changed = self.engine.ask(|done| Command::ChangeKeys {
            keys: keys.clone(),
            done,
        });
        changed.ok_or("the engine thread has stopped")?;
        if let Ok(prober) = &self.prober {
            prober.change_keys(keys.clone());
        }
        tracing::info!(keys = ?keys, "keys of the ring changed");
        self.keys = Some(keys);
        Ok(())
    }

    fn group_at(&self, address: SocketAddr) -> Option<&Group> {
        self.groups.iter().find(|group| {
            let own = group.settings.address;
            own.ip() == address.ip() && own.port() == address.port()
        })
    }

    fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.0 as usize - 1]
    }

    fn group_name(&self, id: GroupId) -> &str {
        &self.group(id).settings.name
    }

    fn group_address(&self, id: GroupId) -> SocketAddr {
        self.group(id).settings.address
    }

    fn channel(&self, token: usize) -> Option<&Channel> {
        self.connections
            .get(&token)
            .map(|connection| &connection.channel)
    }
}
