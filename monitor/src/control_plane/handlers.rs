//! One function per request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use libexo::client::pair::TOKEN_BYTE;
use libexo::control::channel::Descriptors;
use libexo::control::message::{DemoteReason, Query, Reply, Request};
use libexo::ids::{GroupId, SessionId, SocketId};
use libexo::shm::board::Counter;
use libexo::shm::log::Origin;
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page::{MEMBERSHIPS_MAX, membership_state};
use libexo::sync::Ordering;
use libexo::wire::HostSet;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::session::{REFUSALS_MAX, RefusalNote, SOCKETS_MAX, Session, Socket};
use super::sweep::{self, has_socket};
use super::{Control, Source, relay};
use crate::access::{self, Wish};
use crate::clock;
use crate::config::GroupSettings;
use crate::engine_thread::command::{Asked, Command, NewReader};
use crate::engine_thread::kernel_queue::KernelQueue;
use crate::mapped;

impl Control {
    /// Handles one request. Returns whether the connection is still there.
    pub(super) fn handle(
        &mut self,
        token: usize,
        request: Request,
        id: u32,
        descriptors: Descriptors,
    ) -> bool {
        match request {
            Request::Hello => self.hello(token, id),
            Request::WaitRoom { session } => self.wait_room(token, session),
            Request::Ask(query) => self.ask(token, query, id),
            _ => {
                let Some(session) = self.connections.get(&token).and_then(|c| c.session) else {
                    self.misbehaves(token, "a request before hello");
                    return false;
                };
                self.serve(token, session, request, id, descriptors)
            }
        }
    }

    fn reply(&mut self, token: usize, id: u32, outcome: Result<Reply, Errno>) -> bool {
        let reply = outcome.unwrap_or_else(|errno| Reply::Refused {
            errno: errno.raw_os_error(),
        });
        self.answer(token, reply, id, &[])
    }

    fn hello(&mut self, token: usize, id: u32) -> bool {
        let Some(connection) = self.connections.get(&token) else {
            return false;
        };
        let identity = connection.identity.clone();
        // A process that says hello again has lost its channel or executed another program; its
        // earlier session is over.
        let earlier: Vec<SessionId> = self
            .sessions
            .values()
            .filter(|session| session.identity.pid == identity.pid)
            .map(|session| session.id)
            .collect();
        let kept: Vec<SocketId> = self
            .sockets
            .values()
            .filter(|socket| earlier.contains(&socket.session))
            .map(|socket| socket.id)
            .collect();
        let session = SessionId(self.next_session);
        for socket in kept {
            if let Some(socket) = self.sockets.get_mut(&socket) {
                socket.session = session;
            }
        }
        for earlier in earlier {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.session = None;
            }
            self.end_session(earlier);
        }
        let pid = Pid::from_raw(identity.pid);
        let pidfd = pid
            .ok_or(Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK));
        let lane = mapped::lane(self.config.monitor.lane_bytes);
        let (pidfd, lane) = match (pidfd, lane) {
            (Ok(pidfd), Ok(lane)) => (Descriptor::from_owned(pidfd), lane),
            (Err(Errno::SRCH), _) => {
                tracing::debug!(pid = identity.pid, "ended before it was attached");
                return self.reply(token, id, Err(Errno::SRCH));
            }
            (Err(errno), _) | (_, Err(errno)) => {
                tracing::warn!(pid = identity.pid, %errno, "a process cannot be attached");
                return self.reply(token, id, Err(errno));
            }
        };
        let death = self.take_token();
        let watched = self.poll.registry().register(
            &mut SourceFd(&pidfd.raw()),
            Token(death),
            Interest::READABLE,
        );
        if let Err(error) = watched {
            tracing::warn!(pid = identity.pid, %error, "a process cannot be watched: refused");
            return self.reply(token, id, Err(Errno::NOMEM));
        }
        self.next_session += 1;
        self.sources.insert(death, Source::Process(session));
        self.board.count(Counter::SessionsAttached, 1);
        tracing::debug!(
            pid = identity.pid,
            comm = identity.comm,
            session = session.0,
            "attached"
        );
        let tables = sweep::open_tables(identity.pid);
        self.sessions.insert(
            session,
            Session {
                id: session,
                identity,
                pidfd,
                token: death,
                tables,
                grants: Vec::new(),
                refusals: Vec::new(),
            },
        );
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.session = Some(session);
        }
        self.engine.send(Command::AddLane {
            session,
            header: lane.header,
            area: lane.area,
        });
        let Some(channel) = self.channel(token) else {
            return false;
        };
        let sent = {
            use rustix::fd::AsFd;
            let descriptors = [self.board_fd.as_fd(), lane.fd.as_fd()];
            channel.send(Reply::Welcome { session }.emit(id).as_bytes(), &descriptors)
        };
        if sent.is_err() {
            self.close(token);
            return false;
        }
        true
    }

    fn serve(
        &mut self,
        token: usize,
        session: SessionId,
        request: Request,
        id: u32,
        descriptors: Descriptors,
    ) -> bool {
        let outcome = match request {
            Request::OpenSocket {
                cookie,
                inode,
                inet6,
                relay,
                bound,
            } => {
                let [bell, holder, ..] = descriptors;
                let opened =
                    self.open_socket(session, cookie, inode, inet6, relay, bound, bell, holder);
                return match opened {
                    Ok(socket) => self.answer_with_page(token, id, socket),
                    Err(errno) => self.reply(token, id, Err(errno)),
                };
            }
            Request::Adopt { cookie } => {
                return match self.adopt(session, cookie) {
                    Ok(socket) => self.answer_with_page(token, id, socket),
                    Err(errno) => self.reply(token, id, Err(errno)),
                };
            }
            Request::Join {
                socket,
                group,
                interface,
            } => {
                return match self.join(session, socket, group, interface) {
                    Ok((slot, group)) => {
                        self.answer_with_log(token, id, Reply::Joined { slot, group }, group)
                    }
                    Err(errno) => self.reply(token, id, Err(errno)),
                };
            }
            Request::Log { socket, group } => {
                return match self.log_of(session, socket, group) {
                    Ok(()) => self.answer_with_log(token, id, Reply::Log, group),
                    Err(errno) => self.reply(token, id, Err(errno)),
                };
            }
            Request::Leave { socket, slot } => self.leave(session, socket, slot),
            Request::Grant {
                group,
                source,
                ttl,
                tos,
                no_loop,
            } => {
                let no_loop = no_loop.then_some(session);
                self.grant(
                    session,
                    group,
                    Origin {
                        source,
                        ttl,
                        tos,
                        no_loop,
                    },
                )
            }
            Request::Sweep => {
                self.sweep();
                Ok(Reply::Done)
            }
            Request::Demote { socket, reason } => {
                let [own, raw, ..] = descriptors;
                self.demote(session, socket, reason, own, raw)
            }
            Request::Holder { socket } => {
                return self.answer_with_holder(token, id, session, socket);
            }
            Request::Closed { socket } => self.closed(session, socket),
            Request::Ring { socket } => self.usable(session, socket).map(drop).map(|()| {
                self.engine.ask(|done| Command::Ring { socket, done });
                Reply::Done
            }),
            Request::Hello | Request::WaitRoom { .. } | Request::Ask(_) => {
                unreachable!("handled before")
            }
        };
        self.reply(token, id, outcome)
    }

    fn answer_with_page(&mut self, token: usize, id: u32, socket: SocketId) -> bool {
        use rustix::fd::AsFd;
        let (Some(channel), Some(state)) = (self.channel(token), self.sockets.get(&socket)) else {
            return false;
        };
        let sent = channel.send(
            Reply::Socket { socket }.emit(id).as_bytes(),
            &[state.page_fd.as_fd()],
        );
        self.after_send(token, sent)
    }

    fn answer_with_log(&mut self, token: usize, id: u32, reply: Reply, group: GroupId) -> bool {
        use rustix::fd::AsFd;
        let Some(channel) = self.channel(token) else {
            return false;
        };
        let sent = channel.send(reply.emit(id).as_bytes(), &[self.group(group).log.as_fd()]);
        self.after_send(token, sent)
    }

    fn after_send(&mut self, token: usize, sent: Result<(), Errno>) -> bool {
        if sent.is_err() {
            self.close(token);
        }
        sent.is_ok()
    }

    fn answer_with_holder(
        &mut self,
        token: usize,
        id: u32,
        session: SessionId,
        socket: SocketId,
    ) -> bool {
        use rustix::fd::AsFd;
        if let Err(errno) = self.usable(session, socket) {
            return self.reply(token, id, Err(errno));
        }
        let (Some(channel), Some(state)) = (self.channel(token), self.sockets.get(&socket)) else {
            return false;
        };
        let holder: Vec<_> = state.holder.iter().map(AsFd::as_fd).collect();
        let sent = channel.send(Reply::Done.emit(id).as_bytes(), &holder);
        self.after_send(token, sent)
    }

    /// A process closed its last descriptor of the socket. Others may have it still: a byte sent to
    /// a socket that is gone is refused.
    fn closed(&mut self, session: SessionId, socket: SocketId) -> Result<Reply, Errno> {
        let state = self.usable(session, socket)?;
        if state.bound.ip().is_unspecified() {
            // A byte for a socket on a wildcard address would now reach its holder.
            self.sweep();
        } else if state.queue.is_none() {
            let doorbell = state.page.doorbell();
            if !doorbell.claim() {
                doorbell.extra.fetch_add(1, Ordering::SeqCst);
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            // The refusal of a datagram is an error of the next call.
            let sent = rustix::net::send(&*state.bell, &[TOKEN_BYTE], flags);
            let later = rustix::net::sockopt::socket_error(&*state.bell);
            let refused = Err(Errno::CONNREFUSED);
            if sent.map(drop) == refused || matches!(later, Ok(Err(Errno::CONNREFUSED))) {
                self.drop_socket(socket);
            }
        }
        Ok(Reply::Done)
    }

    /// The socket, if it is this session's or its process has it open, too, by inheritance or by
    /// gift. A guess at another one's number is answered as if it did not exist.
    fn usable(&mut self, session: SessionId, socket: SocketId) -> Result<&mut Socket, Errno> {
        let pid = self.sessions.get(&session).ok_or(Errno::SRCH)?.identity.pid;
        self.sockets
            .get_mut(&socket)
            .filter(|socket| socket.session == session || has_socket(pid, socket.inode))
            .ok_or(Errno::NOENT)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one request")]
    fn open_socket(
        &mut self,
        session: SessionId,
        cookie: u64,
        inode: u64,
        inet6: bool,
        relay: bool,
        bound: SocketAddr,
        bell: Option<Descriptor>,
        holder: Option<Descriptor>,
    ) -> Result<SocketId, Errno> {
        let bell = bell.ok_or(Errno::INVAL)?;
        let is_datagram = |fd: &Descriptor| {
            rustix::net::sockopt::socket_type(fd)
                .is_ok_and(|kind| kind == rustix::net::SocketType::DGRAM)
        };
        if !is_datagram(&bell) || !holder.iter().all(is_datagram) {
            return Err(Errno::INVAL);
        }
        let of_session = self
            .sockets
            .values()
            .filter(|s| s.session == session)
            .count();
        if of_session >= SOCKETS_MAX {
            return Err(Errno::NOBUFS);
        }
        // The same socket twice: its first life in the monitor is over.
        let earlier = self
            .sockets
            .values()
            .find(|s| s.cookie == cookie && s.inode == inode)
            .map(|s| s.id);
        if let Some(earlier) = earlier {
            self.usable(session, earlier)?;
            self.drop_socket(earlier);
        }
        let id = SocketId(self.next_socket);
        self.next_socket += 1;
        let (page_fd, page) = mapped::socket_page(id.0)?;
        let mut relay_token = None;
        if let (true, Some(holder)) = (relay, &holder) {
            let token = self.take_token();
            self.poll
                .registry()
                .register(
                    &mut SourceFd(&holder.raw()),
                    Token(token),
                    Interest::READABLE,
                )
                .map_err(|_| Errno::NOMEM)?;
            self.sources.insert(token, Source::Relay(id));
            relay_token = Some(token);
        }
        self.undertaker.keep(id, &bell, &page_fd);
        self.sockets.insert(
            id,
            Socket {
                id,
                session,
                cookie,
                inode,
                inet6,
                bound,
                page_fd,
                page,
                bell: Arc::new(bell),
                holder,
                relay_token,
                queue: None,
                demoted: None,
                memberships: vec![None; MEMBERSHIPS_MAX],
                rule: format!("bound to {bound}"),
            },
        );
        Ok(id)
    }

    /// A process that inherited the socket, or was given it, has it open: the kernel's list of its
    /// descriptors says so.
    fn adopt(&mut self, session: SessionId, cookie: u64) -> Result<SocketId, Errno> {
        let pid = self.sessions.get(&session).ok_or(Errno::SRCH)?.identity.pid;
        let socket = self
            .sockets
            .values_mut()
            .find(|s| s.cookie == cookie)
            .ok_or(Errno::NOENT)?;
        if socket.session != session {
            if !has_socket(pid, socket.inode) {
                return Err(Errno::NOENT);
            }
            socket.session = session;
        }
        Ok(socket.id)
    }

    fn allowed(
        &mut self,
        session: SessionId,
        group: SocketAddr,
        wish: Wish,
    ) -> Result<GroupId, Errno> {
        let group = self.group_at(group).ok_or(Errno::NOENT)?;
        let (id, name) = (group.id, group.settings.name.clone());
        let identity = &self.sessions.get(&session).ok_or(Errno::SRCH)?.identity;
        let Err(refusal) = access::check(&group.settings, wish, identity) else {
            return Ok(id);
        };
        let why = refusal.to_string();
        self.board.count(Counter::Refused, 1);
        tracing::warn!(pid = identity.pid, why, "refused by policy");
        if let Some(session) = self.sessions.get_mut(&session)
            && session.refusals.len() < REFUSALS_MAX
        {
            session.refusals.push(RefusalNote {
                group: name,
                wish: wish.name(),
                why,
            });
        }
        Err(Errno::ACCESS)
    }

    fn join(
        &mut self,
        session: SessionId,
        socket: SocketId,
        group: SocketAddr,
        interface: u32,
    ) -> Result<(u32, GroupId), Errno> {
        self.usable(session, socket)?;
        let id = self.allowed(session, group, Wish::Join)?;
        let address = self.group_address(id);
        let state = self.usable(session, socket)?;
        // Memberships that were left and read to their end have been set free by the engine.
        let mut free = None;
        for (slot, membership) in state.page.memberships.iter().enumerate() {
            let is_free = membership.state.load(Ordering::Acquire) == membership_state::FREE;
            if is_free {
                state.memberships[slot] = None;
                free = free.or(Some(slot));
            } else if state.memberships[slot] == Some(id)
                && membership.state.load(Ordering::Relaxed) == membership_state::ACTIVE
                && membership.interface.load(Ordering::Relaxed) == interface
            {
                return Err(Errno::ADDRINUSE);
            }
        }
        let slot = free.ok_or(Errno::NOBUFS)?;
        state.memberships[slot] = Some(id);
        state.rule = format!("join of {address}");
        let reader = NewReader {
            socket,
            session,
            slot,
            page: state.page.clone(),
            bell: Arc::clone(&state.bell),
            address,
            queue: state.queue.clone(),
        };
        self.engine
            .ask(|done| Command::Join {
                group: id,
                reader,
                done,
            })
            .ok_or(Errno::NETDOWN)?;
        Ok((u32::try_from(slot).map_err(|_| Errno::NOBUFS)?, id))
    }

    fn log_of(
        &mut self,
        session: SessionId,
        socket: SocketId,
        group: GroupId,
    ) -> Result<(), Errno> {
        let state = self.usable(session, socket)?;
        if state.memberships.contains(&Some(group)) {
            Ok(())
        } else {
            Err(Errno::NOENT)
        }
    }

    fn leave(&mut self, session: SessionId, socket: SocketId, slot: u32) -> Result<Reply, Errno> {
        let slot = slot as usize;
        let state = self.usable(session, socket)?;
        let group = state
            .memberships
            .get(slot)
            .copied()
            .flatten()
            .ok_or(Errno::ADDRNOTAVAIL)?;
        self.engine
            .ask(|done| Command::Leave {
                group,
                socket,
                slot,
                done,
            })
            .ok_or(Errno::NETDOWN)?;
        Ok(Reply::Done)
    }

    fn grant(
        &mut self,
        session: SessionId,
        group: SocketAddr,
        origin: Origin,
    ) -> Result<Reply, Errno> {
        let group = self.allowed(session, group, Wish::Send)?;
        let grant = self
            .engine
            .ask(|done| Command::Grant {
                session,
                group,
                origin,
                done,
            })
            .flatten()
            .ok_or(Errno::NOBUFS)?;
        if let Some(session) = self.sessions.get_mut(&session) {
            let entry = (group, origin.source);
            if !session.grants.contains(&entry) {
                session.grants.push(entry);
            }
        }
        Ok(Reply::Granted { grant })
    }

    fn demote(
        &mut self,
        session: SessionId,
        socket: SocketId,
        reason: DemoteReason,
        own: Option<Descriptor>,
        raw: Option<Descriptor>,
    ) -> Result<Reply, Errno> {
        let own = own.ok_or(Errno::INVAL)?;
        let state = self.usable(session, socket)?;
        if state.queue.is_some() {
            return Ok(Reply::Done); // two sharers of the socket at the same time: the first counts
        }
        let queue = Arc::new(KernelQueue::new(own, raw, &state.bell));
        relay::send_again(&queue, &state.bell);
        let names_sources = queue.names_sources();
        state.demoted = Some(reason);
        state.queue = Some(Arc::clone(&queue));
        let (cookie, rule) = (state.cookie, state.rule.clone());
        tracing::info!(
            socket = socket.0,
            cookie,
            rule,
            reason = reason.name(),
            names_sources,
            "kernel delivery"
        );
        self.engine
            .ask(|done| Command::Deliver {
                socket,
                queue,
                done,
            })
            .ok_or(Errno::NETDOWN)?;
        self.undertaker.forget(socket);
        Ok(Reply::Done)
    }

    fn wait_room(&mut self, token: usize, session: SessionId) -> bool {
        let Some(connection) = self.connections.get(&token) else {
            return false;
        };
        let is_own = self
            .sessions
            .get(&session)
            .is_some_and(|session| session.identity.uid == connection.identity.uid);
        if is_own {
            // The engine thread answers on a descriptor of its own; this one goes.
            if let Ok(answer) = rustix::io::fcntl_dupfd_cloexec(&connection.channel, 0) {
                let answer = Descriptor::from_owned(answer);
                self.engine.send(Command::WaitRoom { session, answer });
            }
        }
        self.close(token);
        false
    }

    fn ask(&mut self, token: usize, query: Query, id: u32) -> bool {
        let Some(connection) = self.connections.get(&token) else {
            return false;
        };
        let uid = connection.identity.uid;
        let own = rustix::process::geteuid().as_raw();
        let is_operator = uid == 0 || uid == own;
        let answer = match query {
            Query::Status => Ok(self.status().to_string()),
            _ if !is_operator => Err(format!(
                "uid {uid} is neither root nor uid {own}, who runs the monitor"
            )),
            Query::AddGroup { address } => GroupSettings::for_address(address)
                .map_err(|error| error.to_string())
                .and_then(|settings| {
                    self.add_group(settings)
                        .map_err(|errno| errno.to_string())?;
                    if !self.arguments.groups.contains(&address) {
                        self.arguments.groups.push(address);
                    }
                    // Who asks for a group is about to start a program that needs us.
                    self.idle_since = clock::now();
                    Ok("{}".to_owned())
                }),
            Query::Ping => {
                let asked = Asked { token, id };
                self.engine.send(Command::Ping { asked });
                return true; // answered when it is in order
            }
            Query::Form { hosts } => {
                let members = HostSet::from_words(hosts).iter().collect();
                self.engine
                    .ask(|done| Command::Form { members, done })
                    .unwrap_or_else(|| Err("the engine thread does not answer".to_owned()))
                    .map(|()| "{}".to_owned())
            }
            Query::Probe => match &self.prober {
                Ok(prober) => {
                    prober.ask(Asked { token, id });
                    return true; // answered when all hosts have told
                }
                Err(why) => Err(why.clone()),
            },
            Query::Reload => self.reload().map(|()| "{}".to_owned()),
            Query::Stop => {
                self.stopping = true;
                Ok("{}".to_owned())
            }
        };
        let text = answer.unwrap_or_else(|why| format!("refused: {why}"));
        self.answer_document(token, id, &text)
    }

    /// A ping is in order.
    pub(super) fn on_pong(&mut self, asked: Asked, taken: Result<Duration, &str>) {
        let text = match taken {
            Ok(taken) => format!("{{\"order_ns\": {}}}", taken.as_nanos()),
            Err(why) => format!("refused: {why}"),
        };
        // Who does not wait for it any more closed the connection.
        self.answer_document(asked.token, asked.id, &text);
    }

    pub(super) fn answer_document(&mut self, token: usize, id: u32, text: &str) -> bool {
        let outcome = document(text);
        match outcome {
            Ok(fd) => self.answer(
                token,
                Reply::Document {
                    len: text.len() as u64,
                },
                id,
                &[&fd],
            ),
            Err(errno) => self.reply(token, id, Err(errno)),
        }
    }
}

fn document(text: &str) -> Result<Descriptor, Errno> {
    let made = memfd::MemfdOptions::default()
        .close_on_exec(true)
        .create("exo-document")
        .map_err(|_| Errno::NOMEM)?;
    std::io::Write::write_all(&mut made.as_file(), text.as_bytes()).map_err(|_| Errno::NOMEM)?;
    rustix::io::fcntl_dupfd_cloexec(made.as_file(), 0).map(Descriptor::from_owned)
}
