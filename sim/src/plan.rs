//! What one seed stands for: swarm configuration, so that a schedule has some kinds of faults and
//! lacks others.

use core::time::Duration;

use libexo::engine::Stage;
use libexo::engine::params::{Params, Times};

use crate::prng::Prng;

/// A kind of fault that comes now and then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A host restarts without its memory.
    Amnesia,
    /// A host stands still and then goes on; frames to it are lost meanwhile or wait.
    Pause,
    /// Two sides do not hear each other.
    Partition,
    /// One host is not heard, or does not hear.
    OneWay,
    /// A link goes up and down.
    Flapping,
    /// A host leaves by its own turn, and comes back.
    Leave,
    /// A host with a journal restarts.
    Reboot,
    /// All hosts, with journals, restart at once.
    PowerCut,
}

/// All kinds.
pub const FAULTS: [Fault; 8] = [
    Fault::Amnesia,
    Fault::Pause,
    Fault::Partition,
    Fault::OneWay,
    Fault::Flapping,
    Fault::Leave,
    Fault::Reboot,
    Fault::PowerCut,
];

/// The configuration of one schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// Configured hosts.
    pub hosts: usize,
    /// Virtual time of the first phase.
    pub chaos: Duration,
    /// Messages that each host submits in it.
    pub messages: u64,
    /// Most bytes of a message.
    pub message_bytes_max: usize,
    /// Least and most delay of a frame, in nanoseconds.
    pub delay: (u64, u64),
    /// Frames lost, of 1000.
    pub loss: u64,
    /// Frames that come twice, of 1000.
    pub duplication: u64,
    /// Frames with a changed byte, of 1000.
    pub corruption: u64,
    /// Kinds of faults, and how many come.
    pub faults: Vec<Fault>,
    /// How many faults come.
    pub fault_count: u64,
    /// Whether more hosts than tolerated may forget at once; then only safety is asked for.
    pub forgets_too_much: bool,
    /// Host clocks run at 90 to 110 % and start anywhere.
    pub skew: bool,
    /// Frames are sealed.
    pub sealed: bool,
    /// Hosts keep a journal, and deliver what a majority has on stable storage.
    pub durable: bool,
    /// Most nanoseconds that a sync of the journal takes.
    pub sync_most: u64,
    /// The engine's sizes and times.
    pub params: Params,
}

impl Plan {
    /// The plan of a seed, with `hosts` hosts or any number from 2 to 7.
    #[must_use]
    pub fn new(seed: u64, hosts: Option<usize>) -> Self {
        let mut prng = Prng::new(seed ^ 0x5057_4152_4d00);
        let hosts = hosts.unwrap_or_else(|| prng.pick(&[2, 3, 3, 3, 4, 5, 5, 5, 6, 7]));
        let mut faults: Vec<_> = FAULTS[..6]
            .iter()
            .copied()
            .filter(|_| prng.chance(400))
            .collect();
        let is_calm = prng.chance(150);
        let some = |prng: &mut Prng, values: &[u64]| if is_calm { 0 } else { prng.pick(values) };
        let mut params = params(&mut prng);
        // Drawn apart, so that the plans of earlier seeds stay what they were.
        let mut disk = Prng::new(seed ^ 0x4449_534b);
        let durable = disk.chance(250);
        if durable {
            params.level = Stage::Durable;
            faults.extend(FAULTS[6..].iter().filter(|_| disk.chance(600)));
        }
        let slowest = prng.pick(&[60_000, 300_000, 2_000_000, 9_000_000]);
        Self {
            seed,
            hosts,
            chaos: Duration::from_millis(prng.pick(&[300, 1000, 3000])),
            messages: prng.pick(&[5, 20, 60]),
            // At most a few turns, so that the slowest network carries all in bounded time.
            message_bytes_max: prng.pick(&[20, 200, 3000]).min(params.turn_bytes_max * 2),
            delay: (10_000, slowest),
            loss: some(&mut prng, &[0, 5, 50, 200]),
            duplication: some(&mut prng, &[0, 20, 200]),
            corruption: some(&mut prng, &[0, 0, 10, 50]),
            fault_count: some(&mut prng, &[0, 2, 5, 12]),
            faults,
            forgets_too_much: prng.chance(60),
            skew: prng.chance(300),
            sealed: prng.chance(200),
            durable,
            sync_most: disk.pick(&[100_000, 2_000_000, 20_000_000]),
            params,
        }
    }
}

fn params(prng: &mut Prng) -> Params {
    let turn_bytes_max = prng.pick(&[128, 600, 4096, 65_536]);
    Params {
        turn_bytes_max,
        queue_bytes_max: 256 * 1024,
        queue_messages_max: 4096,
        retain_bytes: prng.pick(&[0, 4096, 1 << 20]),
        receive_bytes: prng.pick(&[64 << 10, 1 << 20, 64 << 20]),
        early_bytes_max: turn_bytes_max * prng.pick(&[2, 16]),
        // A turn of hundreds of parts under jitter is asked for again and again.
        frame_bytes_max: prng.pick(&[192, 300, 1472]).max(turn_bytes_max / 48),
        join_window: prng.pick(&[4, 1024]),
        level: prng.pick(&[Stage::Agreed, Stage::Agreed, Stage::Safe]),
        spin: false,
        times: Times {
            // A schedule removes hosts more often than healing may take.
            removed_min: Duration::from_millis(50),
            removed_max: Duration::from_secs(2),
            ..Times::default()
        },
    }
}
