//! Deliveries into the logs, then one doorbell per batch; room, and what a slow reader costs.

use std::sync::Arc;
use std::time::Duration;

use libexo::client::pair::TOKEN_BYTE;
use libexo::client::socket::is_wanted_from;
use libexo::ids::{GroupId, Seq, SocketId};
use libexo::shm::align_record;
use libexo::shm::board::{Board, Counter};
use libexo::shm::log::{LogHeader, LogWriter, Origin, raise_floor};
use libexo::shm::socket_page::{EACH_EDGE, FILTERED, delivery, membership_state};
use libexo::sync::Ordering;
use libexo::time::{Time, Timestamp};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::command::{GroupUsage, NewReader, Notice, ReaderUsage};
use super::kernel_queue::KernelQueue;
use crate::config::{SlowMember, SlowPolicy};
use crate::mapped::Mapped;

/// Bytes of log that one datagram of `len` bytes may need.
const fn room(len: usize) -> u64 {
    align_record(56 + len as u64)
}

/// How long senders wait before somebody looks whether the slow reader still exists.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// Most datagrams sent into one kernel socket in one pass.
const KERNEL_BATCH: u32 = 64;

#[derive(Debug)]
struct Reader {
    new: NewReader,
    /// The cursor as last checked.
    seen: u64,
    /// What was published when the reader was last rung.
    rung: u64,
}

impl Reader {
    /// The cursor, loaded once and checked. `Err` with what was found.
    fn cursor(&mut self, tail: u64) -> Result<u64, u64> {
        let membership = &self.new.page.memberships[self.new.slot];
        let cursor = membership.cursor();
        let next = cursor.next.load(Ordering::Acquire); // pairs with `LogReader::advance`
        let floor = cursor.floor.load(Ordering::Relaxed);
        let next = next.max(floor.min(tail));
        if next < self.seen || next > tail {
            return Err(next);
        }
        self.seen = next;
        Ok(next)
    }

    fn ring(&self, bytes: u32, board: &Board) -> Result<(), Errno> {
        for _ in 0..bytes {
            board.count(Counter::Rings, 1);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            // A full queue has bytes enough; any other error is the socket owner's loss.
            if rustix::net::send(&*self.new.bell, &[TOKEN_BYTE], flags) == Err(Errno::CONNREFUSED) {
                return Err(Errno::CONNREFUSED);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Group {
    id: GroupId,
    writer: LogWriter<Mapped<LogHeader>>,
    readers: Vec<Reader>,
    slow: SlowMember,
    /// No reader is before this position.
    slowest: u64,
    /// Room promised to submissions that are not delivered yet.
    reserved: u64,
    /// Since when somebody waits for room here.
    starving_since: Option<Time>,
    told_starving: bool,
    waited: Duration,
    /// Records since the last publication, and whether one of them is not for every session.
    batch: u32,
    batch_is_mixed: bool,
    seq: Seq,
    messages: u64,
    gaps: u64,
    expelled: u64,
}

/// All groups of the monitor.
#[derive(Debug)]
pub(super) struct Groups {
    groups: Vec<Group>,
    dirty: Vec<usize>,
    pub(super) notices: Vec<Notice>,
    board: Mapped<Board>,
    time: Timestamp,
    last_seq: Seq,
}

const fn index_of(group: GroupId) -> usize {
    group.0 as usize - 1
}

impl Groups {
    pub(super) const fn new(board: Mapped<Board>) -> Self {
        Self {
            groups: Vec::new(),
            dirty: Vec::new(),
            notices: Vec::new(),
            board,
            time: Timestamp(0),
            last_seq: Seq(0),
        }
    }

    pub(super) fn add(
        &mut self,
        id: GroupId,
        writer: LogWriter<Mapped<LogHeader>>,
        slow: SlowMember,
    ) {
        assert_eq!(
            index_of(id),
            self.groups.len(),
            "the control thread numbers groups from 1"
        );
        self.groups.push(Group {
            id,
            writer,
            readers: Vec::new(),
            slow,
            slowest: 0,
            reserved: 0,
            starving_since: None,
            told_starving: false,
            waited: Duration::ZERO,
            batch: 0,
            batch_is_mixed: false,
            seq: Seq(0),
            messages: 0,
            gaps: 0,
            expelled: 0,
        });
    }

    pub(super) fn set_slow(&mut self, id: GroupId, slow: SlowMember) {
        self.groups[index_of(id)].slow = slow;
    }

    pub(super) const fn set_time(&mut self, time: Timestamp) {
        self.time = time;
    }

    /// Promises room for one datagram, if the slowest reader leaves it.
    #[inline]
    pub(super) fn reserve(&mut self, id: GroupId, len: usize) -> bool {
        let group = &mut self.groups[index_of(id)];
        let need = group.reserved + room(len);
        if group.writer.tail() + need - group.slowest > group.writer.capacity_bytes()
            && !group.find_room(need, &mut self.notices)
        {
            return false;
        }
        group.reserved = need;
        group.starving_since = None;
        true
    }

    /// Forgets what was promised and not used, after everything submitted was delivered.
    pub(super) fn settle_reservations(&mut self) {
        for group in &mut self.groups {
            group.reserved = 0;
        }
    }

    /// Appends one delivery to its group's log.
    #[inline]
    pub(super) fn append(&mut self, id: GroupId, seq: Seq, origin: &Origin, bytes: &[u8]) {
        let index = index_of(id);
        let group = &mut self.groups[index];
        group.writer.append(seq, self.time, origin, bytes);
        group.reserved = group.reserved.saturating_sub(room(bytes.len()));
        assert!(
            group.writer.tail() - group.slowest <= group.writer.capacity_bytes(),
            "room was reserved before the submission was taken"
        );
        if group.batch == 0 {
            self.dirty.push(index);
        }
        group.batch += 1;
        group.batch_is_mixed |= origin.no_loop.is_some();
        group.seq = seq;
        self.last_seq = seq;
        group.messages += 1;
    }

    /// This host missed messages that nobody keeps: every reader is told that something is gone.
    pub(super) fn tell_of_gap(&mut self) {
        for group in &mut self.groups {
            group.gaps += 1;
            for reader in &group.readers {
                let membership = &reader.new.page.memberships[reader.new.slot];
                membership.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.board.count(Counter::Gapped, 1);
    }

    /// Publishes all logs that changed and rings who may be asleep.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        for index in &self.dirty {
            self.groups[*index].writer.publish();
        }
        self.board.publish(self.last_seq);
        for index in self.dirty.drain(..) {
            let group = &mut self.groups[index];
            group.ring(&self.board, &mut self.notices);
            group.batch = 0;
            group.batch_is_mixed = false;
        }
    }

    pub(super) fn join(&mut self, id: GroupId, reader: NewReader) {
        let group = &mut self.groups[index_of(id)];
        let position = group.writer.tail();
        assert_eq!(
            position,
            group.writer.published(),
            "joins come between batches"
        );
        if group.readers.is_empty() {
            group.slowest = position;
        }
        let membership = &reader.page.memberships[reader.slot];
        membership.activate(
            id.0,
            reader.address,
            group.writer.capacity_bytes(),
            position,
        );
        reader.page.slots.fetch_max(
            u32::try_from(reader.slot + 1).expect("a small index"),
            Ordering::Release, // pairs with `SocketPage::slots`
        );
        group.readers.push(Reader {
            new: reader,
            seen: position,
            rung: position,
        });
    }

    pub(super) fn leave(&mut self, id: GroupId, socket: SocketId, slot: usize) {
        let group = &mut self.groups[index_of(id)];
        let tail = group.writer.published();
        for reader in &group.readers {
            if reader.new.socket == socket && reader.new.slot == slot {
                let membership = &reader.new.page.memberships[slot];
                membership.cursor().end.store(tail, Ordering::Release);
                membership
                    .state
                    .store(membership_state::LEFT, Ordering::Release);
            }
        }
        group.drop_finished();
    }

    pub(super) fn forget(&mut self, socket: SocketId) {
        for group in &mut self.groups {
            group.readers.retain(|reader| reader.new.socket != socket);
        }
    }

    /// Rings a socket that became looked at from outside, if it has something to receive.
    pub(super) fn ring_now(&mut self, socket: SocketId) {
        for group in &mut self.groups {
            let tail = group.writer.published();
            for reader in group.readers.iter_mut().filter(|r| r.new.socket == socket) {
                if reader.cursor(tail).is_ok_and(|next| next < tail)
                    && reader.new.page.doorbell().claim()
                {
                    // A refused byte means that the socket is gone, which the next sweep sees.
                    let _ = reader.ring(1, &self.board);
                    return;
                }
            }
        }
    }

    pub(super) fn deliver_by_kernel(&mut self, socket: SocketId, queue: &Arc<KernelQueue>) {
        for group in &mut self.groups {
            for reader in group.readers.iter_mut().filter(|r| r.new.socket == socket) {
                reader.new.queue = Some(Arc::clone(queue));
                reader
                    .new
                    .page
                    .delivery
                    .store(delivery::KERNEL, Ordering::SeqCst);
                reader.new.page.sleepers().wake_all();
            }
        }
    }

    /// Kernel delivery: sends what was ordered into the sockets that cannot read the log. Returns
    /// whether some socket has more to come than its queue holds.
    pub(super) fn deliver_into_sockets(&mut self) -> bool {
        let mut more = false;
        for group in &mut self.groups {
            let Group {
                readers, writer, ..
            } = group;
            for reader in readers.iter_mut() {
                let Some(queue) = reader.new.queue.clone() else {
                    continue;
                };
                more |= deliver_into(reader, writer, &queue, &self.board, &mut self.notices);
            }
        }
        more
    }

    /// A lane waits for room in `id`: starts, or goes on with, what is done about slow readers.
    pub(super) fn starve(&mut self, id: GroupId, now: Time) {
        let group = &mut self.groups[index_of(id)];
        let since = *group.starving_since.get_or_insert_with(|| {
            group.told_starving = false;
            now
        });
        let waited = now.since(since);
        group.waited = group.waited.max(waited);
        if waited >= LOOK_AFTER && !group.told_starving {
            group.told_starving = true;
            self.notices.push(Notice::Starving { group: id });
        }
        if waited < group.slow.wait {
            return;
        }
        match group.slow.policy {
            SlowPolicy::Throttle => {}
            SlowPolicy::Gap => group.gap_slow_readers(&self.board, &mut self.notices),
            SlowPolicy::Expel => group.expel_slow_readers(&self.board, &mut self.notices),
        }
    }

    /// Whether somebody waits for room.
    pub(super) fn is_starving(&self) -> bool {
        self.groups
            .iter()
            .any(|group| group.starving_since.is_some())
    }

    pub(super) fn usage(&mut self) -> Vec<GroupUsage> {
        self.groups.iter_mut().map(Group::usage).collect()
    }
}

impl Group {
    /// Looks at all cursors again. Whether `need` bytes are free then.
    #[cold]
    fn find_room(&mut self, need: u64, notices: &mut Vec<Notice>) -> bool {
        self.drop_finished();
        let tail = self.writer.tail();
        let mut slowest = tail;
        self.readers.retain_mut(|reader| match reader.cursor(tail) {
            Ok(next) => {
                slowest = slowest.min(next);
                true
            }
            Err(found) => {
                let why = format!("cursor {found} is not between {} and {tail}", reader.seen);
                notices.push(Notice::CursorCorrupt {
                    socket: reader.new.socket,
                    why,
                });
                false
            }
        });
        self.slowest = slowest;
        tail + need - slowest <= self.writer.capacity_bytes()
    }

    /// Memberships that were left and read to their end are over.
    fn drop_finished(&mut self) {
        self.readers.retain(|reader| {
            let membership = &reader.new.page.memberships[reader.new.slot];
            let cursor = membership.cursor();
            let is_over = membership.state.load(Ordering::Relaxed) == membership_state::LEFT
                && cursor.next.load(Ordering::Acquire) >= cursor.end.load(Ordering::Relaxed);
            if is_over {
                membership
                    .state
                    .store(membership_state::FREE, Ordering::Release);
            }
            !is_over
        });
    }

    /// Readers that have used up more than half of the log.
    fn is_slow(next: u64, tail: u64, capacity: u64) -> bool {
        tail - next > capacity / 2
    }

    fn gap_slow_readers(&mut self, board: &Board, notices: &mut Vec<Notice>) {
        let (tail, capacity) = (self.writer.tail(), self.writer.capacity_bytes());
        for reader in &mut self.readers {
            let Ok(next) = reader.cursor(tail) else {
                continue;
            };
            if !Self::is_slow(next, tail, capacity) {
                continue;
            }
            let mut position = next;
            let mut datagrams = 0;
            while Self::is_slow(position, tail, capacity) {
                position += self.writer.head_at(position).record_bytes();
                datagrams += 1;
            }
            let membership = &reader.new.page.memberships[reader.new.slot];
            raise_floor(membership.cursor().floor, position);
            membership.dropped.fetch_add(datagrams, Ordering::Relaxed);
            reader.seen = position;
            self.gaps += datagrams;
            board.count(Counter::Gapped, datagrams);
            notices.push(Notice::Gapped {
                group: self.id,
                socket: reader.new.socket,
                datagrams,
            });
        }
        self.starving_since = None;
    }

    fn expel_slow_readers(&mut self, board: &Board, notices: &mut Vec<Notice>) {
        let (tail, capacity) = (self.writer.tail(), self.writer.capacity_bytes());
        let id = self.id;
        let mut expelled = 0;
        self.readers.retain_mut(|reader| {
            let Ok(next) = reader.cursor(tail) else {
                return true;
            };
            if !Self::is_slow(next, tail, capacity) {
                return true;
            }
            let membership = &reader.new.page.memberships[reader.new.slot];
            raise_floor(membership.cursor().floor, u64::MAX);
            membership.cursor().end.store(0, Ordering::Release);
            membership
                .state
                .store(membership_state::EXPELLED, Ordering::Release);
            // Wakes sleepers so that they see that they were expelled; they may be gone, too.
            reader.new.page.sleepers().wake_all();
            let _ = reader.ring(1, board);
            expelled += 1;
            notices.push(Notice::Expelled {
                group: id,
                socket: reader.new.socket,
            });
            false
        });
        self.expelled += expelled;
        board.count(Counter::ReadersExpelled, expelled);
        self.starving_since = None;
    }

    #[inline]
    fn ring(&mut self, board: &Board, notices: &mut Vec<Notice>) {
        let tail = self.writer.published();
        let Self {
            readers,
            writer,
            batch,
            batch_is_mixed,
            ..
        } = self;
        readers.retain_mut(|reader| {
            let page = &reader.new.page;
            let from = core::mem::replace(&mut reader.rung, tail);
            if reader.new.queue.is_some() {
                return true; // delivered into the socket itself
            }
            if (page.has(FILTERED) || *batch_is_mixed) && !is_any_wanted(reader, writer, from, tail)
            {
                return true;
            }
            let woken = page.sleepers().wake(*batch);
            board.count(Counter::Rings, u64::from(woken));
            let bytes = page.doorbell().bytes_to_ring(*batch, page.has(EACH_EDGE));
            if bytes > 0 && reader.ring(bytes, board) == Err(Errno::CONNREFUSED) {
                notices.push(Notice::SocketGone {
                    socket: reader.new.socket,
                });
            }
            true
        });
    }

    fn usage(&mut self) -> GroupUsage {
        let tail = self.writer.tail();
        let (writer, last) = (&self.writer, self.seq);
        let readers: Vec<_> = self
            .readers
            .iter_mut()
            .map(|reader| {
                let next = reader.cursor(tail).unwrap_or(reader.seen);
                // A cursor that its owner put between two records shows a wrong place, to him.
                let delivered = if next < tail {
                    Seq(writer.head_at(next).seq.0.saturating_sub(1))
                } else {
                    last
                };
                ReaderUsage {
                    socket: reader.new.socket,
                    lag_bytes: tail - next,
                    delivered,
                }
            })
            .collect();
        GroupUsage {
            id: self.id,
            seq: self.seq.0,
            messages: self.messages,
            log_bytes: self.writer.capacity_bytes(),
            used_bytes: readers
                .iter()
                .map(|reader| reader.lag_bytes)
                .max()
                .unwrap_or(0),
            readers,
            gaps: self.gaps,
            expelled: self.expelled,
            waited: self.waited,
        }
    }
}

/// Whether the reader's filters let one of the records in `from .. to` through.
#[cold]
fn is_any_wanted(
    reader: &Reader,
    writer: &LogWriter<Mapped<LogHeader>>,
    from: u64,
    to: u64,
) -> bool {
    let mut position = from;
    while position < to {
        let record = writer.record_at(position);
        if is_wanted(reader, &record.origin()) {
            return true;
        }
        position += record.head.record_bytes();
    }
    false
}

fn is_wanted(reader: &Reader, origin: &Origin) -> bool {
    let membership = &reader.new.page.memberships[reader.new.slot];
    origin.no_loop != Some(reader.new.session)
        && is_wanted_from(&reader.new.page, membership, origin.source)
}

/// Sends the next records into the program's own socket, as many as its queue holds.
fn deliver_into(
    reader: &mut Reader,
    writer: &LogWriter<Mapped<LogHeader>>,
    queue: &KernelQueue,
    board: &Board,
    notices: &mut Vec<Notice>,
) -> bool {
    let tail = writer.published();
    let mut payload = Vec::new();
    for _ in 0..KERNEL_BATCH {
        let Ok(next) = reader.cursor(tail) else {
            return false;
        };
        let membership = &reader.new.page.memberships[reader.new.slot];
        if next >= tail.min(membership.cursor().end.load(Ordering::Relaxed)) {
            return false;
        }
        let record = writer.record_at(next);
        let len = record.head.len as usize;
        let origin = record.origin();
        if is_wanted(reader, &origin) {
            if !queue.has_room(len) {
                return true;
            }
            payload.resize(len, 0);
            record.read(&mut payload);
            match queue.send(&reader.new.bell, &origin, &payload) {
                Ok(()) => board.count(Counter::KernelDelivered, 1),
                Err(Errno::AGAIN | Errno::NOBUFS) => return true,
                Err(_) => {
                    notices.push(Notice::SocketGone {
                        socket: reader.new.socket,
                    });
                    return false;
                }
            }
        }
        let position = next + record.head.record_bytes();
        membership.cursor().next.store(position, Ordering::Release);
    }
    true
}
