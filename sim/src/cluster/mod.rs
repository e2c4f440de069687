//! Hosts, virtual time, one queue of events, and the network between.

use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use libexo::engine::ring::{Counters, Ring, Setup};
use libexo::engine::{
    Admit, Engine, Event as EngineEvent, Frame, Notice, PersistId, Port, Record as EngineRecord,
    Submission,
};
use libexo::ids::{GroupId, HostId};
use libexo::time::Time;
use libexo::wire::auth::MasterKey;
use libexo::wire::digest;
use libexo::wire::record::Record;

use crate::checker::{Broken, Checker, Delivered};
use crate::plan::{Fault, Plan};
use crate::prng::Prng;

const RING: u32 = 7;
/// Time in which everything must have come right after the last fault.
const HEAL: u64 = 60_000_000_000;
/// Events after which a schedule is called endless.
const EVENTS_MAX: u64 = 6_000_000;
/// How often the hosts' logs are compared.
const LOGS_EVERY: u64 = 4000;

/// Something that happens at a time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
    Arrive {
        to: usize,
        from: usize,
        bytes: Vec<u8>,
    },
    Wake {
        host: usize,
    },
    Durable {
        host: usize,
        life: u64,
        id: u64,
        bytes: Vec<u8>,
    },
    Submit {
        host: usize,
    },
    Fault {
        number: u64,
    },
    Restart {
        host: usize,
    },
    Resume {
        host: usize,
    },
    Rejoin {
        host: usize,
    },
    Flap {
        left: u64,
    },
    HealLinks,
}

/// One host: its engine, its clock, its disk.
#[derive(Debug)]
struct Host {
    ring: Option<Ring>,
    disk: Option<Vec<u8>>,
    disk_free: u64,
    life: u64,
    is_paused: bool,
    /// It forgot, and no epoch has admitted it since.
    has_forgotten: bool,
    clock_start: u64,
    clock_percent: u64,
    wake_at: Option<u64>,
    submitted: u64,
    /// Numbers that the engine gave out in this life.
    taken: u64,
}

impl Host {
    fn clock(&self, now: u64) -> Time {
        Time(self.clock_start + now / 100 * self.clock_percent)
    }

    fn real(&self, at: Time) -> u64 {
        at.0.saturating_sub(self.clock_start)
            .div_ceil(self.clock_percent)
            * 100
            + 100
    }
}

/// What a schedule came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Schedules added up.
    pub schedules: u64,
    /// Events handled.
    pub events: u64,
    /// Deliveries checked.
    pub deliveries: u64,
    /// Faults of each kind, in the order of [`crate::plan::FAULTS`].
    pub faults: [u64; 6],
    /// Frames sent, lost, doubled and altered.
    pub frames: [u64; 4],
    /// Schedules that had to make progress after healing, and did.
    pub healed: u64,
    /// The longest of these took so many virtual milliseconds.
    pub heal_ms_max: u64,
    /// Engines' counters at the end of each life, added up by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Hash of everything that was delivered, for comparing two runs.
    pub trace: u64,
}

impl Outcome {
    /// Adds another schedule's.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.healed += other.healed;
        self.heal_ms_max = self.heal_ms_max.max(other.heal_ms_max);
        self.trace ^= other.trace;
        self.faults
            .iter_mut()
            .zip(other.faults)
            .for_each(|(sum, more)| *sum += more);
        self.frames
            .iter_mut()
            .zip(other.frames)
            .for_each(|(sum, more)| *sum += more);
        for (name, more) in &other.counters {
            self.count(name, *more);
        }
    }

    fn count(&mut self, name: &'static str, more: u64) {
        match self.counters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += more,
            None => self.counters.push((name, more)),
        }
    }

    /// A counter's sum.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let found = self.counters.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, sum)| *sum)
    }

    fn count_all(&mut self, it: &Counters) {
        for (name, more) in [
            ("turns", it.turns),
            ("resends", it.resends),
            ("nacks", it.nacks),
            ("repairs", it.repairs),
            ("relays", it.relays),
            ("campaigns", it.campaigns),
            ("campaigns_planned", it.campaigns_planned),
            ("founded", it.founded),
            ("tails_fetched", it.tails_fetched),
            ("installed", it.installed),
            ("cut", it.cut),
            ("resubmitted", it.resubmitted),
            ("gaps", it.gaps),
            ("parks", it.parks),
            ("wakes", it.wakes),
            ("admitted", it.admitted),
            ("leaves", it.leaves),
            ("void_promises", it.void_promises),
            ("not_admitted", it.not_admitted),
            ("fetches", it.fetches),
            ("fragmented", it.fragmented),
            ("generations_left", it.generations_left),
            ("throttled", it.throttled),
            ("frames_dropped", it.frames_dropped()),
        ] {
            self.count(name, more);
        }
    }
}

/// Why a schedule failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The schedule.
    pub seed: u64,
    /// Virtual time, in microseconds.
    pub at_us: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} µs; replay with: cargo run --release -p exo-sim -- {}",
            self.what, self.at_us, self.seed
        )
    }
}

impl std::error::Error for Failure {}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Makes a broken assertion of the engine name the schedule that broke it.
pub fn name_seeds_of_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let seed = SEED.get();
        report(&format!(
            "replay with: cargo run --release -p exo-sim -- {seed}"
        ));
    }));
}

#[allow(clippy::print_stderr, reason = "a panic is reported where panics are")]
fn report(line: &str) {
    eprintln!("{line}");
}

struct Cluster<'a> {
    plan: &'a Plan,
    prng: Prng,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    hosts: Vec<Host>,
    /// `cut[from][to]`: nothing gets through.
    cut: Vec<Vec<bool>>,
    is_healed: bool,
    checker: Checker,
    outcome: Outcome,
}

/// Runs one schedule.
///
/// # Errors
///
/// The first [`Failure`] found.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    SEED.set(plan.seed);
    let mut cluster = Cluster::new(plan);
    let result = cluster.run();
    let at_us = cluster.now / 1000;
    match result {
        Ok(()) => Ok(cluster.outcome),
        Err(broken) => Err(Failure {
            seed: plan.seed,
            at_us,
            what: format!("{}: {}", broken.guarantee, broken.seen),
        }),
    }
}

impl<'a> Cluster<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut prng = Prng::new(plan.seed);
        let hosts = (0..plan.hosts)
            .map(|_| Host {
                ring: None,
                disk: None,
                disk_free: 0,
                life: 0,
                is_paused: false,
                has_forgotten: false,
                clock_start: if plan.skew { prng.below(1 << 50) } else { 1 },
                clock_percent: if plan.skew { 90 + prng.below(21) } else { 100 },
                wake_at: None,
                submitted: 0,
                taken: 0,
            })
            .collect();
        Self {
            plan,
            prng,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            hosts,
            cut: vec![vec![false; plan.hosts]; plan.hosts],
            is_healed: false,
            checker: Checker::default(),
            outcome: Outcome {
                schedules: 1,
                ..Outcome::default()
            },
        }
    }

    fn at(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, what)));
    }

    fn run(&mut self) -> Result<(), Broken> {
        let chaos = u64::try_from(self.plan.chaos.as_nanos()).expect("seconds");
        for host in 0..self.plan.hosts {
            let at = self.prng.below(20_000_000);
            self.at(at, What::Restart { host });
            for _ in 0..self.plan.messages {
                let at = self.prng.below(chaos);
                self.at(at, What::Submit { host });
            }
        }
        if !self.plan.faults.is_empty() {
            for number in 0..self.plan.fault_count {
                let at = self.prng.below(chaos);
                self.at(at, What::Fault { number });
            }
        }
        self.run_until(chaos, |_| false)?;
        self.heal()?;
        self.compare_logs()?;
        self.checker.finish()?;
        for host in 0..self.plan.hosts {
            self.count_life(host);
        }
        self.outcome.deliveries = self.checker.deliveries();
        Ok(())
    }

    fn run_until(&mut self, end: u64, is_done: impl Fn(&Self) -> bool) -> Result<bool, Broken> {
        while let Some(Reverse((at, _, _))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse((at, _, what))) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(at);
            self.happen(what)?;
            self.outcome.events += 1;
            if self.outcome.events.is_multiple_of(LOGS_EVERY) {
                self.compare_logs()?;
            }
            if self.outcome.events > EVENTS_MAX {
                let seen = format!("{} events", self.outcome.events);
                return Err(Broken {
                    guarantee: "bounded work",
                    seen,
                });
            }
            if is_done(self) {
                return Ok(true);
            }
        }
        self.now = self.now.max(end);
        Ok(is_done(self))
    }

    // Events.

    fn happen(&mut self, what: What) -> Result<(), Broken> {
        match what {
            What::Arrive { to, from, bytes } => self.arrive(to, from, bytes)?,
            What::Wake { host } => self.wake(host)?,
            What::Durable {
                host,
                life,
                id,
                bytes,
            } => self.durable(host, life, id, bytes)?,
            What::Submit { host } => self.submit(host)?,
            What::Fault { number } => self.fault(number)?,
            What::Restart { host } => {
                // Healing may have started it before.
                if self.hosts[host].ring.is_none() {
                    self.start(host)?;
                }
            }
            What::Resume { host } => {
                self.hosts[host].is_paused = false;
                self.wake(host)?;
            }
            What::Rejoin { host } => {
                let now = self.hosts[host].clock(self.now);
                if let Some(ring) = &mut self.hosts[host].ring {
                    ring.rejoin(now);
                }
                self.pump(host)?;
            }
            What::Flap { left } => self.flap(left),
            What::HealLinks => self.cut.iter_mut().flatten().for_each(|cut| *cut = false),
        }
        Ok(())
    }

    fn arrive(&mut self, to: usize, from: usize, bytes: Vec<u8>) -> Result<(), Broken> {
        if self.hosts[to].is_paused && !self.is_healed {
            // The kernel's buffer keeps some.
            if self.prng.chance(300) {
                let at = self.now + 5_000_000;
                self.at(at, What::Arrive { to, from, bytes });
            }
            return Ok(());
        }
        let now = self.hosts[to].clock(self.now);
        let port = Port {
            host: host_id(from),
            link: 0,
        };
        if let Some(ring) = &mut self.hosts[to].ring {
            ring.on_frame(now, port, Frame { bytes: &bytes });
            self.pump(to)?;
        }
        Ok(())
    }

    fn wake(&mut self, host: usize) -> Result<(), Broken> {
        self.hosts[host].wake_at = None;
        if self.hosts[host].is_paused {
            return Ok(());
        }
        let now = self.hosts[host].clock(self.now);
        if let Some(ring) = &mut self.hosts[host].ring {
            if ring.poll_timeout().is_some_and(|at| at <= now) {
                ring.on_timeout(now);
            }
            self.pump(host)?;
        }
        Ok(())
    }

    fn durable(&mut self, host: usize, life: u64, id: u64, bytes: Vec<u8>) -> Result<(), Broken> {
        if self.hosts[host].life != life || self.hosts[host].ring.is_none() {
            return Ok(());
        }
        self.hosts[host].disk = Some(bytes);
        let now = self.hosts[host].clock(self.now);
        if let Some(ring) = &mut self.hosts[host].ring {
            ring.on_durable(now, PersistId(id));
        }
        self.pump(host)
    }

    fn submit(&mut self, host: usize) -> Result<(), Broken> {
        if self.hosts[host].is_paused || self.hosts[host].ring.is_none() {
            return Ok(());
        }
        let len = self.prng.index(self.plan.message_bytes_max + 1);
        let mut bytes = vec![0; len];
        bytes
            .iter_mut()
            .for_each(|byte| *byte = self.prng.next().to_le_bytes()[0]);
        let group = GroupId(u32::try_from(self.prng.below(3)).expect("small"));
        let own = &mut self.hosts[host];
        let now = own.clock(self.now);
        let Some(ring) = &mut own.ring else {
            return Ok(());
        };
        let submission = Submission {
            group,
            origin: 77 << 32 | own.life,
            bytes: &bytes,
        };
        if let Admit::Taken(ticket) = ring.on_submit(now, submission) {
            own.submitted += 1;
            own.taken = ticket.0;
            let name = (host_id(host).0, own.life, ticket.0);
            self.checker.submitted(name, hash(group, &bytes));
        }
        self.pump(host)
    }

    fn start(&mut self, host: usize) -> Result<(), Broken> {
        let life = self.hosts[host].life + 1;
        let stored = self.hosts[host].disk.as_ref();
        let stored = stored.map(|bytes| Record::parse(bytes).expect("it was written whole"));
        // The clock may be wrong; the record saves the day.
        let boot_inc = if self.prng.chance(800) {
            self.now << 2 | life
        } else {
            life
        };
        let key = MasterKey {
            id: 3,
            bytes: [9; 32],
        };
        let setup = Setup {
            me: host_id(host),
            hosts: self.plan.hosts,
            ring: RING,
            boot_inc,
            stored,
            seed: self.prng.next(),
            params: self.plan.params,
            key: self.plan.sealed.then_some(key),
        };
        let own = &mut self.hosts[host];
        own.life = life;
        own.taken = 0;
        own.is_paused = false;
        own.ring = Some(Ring::member(&setup, own.clock(self.now)));
        self.pump(host)
    }

    // Faults.

    /// Hosts that have forgotten, or are down and will have.
    fn forgetful(&self) -> usize {
        self.hosts.iter().filter(|host| host.has_forgotten).count()
    }

    fn fault(&mut self, number: u64) -> Result<(), Broken> {
        if self.is_healed {
            return Ok(());
        }
        let fault = self.prng.pick(&self.plan.faults);
        let host = self.prng.index(self.plan.hosts);
        let length = 1_000_000 + self.prng.below(400_000_000);
        let end = self.now + length;
        let tolerated = self.plan.hosts - self.plan.hosts / 2 - 1;
        match fault {
            Fault::Amnesia => {
                let may = self.plan.forgets_too_much || self.forgetful() < tolerated;
                if self.hosts[host].ring.is_none() || !may || self.hosts[host].has_forgotten {
                    return Ok(());
                }
                self.count_life(host);
                self.hosts[host].ring = None;
                self.hosts[host].has_forgotten = true;
                self.at(end, What::Restart { host });
            }
            Fault::Pause => {
                self.hosts[host].is_paused = true;
                self.at(end, What::Resume { host });
            }
            Fault::Partition => {
                let sides: Vec<bool> = (0..self.plan.hosts)
                    .map(|_| self.prng.chance(500))
                    .collect();
                for from in 0..self.plan.hosts {
                    for to in 0..self.plan.hosts {
                        self.cut[from][to] = sides[from] != sides[to];
                    }
                }
                self.at(end, What::HealLinks);
            }
            Fault::OneWay => {
                let hears = self.prng.chance(500);
                for other in (0..self.plan.hosts).filter(|other| *other != host) {
                    let (from, to) = if hears { (host, other) } else { (other, host) };
                    self.cut[from][to] = true;
                }
                self.at(end, What::HealLinks);
            }
            Fault::Flapping => self.at(self.now, What::Flap { left: 10 + number }),
            Fault::Leave => {
                if let Some(ring) = &mut self.hosts[host].ring {
                    ring.leave();
                }
                self.at(end, What::Rejoin { host });
            }
        }
        let index = crate::plan::FAULTS.iter().position(|kind| *kind == fault);
        self.outcome.faults[index.expect("one of all")] += 1;
        Ok(())
    }

    fn flap(&mut self, left: u64) {
        if left == 0 || self.is_healed {
            return;
        }
        let (a, b) = (
            self.prng.index(self.plan.hosts),
            self.prng.index(self.plan.hosts),
        );
        self.cut[a][b] = !self.cut[a][b] && a != b;
        if left == 1 {
            self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
        }
        let at = self.now + self.prng.below(40_000_000);
        self.at(at, What::Flap { left: left - 1 });
    }

    // The network.

    fn transmit(&mut self, from: usize, to: Option<HostId>, bytes: &[u8]) {
        let everybody = 0..self.plan.hosts;
        let to = to.map_or(everybody, |to| usize::from(to.0)..usize::from(to.0) + 1);
        for to in to.filter(|to| *to != from) {
            self.outcome.frames[0] += 1;
            let is_lost =
                !self.is_healed && (self.cut[from][to] || self.prng.chance(self.plan.loss));
            if is_lost {
                self.outcome.frames[1] += 1;
                continue;
            }
            let mut bytes = bytes.to_vec();
            if !self.is_healed && self.prng.chance(self.plan.corruption) {
                self.outcome.frames[3] += 1;
                let at = self.prng.index(bytes.len());
                bytes[at] ^= 1 << self.prng.below(8);
            }
            let copies = if !self.is_healed && self.prng.chance(self.plan.duplication) {
                2
            } else {
                1
            };
            self.outcome.frames[2] += copies - 1;
            for _ in 0..copies {
                let (least, most) = self.plan.delay;
                let at = self.now + least + self.prng.below(most - least);
                self.at(
                    at,
                    What::Arrive {
                        to,
                        from,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }

    /// Takes everything out of a host's engine and sets its alarm.
    fn pump(&mut self, host: usize) -> Result<(), Broken> {
        let me = (host_id(host).0, self.hosts[host].life);
        let Some(mut ring) = self.hosts[host].ring.take() else {
            return Ok(());
        };
        while let Some(record) = ring.poll_persist() {
            self.write(host, me.1, record);
        }
        while let Some(frame) = ring.poll_transmit() {
            self.transmit(host, frame.to, &frame.bytes);
        }
        // A record may have been made while turns were taken.
        while let Some(record) = ring.poll_persist() {
            self.write(host, me.1, record);
        }
        let result = self.drain(me, &mut ring);
        let checked = ring.check();
        if ring.marks().agreed().0 > 0 {
            // Admitted again: it counts as one that remembers.
            self.hosts[host].has_forgotten = false;
        }
        let own = &mut self.hosts[host];
        let next = ring.poll_timeout().map(|at| own.real(at).max(self.now));
        own.ring = Some(ring);
        if let Some(at) = next
            && own.wake_at.is_none_or(|before| at < before)
        {
            own.wake_at = Some(at);
            self.at(at, What::Wake { host });
        }
        if let Err(violation) = checked {
            return Err(Broken {
                guarantee: violation.rule,
                seen: format!("{me:?} {}", violation.found),
            });
        }
        result
    }

    /// Records reach the disk one after the other.
    fn write(&mut self, host: usize, life: u64, record: EngineRecord) {
        let begins = self.hosts[host].disk_free.max(self.now);
        let at = begins + 10_000 + self.prng.below(3_000_000);
        self.hosts[host].disk_free = at;
        let (id, bytes) = (record.id.0, record.bytes);
        self.at(
            at,
            What::Durable {
                host,
                life,
                id,
                bytes,
            },
        );
    }

    fn drain(&mut self, me: (u8, u64), ring: &mut Ring) -> Result<(), Broken> {
        while let Some(notice) = ring.poll_notice() {
            match notice {
                Notice::Gap { .. } => self.checker.gap(me),
                Notice::Generation(_) => {}
                Notice::Fatal(violation) => {
                    let seen = format!("{me:?} {}", violation.found);
                    return Err(Broken {
                        guarantee: violation.rule,
                        seen,
                    });
                }
            }
        }
        while let Some(it) = ring.poll_deliver() {
            // A sender's life is told apart by what it sends along.
            let life = it.origin & u64::from(u32::MAX);
            let name = (it.host.0, life, it.ticket.0);
            let hash = hash(it.group, it.bytes);
            let it = Delivered {
                seq: it.seq.0,
                name,
                hash,
            };
            self.outcome.trace = self.outcome.trace.wrapping_mul(31) ^ hash ^ it.seq;
            self.checker.delivered(me, it)?;
        }
        while let Some(event) = ring.poll_event() {
            if let EngineEvent::View(view) = event {
                let members: Vec<u8> = view.members.iter().map(|host| host.0).collect();
                self.checker.view(me, view.position.0, &members)?;
            }
        }
        Ok(())
    }

    fn count_life(&mut self, host: usize) {
        if let Some(ring) = &self.hosts[host].ring {
            self.outcome.count_all(&ring.counters());
        }
    }

    // What must hold between hosts.

    /// T4: equal positions and epochs mean equal logs.
    fn compare_logs(&self) -> Result<(), Broken> {
        let rings = self.hosts.iter().filter_map(|host| host.ring.as_ref());
        let mut known: std::collections::HashMap<_, _> = std::collections::HashMap::new();
        for ring in rings {
            let generation = ring.inspect().map(|state| state.generation);
            for (position, epoch, digest) in &ring.held() {
                let other = *known
                    .entry((generation, *position, *epoch))
                    .or_insert(*digest);
                if other != *digest {
                    let seen = format!("{position:?} of {epoch:?}");
                    return Err(Broken {
                        guarantee: "log matching",
                        seen,
                    });
                }
            }
        }
        Ok(())
    }

    // After the last fault.

    fn heal(&mut self) -> Result<(), Broken> {
        self.is_healed = true;
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
        for host in 0..self.plan.hosts {
            if self.hosts[host].ring.is_none() {
                self.start(host)?;
            }
            self.hosts[host].is_paused = false;
            self.happen(What::Rejoin { host })?;
            self.wake(host)?;
        }
        let forgotten = self.forgetful();
        let tolerated = self.plan.hosts - self.plan.hosts / 2 - 1;
        let start = self.now;
        if forgotten > tolerated {
            // Only safety is asked for.
            self.run_until(start + 3_000_000_000, |_| false)?;
            return Ok(());
        }
        let is_settled = |cluster: &Self| cluster.is_settled();
        if !self.run_until(start + HEAL, is_settled)? {
            return Err(Broken {
                guarantee: "progress after healing",
                seen: self.describe(),
            });
        }
        for host in 0..self.plan.hosts {
            self.submit(host)?;
        }
        if !self.run_until(self.now + HEAL, |cluster| {
            cluster.is_settled() && cluster.is_level()
        })? {
            return Err(Broken {
                guarantee: "new messages after healing",
                seen: self.describe(),
            });
        }
        self.outcome.healed = 1;
        let took = Duration::from_nanos(self.now - start).as_millis();
        self.outcome.heal_ms_max = u64::try_from(took).expect("minutes");
        self.all_own_are_placed()
    }

    /// Every host is in the ring of one epoch and has nothing of its own waiting.
    fn is_settled(&self) -> bool {
        let mut epochs = None;
        self.hosts.iter().all(|host| {
            let Some(state) = host.ring.as_ref().and_then(Ring::inspect) else {
                return false;
            };
            let key = (state.generation, state.joined, state.promised);
            let is_same = *epochs.get_or_insert(key) == key;
            is_same
                && !state.is_amnesiac
                && state.joined == state.promised
                && state.ring.len() == self.plan.hosts
                && state.queued == 0
        })
    }

    /// All have delivered up to the same place.
    fn is_level(&self) -> bool {
        let place = |host: usize| {
            self.checker
                .highest((host_id(host).0, self.hosts[host].life))
        };
        (1..self.plan.hosts).all(|host| place(host) == place(0))
    }

    /// Whatever a host of the last lives took is in the order.
    fn all_own_are_placed(&self) -> Result<(), Broken> {
        for (host, own) in self.hosts.iter().enumerate() {
            for number in 1..=own.taken {
                let name = (host_id(host).0, own.life, number);
                // What fell into the sender's own gap was agreed, and perhaps seen by nobody left.
                let had_gap = self.hosts.iter().any(|host| {
                    host.ring
                        .as_ref()
                        .is_some_and(|ring| ring.counters().gaps > 0)
                });
                if self.checker.place(name).is_none() && !had_gap {
                    return Err(Broken {
                        guarantee: "validity",
                        seen: format!("{name:?}"),
                    });
                }
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (index, host) in self.hosts.iter().enumerate() {
            if let Some(state) = host.ring.as_ref().and_then(Ring::inspect) {
                let ring: Vec<u8> = state.ring.iter().map(|host| host.0).collect();
                text += &format!(
                    "\n  {index}: last {:x} gaps {} gen {:x} inc {} {}promised {:x} joined {:x} {:?} base {} ring {ring:?} queued {}{}{}",
                    self.checker.highest((host_id(index).0, host.life)),
                    state.counters.gaps,
                    state.generation & 0xffff,
                    state.inc,
                    if state.is_amnesiac { "AMNESIAC " } else { "" },
                    state.promised.0,
                    state.joined.0,
                    state.marks,
                    state.base.0,
                    state.queued,
                    if state.is_parked { " parked" } else { "" },
                    if state.is_halted { " halted" } else { "" },
                );
            }
        }
        text
    }
}

fn host_id(host: usize) -> HostId {
    HostId(u8::try_from(host).expect("at most 256 hosts"))
}

fn hash(group: GroupId, bytes: &[u8]) -> u64 {
    digest::of(bytes) ^ u64::from(group.0)
}
