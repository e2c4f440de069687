//! How long a token takes from host to host: rings of real engines over real transports, which
//! order almost nothing.
//!
//! ```console
//! $ ring_hop TRANSPORT together|spin|yield|sleep tagged|open MILLISECONDS NAMESPACE NAMESPACE…
//! ```
//!
//! `TRANSPORT` is one of `exod`'s. `NAMESPACE` is a file that names the network namespace of a host,
//! whose link is `eth0` with the address 10.78.0.1, 10.78.0.2, … `together`: all hosts in one thread,
//! one after the other. `spin`: a thread for each host, on a core of its own, that never waits.
//! `yield`: the same without cores of their own, giving up the core when nothing was there. `sleep`:
//! each waits for frames. The token would rest after two rotations without a message, so every other
//! rotation carries one of 8 bytes.
//!
//! Says `ready`, goes on after a line on stdin, waits for the ring to form, and measures. Then one
//! line: `hops=… hop_ns=… cpu_ns=… frames_per_hop=… …`, or an error when the hosts did not deliver
//! the same. `cpu_ns` is the first host's thread's for each hop. `bench/` runs it beside bare frames.

#![allow(clippy::print_stdout, reason = "its output is for a person")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use libexo::engine::params::Params;
use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{Admit, Engine, Event, Frame, Port, Submission};
use libexo::ids::{GroupId, HostId};
use libexo::time::Time;
use libexo::transport::raw::{self, RawConfig, RawTransport};
use libexo::transport::tcp::{TcpConfig, TcpTransport};
use libexo::transport::udp::{self, UdpConfig, UdpTransport};
use libexo::transport::{Destination, Inbox, MacAddress, Peers, Transport};
use libexo::wire::RingId;
use libexo::wire::auth::Protection;
use libexo::wire::key::Key;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{
    CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_getaffinity, sched_setaffinity,
};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::error::Error;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const LINK: &str = "eth0";
const PORT: u16 = 7200;
const GROUP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(239, 88, 0, 2)), PORT + 1);
const BROADCAST: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 78, 0, 255)), PORT);
const FORM_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waiting {
    Spin,
    Yield,
    Sleep,
}

/// One host: what `exod`'s engine thread does with its engine and its transport, and no more.
struct Host {
    /// Where connections are to be made, also later.
    namespace: String,
    me: usize,
    hosts: usize,
    transport: Box<dyn Transport + Send>,
    inbox: Inbox,
    ring: Ring,
    due: Option<Time>,
    members: usize,
    /// The tail when the last message was submitted, by the first host only.
    submitted_at: u64,
    submitted: u64,
    delivered: u64,
    digest: u64,
    frames: u64,
    receives: u64,
    heard: u64,
}

fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [
        transport,
        waiting,
        protection,
        milliseconds,
        namespaces @ ..,
    ] = &words[..]
    else {
        return Err("usage: ring_hop TRANSPORT together|spin|yield|sleep tagged|open MILLISECONDS NAMESPACE…".into());
    };
    let lasts = Duration::from_millis(milliseconds.parse()?);
    let key = Key::from_bytes([7; 32]);
    let protection = match protection.as_str() {
        "open" => Protection::Open,
        "tagged" => Protection::Tagged(key.into()),
        other => return Err(format!("{other} is neither tagged nor open").into()),
    };
    let macs = namespaces
        .iter()
        .map(|path| mac(path))
        .collect::<Fallible<Vec<_>>>()?;
    let hosts = (0..namespaces.len())
        .map(|me| {
            enter(&namespaces[me])?;
            Host::open(transport, me, &namespaces[me], &macs, &protection)
        })
        .collect::<Fallible<Vec<_>>>()?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let waiting = match waiting.as_str() {
        "together" => return together(hosts, lasts),
        "spin" => Waiting::Spin,
        "yield" => Waiting::Yield,
        "sleep" => Waiting::Sleep,
        other => return Err(format!("{other} is no way to wait").into()),
    };
    apart(hosts, waiting, lasts)
}

/// All hosts in this thread, one after the other.
fn together(mut hosts: Vec<Host>, lasts: Duration) -> Fallible<()> {
    let deadline = now().after(FORM_MAX);
    while hosts.iter().any(|host| host.members < host.hosts) {
        for host in &mut hosts {
            enter(&host.namespace)?;
            host.round(now(), true)?;
        }
        if now() > deadline {
            return Err("no ring formed".into());
        }
    }
    let (begin, first) = (Moment::now(), hosts[0].tail());
    let before = hosts
        .iter()
        .map(Host::counts)
        .fold(Counts::default(), Counts::plus);
    let end = begin.wall.after(lasts);
    while now() < end {
        for _ in 0..16 {
            for host in &mut hosts {
                host.round(now(), true)?;
            }
        }
    }
    let (took, hops) = (begin.until_now(), hosts[0].tail() - first);
    let after = hosts
        .iter()
        .map(Host::counts)
        .fold(Counts::default(), Counts::plus);
    let wanted = hosts[0].submitted;
    while hosts.iter().any(|host| host.delivered < wanted) {
        for host in &mut hosts {
            host.round(now(), false)?;
        }
        if now() > end.after(FORM_MAX) {
            return Err("a message was not delivered".into());
        }
    }
    let seen: Vec<_> = hosts
        .iter()
        .map(|host| (host.delivered, host.digest))
        .collect();
    report(hops, took, after.since(before), &seen)
}

/// What the threads share.
struct Shared {
    formed: AtomicU64,
    is_over: AtomicBool,
    submitted: AtomicU64,
    done: AtomicU64,
}

/// A thread for each host.
fn apart(hosts: Vec<Host>, waiting: Waiting, lasts: Duration) -> Fallible<()> {
    let shared = Shared {
        formed: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        submitted: AtomicU64::new(u64::MAX),
        done: AtomicU64::new(0),
    };
    let run = |host: Host| one(host, waiting, lasts, &shared);
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .into_iter()
            .map(|host| scope.spawn(move || run(host)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a host's thread does not panic"))
            .collect::<Fallible<Vec<_>>>()
    })?;
    let seen: Vec<_> = results.iter().map(|result| result.seen).collect();
    let counts = results
        .iter()
        .map(|result| result.counts)
        .fold(Counts::default(), Counts::plus);
    report(results[0].hops, results[0].took, counts, &seen)
}

struct Outcome {
    hops: u64,
    took: Took,
    counts: Counts,
    seen: (u64, u64),
}

fn one(mut host: Host, waiting: Waiting, lasts: Duration, shared: &Shared) -> Fallible<Outcome> {
    enter(&host.namespace)?;
    if waiting == Waiting::Spin {
        pin(host.me)?;
    }
    let count = u64::try_from(host.hosts)?;
    let deadline = now().after(FORM_MAX);
    let mut is_formed = false;
    // All of them drive their engines until all have formed the ring.
    while shared.formed.load(Ordering::Relaxed) < count {
        host.round(now(), true)?;
        host.wait(waiting);
        if !is_formed && host.members == host.hosts {
            is_formed = true;
            shared.formed.fetch_add(1, Ordering::Relaxed);
        }
        if now() > deadline {
            return Err("no ring formed".into());
        }
    }
    let (begin, first, before) = (Moment::now(), host.tail(), host.counts());
    let end = begin.wall.after(lasts);
    while !shared.is_over.load(Ordering::Relaxed) {
        let time = now();
        if host.round(time, true)? == 0 {
            host.wait(waiting);
        }
        if host.me == 0 && time > end {
            shared.is_over.store(true, Ordering::Relaxed);
        }
        if time > end.after(FORM_MAX) {
            return Err("another host failed".into());
        }
    }
    let (took, hops) = (begin.until_now(), host.tail() - first);
    let counts = host.counts().since(before);
    if host.me == 0 {
        shared.submitted.store(host.submitted, Ordering::Release); // pairs with the load below
    }
    let mut is_done = false;
    while shared.done.load(Ordering::Relaxed) < count {
        host.round(now(), false)?;
        host.wait(waiting);
        if !is_done && host.delivered == shared.submitted.load(Ordering::Acquire) {
            is_done = true;
            shared.done.fetch_add(1, Ordering::Relaxed);
        }
        if now() > end.after(FORM_MAX) {
            return Err("a message was not delivered".into());
        }
    }
    Ok(Outcome {
        hops,
        took,
        counts,
        seen: (host.delivered, host.digest),
    })
}

impl Host {
    fn open(
        kind: &str,
        me: usize,
        namespace: &str,
        macs: &[MacAddress],
        protection: &Protection,
    ) -> Fallible<Self> {
        let (hosts, id) = (macs.len(), HostId(u8::try_from(me)?));
        let mut peers = Peers::new(id);
        let mut stations = Peers::new(id);
        for (host, mac) in (0..).zip(macs) {
            let address = Ipv4Addr::new(10, 78, 0, host + 1);
            peers.add(HostId(host), SocketAddr::new(address.into(), PORT))?;
            if usize::from(host) != me {
                stations.add(HostId(host), *mac)?;
            }
        }
        let udp = |reach| {
            UdpTransport::open(UdpConfig {
                link: LINK.to_owned(),
                peers: peers.clone(),
                reach,
                buffer_bytes: UdpConfig::BUFFER_BYTES,
            })
        };
        let raw = |reach| {
            RawTransport::open(RawConfig {
                link: LINK.to_owned(),
                peers: stations.clone(),
                reach,
                ring_bytes: RawConfig::RING_BYTES,
            })
        };
        let transport: Box<dyn Transport + Send> = match kind {
            "udp-multicast" => Box::new(udp(udp::Reach::Multicast(GROUP))?),
            "udp-broadcast" => Box::new(udp(udp::Reach::Broadcast(BROADCAST))?),
            "udp-copies" => Box::new(udp(udp::Reach::FanOut)?),
            "raw-multicast" => Box::new(raw(raw::Reach::Multicast(MacAddress::EXO))?),
            "raw-copies" => Box::new(raw(raw::Reach::FanOut)?),
            "tcp" => Box::new(TcpTransport::open(TcpConfig {
                peers,
                frame_bytes_max: TcpConfig::FRAME_BYTES,
                queue_bytes_max: TcpConfig::QUEUE_BYTES,
            })?),
            other => return Err(format!("{other} is no transport").into()),
        };
        let params = Params {
            frame_bytes_max: transport.mtu(),
            ..Params::default()
        };
        let setup = Setup {
            me: id,
            hosts,
            listeners: 0,
            ring: RingId {
                number: 1,
                table: 1,
            },
            boot_inc: 1 << 12,
            stored: None,
            seed: u64::try_from(me)?,
            params,
            protection: protection.clone(),
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            me,
            hosts,
            inbox: Inbox::new(64, transport.mtu()),
            transport,
            ring: Ring::member(&setup, now()),
            due: None,
            members: 0,
            submitted_at: 0,
            submitted: 0,
            delivered: 0,
            digest: 0,
            frames: 0,
            receives: 0,
            heard: 0,
        })
    }

    fn tail(&self) -> u64 {
        self.ring.marks().tail().0
    }

    /// One pass of the loop. Returns how many frames came.
    fn round(&mut self, now: Time, submits: bool) -> Fallible<usize> {
        self.due = self.transport.on_time(now);
        self.inbox.clear();
        self.receives += 1;
        let count = self.transport.recv(&mut self.inbox);
        self.heard += u64::try_from(count)?;
        for (host, bytes) in self.inbox.iter() {
            let port = Port { host, link: 0 };
            self.ring.on_frame(now, port, Frame { bytes });
        }
        if self.ring.poll_timeout().is_some_and(|due| due <= now) {
            self.ring.on_timeout(now);
        }
        if submits && self.me == 0 && self.members == self.hosts {
            self.keep_going(now);
        }
        // Memory stands for the disk: nothing here outlives the process.
        while let Some(record) = self.ring.poll_persist() {
            self.ring.on_durable(now, record.id);
        }
        while let Some(frame) = self.ring.poll_transmit() {
            let to = frame.to.map_or(Destination::All, Destination::Host);
            self.frames += 1;
            self.transport.send(to, &[&frame.bytes])?;
            self.ring.reuse(frame);
        }
        while let Some(delivery) = self.ring.poll_deliver() {
            self.delivered += 1;
            let bytes = delivery.bytes.try_into()?;
            let word = delivery.seq.0.rotate_left(32) ^ u64::from_le_bytes(bytes);
            self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
        while let Some(event) = self.ring.poll_event() {
            if let Event::View(view) = event {
                self.members = view.members.len();
            }
        }
        while self.ring.poll_notice().is_some() {}
        Ok(count)
    }

    /// Submits so late that the token does not come to rest, and no earlier.
    fn keep_going(&mut self, now: Time) {
        let tail = self.tail();
        let rotations = 2 * self.hosts as u64;
        if self.submitted > 0 && tail < self.submitted_at + rotations - 2 {
            return;
        }
        let submission = Submission {
            group: GroupId(1),
            origin: 0,
            bytes: &self.submitted.to_le_bytes(),
        };
        if let Admit::Taken(_) = self.ring.on_submit(now, submission) {
            self.submitted_at = tail;
            self.submitted += 1;
        }
    }

    fn wait(&self, waiting: Waiting) {
        match waiting {
            Waiting::Spin => core::hint::spin_loop(),
            Waiting::Yield => std::thread::yield_now(),
            Waiting::Sleep => {
                let now = now();
                let due = [self.due, self.ring.poll_timeout()]
                    .into_iter()
                    .flatten()
                    .min();
                // Whether the others are done is looked at now and then.
                let at_most = Duration::from_millis(50);
                let wait = due.map_or(at_most, |due| due.since(now).min(at_most));
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: wait.subsec_nanos().into(),
                };
                let mut fds = [PollFd::from_borrowed_fd(
                    self.transport.descriptor(),
                    PollFlags::IN,
                )];
                // However it ends, the next round looks.
                let _ = poll(&mut fds, Some(&timeout));
            }
        }
    }

    fn counts(&self) -> Counts {
        let engine = self.ring.counters();
        Counts {
            frames: self.frames,
            receives: self.receives,
            heard: self.heard,
            repairs: engine.resends + engine.nacks + engine.repairs + engine.relays,
            epochs: engine.installed + engine.founded,
        }
    }
}

/// What happened at the hosts.
#[derive(Clone, Copy, Default)]
struct Counts {
    frames: u64,
    receives: u64,
    heard: u64,
    repairs: u64,
    epochs: u64,
}

impl Counts {
    fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            frames: of(self.frames, other.frames),
            receives: of(self.receives, other.receives),
            heard: of(self.heard, other.heard),
            repairs: of(self.repairs, other.repairs),
            epochs: of(self.epochs, other.epochs),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    fn since(self, before: Self) -> Self {
        self.each(before, |a, b| a - b)
    }
}

fn report(hops: u64, took: Took, counts: Counts, seen: &[(u64, u64)]) -> Fallible<()> {
    if seen.iter().any(|each| *each != seen[0]) || seen[0].0 == 0 {
        return Err(format!("the hosts did not deliver the same: {seen:?}").into());
    }
    let each = |total: u64| total as f64 / hops.max(1) as f64;
    println!(
        "hops={hops} hop_ns={:.0} cpu_ns={:.0} delivered={} frames_per_hop={:.2} looks_per_hop={:.2} \
         heard_per_hop={:.2} repairs={} epochs={}",
        each(took.wall_ns),
        each(took.cpu_ns),
        seen[0].0,
        each(counts.frames),
        each(counts.receives),
        each(counts.heard),
        counts.repairs,
        counts.epochs,
    );
    Ok(())
}

#[derive(Clone, Copy)]
struct Moment {
    wall: Time,
    cpu_ns: u64,
}

#[derive(Clone, Copy)]
struct Took {
    wall_ns: u64,
    cpu_ns: u64,
}

impl Moment {
    fn now() -> Self {
        Self {
            wall: now(),
            cpu_ns: read(ClockId::ThreadCPUTime),
        }
    }

    fn until_now(self) -> Took {
        let now = Self::now();
        Took {
            wall_ns: now.wall.0 - self.wall.0,
            cpu_ns: now.cpu_ns - self.cpu_ns,
        }
    }
}

fn now() -> Time {
    Time(read(ClockId::Monotonic))
}

fn read(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec.cast_unsigned() * 1_000_000_000 + tv_nsec.cast_unsigned()
}

/// This thread into a network namespace; what it opens next belongs to it.
fn enter(namespace: &str) -> Fallible<()> {
    let file = File::open(namespace).map_err(|error| format!("{namespace}: {error}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// This thread on one of the cores that it may use.
fn pin(index: usize) -> Fallible<()> {
    let allowed = sched_getaffinity(None)?;
    let cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let cores: Vec<usize> = cores.collect();
    let mut one = CpuSet::new();
    one.set(cores[index % cores.len()]);
    sched_setaffinity(None, &one)?;
    Ok(())
}

/// The address of a host's link.
fn mac(namespace: &str) -> Fallible<MacAddress> {
    enter(namespace)?;
    let open = RawTransport::open(RawConfig {
        link: LINK.to_owned(),
        peers: Peers::new(HostId(0)),
        reach: raw::Reach::FanOut,
        ring_bytes: RawConfig::RING_BYTES,
    });
    Ok(open?.address())
}
