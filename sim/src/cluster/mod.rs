//! Hosts, virtual time, one queue of events, and the network between.

mod disk;
mod events;
mod expect;
mod faults;
mod healing;
mod host;
mod marks;
mod network;

use core::cell::Cell;
use core::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use libexo::ids::{GroupId, HostId};
use libexo::wire::{RingId, digest};

use crate::checker::{Broken, Checker, Name};
use crate::fault::Fault;
use crate::outcome::{Failure, Outcome};
use crate::plan::Plan;
use crate::prng::Prng;
use crate::step::Hosts;
use crate::trace::{Line, Watch};
use host::Host;
use marks::Reached;

pub(crate) const RING: RingId = RingId {
    number: 7,
    table: 0x7AB1_E000,
};
/// Time in which everything must have come right after the last fault.
const HEAL: u64 = 60_000_000_000;
/// Events after which a schedule is called endless.
const EVENTS_MAX: u64 = 6_000_000;
/// How often the hosts' logs are compared.
const LOGS_EVERY: u64 = 4000;

/// Something that happens.
#[derive(Debug)]
enum What {
    Arrive {
        to: usize,
        from: usize,
        bytes: Rc<[u8]>,
        is_corrupted: bool,
        /// A slow host has come to it.
        is_due: bool,
    },
    Wake {
        host: usize,
    },
    /// A record of the engine is on the disk.
    Durable {
        host: usize,
        life: u64,
        id: u64,
        bytes: Vec<u8>,
    },
    /// The units up to this one are in the journal.
    Synced {
        host: usize,
        life: u64,
        id: u64,
    },
    Step {
        index: usize,
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
    Mend {
        links: Vec<(usize, usize)>,
    },
    Flap {
        a: usize,
        b: usize,
        left: u64,
        each: u64,
    },
    EndSlow {
        host: usize,
    },
    RepairDisk {
        host: usize,
    },
    EndClockRate {
        host: usize,
    },
}

/// When it happens; of two at the same time the one that was planned first.
#[derive(Debug)]
struct Planned {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

thread_local! {
    static SEED: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// The command that replays the schedule that this thread runs.
#[must_use]
pub fn replay_of_this_thread() -> String {
    let (seed, hosts) = SEED.get();
    crate::outcome::replay_command(seed, hosts)
}

struct Cluster<'a> {
    plan: &'a Plan,
    prng: Prng,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Planned>>,
    hosts: Vec<Host>,
    /// `cut[from][to]`: how many faults cut this link.
    cut: Vec<Vec<u32>>,
    /// When the last frame of a link arrives.
    last_arrival: Vec<Vec<u64>>,
    is_healed: bool,
    /// Generations in the order in which hosts entered them.
    generations: Vec<u64>,
    reached: Reached,
    checker: Checker,
    outcome: Outcome,
    /// Labels of messages, and who has delivered them.
    labels: HashMap<Name, String>,
    told: HashMap<String, Hosts>,
    watch: Option<Watch<'a>>,
}

/// Runs one schedule.
///
/// # Errors
///
/// The first [`Failure`] found.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    run_watched(plan, None)
}

/// Runs one schedule and tells `watch` what happens.
///
/// # Errors
///
/// The first [`Failure`] found.
pub fn run_watched<'a>(plan: &'a Plan, watch: Option<Watch<'a>>) -> Result<Outcome, Failure> {
    SEED.set((plan.seed, plan.voters()));
    let mut cluster = Cluster::new(plan, watch);
    let result = cluster.run();
    let at_us = cluster.now / 1000;
    match result {
        Ok(()) => Ok(cluster.outcome),
        Err(broken) => {
            let what = format!("{}: {}", broken.guarantee, broken.seen);
            cluster.tell(None, false, || what.clone());
            Err(Failure {
                seed: plan.seed,
                hosts: plan.voters(),
                at_us,
                guarantee: broken.guarantee,
                seen: broken.seen,
            })
        }
    }
}

impl<'a> Cluster<'a> {
    fn new(plan: &'a Plan, watch: Option<Watch<'a>>) -> Self {
        let hosts: Vec<_> = plan.clocks.iter().map(|clock| Host::new(*clock)).collect();
        assert_eq!(hosts.len(), plan.hosts, "a clock for each host");
        let mut outcome = Outcome {
            schedules: 1,
            ..Outcome::default()
        };
        for clock in plan.clocks.iter().filter(|clock| clock.start > 1) {
            outcome.faults.count(Fault::ClockOffset);
            if clock.percent != 100 {
                outcome.faults.count(Fault::ClockRate);
            }
        }
        Self {
            plan,
            prng: Prng::new(plan.seed),
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            hosts,
            cut: vec![vec![0; plan.hosts]; plan.hosts],
            last_arrival: vec![vec![0; plan.hosts]; plan.hosts],
            is_healed: false,
            generations: Vec::new(),
            reached: Reached::default(),
            checker: Checker::default(),
            outcome,
            labels: HashMap::new(),
            told: HashMap::new(),
            watch,
        }
    }

    /// Plans that something happens; what is further away than all time never does.
    fn at(&mut self, at: u64, what: What) {
        if at < u64::MAX {
            let order = self.order;
            self.order += 1;
            self.queue.push(Reverse(Planned { at, order, what }));
        }
    }

    fn after(&mut self, span: u64, what: What) {
        self.at(self.now.saturating_add(span), what);
    }

    fn run(&mut self) -> Result<(), Broken> {
        for host in 0..self.plan.hosts {
            let at = self.prng.below(20_000_000);
            self.at(at, What::Restart { host });
        }
        for (index, step) in self.plan.steps.iter().enumerate() {
            self.at(step.at, What::Step { index });
        }
        self.run_until(self.plan.end, |_| false)?;
        self.heal()?;
        self.compare_logs()?;
        self.checker.finish()?;
        for expect in &self.plan.finally {
            self.expect(expect)?;
        }
        for host in 0..self.plan.hosts {
            self.count_life(host);
        }
        self.outcome.deliveries = self.checker.deliveries();
        Ok(())
    }

    fn run_until(&mut self, end: u64, is_done: impl Fn(&Self) -> bool) -> Result<bool, Broken> {
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at > end {
                break;
            }
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(next.at);
            self.happen(next.what)?;
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
        self.note_end(host);
        if let Some(ring) = &self.hosts[host].ring {
            let counters = ring.counters();
            if self.plan.listens(host) {
                self.outcome.count_listener(&counters);
            } else {
                self.outcome.count_all(&counters);
            }
        }
    }

    /// Adds to the digest of everything that happened.
    fn record(&mut self, words: &[u64]) {
        for word in words {
            let mixed = (self.outcome.history ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.outcome.history = mixed ^ mixed >> 29;
        }
    }

    /// Tells whoever watches.
    fn tell(&mut self, host: Option<usize>, is_frame: bool, text: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(watch) = &mut self.watch {
            watch(&Line {
                at,
                host,
                is_frame,
                text: text(),
            });
        }
    }
}

fn host_id(host: usize) -> HostId {
    HostId(u8::try_from(host).expect("at most 256 hosts"))
}

fn hash(group: GroupId, bytes: &[u8]) -> u64 {
    digest::of(bytes) ^ u64::from(group.0)
}
