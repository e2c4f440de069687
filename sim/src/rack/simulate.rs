//! A ring without faults, event by event: turns, frames on the line, transfers over the buses.
//!
//! ```text
//! Path::Host       token ▸ down ▸ line ▸ hop ▸ up ▸ token
//! Path::Offload    token ▸ line ▸ hop ▸ token           down: while the others have their turns
//!                                     ▸ up              next token: when the up before is done
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use serde::Serialize;

use super::{Path, Setup, Span};

/// Rotations until the ring is at its pace.
const ROTATIONS_BEFORE: u32 = 2;
/// Rotations in all: one is measured, and the last ones let everybody agree on its first turn.
const ROTATIONS: u32 = 4;

/// What a simulated ring takes, once it is at its pace.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Timing {
    /// From one turn to the next, mean of a rotation.
    #[serde(rename = "turn_ns")]
    pub turn: Span,
    /// From a host's turn to its next.
    #[serde(rename = "rotation_ns")]
    pub rotation: Span,
    /// From taking a turn until its author knows that a majority built on it.
    #[serde(rename = "agreed_at_author_ns")]
    pub agreed_at_author: Span,
    /// The same, until the first other host agrees; it counts itself as a holder (R3').
    #[serde(rename = "agreed_elsewhere_ns")]
    pub agreed_elsewhere: Span,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    /// The turn at a position is before every network card.
    Arrived { position: u32 },
    /// It is where that host's protocol counts it.
    Counted { host: u32, position: u32 },
    /// That host may take the turn at a position.
    Token { host: u32, position: u32 },
}

struct Host {
    /// When its next message lies in the card (offload).
    message_ready: Span,
    /// When the bus is done with what has arrived (offload).
    bus_up_free: Span,
    /// Authors of the measured turn and of those that it counted behind it.
    writers: BTreeSet<u32>,
    /// When it agreed on the measured turn.
    agreed: Option<Span>,
}

struct Rack<'a> {
    setup: &'a Setup,
    hosts: Vec<Host>,
    count: u32,
    events: BinaryHeap<Reverse<(Span, Event)>>,
    /// When the line has carried the latest frame.
    line_free: Span,
    /// When each position's turn was taken.
    taken: Vec<Span>,
}

pub(super) fn timing(setup: &Setup, count: u32) -> Timing {
    let new_host = |_| Host {
        message_ready: Span::default(),
        bus_up_free: Span::default(),
        writers: BTreeSet::new(),
        agreed: None,
    };
    let mut rack = Rack {
        setup,
        hosts: (0..count).map(new_host).collect(),
        count,
        events: BinaryHeap::new(),
        line_free: Span::default(),
        taken: Vec::new(),
    };
    let first = Event::Token {
        host: 0,
        position: 0,
    };
    rack.events.push(Reverse((Span::default(), first)));
    while let Some(Reverse((now, event))) = rack.events.pop() {
        match event {
            Event::Token { host, position } => rack.take_turn(now, host, position),
            // At the sender's, too: its own turn comes back to it with everybody's.
            Event::Arrived { position } => {
                (0..count).for_each(|host| rack.arrived(now, host, position));
            }
            Event::Counted { host, position } => rack.counted(now, host, position),
        }
    }
    rack.timing()
}

impl Rack<'_> {
    fn author(&self, position: u32) -> u32 {
        position % self.count
    }

    fn measured(&self) -> u32 {
        ROTATIONS_BEFORE * self.count
    }

    fn at(&mut self, when: Span, event: Event) {
        self.events.push(Reverse((when, event)));
    }

    fn host(&mut self, host: u32) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    fn take_turn(&mut self, now: Span, host: u32, position: u32) {
        let Setup {
            network,
            path,
            bus,
            frame,
        } = *self.setup;
        let ready = match path {
            Path::Network => now,
            Path::Host => now + bus.down,
            Path::Offload => now.max(self.host(host).message_ready),
        };
        let sent = ready.max(self.line_free);
        self.line_free = sent + frame.line_time();
        self.host(host).message_ready = sent + bus.down;
        self.taken.push(now);
        let mut arrives = sent + network.hop();
        if frame.is_taken_whole {
            arrives += frame.line_time();
        }
        self.at(arrives, Event::Arrived { position });
    }

    fn arrived(&mut self, now: Span, host: u32, position: u32) {
        let up = self.setup.bus.up;
        let (passes, counts) = match self.setup.path {
            Path::Network => (now, now),
            Path::Host => (now + up, now + up),
            Path::Offload => {
                let bus = &mut self.host(host).bus_up_free;
                let begins = now.max(*bus);
                *bus = begins + up;
                (begins, *bus)
            }
        };
        if position >= self.measured() && self.host(host).agreed.is_none() {
            self.at(counts, Event::Counted { host, position });
        }
        let next = position + 1;
        if self.author(next) == host && next < ROTATIONS * self.count {
            self.at(
                passes,
                Event::Token {
                    host,
                    position: next,
                },
            );
        }
    }

    fn counted(&mut self, now: Span, host: u32, position: u32) {
        let author = self.author(position);
        let majority = self.count as usize / 2 + 1;
        let state = self.host(host);
        state.writers.insert(author);
        let counts_itself = !state.writers.contains(&host);
        if state.agreed.is_none() && state.writers.len() + usize::from(counts_itself) >= majority {
            state.agreed = Some(now);
        }
    }

    fn timing(&self) -> Timing {
        let measured = self.measured();
        let taken = self.taken[measured as usize];
        let rotation = self.taken[(measured + self.count) as usize].less(taken);
        let author = self.author(measured);
        let agreed = |host: &Host| host.agreed.expect("a majority wrote behind it").less(taken);
        let others = self.hosts.iter().enumerate();
        let elsewhere = others
            .filter(|(host, _)| *host != author as usize)
            .map(|(_, host)| agreed(host));
        Timing {
            turn: rotation.shared_by(self.count),
            rotation,
            agreed_at_author: agreed(&self.hosts[author as usize]),
            agreed_elsewhere: elsewhere.min().expect("a ring has others"),
        }
    }
}
