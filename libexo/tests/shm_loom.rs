//! Every interleaving of small rings, logs, doorbells and boards.
//!
//! Runs the code of `libexo::shm` itself under loom: `make loom`. The kernel's receive queue of a
//! doorbell is a counter under a lock, and sleeping is waiting on a condition of it, so a lost
//! wake-up shows as a deadlock. Where a rule of the protocol could be forgotten, a copy of the
//! protocol without that rule runs too (`…_fails`), and loom must find the failure.
//!
//! Two limits of the tool. A sequentially consistent access counts only as acquire and release
//! here, so what relies on the order of such accesses alone is written with fences. And where the
//! text says `bounded`, a thread is taken off its core at most that often without having waited.

#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libexo::ids::{GrantId, GroupId, Seq};
use libexo::shm::area::Area;
use libexo::shm::board::{Board, MarkedGroup};
use libexo::shm::doorbell::{Doorbell, STICKY, Sleepers, Take};
use libexo::shm::log::{
    Cursor, LogHeader, LogReader, LogWriter, Look, Origin, RecordHead, raise_floor,
};
use libexo::shm::submit_ring::{Full, LaneHeader, SubmitDrain, Submitter};
use libexo::sync::{AtomicU32, AtomicU64, Ordering, fence};
use libexo::time::Timestamp;
use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::thread;

/// Explores with at most `preemptions` involuntary changes of the running thread.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A model that must fail: the protocol without one of its rules.
fn must_fail(preemptions: usize, what: &str, model: impl Fn() + Sync + Send + 'static) {
    let found = catch_unwind(AssertUnwindSafe(|| bounded(preemptions, model)));
    assert!(
        found.is_err(),
        "without {what} nothing went wrong, so this model shows nothing"
    );
}

// ---- lane -------------------------------------------------------------------------------------

type Lane = (Submitter<Arc<LaneHeader>>, SubmitDrain<Arc<LaneHeader>>);

fn lane(capacity: u64) -> Lane {
    let header = Arc::new(LaneHeader::for_model());
    let area = Area::new(capacity);
    (
        Submitter::new(Arc::clone(&header), area.share()),
        SubmitDrain::new(header, area),
    )
}

fn submit(lane: &Submitter<Arc<LaneHeader>>, value: u64) -> Result<(), Full> {
    lane.submit(GrantId(7), 8, |area, position| {
        area.write(position, &value.to_le_bytes())
    })
}

/// Takes everything that is there; each record must be whole.
fn drain(lane: &mut SubmitDrain<Arc<LaneHeader>>, into: &mut Vec<u64>) {
    if !lane.fetch().expect("a correct producer") {
        return;
    }
    while let Some(record) = lane.peek().expect("a correct producer") {
        assert_eq!(record.grant, GrantId(7));
        into.push(u64::from_le_bytes(record.bytes.try_into().expect("whole")));
        let record_bytes = record.record_bytes();
        lane.take(record_bytes);
    }
    lane.release();
}

#[test]
fn lane_hands_over_every_record_once_around_its_end() {
    bounded(3, || {
        // Two records fill it: the third waits for room and wraps around.
        let (producer, mut consumer) = lane(32);
        let submitting = thread::spawn(move || {
            for value in 1..=4 {
                while submit(&producer, value) == Err(Full) {
                    thread::yield_now();
                }
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 4 {
            drain(&mut consumer, &mut taken);
            thread::yield_now();
        }
        submitting.join().expect("no panic");
        assert_eq!(taken, [1, 2, 3, 4]);
    });
}

#[test]
fn full_lane_refuses_and_keeps_what_it_holds() {
    loom::model(|| {
        let (producer, mut consumer) = lane(32);
        submit(&producer, 1).expect("empty");
        submit(&producer, 2).expect("half full");
        let submitting = thread::spawn(move || submit(&producer, 3).is_ok());
        let mut taken = Vec::new();
        drain(&mut consumer, &mut taken);
        let third = submitting.join().expect("no panic");
        drain(&mut consumer, &mut taken);
        let wanted: &[u64] = if third { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(taken, wanted);
    });
}

#[test]
fn handler_that_submits_inside_a_submission_loses_nothing() {
    bounded(3, || {
        let (producer, mut consumer) = lane(64);
        let submitting = thread::spawn(move || {
            let mut interrupted = false;
            producer
                .submit(GrantId(7), 8, |area, position| {
                    if !interrupted {
                        interrupted = true;
                        // Half written, then a signal handler of the same thread.
                        area.write(position, &u64::MAX.to_le_bytes());
                        submit(&producer, 1).expect("room");
                    }
                    area.write(position, &2_u64.to_le_bytes());
                })
                .expect("room");
        });
        let mut taken = Vec::new();
        drain(&mut consumer, &mut taken);
        submitting.join().expect("no panic");
        drain(&mut consumer, &mut taken);
        assert_eq!(taken, [1, 2]);
    });
}

// ---- log --------------------------------------------------------------------------------------

/// One log record of these models: 32 bytes of head and one word.
const RECORD: u64 = 40;

struct Place {
    next: AtomicU64,
    floor: AtomicU64,
    end: AtomicU64,
}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            end: AtomicU64::new(u64::MAX),
        })
    }

    fn cursor(&self) -> Cursor<'_> {
        Cursor {
            next: &self.next,
            floor: &self.floor,
            end: &self.end,
        }
    }
}

type Writer = LogWriter<Arc<LogHeader>>;
type Reader = LogReader<Arc<LogHeader>>;

fn log(capacity: u64) -> (Writer, Reader, Reader) {
    let header = Arc::new(LogHeader::for_model());
    let area = Area::new(capacity);
    (
        LogWriter::new(Arc::clone(&header), area.share()),
        LogReader::new(Arc::clone(&header), area.share()),
        LogReader::new(header, area),
    )
}

fn append(writer: &mut Writer, seq: u64) {
    let source = "10.0.0.1:9".parse().expect("an address");
    let origin = Origin {
        source,
        ttl: 1,
        tos: 0,
        no_loop: None,
    };
    writer.append(Seq(seq), Timestamp(seq), &origin, &(seq * 3).to_le_bytes());
}

/// Head and payload of what a reader took; asserts that they are of one record.
fn take(reader: &Reader, place: &Place) -> Option<u64> {
    loop {
        let Look::Found(position, record) = reader.look(place.cursor()) else {
            return None;
        };
        let head: RecordHead = record.head;
        let mut payload = [0; 8];
        record.read(&mut payload);
        if reader.advance(place.cursor(), position, &head) {
            let payload = u64::from_le_bytes(payload);
            assert_eq!(
                (head.len, head.time.0),
                (8, head.seq.0),
                "a torn head was accepted"
            );
            assert_eq!(payload, head.seq.0 * 3, "a torn payload was accepted");
            return Some(head.seq.0);
        }
    }
}

#[test]
fn log_is_read_in_order_around_its_end() {
    bounded(3, || {
        // 64 bytes hold one record: each reuses bytes of the one before.
        let (mut writer, reader, _) = log(64);
        let place = Place::new();
        let theirs = Arc::clone(&place);
        let writing = thread::spawn(move || {
            for seq in 1..=3 {
                while !writer.has_room(theirs.next.load(Ordering::Acquire), 8)
                    && writer.tail() + RECORD - theirs.next.load(Ordering::Acquire) > 64
                {
                    thread::yield_now();
                }
                append(&mut writer, seq);
                writer.publish();
            }
        });
        let mut seqs = Vec::new();
        while seqs.len() < 3 {
            match take(&reader, &place) {
                Some(seq) => seqs.push(seq),
                None => thread::yield_now(),
            }
        }
        writing.join().expect("no panic");
        assert_eq!(seqs, [1, 2, 3]);
    });
}

#[test]
fn sharers_of_a_cursor_receive_each_record_once() {
    bounded(2, || {
        let (mut writer, mine, theirs) = log(128);
        let place = Place::new();
        let shared = Arc::clone(&place);
        append(&mut writer, 1);
        writer.publish();
        let other = thread::spawn(move || {
            let mut seqs = Vec::new();
            while let Some(seq) = take(&theirs, &shared) {
                seqs.push(seq);
            }
            seqs
        });
        append(&mut writer, 2);
        writer.publish();
        let mut seqs = Vec::new();
        while let Some(seq) = take(&mine, &place) {
            seqs.push(seq);
        }
        let more = other.join().expect("no panic");
        assert!(
            seqs.is_sorted() && more.is_sorted(),
            "each sees the order: {seqs:?} {more:?}"
        );
        seqs.extend(more);
        seqs.sort_unstable();
        assert_eq!(seqs, [1, 2]);
    });
}

/// The monitor takes record 1 away from a reader that is just copying it, and writes over it.
fn gap_under_a_reader(fenced: bool) {
    let (mut writer, reader, _) = log(64);
    let place = Place::new();
    append(&mut writer, 1);
    writer.publish();
    let theirs = Arc::clone(&place);
    let writing = thread::spawn(move || {
        if fenced {
            raise_floor(&theirs.floor, RECORD);
        } else {
            theirs.floor.store(RECORD, Ordering::Relaxed);
        }
        append(&mut writer, 2);
        writer.publish();
    });
    let first = take(&reader, &place);
    writing.join().expect("no panic");
    let last = if first == Some(2) {
        None
    } else {
        take(&reader, &place)
    };
    let seqs: Vec<_> = first.into_iter().chain(last).collect();
    assert!(seqs == [1, 2] || seqs == [2], "{seqs:?}");
}

#[test]
fn record_below_a_raised_floor_is_never_accepted_torn() {
    bounded(2, || gap_under_a_reader(true));
}

#[test]
fn record_below_a_floor_raised_without_fence_fails() {
    must_fail(2, "the fence of raise_floor", || gap_under_a_reader(false));
}

// ---- doorbell ---------------------------------------------------------------------------------

/// A socket as its readers and the monitor see it: how much was published and taken, the three
/// words of the doorbell, and the kernel's queue: doorbell bytes, and perhaps a relayed datagram
/// in front of them.
struct Socket {
    tail: AtomicU64,
    next: AtomicU64,
    token: AtomicU32,
    interest: AtomicU32,
    extra: AtomicU32,
    queue: Mutex<Queue>,
    filled: Condvar,
}

struct Queue {
    bytes: u32,
    mail_in_front: bool,
}

/// Which rule a model leaves out.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Without {
    Nothing,
    /// Readers do not look again after `begin_sleep`.
    SecondLook,
    /// Readers do not look again after the token was cleared.
    LookInSettle,
    /// Nobody announces a sleep.
    Interest,
}

impl Socket {
    fn new(interest: u32) -> Arc<Self> {
        Arc::new(Self {
            tail: AtomicU64::new(0),
            next: AtomicU64::new(0),
            token: AtomicU32::new(0),
            interest: AtomicU32::new(interest),
            extra: AtomicU32::new(0),
            queue: Mutex::new(Queue {
                bytes: 0,
                mail_in_front: false,
            }),
            filled: Condvar::new(),
        })
    }

    fn bell(&self) -> Doorbell<'_> {
        Doorbell {
            token: &self.token,
            interest: &self.interest,
            extra: &self.extra,
        }
    }

    fn publish(&self, tail: u64, each_edge: bool) {
        self.tail.store(tail, Ordering::Release);
        for _ in 0..self.bell().bytes_to_ring(1, each_edge) {
            self.send_byte();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("not poisoned")
    }

    fn send_byte(&self) {
        self.queue().bytes += 1;
        self.filled.notify_all();
    }

    fn is_empty(&self) -> bool {
        self.next.load(Ordering::Acquire) >= self.tail.load(Ordering::Acquire)
    }

    fn take_byte(&self) -> Take {
        let mut queue = self.queue();
        if queue.mail_in_front {
            return Take::Behind;
        }
        if queue.bytes == 0 {
            return Take::Nothing;
        }
        queue.bytes -= 1;
        Take::Byte
    }

    /// As `GroupSocket::remove_stray`, with the monitor's answer to `Request::Ring`.
    fn remove_stray(&self, asks_to_ring: bool) {
        self.settle(Without::Nothing);
        let has_byte = {
            let queue = self.queue();
            queue.bytes > 0 && !queue.mail_in_front
        };
        if has_byte
            && self.bell().remove_stray(|| self.take_byte())
            && asks_to_ring
            && !self.is_empty()
            && self.bell().claim()
        {
            self.send_byte();
        }
    }

    /// As `GroupSocket::receive`.
    fn receive(&self, without: Without) -> Option<u64> {
        loop {
            let next = self.next.load(Ordering::Acquire);
            if next >= self.tail.load(Ordering::Acquire) {
                self.settle(without);
                if self.is_empty() {
                    return None;
                }
                continue;
            }
            let taken =
                self.next
                    .compare_exchange(next, next + 1, Ordering::SeqCst, Ordering::Relaxed);
            if taken.is_ok() {
                if self.token.load(Ordering::Relaxed) != 0 && self.is_empty() {
                    self.settle(without);
                }
                return Some(next);
            }
        }
    }

    fn settle(&self, without: Without) {
        let seems_empty = || without == Without::LookInSettle || self.is_empty();
        let _ = self.bell().settle(seems_empty, || self.take_byte());
    }

    /// As the shim's blocking `recv`: sleeps in the kernel until there is a byte.
    fn receive_waiting(&self, without: Without) -> u64 {
        loop {
            if let Some(taken) = self.receive(without) {
                return taken;
            }
            if without != Without::Interest {
                self.bell().begin_sleep();
            }
            if without == Without::SecondLook || self.is_empty() {
                let mut queue = self.queue();
                while queue.bytes == 0 {
                    queue = self.filled.wait(queue).expect("not poisoned");
                }
            }
            if without != Without::Interest {
                self.bell().end_sleep();
            }
            // Another reader may be about to take the byte that woke us.
            thread::yield_now();
        }
    }

    /// What somebody who waits in the kernel must see once all is quiet: with something to
    /// receive the socket is readable; without, it is not, at the latest after the next attempt.
    fn assert_readiness_is_true(&self) {
        let bytes = || self.queue().bytes;
        if self.is_empty() {
            assert_eq!(self.receive(Without::Nothing), None);
            assert_eq!(bytes(), 0, "readable for ever");
        } else {
            assert!(bytes() > 0, "nobody would be told");
        }
    }
}

fn one_sleeper(count: u64, without: Without) {
    let socket = Socket::new(0);
    let monitor = Arc::clone(&socket);
    let publishing = thread::spawn(move || {
        for tail in 1..=count {
            monitor.publish(tail, false);
        }
    });
    for wanted in 0..count {
        assert_eq!(socket.receive_waiting(without), wanted);
    }
    publishing.join().expect("no panic");
}

#[test]
fn sleeper_is_woken_for_every_message() {
    bounded(3, || one_sleeper(2, Without::Nothing));
}

#[test]
fn sleeping_without_a_second_look_fails() {
    must_fail(3, "the look after begin_sleep", || {
        one_sleeper(2, Without::SecondLook)
    });
}

#[test]
fn sleeping_unannounced_fails() {
    must_fail(3, "begin_sleep", || one_sleeper(1, Without::Interest));
}

#[test]
fn two_sleepers_share_what_comes() {
    bounded(2, || {
        let socket = Socket::new(0);
        let (monitor, other) = (Arc::clone(&socket), Arc::clone(&socket));
        let publishing = thread::spawn(move || {
            monitor.publish(1, false);
            monitor.publish(2, false);
        });
        let sleeping = thread::spawn(move || other.receive_waiting(Without::Nothing));
        let mine = socket.receive_waiting(Without::Nothing);
        let theirs = sleeping.join().expect("no panic");
        publishing.join().expect("no panic");
        assert_eq!(mine + theirs, 1, "one took 0 and one took 1");
    });
}

fn looked_at_from_outside(readers: usize, each_edge: bool, without: Without) {
    let socket = Socket::new(STICKY);
    let monitor = Arc::clone(&socket);
    let publishing = thread::spawn(move || {
        monitor.publish(1, each_edge);
        monitor.publish(2, each_edge);
    });
    let others: Vec<_> = (1..readers)
        .map(|_| {
            let other = Arc::clone(&socket);
            thread::spawn(move || other.receive(without))
        })
        .collect();
    socket.receive(without);
    publishing.join().expect("no panic");
    for other in others {
        other.join().expect("no panic");
    }
    socket.assert_readiness_is_true();
}

#[test]
fn readiness_in_the_kernel_is_true_once_all_is_quiet() {
    bounded(3, || looked_at_from_outside(1, false, Without::Nothing));
}

#[test]
fn readiness_in_the_kernel_is_true_with_two_readers() {
    bounded(2, || looked_at_from_outside(2, false, Without::Nothing));
}

#[test]
fn readiness_in_the_kernel_is_true_with_a_byte_for_each_edge() {
    bounded(3, || looked_at_from_outside(1, true, Without::Nothing));
}

#[test]
fn settling_without_a_second_look_fails() {
    must_fail(3, "the look in settle", || {
        looked_at_from_outside(1, false, Without::LookInSettle);
    });
}

#[test]
fn socket_that_becomes_looked_at_is_rung_for_what_it_holds() {
    // As at EPOLL_CTL_ADD: sticky first, then the monitor is asked to put the doorbell right.
    bounded(3, || {
        let socket = Socket::new(0);
        let monitor = Arc::clone(&socket);
        let asked = Arc::new(AtomicU32::new(0));
        let asking = Arc::clone(&asked);
        let engine = thread::spawn(move || {
            monitor.publish(1, false);
            while asking.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            if !monitor.is_empty() && monitor.bell().claim() {
                monitor.send_byte();
            }
        });
        socket.bell().make_sticky();
        asked.store(1, Ordering::Release);
        engine.join().expect("no panic");
        socket.assert_readiness_is_true();
    });
}

#[test]
fn byte_of_a_ringer_that_was_stopped_does_not_stay() {
    bounded(2, || {
        let socket = Socket::new(STICKY);
        let monitor = Arc::clone(&socket);
        let gone_on = Arc::new(AtomicU32::new(0));
        let may_go_on = Arc::clone(&gone_on);
        let publishing = thread::spawn(move || {
            monitor.tail.store(1, Ordering::Release);
            let bytes = monitor.bell().bytes_to_ring(1, false);
            while may_go_on.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            (0..bytes).for_each(|_| monitor.send_byte());
        });
        // Gives the byte up if the token was claimed, which only then is not sent yet.
        socket.receive(Without::Nothing);
        gone_on.store(1, Ordering::Release);
        socket.receive(Without::Nothing);
        publishing.join().expect("no panic");
        socket.remove_stray(true);
        socket.assert_readiness_is_true();
    });
}

/// A receiver was killed between taking the token back and taking the byte out. Two others
/// receive, one of which looks for strays, while more comes.
fn stray_from_the_killed(asks_to_ring: bool) {
    let socket = Socket::new(STICKY);
    socket.send_byte();
    let (monitor, other) = (Arc::clone(&socket), Arc::clone(&socket));
    let publishing = thread::spawn(move || monitor.publish(1, false));
    let receiving = thread::spawn(move || other.receive(Without::Nothing));
    socket.remove_stray(asks_to_ring);
    publishing.join().expect("no panic");
    receiving.join().expect("no panic");
    if socket.is_empty() {
        socket.remove_stray(asks_to_ring); // as some later receive that finds nothing
    }
    socket.assert_readiness_is_true();
}

#[test]
fn byte_left_by_a_killed_receiver_does_not_stay() {
    bounded(3, || stray_from_the_killed(true));
}

#[test]
fn removing_a_stray_byte_without_asking_to_ring_fails() {
    must_fail(3, "the look after remove_stray", || {
        stray_from_the_killed(false);
    });
}

#[test]
fn bytes_behind_a_relayed_datagram_keep_their_token() {
    bounded(3, || {
        let socket = Socket::new(STICKY);
        socket.queue().mail_in_front = true;
        let monitor = Arc::clone(&socket);
        let publishing = thread::spawn(move || {
            monitor.publish(1, true);
            monitor.publish(2, true);
        });
        socket.receive(Without::Nothing);
        socket.receive(Without::Nothing);
        socket.queue().mail_in_front = false; // received
        publishing.join().expect("no panic");
        socket.assert_readiness_is_true();
    });
}

// ---- sleeping receivers -----------------------------------------------------------------------

/// A socket's threads that sleep in a blocking receive. The lock is the kernel's of the futex.
struct Bedroom {
    tail: AtomicU64,
    next: AtomicU64,
    count: AtomicU32,
    wakes: AtomicU32,
    /// Wake-ups that the kernel has given out and nobody has used yet.
    given: Mutex<u32>,
    woken: Condvar,
}

impl Bedroom {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tail: AtomicU64::new(0),
            next: AtomicU64::new(0),
            count: AtomicU32::new(0),
            wakes: AtomicU32::new(0),
            given: Mutex::new(0),
            woken: Condvar::new(),
        })
    }

    fn sleepers(&self) -> Sleepers<'_> {
        Sleepers {
            count: &self.count,
            wakes: &self.wakes,
        }
    }

    /// As the monitor: publishes up to `tail`, and wakes for as many messages.
    fn publish(&self, tail: u64, messages: u32) {
        self.tail.store(tail, Ordering::Release);
        let count = self.sleepers().count_to_wake(messages);
        if count > 0 {
            *self.given.lock().expect("not poisoned") += count;
            self.woken.notify_all();
        }
    }

    fn take(&self) -> Option<u64> {
        loop {
            let next = self.next.load(Ordering::Acquire);
            if next >= self.tail.load(Ordering::Acquire) {
                return None;
            }
            if self
                .next
                .compare_exchange(next, next + 1, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return Some(next);
            }
        }
    }

    fn take_waiting(&self, looks_again: bool) -> u64 {
        loop {
            if let Some(taken) = self.take() {
                return taken;
            }
            let seen = self.sleepers().announce();
            let is_empty =
                || self.next.load(Ordering::Acquire) >= self.tail.load(Ordering::Acquire);
            if !looks_again || is_empty() {
                // futex(2): compares and falls asleep as one step.
                let mut given = self.given.lock().expect("not poisoned");
                while self.wakes.load(Ordering::SeqCst) == seen && *given == 0 {
                    given = self.woken.wait(given).expect("not poisoned");
                }
                *given = given.saturating_sub(1);
            }
            self.sleepers().retract();
        }
    }
}

fn sleepers_take(readers: usize, batches: &'static [u32], looks_again: bool) {
    let room = Bedroom::new();
    let monitor = Arc::clone(&room);
    let publishing = thread::spawn(move || {
        let mut tail = 0;
        for messages in batches {
            tail += u64::from(*messages);
            monitor.publish(tail, *messages);
        }
    });
    let others: Vec<_> = (1..readers)
        .map(|_| {
            let other = Arc::clone(&room);
            thread::spawn(move || other.take_waiting(looks_again))
        })
        .collect();
    let mut taken = vec![room.take_waiting(looks_again)];
    publishing.join().expect("no panic");
    taken.extend(
        others
            .into_iter()
            .map(|other| other.join().expect("no panic")),
    );
    taken.sort_unstable();
    assert_eq!(taken, (0..readers as u64).collect::<Vec<_>>());
}

#[test]
fn sleeping_receiver_is_woken_for_a_message() {
    bounded(3, || sleepers_take(1, &[1], true));
}

#[test]
fn sleeping_receivers_are_woken_for_a_batch() {
    bounded(2, || sleepers_take(2, &[2], true));
}

#[test]
fn sleeping_receivers_are_woken_one_by_one() {
    bounded(2, || sleepers_take(2, &[1, 1], true));
}

#[test]
fn receiver_that_does_not_look_again_before_it_sleeps_fails() {
    must_fail(3, "the look after announce", || {
        sleepers_take(1, &[1], false)
    });
}

// ---- the engine's own sleep -------------------------------------------------------------------

/// `State::sleep` of the engine thread against `Session::submit`.
fn engine_sleeps(fenced: bool) {
    let (producer, mut consumer) = lane(64);
    let board = Arc::new(Board::for_model());
    let futex = Arc::new((Mutex::new(false), Condvar::new()));
    let (their_board, their_futex) = (Arc::clone(&board), Arc::clone(&futex));
    let sender = thread::spawn(move || {
        submit(&producer, 1).expect("room");
        if fenced {
            // In the program the two accesses are sequentially consistent, which orders them;
            // loom needs to be told by a fence.
            fence(Ordering::SeqCst);
        }
        if their_board.engine_asleep.load(Ordering::SeqCst) != 0 {
            *their_futex.0.lock().expect("not poisoned") = true;
            their_futex.1.notify_one();
        }
    });
    let mut taken = Vec::new();
    loop {
        drain(&mut consumer, &mut taken);
        if !taken.is_empty() {
            break;
        }
        board.engine_asleep.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if consumer.pending_bytes().expect("a correct producer") == 0 {
            let mut woken = futex.0.lock().expect("not poisoned");
            while !*woken {
                woken = futex.1.wait(woken).expect("not poisoned");
            }
        }
        board.engine_asleep.store(0, Ordering::SeqCst);
    }
    sender.join().expect("no panic");
    assert_eq!(taken, [1]);
}

#[test]
fn engine_never_sleeps_through_a_submission() {
    bounded(3, || engine_sleeps(true));
}

#[test]
fn engine_that_is_not_ordered_against_senders_fails() {
    must_fail(3, "the order of publication and look", || {
        engine_sleeps(false)
    });
}

// ---- board ------------------------------------------------------------------------------------

#[test]
fn marks_are_found_whole_while_they_change() {
    bounded(3, || {
        let group = |address: &str, id: u32| MarkedGroup {
            address: address.parse().expect("an address"),
            id: GroupId(id),
            log_bytes: u64::from(id) << 20,
        };
        let (old, new) = (group("239.0.0.1:1", 1), group("[ff15::2]:2", 2));
        let board = Arc::new(Board::for_model());
        board.set_marks(&[old]);
        let theirs = Arc::clone(&board);
        let writing = thread::spawn(move || theirs.set_marks(&[new]));
        let found = board.find(|_| true).expect("there is always one");
        assert!(found == old || found == new, "a mixture: {found:?}");
        writing.join().expect("no panic");
    });
}
