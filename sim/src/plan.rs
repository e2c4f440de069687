//! What one seed stands for: swarm configuration, so that a schedule has some kinds of faults, at
//! rates of its own, and lacks others; and every step that it takes.

use core::ops::RangeInclusive;
use core::time::Duration;

use libexo::engine::Stage;
use libexo::engine::params::{Params, Times};
use libexo::wire::auth::Mode;

use crate::fault::Fault;
use crate::prng::Prng;
use crate::step::{Act, Expect, Hosts, Step};

const MS: u64 = 1_000_000;
/// Most schedules send open frames: sealing takes time.
const MODES: [Mode; 8] = [
    Mode::Open,
    Mode::Open,
    Mode::Open,
    Mode::Open,
    Mode::Open,
    Mode::Open,
    Mode::Tagged,
    Mode::Encrypted,
];

/// One schedule of so many has a storm.
const STORM_EVERY: u64 = 8;

/// A host's clock at the beginning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock {
    /// Where it starts, in nanoseconds.
    pub start: u64,
    /// How fast it runs; 100 is right.
    pub percent: u64,
}

impl Clock {
    /// A right one.
    pub const RIGHT: Self = Self {
        start: 1,
        percent: 100,
    };
}

/// One schedule, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its seed, also of what the network and the disks do by chance.
    pub seed: u64,
    /// Configured hosts.
    pub hosts: usize,
    /// So many of them, the last ones, only listen.
    pub listeners: usize,
    /// Virtual time of the first phase, in nanoseconds.
    pub end: u64,
    /// Least and most delay of a frame, in nanoseconds.
    pub delay: (u64, u64),
    /// Frames lost, of 1000.
    pub loss: u64,
    /// Frames that come twice, of 1000.
    pub duplication: u64,
    /// Frames with changed bytes, of 1000.
    pub corruption: u64,
    /// Whether hosts keep a journal, so that a crash takes no memory.
    pub has_journal: bool,
    /// Least and most time of a sync, in nanoseconds.
    pub sync: (u64, u64),
    /// Each host's clock.
    pub clocks: Vec<Clock>,
    /// What is done to frames.
    pub mode: Mode,
    /// More hosts than tolerated may forget at once; then only safety is asked for.
    pub forgets_too_much: bool,
    /// The engine's sizes and times.
    pub params: Params,
    /// What is done, in order of time.
    pub steps: Vec<Step>,
    /// What must be so after healing.
    pub finally: Vec<Expect>,
}

impl Plan {
    /// A schedule without faults or messages, of one virtual second.
    #[must_use]
    pub fn calm(hosts: usize) -> Self {
        Self {
            seed: 1,
            hosts,
            listeners: 0,
            end: 1000 * MS,
            delay: (10_000, 300_000),
            loss: 0,
            duplication: 0,
            corruption: 0,
            has_journal: false,
            sync: (10_000, 1_000_000),
            clocks: vec![Clock::RIGHT; hosts],
            mode: Mode::Open,
            forgets_too_much: false,
            params: Params {
                turn_bytes_max: 4096,
                queue_bytes_max: 256 * 1024,
                queue_messages_max: 4096,
                retain_bytes: 1 << 20,
                receive_bytes: 1 << 20,
                early_bytes_max: 65_536,
                frame_bytes_max: 1472,
                join_window: 1024,
                level: Stage::Agreed,
                spin: false,
                times: Times {
                    // A schedule removes hosts more often than healing may take.
                    removed_min: Duration::from_millis(50),
                    removed_max: Duration::from_secs(2),
                    ..Times::default()
                },
            },
            steps: Vec::new(),
            finally: Vec::new(),
        }
    }

    /// Hosts that vote.
    #[must_use]
    pub const fn voters(&self) -> usize {
        self.hosts - self.listeners
    }

    /// Whether a host only listens.
    #[must_use]
    pub const fn listens(&self, host: usize) -> bool {
        host >= self.voters()
    }

    /// The schedule of a seed, with 2 to 7 hosts that vote, or as many of `hosts` as the seed says,
    /// and in two of five schedules one or two that listen.
    ///
    /// # Panics
    ///
    /// `hosts` is empty.
    #[must_use]
    pub fn new(seed: u64, hosts: Option<RangeInclusive<usize>>) -> Self {
        let mut prng = Prng::new(seed ^ 0x5057_4152_4d00);
        let usual = prng.pick(&[2, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
        let drawn = prng.next();
        let hosts = hosts.map_or(usual, |range| {
            let (least, most) = range.into_inner();
            let count = u64::try_from(most - least + 1).expect("few");
            least + usize::try_from(drawn % count).expect("below")
        });
        // Drawn apart, so that a seed without listeners means what it meant before there were any.
        let listeners = Prng::new(seed ^ 0x4c49_5354_454e).pick(&[0, 0, 0, 1, 2]);
        let hosts = hosts + listeners;
        let is_calm = prng.chance(150);
        let some = |prng: &mut Prng, values: &[u64]| if is_calm { 0 } else { prng.pick(values) };
        let rates = rates(&mut prng);
        let has_journal = rates.iter().any(|(fault, _)| needs_journal(*fault));
        let params = params(has_journal, &mut prng);
        let slowest = prng.pick(&[60_000, 300_000, 2_000_000, 9_000_000]);
        let is_skewed = prng.chance(300);
        let clock = |prng: &mut Prng| Clock {
            start: prng.below(1 << 50) + 1,
            percent: 90 + prng.below(21),
        };
        let mut plan = Self {
            seed,
            hosts,
            listeners,
            end: prng.pick(&[300, 1000, 3000]) * MS,
            delay: (10_000, slowest),
            loss: some(&mut prng, &[0, 5, 50, 200]),
            duplication: some(&mut prng, &[0, 20, 200]),
            corruption: some(&mut prng, &[0, 0, 10, 50]),
            has_journal,
            sync: (10_000, prng.pick(&[50_000, 1_000_000, 5_000_000])),
            clocks: (0..hosts)
                .map(|_| {
                    if is_skewed {
                        clock(&mut prng)
                    } else {
                        Clock::RIGHT
                    }
                })
                .collect(),
            mode: prng.pick(&MODES),
            forgets_too_much: prng.chance(60),
            params,
            ..Self::calm(hosts)
        };
        let messages = prng.pick(&[5, 20, 60]);
        // At most a few turns, so that the slowest network carries all in bounded time.
        let bytes_max = prng.pick(&[20, 200, 3000]).min(params.turn_bytes_max * 2);
        let fault_count = some(&mut prng, &[0, 2, 5, 12]);
        plan.add_messages(&mut prng, messages, bytes_max);
        plan.add_faults(&mut prng, fault_count, &rates);
        if seed % STORM_EVERY == STORM_EVERY / 2 {
            plan.add_storm(&mut prng);
        }
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    fn add_messages(&mut self, prng: &mut Prng, messages: u64, bytes_max: usize) {
        for host in 0..self.voters() {
            for _ in 0..messages {
                let act = Act::Submit {
                    host,
                    bytes: prng.index(bytes_max + 1),
                    label: None,
                };
                let at = prng.below(self.end);
                self.steps.push(Step { at, act });
            }
        }
    }

    /// One partition after another, and hosts that fall in between: epochs end that have hardly
    /// begun, so that several of them are known to some hosts and not to others.
    fn add_storm(&mut self, prng: &mut Prng) {
        let (hosts, mut at) = (self.hosts, prng.below(self.end));
        for _ in 0..prng.pick(&[10, 20, 40]) {
            let most = prng.pick(&[30, 100, 200]) * MS;
            let span = 2 * MS + prng.below(most);
            let fault = match prng.below(8) {
                0 if self.has_journal => Fault::Crash,
                0 | 1 => Fault::Forget,
                2 => Fault::OneWay,
                _ => Fault::Partition,
            };
            let mut act = random_act(fault, hosts, prng);
            if let Act::Partition { span: lasts, .. } | Act::Cut { span: lasts, .. } = &mut act {
                *lasts = span;
            }
            self.steps.push(Step { at, act });
            at += span;
        }
        self.end = self.end.max(at);
    }

    fn add_faults(&mut self, prng: &mut Prng, count: u64, rates: &[(Fault, u64)]) {
        let sum: u64 = rates.iter().map(|(_, rate)| rate).sum();
        if sum == 0 {
            return;
        }
        for _ in 0..count {
            let mut drawn = prng.below(sum);
            let fault = rates.iter().find(|(_, rate)| {
                let is_it = drawn < *rate;
                drawn = drawn.saturating_sub(*rate);
                is_it
            });
            let (fault, _) = fault.expect("drawn below the sum");
            let act = random_act(*fault, self.hosts, prng);
            let at = prng.below(self.end);
            self.steps.push(Step { at, act });
        }
    }
}

/// Kinds that come by steps, with the weight of each.
fn rates(prng: &mut Prng) -> Vec<(Fault, u64)> {
    use Fault as F;
    let by_steps = [
        F::Forget,
        F::Crash,
        F::PowerCut,
        F::Pause,
        F::Slow,
        F::Partition,
        F::OneWay,
        F::Flapping,
        F::Leave,
        F::SlowDisk,
        F::DiskError,
        F::ClockRate,
        F::ClockJump,
    ];
    let mut rates = Vec::new();
    for fault in by_steps {
        // Journals make a schedule longer; half of all have none.
        let chance = if needs_journal(fault) { 160 } else { 400 };
        if prng.chance(chance) {
            rates.push((fault, prng.pick(&[1, 1, 4])));
        }
    }
    rates
}

const fn needs_journal(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Crash | Fault::PowerCut | Fault::SlowDisk | Fault::DiskError
    )
}

fn random_act(fault: Fault, hosts: usize, prng: &mut Prng) -> Act {
    let host = prng.index(hosts);
    let span = MS + prng.below(400 * MS);
    match fault {
        Fault::Crash => Act::Crash {
            hosts: [host].into_iter().collect(),
            span,
        },
        Fault::PowerCut => Act::Crash {
            hosts: Hosts::first(hosts),
            span,
        },
        Fault::Pause => Act::Pause { host, span },
        Fault::Slow => Act::Slow {
            host,
            each: 100_000 + prng.below(5 * MS),
            span,
        },
        Fault::Partition => {
            let mut sides = vec![Hosts::default(); prng.pick(&[2, 2, 3])];
            let count = sides.len();
            for host in 0..hosts {
                let side = &mut sides[prng.index(count)];
                *side = side.iter().chain([host]).collect();
            }
            sides.retain(|side| side.count() > 0);
            Act::Partition { sides, span }
        }
        Fault::OneWay => {
            let one = [host].into_iter().collect();
            let others = Hosts::first(hosts).minus(one);
            let some: Hosts = others.iter().filter(|_| prng.chance(300)).collect();
            let others = if some.count() > 0 { some } else { others };
            let (from, to) = if prng.chance(500) {
                (one, others)
            } else {
                (others, one)
            };
            Act::Cut { from, to, span }
        }
        Fault::Flapping => Act::Flap {
            a: host,
            b: (host + 1 + prng.index(hosts - 1)) % hosts,
            times: 2 + prng.below(8),
            each: MS + prng.below(40 * MS),
        },
        Fault::Leave => Act::Leave { host, span },
        Fault::SlowDisk => Act::SlowDisk {
            host,
            each: MS + prng.below(100 * MS),
            span,
        },
        Fault::DiskError => Act::DiskError { host, span },
        Fault::ClockRate => Act::ClockRate {
            host,
            percent: prng.pick(&[0, 10, 80, 120, 500]),
            span,
        },
        Fault::ClockJump => Act::ClockJump {
            host,
            by: prng.pick(&[MS, 100 * MS, 5000 * MS, 3_600_000 * MS]),
        },
        // The others do not come by steps.
        _ => Act::Forget { host, span },
    }
}

fn params(has_journal: bool, prng: &mut Prng) -> Params {
    let turn_bytes_max = prng.pick(&[128, 600, 4096, 65_536]);
    Params {
        turn_bytes_max,
        retain_bytes: prng.pick(&[0, 4096, 1 << 20]),
        receive_bytes: prng.pick(&[64 << 10, 1 << 20, 64 << 20]),
        early_bytes_max: turn_bytes_max * prng.pick(&[2, 16]),
        // A turn of hundreds of parts under jitter is asked for again and again.
        frame_bytes_max: prng.pick(&[192, 300, 1472]).max(turn_bytes_max / 48),
        join_window: prng.pick(&[4, 1024]),
        level: if has_journal {
            prng.pick(&[Stage::Agreed, Stage::Durable, Stage::Durable, Stage::Safe])
        } else {
            prng.pick(&[Stage::Agreed, Stage::Agreed, Stage::Safe])
        },
        ..Plan::calm(1).params
    }
}
