//! The engine thread: drain, order, deliver, ring, sleep. The only place where engine, shared
//! memory and network meet.
//!
//! Waiting: while there is work it does not wait. Then it looks on for as long as the last
//! intervals between arrivals suggest (at most `spin`), giving its core to whoever wants it, and
//! then it sleeps on the board's futex, which a sender wakes when it sees the flag.

pub(crate) mod command;
mod egress;
pub(crate) mod envelope;
mod keeper;
pub(crate) mod kernel_queue;
mod lanes;
mod life;
mod member;
mod meminfo;
pub(crate) mod network;
mod waker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use libexo::engine::params::Params;
use libexo::engine::ring::Ring;
use libexo::engine::{Engine, Event};
use libexo::ids::{HostId, SessionId};
use libexo::shm::board::{Board, Counter};
use libexo::shm::log::LogWriter;
use libexo::shm::submit_ring::SubmitDrain;
use libexo::sync::{Ordering, fence};
use libexo::time::Time;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::clock;
use crate::mapped::Mapped;
use command::{Command, EngineHandle, LaneUsage, Notice, Usage};
use egress::Groups;
use lanes::{Drained, Lane, RECHECK};
use member::Links;
use network::Host;
use waker::Waker;

/// Longest sleep: a lost wake-up would cost no more than this.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Passes that empty any lane: 64 MiB in batches of 128 KiB.
const DRAINS_MAX: u32 = 512;
/// How long to look without giving the core away: what giving it away and back costs. Between hosts a
/// look is a system call, so it is time that counts and not looks.
const LOOK: Duration = Duration::from_micros(2);

/// A running engine thread.
#[derive(Debug)]
pub(crate) struct EngineThread {
    thread: Option<JoinHandle<()>>,
    handle: EngineHandle,
}

impl EngineThread {
    /// Starts the thread. `tell` wakes the control thread after a notice was queued.
    pub(crate) fn start(
        handle: EngineHandle,
        board: Mapped<Board>,
        spin: Duration,
        host: Option<Host>,
        tell: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (engine, links) = match host {
            None => (Ring::alone(HostId(0), Params::default()), None),
            Some(host) => {
                let (engine, links) = Links::new(host, Waker::start(board.clone())?)?;
                board.set_refuses(links.listens);
                (engine, Some(links))
            }
        };
        let (commands, notices) = (handle.commands(), Arc::clone(&handle.notices));
        let (born, birth) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("exo-engine".to_owned())
            .spawn(move || {
                let announced = life::announce(&board);
                let is_alive = announced.is_ok();
                answer(&born, announced);
                if !is_alive {
                    return;
                }
                let groups = Groups::new(board.clone());
                let mut state = State {
                    engine,
                    links,
                    groups,
                    lanes: Vec::new(),
                    first_lane: 0,
                    board,
                    spin,
                    rest: Rest::default(),
                    commands,
                    notices,
                    tell,
                };
                state.run();
            })?;
        // From now on whoever attaches sees that there is an engine thread.
        birth.recv().unwrap_or(Err(Errno::CANCELED))?;
        Ok(Self {
            thread: Some(thread),
            handle,
        })
    }

    /// Stops the thread after what was submitted has been delivered.
    pub(crate) fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.send(Command::Stop);
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

struct State<Tell> {
    engine: Ring,
    /// `None` in a ring of one.
    links: Option<Links>,
    groups: Groups,
    lanes: Vec<Lane>,
    /// Where the next pass begins, so that no lane is always first.
    first_lane: usize,
    board: Mapped<Board>,
    spin: Duration,
    rest: Rest,
    commands: Arc<ArrayQueue<Command>>,
    notices: Arc<ArrayQueue<Notice>>,
    tell: Tell,
}

/// How long to look on before sleeping: what recent gaps between arrivals suggest.
#[derive(Debug, Default)]
struct Rest {
    /// Smoothed gap, in nanoseconds.
    gap_ns: u64,
    idle_since: Option<Time>,
}

impl Rest {
    /// Work came: the gap is over.
    fn end(&mut self, now: Time) {
        if let Some(since) = self.idle_since.take() {
            let gap = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
            // A gain of 1/8, and no gap counts for more than ten times the bound that matters.
            let gap = gap.min(10_000_000);
            self.gap_ns = self.gap_ns - self.gap_ns / 8 + gap / 8;
        }
    }

    /// Whether looking on is likely to see the next arrival before a sleep would.
    fn looks_on(&mut self, now: Time, spin: Duration) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        let likely = Duration::from_nanos(self.gap_ns.saturating_mul(4));
        // With long gaps spinning only burns: a short look, then sleep.
        let bound = if likely > spin * 4 { spin / 8 } else { spin };
        now.since(since) < bound
    }
}

impl<Tell: Fn()> State<Tell> {
    fn run(&mut self) {
        let mut looks_since = None;
        loop {
            if self.obey() {
                return;
            }
            let now = clock::now();
            let heard = self.hear(now);
            let taken = heard + self.drain(now);
            let waits = self.groups.deliver_into_sockets() | self.groups.is_starving();
            self.pass_on_notices();
            if taken > 0 {
                self.rest.end(now);
                looks_since = None;
                continue;
            }
            if now.since(*looks_since.get_or_insert(now)) < LOOK {
                core::hint::spin_loop();
            } else if self.never_sleeps() || !waits && self.rest.looks_on(now, self.spin) {
                rustix::thread::sched_yield();
            } else {
                let waits = waits || self.holds_back();
                self.sleep(if waits { RECHECK } else { SLEEP_MAX });
                looks_since = None;
            }
        }
    }

    /// One pass over all lanes. Returns how many records were taken.
    fn drain(&mut self, now: Time) -> u64 {
        let count = self.lanes.len();
        if count == 0 || self.is_engine_full() {
            self.exchange(now);
            return 0;
        }
        self.first_lane = (self.first_lane + 1) % count;
        let mut total = 0;
        let mut timed = false;
        let mut corrupt = None;
        for step in 0..count {
            let index = (self.first_lane + step) % count;
            let lane = &mut self.lanes[index];
            match lane.drain_into(now, index, &mut self.engine, &mut self.groups) {
                Ok(Drained::Taken(0)) => {}
                Ok(Drained::Taken(taken)) => total += u64::from(taken),
                Ok(Drained::Full(taken)) => {
                    total += u64::from(taken);
                    if let Some(links) = &mut self.links {
                        links.is_full = true;
                    }
                }
                Ok(Drained::Blocked(taken, group)) => {
                    total += u64::from(taken);
                    self.board.count(Counter::BackPressure, 1);
                    self.groups.starve(group, now);
                }
                Err(why) => {
                    // What was taken before stays ordered; nothing after it is looked at.
                    lane.end();
                    let session = lane.session;
                    corrupt = Some(session);
                    self.groups.notices.push(Notice::LaneCorrupt {
                        session,
                        why: why.to_string(),
                    });
                }
            }
            if self.links.is_none() {
                if !timed && total > 0 {
                    self.groups.set_time(clock::wall());
                    timed = true;
                }
                self.deliver();
            }
            if corrupt.is_some() {
                break;
            }
        }
        if let Some(links) = &mut self.links {
            links.note_submitted(total);
        }
        self.exchange(now);
        if let Some(session) = corrupt {
            self.lanes.retain(|lane| lane.session != session);
        }
        if self.lanes.iter().any(|lane| lane.closing) {
            self.drop_closed_lanes();
        }
        total
    }

    /// Everything that the engine has to deliver goes into the logs.
    fn deliver(&mut self) {
        let mut bytes = 0;
        let mut count = 0;
        while let Some(delivery) = self.engine.poll_deliver() {
            let index = usize::try_from(delivery.origin >> 32).expect("an index of a lane");
            let origin = self.lanes[index].origin(delivery.origin & 0xffff_ffff);
            bytes += delivery.bytes.len() as u64;
            count += 1;
            self.groups
                .append(delivery.group, delivery.seq, origin, delivery.bytes);
        }
        if count > 0 {
            self.board.count(Counter::Ordered, count);
            self.board.count(Counter::OrderedBytes, bytes);
        }
        self.groups.settle_reservations();
        self.groups.publish();
        while let Some(event) = self.engine.poll_event() {
            assert!(
                matches!(event, Event::View(_)),
                "a ring of one is its own majority"
            );
        }
        // No assertion of the engine is ever broken silently.
        debug_assert_eq!(self.engine.check(), Ok(()));
    }

    /// Does what the control thread asked. Returns whether to stop.
    fn obey(&mut self) -> bool {
        while let Some(command) = self.commands.pop() {
            match command {
                Command::AddGroup {
                    id,
                    address,
                    header,
                    area,
                    slow,
                } => {
                    if let Some(links) = &mut self.links {
                        links.labels.add(id, address);
                    }
                    self.groups.add(id, LogWriter::new(header, area), slow);
                }
                Command::SetSlow { id, slow } => self.groups.set_slow(id, slow),
                Command::AddLane {
                    session,
                    header,
                    area,
                } => {
                    self.lanes
                        .push(Lane::new(session, SubmitDrain::new(header, area)));
                }
                Command::EndLane { session, done } => {
                    self.end_lane(session);
                    answer(&done, ());
                }
                Command::Grant {
                    session,
                    group,
                    origin,
                    done,
                } => {
                    let lane = self.lanes.iter_mut().find(|lane| lane.session == session);
                    let labels = self.links.as_ref().map(|links| &links.labels);
                    answer(
                        &done,
                        lane.and_then(|lane| lane.grant(group, origin, labels)),
                    );
                }
                Command::Join { .. } | Command::Leave { .. } => {
                    self.drain_all();
                    self.after_own(command);
                }
                Command::Forget { socket } => self.groups.forget(socket),
                Command::Ring { socket, done } => {
                    self.groups.ring_now(socket);
                    answer(&done, ());
                }
                Command::WaitRoom { session, answer } => {
                    // Without the lane the connection closes, which wakes the sender, too.
                    if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.session == session) {
                        lane.wait(answer);
                        if self.board.refuses() {
                            lane.give_up_waiting();
                        }
                    }
                }
                Command::Deliver {
                    socket,
                    queue,
                    done,
                } => {
                    self.groups.deliver_by_kernel(socket, &queue);
                    answer(&done, ());
                }
                Command::Ping { asked } => self.ping(asked),
                Command::Form { members, done } => {
                    let formed = self.engine.form(clock::now(), &members);
                    answer(&done, formed.map_err(|error| error.to_string()));
                }
                Command::ChangeKeys { keys, done } => {
                    self.engine.change_keys(&keys);
                    answer(&done, ());
                }
                Command::Usage { done } => {
                    let usage = self.usage();
                    answer(&done, usage);
                }
                Command::Stop => {
                    self.drain_all();
                    self.leave_ring();
                    for lane in &self.lanes {
                        lane.end();
                    }
                    self.board.engine_thread.store(0, Ordering::Release); // pairs with `is_over`
                    return true;
                }
            }
        }
        false
    }

    /// Begins or ends a membership.
    fn change_members(&mut self, command: Command) {
        match command {
            Command::Join {
                group,
                reader,
                done,
            } => {
                self.groups.join(group, reader);
                answer(&done, ());
            }
            Command::Leave {
                group,
                socket,
                slot,
                done,
            } => {
                self.groups.leave(group, socket, slot);
                answer(&done, ());
            }
            other => unreachable!("{other:?} changes no membership"),
        }
    }

    /// A join or leave comes after what its process submitted before it asked.
    fn drain_all(&mut self) {
        // A lane holds a bounded number of batches; one that waits for room gives none.
        for _ in 0..DRAINS_MAX {
            if self.drain(clock::now()) == 0 {
                return;
            }
        }
    }

    /// The session has ended. What it had published is still ordered; then the lane goes.
    fn end_lane(&mut self, session: SessionId) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.session == session) {
            lane.closing = true;
        }
        self.drop_closed_lanes();
    }

    fn drop_closed_lanes(&mut self) {
        self.lanes.retain(|lane| {
            let is_over = lane.closing && lane.drain.pending_bytes().map_or(true, |left| left == 0);
            if is_over {
                lane.end();
            }
            !is_over
        });
    }

    fn usage(&mut self) -> Usage {
        let lanes = self
            .lanes
            .iter()
            .map(|lane| LaneUsage {
                session: lane.session,
                submitted: lane.submitted,
                capacity_bytes: lane.drain.capacity_bytes(),
                used_bytes: lane.drain.pending_bytes().unwrap_or(0),
            })
            .collect();
        Usage {
            groups: self.groups.usage(),
            lanes,
            ring: self.ring_usage(),
        }
    }

    fn pass_on_notices(&mut self) {
        if self.groups.notices.is_empty() {
            return;
        }
        for notice in self.groups.notices.drain(..) {
            // The queue is full only when the control thread is stuck; a notice repeats while its
            // cause lasts, so losing one loses nothing.
            let _ = self.notices.push(notice);
        }
        (self.tell)();
    }

    fn sleep(&self, at_most: Duration) {
        let word = &self.board.engine_asleep;
        word.store(1, Ordering::SeqCst);
        // Pairs with the SeqCst publication in `Submitter::submit` and the fence in
        // `EngineHandle::wake`: either they see that we sleep, or we see what they left.
        fence(Ordering::SeqCst);
        let is_full = self.is_engine_full();
        let has_work = !self.commands.is_empty()
            || self.lanes.iter().any(|lane| {
                lane.drain
                    .pending_bytes()
                    .map_or(true, |pending| pending > 0)
                    && !self.groups.is_starving()
                    && !is_full
            });
        if has_work {
            // Look again.
        } else if let Some(links) = &self.links {
            self.board.count(Counter::EngineSleeps, 1);
            links.sleep(&self.engine, at_most);
        } else {
            self.board.count(Counter::EngineSleeps, 1);
            let timeout = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(at_most.subsec_nanos()),
            };
            // Woken, timed out, or the word changed already: all of them mean to look again.
            let _ = futex::wait(word, futex::Flags::empty(), 1, Some(&timeout));
        }
        word.store(0, Ordering::SeqCst);
    }
}

/// Answers the control thread, which may have given up waiting.
fn answer<T>(done: &std::sync::mpsc::SyncSender<T>, value: T) {
    let _ = done.try_send(value);
}
