//! What the engine thread of a host does beside that of a ring of one: hear, send, and deliver what
//! others submitted, as far as the logs have room.

use std::collections::VecDeque;
use std::time::Duration;

use libexo::engine::ring::Ring;
use libexo::engine::{Admit, Engine, Event, Notice as EngineNotice, Submission};
use libexo::ids::{GroupId, HostId, Seq};
use libexo::shm::board::Counter;
use libexo::shm::log::Origin;
use libexo::time::Time;
use libexo::transport::DropReason;
use rustix::event::{PollFd, PollFlags, poll};

use super::State;
use super::command::{Asked, Command, Notice, RingUsage};
use super::envelope::{Labels, NO_GROUP};
use super::lanes::Lane;
use super::network::{Host, Network};
use super::waker::Waker;
use crate::clock;
use crate::config::Minority;

/// Longest time that a host waits, before it stops, for its members' datagrams to be in order.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// Longest time that a host takes to leave its ring: some rotations of the token. The last ones
/// find nobody left to agree.
const LEAVE_MAX: Duration = Duration::from_millis(300);

/// Longest time that a join or leave waits for its process's own messages; without a majority
/// they may take for ever.
const HELD_MAX: Duration = Duration::from_millis(100);

const LOOK_FOR_STRANGERS: Duration = Duration::from_millis(500);
/// How long a complaint that goes on is not repeated.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The other hosts, as the engine thread knows them.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) labels: Labels,
    network: Network,
    waker: Waker,
    /// A message whose log has no room; those behind it wait in the engine.
    parked: Option<Parked>,
    /// Joins and leaves that come after what was submitted before them.
    held: VecDeque<Held>,
    /// Messages that the engine took here, and those of them that came back in order.
    submitted: u64,
    returned: u64,
    minority: Minority,
    /// This host only listens: its programs cannot send.
    pub(super) listens: bool,
    /// The engine thread never sleeps.
    pub(super) spins: bool,
    /// Pings on their way, in the order of their submission, with their moments.
    pings: VecDeque<(Asked, Time)>,
    /// The engine takes no more submissions before frames or time come.
    pub(super) is_full: bool,
    foreign: u64,
    strangers: Strangers,
}

/// Frames from addresses that no host has: a table of hosts that somebody else has otherwise.
#[derive(Debug, Default)]
struct Strangers {
    seen: u64,
    look_at: Option<Time>,
    told: Option<Time>,
}

impl Strangers {
    fn look(&mut self, now: Time, network: &mut Network) {
        if self.look_at.is_some_and(|at| now < at) {
            return;
        }
        self.look_at = Some(now.after(LOOK_FOR_STRANGERS));
        let seen = network.counters().dropped(DropReason::UnknownSource);
        let is_new = std::mem::replace(&mut self.seen, seen) < seen;
        if is_new && self.told.is_none_or(|told| now >= told.after(TELL_AGAIN)) {
            self.told = Some(now);
            tracing::error!(
                frames = seen,
                "frames come from an address that no [[host]] has: they are dropped; give all \
                 hosts the same table"
            );
        }
    }
}

/// One delivery, kept.
#[derive(Debug)]
struct Parked {
    group: GroupId,
    seq: Seq,
    origin: Origin,
    bytes: Vec<u8>,
}

/// A join or leave that waits for its process's own messages.
#[derive(Debug)]
struct Held {
    command: Command,
    /// Not before so many messages came back.
    after: u64,
    /// Not longer.
    until: Time,
}

impl Links {
    pub(super) fn new(host: Host, waker: Waker) -> std::io::Result<(Ring, Self)> {
        let Host {
            engine,
            labels,
            mut network,
            minority,
            listens,
            spins,
            keeper,
            probes: _,
            keys: _,
            choice: _,
        } = host;
        if let Some(opener) = keeper {
            network.keep(opener.start(waker.bell())?);
        }
        let links = Self {
            held: VecDeque::new(),
            submitted: 0,
            pings: VecDeque::new(),
            returned: 0,
            minority,
            listens,
            spins,
            labels,
            network,
            waker,
            parked: None,
            is_full: false,
            foreign: 0,
            strangers: Strangers::default(),
        };
        Ok((engine, links))
    }

    /// So many messages were submitted here.
    pub(super) const fn note_submitted(&mut self, count: u64) {
        self.submitted += count;
    }

    /// Waits for frames, for somebody who wakes, or for the next moment that matters.
    pub(super) fn sleep(&self, engine: &Ring, at_most: Duration) {
        let now = clock::now();
        let due = self.network.due(engine);
        let wait = due.map_or(at_most, |due| due.since(now).min(at_most));
        if wait.is_zero() {
            return;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(self.waker.descriptor(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.network.descriptor(), PollFlags::IN),
        ];
        let timeout = rustix::time::Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        // However it ends, the engine thread looks again.
        let _ = poll(&mut fds, Some(&timeout));
        if !fds[0].revents().is_empty() {
            self.waker.clear();
        }
    }
}

impl<Tell: Fn()> State<Tell> {
    /// Takes in what the other hosts sent. Returns how many frames.
    pub(super) fn hear(&mut self, now: Time) -> u64 {
        let Some(links) = &mut self.links else {
            return 0;
        };
        let frames = links.network.receive(now, &mut self.engine);
        links.strangers.look(now, &mut links.network);
        if frames > 0 {
            links.is_full = false;
        }
        frames as u64
    }

    /// Sends what the engine has to send and delivers what is in order.
    pub(super) fn exchange(&mut self, now: Time) {
        let Some(links) = &mut self.links else {
            return;
        };
        links.network.send(now, &mut self.engine);
        self.groups.settle_reservations();
        self.deliver_in_order(now);
        self.groups.publish();
        self.release_held(now);
        self.on_ring_events();
        debug_assert_eq!(self.engine.check(), Ok(()));
    }

    /// Everything that is in order goes into the logs, up to the first message without room.
    fn deliver_in_order(&mut self, now: Time) {
        let Self {
            links: Some(links),
            engine,
            groups,
            board,
            ..
        } = self
        else {
            return;
        };
        let (mut count, mut bytes) = (0, 0);
        if let Some(parked) = &links.parked {
            if !groups.reserve(parked.group, parked.bytes.len()) {
                groups.starve(parked.group, now);
                return;
            }
            groups.set_time(clock::wall());
            groups.append(parked.group, parked.seq, &parked.origin, &parked.bytes);
            (count, bytes) = (1, parked.bytes.len() as u64);
            links.parked = None;
        }
        while let Some(delivery) = engine.poll_deliver() {
            links.is_full = false;
            let is_own = delivery.host == links.labels.me();
            links.returned += u64::from(is_own);
            if delivery.group == NO_GROUP {
                if is_own && let Some((asked, sent)) = links.pings.pop_front() {
                    let taken = Ok(clock::now().since(sent));
                    groups.notices.push(Notice::Pong { asked, taken });
                }
                continue;
            }
            if count == 0 {
                groups.set_time(clock::wall());
            }
            let opened = links.labels.open(
                delivery.host,
                delivery.group,
                delivery.origin,
                delivery.bytes,
            );
            let Ok(opened) = opened else {
                links.foreign += 1;
                continue;
            };
            if opened.origin.ttl == 0 && delivery.host != links.labels.me() {
                continue; // it was to stay on its host
            }
            if !groups.reserve(opened.group, opened.bytes.len()) {
                board.count(Counter::BackPressure, 1);
                groups.starve(opened.group, now);
                links.parked = Some(Parked {
                    group: opened.group,
                    seq: delivery.seq,
                    origin: opened.origin,
                    bytes: opened.bytes.to_vec(),
                });
                break;
            }
            groups.append(opened.group, delivery.seq, &opened.origin, opened.bytes);
            count += 1;
            bytes += opened.bytes.len() as u64;
        }
        if count > 0 {
            board.count(Counter::Ordered, count);
            board.count(Counter::OrderedBytes, bytes);
        }
    }

    /// Does `command`, a join or leave, after what was submitted here before; in the ring that
    /// takes a rotation of the token.
    pub(super) fn after_own(&mut self, command: Command) {
        let Some(links) = &mut self.links else {
            return self.change_members(command);
        };
        links.held.push_back(Held {
            command,
            after: links.submitted,
            until: clock::now().after(HELD_MAX),
        });
        self.release_held(clock::now());
    }

    /// Sends a message through the order that no program sees.
    pub(super) fn ping(&mut self, asked: Asked) {
        let now = clock::now();
        let mut pong = |taken| self.groups.notices.push(Notice::Pong { asked, taken });
        let Some(links) = &mut self.links else {
            return pong(Ok(Duration::ZERO)); // a ring of one orders at once
        };
        if links.listens {
            return pong(Err("this host only listens: ping from a host that votes"));
        }
        if self.engine.inspect().is_some_and(|state| state.is_halted) {
            return pong(Err("no majority of the hosts can be reached"));
        }
        let message = Submission {
            group: NO_GROUP,
            origin: 0,
            bytes: &[],
        };
        match self.engine.on_submit(now, message) {
            Admit::Taken(_) => {
                links.pings.push_back((asked, now));
                links.submitted += 1;
            }
            Admit::Busy | Admit::Redirect(_) => pong(Err("too much waits for its turn already")),
        }
    }

    fn release_held(&mut self, now: Time) {
        while let Some(links) = &mut self.links
            && let Some(held) = links.held.front()
            && (links.returned >= held.after || held.until <= now)
            && let Some(held) = links.held.pop_front()
        {
            self.change_members(held.command);
        }
    }

    /// Whether the engine takes nothing before frames or deliveries make room.
    pub(super) fn is_engine_full(&self) -> bool {
        self.links.as_ref().is_some_and(|links| links.is_full)
    }

    /// Whether the token never rests here.
    pub(super) fn never_sleeps(&self) -> bool {
        self.links.as_ref().is_some_and(|links| links.spins)
    }

    /// Whether a join or leave waits.
    pub(super) fn holds_back(&self) -> bool {
        self.links
            .as_ref()
            .is_some_and(|links| !links.held.is_empty())
    }

    /// Whether sends fail from now on, or wait.
    fn set_refuses(&mut self, refuses: bool) {
        let refuses = refuses || self.links.as_ref().is_some_and(|links| links.listens);
        self.board.set_refuses(refuses);
        if refuses {
            self.lanes.iter_mut().for_each(Lane::give_up_waiting);
        }
    }

    fn on_ring_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::View(view) => tracing::info!(
                    epoch = view.epoch.0,
                    members = ?self.names(&view.members),
                    joined = ?self.names(&view.joined),
                    left = ?self.names(&view.left),
                    "view"
                ),
                Event::Halted => {
                    tracing::warn!(
                        "no majority of the hosts can be reached: nothing is ordered until one can"
                    );
                    let links = self.links.as_ref();
                    if links.is_some_and(|links| links.minority == Minority::Fail) {
                        self.set_refuses(true);
                    }
                }
                Event::Resumed => {
                    tracing::info!("a majority can be reached: order goes on");
                    self.set_refuses(false);
                }
            }
        }
        while let Some(notice) = self.engine.poll_notice() {
            match notice {
                EngineNotice::Gap { from, to } => {
                    tracing::error!(
                        from = from.0,
                        to = to.0,
                        "this host missed what nobody keeps any more: its members lost datagrams"
                    );
                    self.groups.tell_of_gap();
                }
                EngineNotice::Refused { host, error } => {
                    let name = self.names(&[host])[0];
                    tracing::error!(host = name, "frames of this host are refused: {error}");
                }
                EngineNotice::Unagreed {
                    author,
                    claimed,
                    counted,
                } => tracing::warn!(
                    host = self.names(&[author])[0],
                    claimed = claimed.0,
                    counted = counted.0,
                    "a host says that more is agreed than this one counts (I10)"
                ),
                EngineNotice::Generation(generation) => {
                    tracing::info!(generation, "generation entered");
                }
                EngineNotice::Fatal(violation) => panic!("{violation}"),
            }
        }
    }

    fn names(&self, hosts: &[HostId]) -> Vec<&str> {
        let links = self.links.iter();
        links
            .flat_map(|links| hosts.iter().map(|host| links.labels.name(*host)))
            .collect()
    }

    /// Leaves the ring after everything submitted here has been delivered, as far as the others
    /// let it.
    pub(super) fn leave_ring(&mut self) {
        if self.links.is_none() {
            return;
        }
        let mut end = clock::now().after(LAST_WORDS_MAX);
        let mut asked = false;
        while let Some(now) = Some(clock::now()).filter(|now| *now < end) {
            self.hear(now);
            self.drain(now);
            let state = self.engine.inspect().expect("a ring of several");
            if (state.queued == 0 || state.is_halted) && !asked {
                asked = true;
                end = end.min(now.after(LEAVE_MAX));
                self.engine.leave();
            }
            if asked && !state.ring.contains(&self.me()) {
                break;
            }
            self.sleep(Duration::from_millis(10));
        }
        self.exchange(clock::now());
    }

    fn me(&self) -> HostId {
        let links = self.links.as_ref();
        links.map_or(HostId(0), |links| links.labels.me())
    }

    pub(super) fn ring_usage(&mut self) -> Option<RingUsage> {
        let links = self.links.as_mut()?;
        Some(RingUsage {
            me: links.labels.me(),
            inspection: self.engine.inspect()?,
            traffic: links.network.counters(),
            foreign: links.foreign,
        })
    }
}
