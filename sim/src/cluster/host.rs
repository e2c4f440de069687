//! One host: its engine, its clock, its disk.

use std::collections::VecDeque;
use std::rc::Rc;

use libexo::engine::ring::{Ring, Setup};
use libexo::engine::{
    Admit, Engine, Event, Frame, Notice, PersistId, Port, Record, Submission, Transmit,
};
use libexo::ids::GroupId;
use libexo::time::Time;

use super::host_id;
use crate::checker::Delivered;
use crate::plan::Clock;

/// What the engine is told. Its state is a function of these, in order.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Frame {
        now: Time,
        from: usize,
        bytes: Rc<[u8]>,
    },
    Timeout(Time),
    Submit {
        now: Time,
        group: GroupId,
        origin: u64,
        bytes: Rc<[u8]>,
    },
    Durable {
        now: Time,
        id: u64,
    },
    Leave,
    Rejoin(Time),
}

impl Input {
    /// Returns the answer to a submission.
    pub(super) fn apply(&self, ring: &mut Ring) -> Option<Admit> {
        match self {
            Self::Frame { now, from, bytes } => {
                let port = Port {
                    host: host_id(*from),
                    link: 0,
                };
                ring.on_frame(*now, port, Frame { bytes });
            }
            Self::Timeout(now) => ring.on_timeout(*now),
            Self::Submit {
                now,
                group,
                origin,
                bytes,
            } => {
                let submission = Submission {
                    group: *group,
                    origin: *origin,
                    bytes,
                };
                return Some(ring.on_submit(*now, submission));
            }
            Self::Durable { now, id } => ring.on_durable(*now, PersistId(*id)),
            Self::Leave => ring.leave(),
            Self::Rejoin(now) => ring.rejoin(*now),
        }
        None
    }
}

/// What comes out of an engine and is seen by others.
#[derive(Debug)]
pub(super) enum Output {
    Frame(Transmit),
    Deliver(Delivered),
    Event(Event),
    Notice(Notice),
}

/// Takes everything out of an engine.
pub(super) fn drain(ring: &mut Ring, outputs: &mut Vec<Output>, records: &mut Vec<Record>) {
    loop {
        records.extend(std::iter::from_fn(|| ring.poll_persist()));
        let before = outputs.len();
        outputs.extend(std::iter::from_fn(|| ring.poll_transmit()).map(Output::Frame));
        // A record may have been made while turns were taken.
        if outputs.len() == before {
            break;
        }
    }
    records.extend(std::iter::from_fn(|| ring.poll_persist()));
    outputs.extend(std::iter::from_fn(|| ring.poll_notice()).map(Output::Notice));
    while let Some(it) = ring.poll_deliver() {
        // A sender's life is told apart by what it sends along.
        let life = it.origin & u64::from(u32::MAX);
        outputs.push(Output::Deliver(Delivered {
            seq: it.seq.0,
            name: (it.host.0, life, it.ticket.0),
            hash: super::hash(it.group, it.bytes),
        }));
    }
    outputs.extend(std::iter::from_fn(|| ring.poll_event()).map(Output::Event));
}

/// Everything that an engine was told since it started, and how much of that is on the disk.
///
/// The engine has no journal of its own; this one makes its memory outlive it, since the same
/// inputs give the same state. What it lets out waits until the inputs before are synced.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) setup: Setup,
    pub(super) started: Time,
    pub(super) inputs: Vec<Input>,
    pub(super) synced: usize,
    pub(super) is_syncing: bool,
    /// Outputs, each with the number of inputs that must be synced before.
    pub(super) held: VecDeque<(usize, Output)>,
    /// The state at the last crash, if all of it was synced: it must come back.
    pub(super) at_crash: Option<String>,
}

/// What whoever watches was last told of a host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) joined: u64,
    pub(super) ring: Vec<u8>,
    pub(super) is_halted: bool,
    pub(super) is_amnesiac: bool,
}

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) ring: Option<Ring>,
    /// The engine's last record that is on the disk.
    pub(super) record: Option<Vec<u8>>,
    pub(super) journal: Option<Journal>,
    pub(super) disk_free: u64,
    pub(super) disk_slow: (u64, u64),
    pub(super) is_disk_broken: bool,
    /// When a host that halts at a broken disk comes back.
    pub(super) repaired_at: u64,
    /// Grows when memory is lost.
    pub(super) life: u64,
    /// Grows with every start.
    pub(super) boot: u64,
    pub(super) paused_until: u64,
    pub(super) slow_each: u64,
    pub(super) slow_until: u64,
    pub(super) busy_until: u64,
    /// It forgot, and no epoch has admitted it since.
    pub(super) has_forgotten: bool,
    pub(super) wake_at: Option<u64>,
    /// Numbers that the engine gave out in this life.
    pub(super) taken: u64,
    pub(super) seen: Seen,
    usual: Clock,
    percent: u64,
    real: u64,
    clock: u64,
}

impl Host {
    pub(super) const fn new(clock: Clock) -> Self {
        Self {
            ring: None,
            record: None,
            journal: None,
            disk_free: 0,
            disk_slow: (0, 0),
            is_disk_broken: false,
            repaired_at: 0,
            life: 0,
            boot: 0,
            paused_until: 0,
            slow_each: 0,
            slow_until: 0,
            busy_until: 0,
            has_forgotten: false,
            wake_at: None,
            taken: 0,
            seen: Seen {
                joined: 0,
                ring: Vec::new(),
                is_halted: false,
                is_amnesiac: false,
            },
            usual: clock,
            percent: clock.percent,
            real: 0,
            clock: clock.start,
        }
    }

    /// What the host's clock shows.
    pub(super) const fn clock(&self, now: u64) -> Time {
        Time(self.clock + (now - self.real) * self.percent / 100)
    }

    /// When the host's clock will show `at`; `None` while it stands still.
    pub(super) fn real(&self, at: Time) -> Option<u64> {
        let left = at.0.saturating_sub(self.clock);
        (self.percent > 0).then(|| self.real + (left * 100).div_ceil(self.percent))
    }

    /// From now on the clock runs at this rate; `None`: as it did at first.
    pub(super) fn set_rate(&mut self, now: u64, percent: Option<u64>) {
        self.clock = self.clock(now).0;
        self.real = now;
        self.percent = percent.unwrap_or(self.usual.percent);
        self.wake_at = None;
    }

    pub(super) const fn jump(&mut self, by: u64) {
        self.clock += by;
        self.wake_at = None;
    }

    pub(super) const fn is_paused(&self, now: u64) -> bool {
        self.paused_until > now
    }
}
