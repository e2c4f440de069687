//! The engine thread's way to the other hosts: opening it, frames in, frames out, the vote.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use libexo::engine::params::{Params, Times};
use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Engine, Frame, Port, Stage, Transmit};
use libexo::ids::{Epoch, HostId};
use libexo::journal::{Folder, FolderError, JournalError, Vote, VoteFound};
use libexo::time::Time;
use libexo::transport::faulty::{Faults, Faulty};
use libexo::transport::peers::Address;
use libexo::transport::raw::{self, RawConfig, RawTransport};
use libexo::transport::tcp::{TcpConfig, TcpTransport};
use libexo::transport::udp::{self, UdpConfig, UdpTransport};
use libexo::transport::{Counters, Destination, Inbox, MacAddress, OpenError, Peers, Transport};
use libexo::wire::RingId;
use libexo::wire::auth::{Mode, Protection};
use libexo::wire::record::Record;
use libexo::wire::table::{self, Row};

use super::envelope::Labels;
use super::keeper::{self, Keeper};
use crate::clock;
use crate::config::{self, HostSettings, Level, Minority, RingSettings, Spin, TransportKind};
use crate::key_file::{self, KeyFileError, Keys, Role};
use crate::probe::{self, Choice};

/// Frames that one call of the system may bring.
const INBOX_SLOTS: usize = 64;
/// Batches of frames that are looked at before the lanes are again.
const BATCHES_MAX: u32 = 8;
/// How often a host at rest says that it is there, for each packet that this takes.
const PARK: Duration = Duration::from_millis(110);
/// Most frames to one destination in one call of the system.
const SEND_BATCH: usize = 64;

/// Why a host cannot take part in its ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// None of the hosts is this machine, or several are.
    #[error("{0}")]
    Whoami(String),
    /// The way to the other hosts.
    #[error("cannot reach the network of the ring: {0}")]
    Open(#[from] OpenError),
    /// The folder for what must survive.
    #[error("cannot use the folder of the ring: {0}")]
    Folder(#[from] FolderError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// What is in it.
    #[error("cannot keep what this host must remember: {0}")]
    Vote(#[from] JournalError),
    /// A specification of faults.
    #[error("EXO_RING_FAULTS: {0}")]
    Faults(String),
}

/// A host of a ring: its engine, its labels and its network.
#[derive(Debug)]
pub(crate) struct Host {
    pub(super) engine: Ring,
    pub(super) labels: Labels,
    pub(super) network: Network,
    pub(super) minority: Minority,
    /// It only listens.
    pub(super) listens: bool,
    /// The engine thread never sleeps.
    pub(super) spins: bool,
    /// The journal, if this host keeps one.
    pub(super) keeper: Option<keeper::Opener>,
    /// Taken by the control thread: it is none of the engine thread's.
    pub(crate) probes: Option<probe::Opened>,
    /// The ring's keys as they were read, unless it is open. The control thread's, too.
    pub(crate) keys: Option<Keys>,
    /// With `transport = "auto"`: how frames to all are sent at present.
    pub(crate) choice: Option<Arc<Choice>>,
}

/// The way to the other hosts.
pub(super) struct Network {
    transport: Box<dyn Transport + Send>,
    /// With `transport = "auto"`.
    choice: Option<Arc<Choice>>,
    inbox: Inbox,
    vote: Vote<Folder>,
    keeper: Option<Keeper>,
    outgoing: Vec<Transmit>,
    due: Option<Time>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Host {
    /// Opens everything in the network namespace of this thread. `None` without other hosts.
    pub(crate) fn open(
        ring: &RingSettings,
        hosts: &[HostSettings],
    ) -> Result<Option<Self>, NetworkError> {
        if hosts.len() < 2 {
            return Ok(None);
        }
        let me = whoami(ring, hosts)?;
        let voters = config::voters(hosts);
        let listens = hosts[usize::from(me.0)].listens;
        let choice = (ring.transport == TransportKind::Auto).then(|| Arc::new(Choice::new()));
        let (transport, has_multicast) = open_transport(me, ring, hosts, choice.as_deref())?;
        let folder = Folder::open(&ring.state)?;
        let (mut vote, found) = Vote::open(folder.clone())?;
        let boot_inc = boot_inc();
        let stored = stored(found);
        let keys = read_keys(ring)?;
        let protection = protection(ring, keys.as_ref());
        let params = Params {
            frame_bytes_max: transport.mtu().min(FRAME_BYTES_MAX),
            level: match ring.deliver {
                Level::Agreed => Stage::Agreed,
                Level::Safe => Stage::Safe,
                Level::Durable => Stage::Durable,
            },
            spin: ring.spin == Spin::Always,
            times: times(ring, voters),
            ..Params::default()
        };
        let setup = Setup {
            me,
            hosts: voters,
            listeners: hosts.len() - voters,
            ring: RingId {
                number: ring.number,
                table: table(hosts),
            },
            boot_inc,
            stored,
            seed: RandomState::new().hash_one(()),
            params,
            protection,
        };
        let now = clock::now();
        let generation = setup.stored.as_ref().map_or(0, |record| record.generation);
        let (mut engine, keeper) = if listens {
            // What an earlier start kept stays as it is: a listener adds nothing to it.
            (Ring::member(&setup, now), None)
        } else if ring.journal {
            let found = keeper::open(folder, ring.number, generation, voters)?;
            let engine = Ring::with_journal(&setup, found.memory, now);
            (engine, Some(found.keeper))
        } else {
            keeper::forget(&folder, ring.number, generation)?;
            (Ring::member(&setup, now), None)
        };
        persist(&mut engine, &mut vote, now)?;
        let probes = link(me, ring, hosts).map_err(|error| error.to_string());
        let probes = probes.and_then(|link| {
            probe::open(&probe::Place {
                me,
                ring,
                hosts,
                id: setup.ring,
                protection: &setup.protection,
                inc: engine.inspect().map_or(boot_inc, |state| state.inc),
                link,
                frame_bytes_max: params.frame_bytes_max,
                choice: choice.as_ref().filter(|_| has_multicast),
            })
        });
        if let Err(why) = &probes {
            tracing::warn!(why, "no probes: `exo doctor` cannot look between the hosts");
            if let Some(choice) = choice.as_ref().filter(|_| has_multicast) {
                choice.settle(
                    false,
                    format!("without probes nobody knows who hears multicast: {why}"),
                );
            }
        }
        let names = |host: &HostSettings| (host.name.clone(), host.address.ip());
        let names = hosts.iter().map(names).collect();
        tracing::info!(
            host = hosts[usize::from(me.0)].name,
            hosts = hosts.len(),
            listens,
            transport = ring.transport.name(),
            frame_bytes = params.frame_bytes_max,
            protection = %setup.protection.mode(),
            "host of a ring"
        );
        Ok(Some(Self {
            engine,
            labels: Labels::new(me, names),
            minority: ring.minority,
            listens,
            spins: ring.spin == Spin::Always,
            keeper,
            probes: Some(probes),
            keys,
            choice: choice.clone(),
            network: Network {
                choice,
                inbox: Inbox::new(INBOX_SLOTS, transport.mtu()),
                transport,
                vote,
                keeper: None,
                outgoing: Vec::new(),
                due: None,
            },
        }))
    }
}

/// Safety rests on none of them. A turn that waits for a disk takes longer; and a host at rest says
/// so in at most 10 packets a second, copies and what acknowledges them counted. Those for listeners are
/// not: they must not make the hosts that vote notice later that one is gone.
fn times(ring: &RingSettings, voters: usize) -> Times {
    let others = u32::try_from(voters - 1).expect("at most 256 hosts").max(1);
    let packets = match ring.transport {
        TransportKind::Tcp => 2 * others,
        kind if kind.sends_copies() => others,
        _ => 1,
    };
    let times = Times {
        park: PARK * packets,
        ..Times::default()
    };
    if !ring.journal {
        return times;
    }
    Times {
        loss_min: times.loss_min * 10,
        resend_min: times.resend_min * 20,
        ..times
    }
}

/// A datagram holds no longer frame (`engine::params`).
const FRAME_BYTES_MAX: usize = 65_000;

fn whoami(ring: &RingSettings, hosts: &[HostSettings]) -> Result<HostId, NetworkError> {
    let id = |index: usize| HostId(u8::try_from(index).expect("at most 256 hosts"));
    if let Some(name) = &ring.host {
        let index = hosts.iter().position(|host| host.name == *name);
        return Ok(id(index.expect("checked when the configuration was read")));
    }
    let ours: Vec<_> = hosts
        .iter()
        .enumerate()
        .filter(|(_, host)| interface_of(host.address).is_some())
        .map(|(index, _)| index)
        .collect();
    match ours[..] {
        [index] => Ok(id(index)),
        [] => Err(NetworkError::Whoami(
            "no [[host]] has an address of this machine; correct the table, or say \
             host = \"NAME\" in [ring]"
                .to_owned(),
        )),
        [first, second, ..] => Err(NetworkError::Whoami(format!(
            "hosts {} and {} both have addresses of this machine; say which one this is with \
             host = \"NAME\" in [ring]",
            hosts[first].name, hosts[second].name
        ))),
    }
}

/// Name of the interface that has an address.
fn interface_of(address: SocketAddr) -> Option<String> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    interfaces
        .filter(|interface| {
            let Some(found) = &interface.address else {
                return false;
            };
            let v4 = found.as_sockaddr_in().map(|a| std::net::IpAddr::V4(a.ip()));
            let v6 = found
                .as_sockaddr_in6()
                .map(|a| std::net::IpAddr::V6(a.ip()));
            v4.or(v6) == Some(address.ip())
        })
        .map(|interface| interface.interface_name)
        .next()
}

/// The way to the other hosts, and whether it hears multicast.
fn open_transport(
    me: HostId,
    ring: &RingSettings,
    hosts: &[HostSettings],
    choice: Option<&Choice>,
) -> Result<(Box<dyn Transport + Send>, bool), NetworkError> {
    let mut has_multicast = false;
    let own = hosts[usize::from(me.0)].address;
    let link = || link(me, ring, hosts);
    let udp = |reach| -> Result<Box<dyn Transport + Send>, NetworkError> {
        Ok(Box::new(UdpTransport::open(UdpConfig {
            link: link()?,
            peers: addresses(me, hosts),
            reach,
            buffer_bytes: UdpConfig::BUFFER_BYTES,
        })?))
    };
    let raw = |reach| -> Result<Box<dyn Transport + Send>, NetworkError> {
        Ok(Box::new(RawTransport::open(RawConfig {
            link: link()?,
            peers: macs(me, hosts),
            reach,
            ring_bytes: RawConfig::RING_BYTES,
        })?))
    };
    let transport = match ring.transport {
        TransportKind::Auto => match udp(udp::Reach::Multicast(ring.group(own.is_ipv4()))) {
            Ok(transport) => {
                has_multicast = true;
                transport
            }
            // A link without multicast, such as a tunnel; what else is wrong is wrong again.
            Err(error) => {
                let transport = udp(udp::Reach::FanOut)?;
                tracing::info!(%error, "no multicast here: frames to all are copies");
                if let Some(choice) = choice {
                    choice.settle(false, format!("there is no multicast here: {error}"));
                }
                transport
            }
        },
        TransportKind::UdpMulticast => udp(udp::Reach::Multicast(ring.group(own.is_ipv4())))?,
        TransportKind::UdpBroadcast => {
            let to = ring
                .broadcast
                .expect("checked when the configuration was read");
            udp(udp::Reach::Broadcast(SocketAddr::new(to, own.port())))?
        }
        TransportKind::UdpCopies => udp(udp::Reach::FanOut)?,
        TransportKind::Tcp => Box::new(TcpTransport::open(TcpConfig {
            peers: addresses(me, hosts),
            frame_bytes_max: TcpConfig::FRAME_BYTES,
            queue_bytes_max: TcpConfig::QUEUE_BYTES,
        })?),
        TransportKind::RawMulticast => raw(raw::Reach::Multicast(MacAddress::EXO))?,
        TransportKind::RawCopies => raw(raw::Reach::FanOut)?,
    };
    // For tests of a whole installation on a network that is too good.
    let Some(faults) = std::env::var_os("EXO_RING_FAULTS") else {
        return Ok((transport, has_multicast));
    };
    let faults: Faults = faults
        .to_string_lossy()
        .parse()
        .map_err(|error| NetworkError::Faults(format!("{error}")))?;
    tracing::warn!(
        ?faults,
        "frames are lost and changed on purpose (EXO_RING_FAULTS)"
    );
    let transport = Box::new(Faulty::new(transport, faults, u64::from(me.0)));
    Ok((transport, has_multicast))
}

/// Name of the interface that carries the frames.
fn link(me: HostId, ring: &RingSettings, hosts: &[HostSettings]) -> Result<String, NetworkError> {
    let own = hosts[usize::from(me.0)].address;
    let link = ring.interface.clone().or_else(|| interface_of(own));
    link.ok_or_else(|| {
        NetworkError::Whoami(format!(
            "no interface of this machine has address {}; correct the table, or name one with \
             interface = \"NAME\" in [ring]",
            own.ip()
        ))
    })
}

/// The hosts with their numbers.
fn numbered(hosts: &[HostSettings]) -> impl Iterator<Item = (HostId, &HostSettings)> {
    (0..=u8::MAX).map(HostId).zip(hosts)
}

/// This host and those that it exchanges frames with: listeners say nothing to each other.
fn met(me: HostId, hosts: &[HostSettings]) -> impl Iterator<Item = (HostId, &HostSettings)> {
    let listens = hosts[usize::from(me.0)].listens;
    numbered(hosts).filter(move |(host, settings)| *host == me || !listens || !settings.listens)
}

fn peers<A: Address>(me: HostId, addresses: impl Iterator<Item = (HostId, A)>) -> Peers<A> {
    let mut peers = Peers::new(me);
    for (host, address) in addresses {
        let added = peers.add(host, address);
        added.expect("checked when the configuration was read");
    }
    peers
}

fn addresses(me: HostId, hosts: &[HostSettings]) -> Peers<SocketAddr> {
    let all = met(me, hosts).map(|(host, settings)| (host, settings.address));
    peers(me, all)
}

fn macs(me: HostId, hosts: &[HostSettings]) -> Peers<MacAddress> {
    let others = met(me, hosts).filter(|(host, _)| *host != me);
    let mac = |settings: &HostSettings| {
        settings
            .mac
            .expect("checked when the configuration was read")
    };
    peers(me, others.map(|(host, settings)| (host, mac(settings))))
}

/// The keys in the ring's file; none in an open ring.
pub(crate) fn read_keys(ring: &RingSettings) -> Result<Option<Keys>, KeyFileError> {
    if ring.protection() == Mode::Open {
        return Ok(None);
    }
    let path = ring.key_file.as_deref();
    let keys = key_file::read(path.expect("checked when the configuration was read"))?;
    for (role, key) in keys.iter() {
        let key = key.fingerprint();
        match role {
            Role::Current => tracing::info!(%key, "key of the ring"),
            Role::Next | Role::Old => tracing::info!(%key, %role, "key that is accepted, too"),
        }
    }
    Ok(Some(keys))
}

fn protection(ring: &RingSettings, keys: Option<&Keys>) -> Protection {
    let keys = || keys.cloned().expect("a ring that is not open has keys");
    match ring.protection() {
        Mode::Open => Protection::Open,
        Mode::Tagged => Protection::Tagged(keys()),
        Mode::Encrypted => Protection::Encrypted(keys()),
    }
}

/// The number of the table of hosts.
fn table(hosts: &[HostSettings]) -> u32 {
    let addresses = |host: &HostSettings| {
        let mac = host.mac.map(|mac| mac.to_string());
        let listens = host.listens.then(|| "listens".to_owned());
        [Some(host.address.to_string()), mac, listens]
            .into_iter()
            .flatten()
            .collect()
    };
    let addresses: Vec<Vec<String>> = hosts.iter().map(addresses).collect();
    let rows = numbered(hosts).zip(&addresses);
    let rows: Vec<_> = rows
        .map(|((host, settings), addresses)| Row {
            host,
            name: &settings.name,
            addresses,
        })
        .collect();
    table::digest(&rows)
}

/// A number above those of earlier starts: microseconds since 1970, then 12 random bits.
fn boot_inc() -> u64 {
    let random = RandomState::new().hash_one(()) & 0xfff;
    (clock::wall().0 / 1000) << 12 | random
}

/// What the engine is told about earlier starts.
fn stored(found: VoteFound) -> Option<Record> {
    let damage = match found {
        VoteFound::Nothing => return None,
        VoteFound::Whole(bytes) => match Record::parse(&bytes) {
            Ok(record) => return Some(record),
            Err(error) => error.to_string(),
        },
        VoteFound::Lost(damage) => damage.to_string(),
    };
    tracing::error!(
        damage,
        "the vote of this host is lost: it starts as one that lost its memory, and counts again \
         once a majority of the others has let it in"
    );
    // A generation that nobody else belongs to.
    Some(Record {
        promised: Epoch(0),
        generation: boot_inc() | 1,
        inc: 0,
        since: 0,
    })
}

/// Writes what the engine wants kept; nothing leaves it before.
fn persist(engine: &mut Ring, vote: &mut Vote<Folder>, now: Time) -> Result<(), JournalError> {
    while let Some(record) = engine.poll_persist() {
        vote.write(&record.bytes)?;
        engine.on_durable(now, record.id);
    }
    Ok(())
}

impl Network {
    /// Hands frames that have arrived to the engine, and what it answers to the network. Returns
    /// how many came.
    pub(super) fn receive(&mut self, now: Time, engine: &mut Ring) -> usize {
        self.due = self.transport.on_time(now);
        let mut total = 0;
        for _ in 0..BATCHES_MAX {
            self.inbox.clear();
            let count = self.transport.recv(&mut self.inbox);
            if count == 0 {
                break;
            }
            total += count;
            for (from, bytes) in self.inbox.iter() {
                let port = Port {
                    host: from,
                    link: 0,
                };
                engine.on_frame(now, port, Frame { bytes });
            }
            self.send(now, engine);
            if count < INBOX_SLOTS {
                break; // what comes meanwhile is seen in the next round
            }
        }
        if engine.poll_timeout().is_some_and(|due| due <= now) {
            engine.on_timeout(now);
        }
        total
    }

    /// Has the journal written on a thread of its own from now on.
    pub(super) fn keep(&mut self, keeper: Keeper) {
        self.keeper = Some(keeper);
    }

    /// Sends what the engine has to send.
    pub(super) fn send(&mut self, now: Time, engine: &mut Ring) {
        if let Some(keeper) = &mut self.keeper {
            while let Some(unit) = engine.poll_journal() {
                keeper.write(unit);
            }
            if let Some(synced) = keeper.synced() {
                engine.on_synced(now, synced);
            }
        }
        if let Err(error) = persist(engine, &mut self.vote, now) {
            // What was promised must be remembered; a host that cannot must not go on.
            panic!("the vote cannot be kept: {error}");
        }
        let to_all = match &self.choice {
            Some(choice) if !choice.is_multicast() => Destination::Each,
            _ => Destination::All,
        };
        loop {
            while self.outgoing.len() < SEND_BATCH
                && let Some(frame) = engine.poll_transmit()
            {
                self.outgoing.push(frame);
            }
            if self.outgoing.is_empty() {
                if let Some(choice) = &self.choice {
                    choice.note_rest(engine.is_at_rest(now));
                }
                return;
            }
            for run in self.outgoing.chunk_by(|a, b| a.to == b.to) {
                let to = run[0].to.map_or(to_all, Destination::Host);
                let mut frames: [&[u8]; SEND_BATCH] = [&[]; SEND_BATCH];
                for (slot, frame) in frames.iter_mut().zip(run) {
                    *slot = &frame.bytes;
                }
                let sent = self.transport.send(to, &frames[..run.len()]);
                sent.expect("the engine cuts frames at the MTU and knows the hosts");
            }
            for frame in self.outgoing.drain(..) {
                engine.reuse(frame);
            }
        }
    }

    /// When to look again at the latest.
    pub(super) fn due(&self, engine: &Ring) -> Option<Time> {
        match (self.due, engine.poll_timeout()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.transport.descriptor()
    }

    pub(super) fn counters(&mut self) -> Counters {
        self.transport.counters()
    }
}
