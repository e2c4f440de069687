//! The thread that answers other hosts' probes, and sends this host's when somebody asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use libexo::ids::{Epoch, HostId, Position};
use libexo::time::Time;
use libexo::transport::counters::DropReason;
use libexo::transport::udp::UdpTransport;
use libexo::transport::{Destination, Inbox, Transport};
use libexo::wire::auth::{AuthError, Guard, Protection};
use libexo::wire::{Flags, Frame, HEADER_BYTES, Header, Kind, RingId, emit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::Wish;
use super::choice::{self, Choice, Chooser};
use super::packet::{Answer, ECHO_BYTES, Echo, Heard, Question, ROW_BYTES, ROWS_HEAD_BYTES, Row};
use super::report::{self, Dropped, Measured};
use super::survey::{COUNT, Survey};
use crate::clock;
use crate::config::TransportKind;
use crate::engine_thread::command::Asked;

/// Answers in a second at most: what surveys by all hosts of a large ring need.
pub(super) const ANSWERS_MAX: u32 = 10_000;
/// A survey serves whoever asks for so long, so that hosts survey at most so often.
const FRESH: Duration = Duration::from_secs(1);
/// Between two questions for a host's rows.
const ASK_GAP: Duration = Duration::from_millis(100);
/// A report is made at the latest after so long: twice the longest survey.
const GATHER_MAX: Duration = Duration::from_secs(3);
/// Longest frame that asks for rows; every link of IPv6 carries it.
const ASK_BYTES_MAX: usize = 1232;
/// Most operators that wait for one report.
const ASKED_MAX: usize = 64;
/// Frames that one call of the system may bring.
const INBOX_SLOTS: usize = 64;
/// Batches of frames before anything else is looked at.
const BATCHES_MAX: u32 = 16;

/// What does not change.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) me: HostId,
    pub(super) id: RingId,
    /// Names, and where probes go.
    pub(super) hosts: Vec<(String, SocketAddr)>,
    /// So many vote; those behind them listen.
    pub(super) voters: usize,
    /// Where the ring's own frames go.
    pub(super) ring_addresses: Vec<SocketAddr>,
    pub(super) kind: TransportKind,
    /// Whether the ring uses multicast or broadcast of UDP.
    pub(super) has_way_to_all: bool,
    /// The ring's longest frame, where datagrams carry it.
    pub(super) frame_bytes: Option<u16>,
}

/// One host's end of all probes.
#[derive(Debug)]
pub(crate) struct Responder {
    facts: Facts,
    transport: UdpTransport,
    guard: Guard,
    plain: Vec<u8>,
    /// What came of each host's latest survey.
    heard: Vec<HeardSoFar>,
    /// The second that answers are counted in, and how many it had.
    answers: (u64, u32),
    next_survey: u32,
    survey: Option<(Survey, Vec<Connecting>)>,
    measured: Option<(Time, Vec<Row>)>,
    gathering: Option<Gathering>,
    /// With `transport = "auto"`.
    chooser: Option<(Chooser, Arc<Choice>)>,
    dropped: Dropped,
}

#[derive(Clone, Copy, Debug, Default)]
struct HeardSoFar {
    survey: u32,
    to_one: u16,
    to_all: u16,
}

/// A connection to a host's TCP port that is being made.
#[derive(Debug)]
struct Connecting {
    host: HostId,
    socket: Result<OwnedFd, Errno>,
}

/// A report in the making.
#[derive(Debug)]
struct Gathering {
    asked: Vec<Asked>,
    begun: Time,
    next_ask: Time,
    told: BTreeMap<HostId, Vec<Row>>,
    refused: BTreeMap<HostId, String>,
}

impl Responder {
    pub(super) fn new(
        facts: Facts,
        protection: &Protection,
        inc: u64,
        transport: UdpTransport,
        choice: Option<Arc<Choice>>,
    ) -> Self {
        let hosts = facts.hosts.len();
        let guard = Guard::of_probes(protection, facts.id, facts.me, hosts, inc);
        // So that the answers to an earlier life's survey are not taken for this one's.
        let next_survey = u32::try_from(inc & u64::from(u32::MAX)).expect("32 bits");
        let chooser = choice.map(|choice| {
            let chooser = Chooser::new(clock::now(), next_survey, facts.me, hosts);
            (chooser, choice)
        });
        Self {
            facts,
            transport,
            guard,
            plain: Vec::with_capacity(usize::from(u16::MAX)),
            heard: vec![HeardSoFar::default(); hosts],
            answers: (0, 0),
            next_survey,
            survey: None,
            measured: None,
            gathering: None,
            chooser,
            dropped: Dropped::default(),
        }
    }

    /// Serves until whoever asks is gone.
    pub(super) fn run(
        &mut self,
        asks: &Receiver<Wish>,
        bell: &OwnedFd,
        tell: impl Fn(Asked, String),
    ) {
        let mut inbox = Inbox::new(INBOX_SLOTS, self.transport.mtu());
        loop {
            // An error means that nobody rang.
            let _ = rustix::io::read(bell, &mut [0; 8]);
            loop {
                match asks.try_recv() {
                    Ok(Wish::Report(asked)) => self.on_asked(asked, &tell),
                    Ok(Wish::ChangeKeys(keys)) => self.guard.change_keys(&keys),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let mut is_more = true;
            for _ in 0..BATCHES_MAX {
                inbox.clear();
                is_more = self.transport.recv(&mut inbox) > 0;
                if !is_more {
                    break;
                }
                for (from, bytes) in inbox.iter() {
                    self.on_frame(from, bytes);
                }
            }
            self.go_on(&tell);
            // What the transport holds already wakes nobody.
            if !is_more {
                self.sleep(bell);
            }
        }
    }

    fn sleep(&self, bell: &OwnedFd) {
        let timeout = self.due().map(|due| {
            let left = due.since(clock::now());
            Timespec::try_from(left).expect("a few seconds")
        });
        let descriptor = self.transport.descriptor();
        let mut watched = [
            PollFd::new(bell, PollFlags::IN),
            PollFd::new(&descriptor, PollFlags::IN),
        ];
        // An error is a signal; everything is looked at again.
        let _ = poll(&mut watched, timeout.as_ref());
    }

    fn due(&self) -> Option<Time> {
        let survey = self.survey.as_ref().and_then(|(survey, _)| survey.due());
        let gathering = self.gathering.as_ref().map(|gathering| gathering.next_ask);
        let round = self.chooser.as_ref().map(|(chooser, _)| chooser.due());
        [survey, gathering, round].into_iter().flatten().min()
    }

    // ---- answers to other hosts

    fn on_frame(&mut self, from: HostId, bytes: &[u8]) {
        let now = clock::now();
        let frame = match Frame::parse(bytes, self.facts.id) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(from, error.to_string()),
        };
        let opened = self.guard.open(from, frame, bytes, &mut self.plain);
        let frame = match opened {
            Ok(frame) => frame,
            // The network may repeat.
            Err(AuthError::Replay { .. }) => return self.dropped.refused += 1,
            Err(error) => return self.refuse(from, error.to_string()),
        };
        let room = frame.payload.len();
        match frame.header.kind {
            Kind::Probe => match Question::parse(frame.payload) {
                Some(question) if self.may_answer(now) => self.on_question(from, question, room),
                Some(_) => self.dropped.too_many += 1,
                None => self.dropped.malformed += 1,
            },
            Kind::ProbeAck => match Answer::parse(frame.payload) {
                Some(answer) => self.on_answer(now, from, answer),
                None => self.dropped.malformed += 1,
            },
            _ => self.dropped.malformed += 1,
        }
    }

    fn refuse(&mut self, from: HostId, why: String) {
        self.dropped.refused += 1;
        if let Some(gathering) = &mut self.gathering {
            gathering.refused.insert(from, why);
        }
    }

    fn may_answer(&mut self, now: Time) -> bool {
        let second = now.0 / 1_000_000_000;
        if self.answers.0 != second {
            self.answers = (second, 0);
        }
        self.answers.1 += 1;
        self.answers.1 <= ANSWERS_MAX
    }

    /// Answers what came in `room` bytes, in at most as many.
    fn on_question(&mut self, from: HostId, question: Question, room: usize) {
        let answer = match question {
            Question::Echo(echo) => Answer::Heard(self.hear(from, echo)),
            Question::Ask { first } => {
                self.measure();
                let Some((_, rows)) = &self.measured else {
                    return; // asked again when it is there
                };
                let rows = rows.iter().skip(usize::from(first)).take(Row::room(room));
                let rows = rows.copied().collect();
                Answer::Rows { first, rows }
            }
        };
        let bytes = answer.emit();
        assert!(bytes.len() <= room, "answers do not amplify");
        self.send(Some(from), Kind::ProbeAck, &bytes);
    }

    fn hear(&mut self, from: HostId, echo: Echo) -> Heard {
        let heard_at = clock::wall().0;
        let heard = &mut self.heard[usize::from(from.0)];
        let is_of_survey = echo.number != choice::NUMBER;
        if is_of_survey && heard.survey != echo.survey {
            *heard = HeardSoFar {
                survey: echo.survey,
                ..HeardSoFar::default()
            };
        }
        if echo.number < COUNT {
            let count = match echo.to_all {
                true => &mut heard.to_all,
                false => &mut heard.to_one,
            };
            *count = count.saturating_add(1);
        }
        Heard {
            echo,
            heard_at,
            told_at: clock::wall().0,
            to_one: heard.to_one,
            to_all: heard.to_all,
        }
    }

    fn send(&mut self, to: Option<HostId>, kind: Kind, payload: &[u8]) {
        let header = Header {
            kind,
            flags: to.map_or(Flags(0), |_| Flags::UNICAST),
            src: self.facts.me,
            dst: to.unwrap_or(HostId(0)),
            ring: self.facts.id,
            generation: 0,
            epoch: Epoch(0),
            seq: Position(0),
            prev: 0,
            behind: 0,
            credit: 0,
            part: 0,
            parts: 1,
            count: 0,
        };
        let mut bytes = emit(&header, payload);
        self.guard.seal(&mut bytes);
        let to = to.map_or(Destination::All, Destination::Host);
        let sent = self.transport.send(to, &[&bytes]);
        sent.expect("lengths are at most the MTU, and the hosts are known");
    }

    // ---- this host's surveys

    /// Sees to it that there are measurements, now or soon.
    fn measure(&mut self) {
        let now = clock::now();
        let is_fresh = |(at, _): &(Time, Vec<Row>)| now.since(*at) < FRESH;
        if self.survey.is_some() || self.measured.as_ref().is_some_and(is_fresh) {
            return;
        }
        self.measured = None;
        self.next_survey = self.next_survey.wrapping_add(1);
        let Facts { me, hosts, .. } = &self.facts;
        let survey = Survey::new(
            now,
            self.next_survey,
            *me,
            hosts.len(),
            self.facts.has_way_to_all,
            self.lengths(),
        );
        self.survey = Some((survey, self.connect()));
    }

    /// Lengths of frames to try, as far as this host's own link carries them.
    fn lengths(&self) -> Vec<u16> {
        let headers = match self.facts.hosts[usize::from(self.facts.me.0)].1 {
            SocketAddr::V4(_) => 28,
            SocketAddr::V6(_) => 48,
        };
        let mut lengths = vec![1500 - headers, 9000 - headers];
        lengths.extend(self.facts.frame_bytes);
        lengths.retain(|length| usize::from(*length) <= self.transport.mtu());
        lengths.retain(|length| usize::from(*length) >= self.overhead() + ECHO_BYTES);
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    const fn overhead(&self) -> usize {
        HEADER_BYTES + self.guard.mode().overhead_bytes()
    }

    /// Begins to connect to everybody's TCP port, in a ring that uses it.
    fn connect(&self) -> Vec<Connecting> {
        if self.facts.kind != TransportKind::Tcp {
            return Vec::new();
        }
        let all = (0..=u8::MAX).map(HostId).zip(&self.facts.ring_addresses);
        let own = self.facts.ring_addresses[usize::from(self.facts.me.0)];
        all.filter(|(host, _)| *host != self.facts.me)
            .map(|(host, address)| Connecting {
                host,
                socket: begin_to_connect(own, *address),
            })
            .collect()
    }

    fn on_answer(&mut self, now: Time, from: HostId, answer: Answer) {
        match answer {
            Answer::Heard(heard) if heard.echo.number == choice::NUMBER => {
                if let Some((chooser, _)) = &mut self.chooser {
                    chooser.on_heard(from, heard.echo);
                }
            }
            Answer::Heard(heard) => {
                if let Some((survey, _)) = &mut self.survey {
                    survey.on_heard(now, clock::wall(), from, &heard);
                }
            }
            Answer::Rows { first, rows } => {
                let is_known = |row: &Row| usize::from(row.host.0) < self.facts.hosts.len();
                if !rows.iter().all(|row| is_known(row) && row.host != from) {
                    self.dropped.malformed += 1;
                    return;
                }
                let Some(gathering) = &mut self.gathering else {
                    return; // late
                };
                let told = gathering.told.entry(from).or_default();
                let is_next = usize::from(first) == told.len();
                if is_next && told.len() + rows.len() < self.facts.hosts.len() {
                    told.extend(rows);
                }
            }
        }
    }

    // ---- reports

    fn on_asked(&mut self, asked: Asked, tell: &impl Fn(Asked, String)) {
        self.measure();
        let now = clock::now();
        let gathering = self.gathering.get_or_insert_with(|| Gathering {
            asked: Vec::new(),
            begun: now,
            next_ask: now,
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
        });
        if gathering.asked.len() < ASKED_MAX {
            gathering.asked.push(asked);
        } else {
            tell(asked, "refused: too many ask at one time".to_owned());
        }
    }

    /// Sends what is due, and ends what is over.
    fn go_on(&mut self, tell: &impl Fn(Asked, String)) {
        while let Some((survey, _)) = &mut self.survey {
            let Some(sending) = survey.poll_send(clock::now(), clock::wall()) else {
                break;
            };
            let payload_bytes = sending
                .frame_bytes
                .map_or(0, |length| usize::from(length) - self.overhead());
            let payload = Question::Echo(sending.echo).emit(payload_bytes);
            self.send(sending.to, Kind::Probe, &payload);
        }
        self.choose();
        let now = clock::now();
        if let Some((survey, connecting)) = self.survey.take_if(|(survey, _)| survey.is_over(now)) {
            let mut rows = survey.rows();
            for (row, connecting) in rows.iter_mut().zip(&connecting) {
                assert_eq!(row.host, connecting.host, "both in the order of the hosts");
                let socket = connecting.socket.as_ref();
                row.tcp = Some(socket.is_ok_and(is_connected));
            }
            self.measured = Some((now, rows));
        }
        let Some(gathering) = self.gathering.take() else {
            return;
        };
        let is_over = self.survey.is_none() && self.has_all(&gathering);
        if is_over || now >= gathering.begun.after(GATHER_MAX) {
            let report = self.report(&gathering);
            gathering
                .asked
                .iter()
                .for_each(|asked| tell(*asked, report.clone()));
            return;
        }
        self.gathering = Some(self.ask_again(now, gathering));
    }

    /// Ends a round of the choice and begins the next, if it is time.
    fn choose(&mut self) {
        let Some((chooser, choice)) = &mut self.chooser else {
            return;
        };
        let now = clock::now();
        if now < chooser.due() {
            return;
        }
        let round = chooser.poll_round(now, choice.rests());
        let is_multicast = chooser.is_multicast();
        let deaf = chooser.deaf();
        let deaf: Vec<_> = deaf
            .map(|host| self.facts.hosts[usize::from(host.0)].0.as_str())
            .collect();
        let why = match (is_multicast, chooser.has_answers()) {
            (true, _) => "every host that answers hears it".to_owned(),
            (false, _) if !deaf.is_empty() => {
                format!("multicast does not reach {}", deaf.join(", "))
            }
            (false, true) => "multicast is being tried".to_owned(),
            (false, false) => "no other host answers a probe".to_owned(),
        };
        if choice.is_multicast() != is_multicast {
            let way = if is_multicast { "multicast" } else { "copies" };
            tracing::info!(way, why, "frames to all go another way");
        }
        choice.settle(is_multicast, why);
        let Some(round) = round else { return };
        let echo = |to_all| {
            let (survey, number) = (round.number, choice::NUMBER);
            Question::Echo(Echo {
                survey,
                number,
                to_all,
            })
        };
        self.send(None, Kind::Probe, &echo(true).emit(0));
        for host in round.alone {
            self.send(Some(host), Kind::Probe, &echo(false).emit(0));
        }
    }

    /// Whether everybody who answered has told what it measured.
    fn has_all(&self, gathering: &Gathering) -> bool {
        let rows = self.measured.iter().flat_map(|(_, rows)| rows);
        let mut answering = rows.filter(|row| row.answered > 0);
        answering.all(|row| self.missing(gathering, row.host) == 0)
    }

    /// How many rows of a host are not there yet.
    fn missing(&self, gathering: &Gathering, host: HostId) -> usize {
        let told = gathering.told.get(&host).map_or(0, Vec::len);
        self.facts.hosts.len() - 1 - told
    }

    fn ask_again(&mut self, now: Time, mut gathering: Gathering) -> Gathering {
        if now < gathering.next_ask {
            return gathering;
        }
        gathering.next_ask = now.after(ASK_GAP);
        for host in (0..=u8::MAX).map(HostId).take(self.facts.hosts.len()) {
            let missing = self.missing(&gathering, host);
            if host == self.facts.me || missing == 0 {
                continue;
            }
            let told = self.facts.hosts.len() - 1 - missing;
            let room = ROWS_HEAD_BYTES + missing * ROW_BYTES;
            let room = room.min(ASK_BYTES_MAX.min(self.transport.mtu()) - self.overhead());
            let first = u16::try_from(told).expect("at most 255");
            let question = Question::Ask { first }.emit(room);
            self.send(Some(host), Kind::Probe, &question);
        }
        gathering
    }

    fn report(&mut self, gathering: &Gathering) -> String {
        let own = self.measured.iter().flat_map(|(_, rows)| rows);
        let own = own.map(|row| ((self.facts.me, row.host), *row));
        let told = gathering.told.iter();
        let told = told.flat_map(|(host, rows)| rows.iter().map(|row| ((*host, row.host), *row)));
        let counters = self.transport.counters();
        let measured = Measured {
            me: self.facts.me,
            hosts: self.facts.hosts.clone(),
            voters: self.facts.voters,
            transport: self.facts.kind,
            choice: self.chooser.as_ref().map(|(_, choice)| choice.told()),
            frame_bytes: self.facts.frame_bytes,
            rows: own.chain(told).collect(),
            refused: gathering.refused.clone(),
            dropped: Dropped {
                unknown_source: counters.dropped(DropReason::UnknownSource),
                ..self.dropped
            },
        };
        serde_json::to_string(&report::report(&measured)).expect("plain values")
    }
}

/// From this host's own address, as the ring does.
fn begin_to_connect(own: SocketAddr, to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(own.ip(), 0))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn is_connected(socket: &OwnedFd) -> bool {
    rustix::net::getpeername(socket.as_fd()).is_ok()
}
