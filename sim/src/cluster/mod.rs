//! Hosts, virtual time, one queue of events, and the network between.

mod disk;
mod events;
mod faults;
mod healing;
mod network;

use core::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use libexo::engine::ring::Ring;
use libexo::ids::{GroupId, HostId};
use libexo::time::Time;
use libexo::wire::{RingId, digest};

use crate::checker::{Broken, Checker};
use crate::outcome::{Failure, Outcome};
use crate::plan::Plan;
use crate::prng::Prng;

const RING: RingId = RingId {
    number: 7,
    table: 0x7AB1_E000,
};
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
    Synced {
        host: usize,
        life: u64,
        id: u64,
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
    journal: disk::Journal,
    /// What the checker adds to the places of its generation.
    first_seq: u64,
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
    /// Generations in the order in which hosts entered them.
    generations: Vec<u64>,
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
                journal: disk::Journal::default(),
                first_seq: 0,
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
            generations: Vec::new(),
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
                let seen = format!("{} events{}", self.outcome.events, self.describe());
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

    fn count_life(&mut self, host: usize) {
        if let Some(ring) = &self.hosts[host].ring {
            self.outcome.count_all(&ring.counters());
        }
    }
}

fn host_id(host: usize) -> HostId {
    HostId(u8::try_from(host).expect("at most 256 hosts"))
}

fn hash(group: GroupId, bytes: &[u8]) -> u64 {
    digest::of(bytes) ^ u64::from(group.0)
}
