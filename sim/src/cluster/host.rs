//! One host: its engine, its clock, its disk.

use std::iter;

use libexo::engine::ring::Ring;
use libexo::engine::{Engine, Event, Notice, Record, Transmit, Unit};
use libexo::ids::Epoch;
use libexo::time::Time;

use super::disk::Journal;
use super::marks::Known;
use crate::checker::Delivered;
use crate::plan::Clock;

/// What comes out of an engine and is seen by others.
#[derive(Debug)]
pub(super) enum Output {
    Frame(Transmit),
    Deliver(Delivered),
    Event(Event),
    Notice(Notice),
}

/// What comes out of an engine at once.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) outputs: Vec<Output>,
    pub(super) records: Vec<Record>,
    pub(super) units: Vec<Unit>,
}

/// Takes everything out of an engine.
pub(super) fn drain(ring: &mut Ring) -> Drained {
    let mut out = Drained::default();
    loop {
        out.records.extend(iter::from_fn(|| ring.poll_persist()));
        out.units.extend(iter::from_fn(|| ring.poll_journal()));
        // Turns are taken while frames are polled for, and turns make units.
        let Some(frame) = ring.poll_transmit() else {
            break;
        };
        out.outputs.push(Output::Frame(frame));
    }
    out.records.extend(iter::from_fn(|| ring.poll_persist()));
    let notices = iter::from_fn(|| ring.poll_notice());
    out.outputs.extend(notices.map(Output::Notice));
    while let Some(it) = ring.poll_deliver() {
        // A sender's life is told apart by what it sends along.
        let life = it.origin & u64::from(u32::MAX);
        out.outputs.push(Output::Deliver(Delivered {
            seq: it.seq.0,
            name: (it.host.0, life, it.ticket.0),
            hash: super::hash(it.group, it.bytes),
        }));
    }
    // What was delivered may have been trimmed.
    out.units.extend(iter::from_fn(|| ring.poll_journal()));
    let events = iter::from_fn(|| ring.poll_event());
    out.outputs.extend(events.map(Output::Event));
    out
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
    pub(super) journal: Journal,
    pub(super) disk_free: u64,
    pub(super) disk_slow: (u64, u64),
    pub(super) is_disk_broken: bool,
    /// When a host that halts at a broken disk comes back.
    pub(super) repaired_at: u64,
    /// Grows with every start.
    pub(super) life: u64,
    /// What the checker adds to the places of its generation.
    pub(super) first_seq: u64,
    pub(super) paused_until: u64,
    pub(super) slow_each: u64,
    pub(super) slow_until: u64,
    pub(super) busy_until: u64,
    /// It has agreed on something, and remembers its generation.
    pub(super) has_agreed: bool,
    /// It forgot, and no epoch has admitted it since.
    pub(super) has_forgotten: bool,
    pub(super) wake_at: Option<u64>,
    /// Places of the order that it said it missed: from here, and up to before there.
    pub(super) gaps: Vec<(u64, u64)>,
    /// Numbers that the engine gave out in this life.
    pub(super) taken: u64,
    pub(super) seen: Seen,
    pub(super) known: Known,
    /// The highest promise that left it and that it must remember.
    pub(super) has_promised: Epoch,
    usual: Clock,
    percent: u64,
    real: u64,
    clock: u64,
}

impl Host {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            ring: None,
            record: None,
            journal: Journal::default(),
            disk_free: 0,
            disk_slow: (0, 0),
            is_disk_broken: false,
            repaired_at: 0,
            life: 0,
            first_seq: 0,
            paused_until: 0,
            slow_each: 0,
            slow_until: 0,
            busy_until: 0,
            has_agreed: false,
            has_forgotten: false,
            wake_at: None,
            gaps: Vec::new(),
            taken: 0,
            seen: Seen {
                joined: 0,
                ring: Vec::new(),
                is_halted: false,
                is_amnesiac: false,
            },
            known: Known::default(),
            has_promised: Epoch(0),
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
