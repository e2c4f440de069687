//! What the control thread and the engine thread tell each other: two bounded queues.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use libexo::engine::ring::Inspection;
use libexo::ids::{GrantId, GroupId, HostId, Seq, SessionId, SocketId};
use libexo::shm::area::Area;
use libexo::shm::board::Board;
use libexo::shm::log::{LogHeader, Origin};
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page::SocketPage;
use libexo::shm::submit_ring::LaneHeader;
use libexo::transport::Counters;
use rustix::thread::futex;

use super::kernel_queue::KernelQueue;
use crate::config::SlowMember;
use crate::key_file::Keys;
use crate::mapped::Mapped;

/// Most commands, and most notices, on their way.
const QUEUE_MAX: usize = 4096;

/// What the control thread wants done. `done` is answered when it is.
#[derive(Debug)]
pub(crate) enum Command {
    AddGroup {
        id: GroupId,
        address: SocketAddr,
        header: Mapped<LogHeader>,
        area: Area,
        slow: SlowMember,
    },
    SetSlow {
        id: GroupId,
        slow: SlowMember,
    },
    AddLane {
        session: SessionId,
        header: Mapped<LaneHeader>,
        area: Area,
    },
    /// Drains what was published and forgets the lane.
    EndLane {
        session: SessionId,
        done: SyncSender<()>,
    },
    Grant {
        session: SessionId,
        group: GroupId,
        origin: Origin,
        done: SyncSender<Option<GrantId>>,
    },
    Join {
        group: GroupId,
        reader: NewReader,
        done: SyncSender<()>,
    },
    Leave {
        group: GroupId,
        socket: SocketId,
        slot: usize,
        done: SyncSender<()>,
    },
    /// The socket is gone: nobody waits for its cursors any more.
    Forget {
        socket: SocketId,
    },
    /// Puts a doorbell right after it became looked at from outside.
    Ring {
        socket: SocketId,
        done: SyncSender<()>,
    },
    WaitRoom {
        session: SessionId,
        answer: Descriptor,
    },
    Deliver {
        socket: SocketId,
        queue: Arc<KernelQueue>,
        done: SyncSender<()>,
    },
    /// Sends a message of no group through the order.
    Ping {
        asked: Asked,
    },
    /// The operator's word that a new generation is to begin.
    Form {
        members: Vec<HostId>,
        done: SyncSender<Result<(), String>>,
    },
    /// Frames are sealed and let in with these from now on.
    ChangeKeys {
        keys: Keys,
        done: SyncSender<()>,
    },
    Usage {
        done: SyncSender<Usage>,
    },
    Stop,
}

/// Whom to answer later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) token: usize,
    pub(crate) id: u32,
}

/// One membership that begins.
#[derive(Debug)]
pub(crate) struct NewReader {
    pub(crate) socket: SocketId,
    /// Whose `IP_MULTICAST_LOOP` concerns it.
    pub(crate) session: SessionId,
    pub(crate) slot: usize,
    pub(crate) page: Mapped<SocketPage>,
    pub(crate) bell: Arc<Descriptor>,
    pub(crate) address: SocketAddr,
    /// The program's own socket, if the monitor delivers into it.
    pub(crate) queue: Option<Arc<KernelQueue>>,
}

/// What the engine thread tells the control thread.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// A lane holds what no correct shim writes.
    LaneCorrupt { session: SessionId, why: String },
    /// A socket page holds a cursor that no correct shim writes.
    CursorCorrupt { socket: SocketId, why: String },
    /// Nobody has the socket open any more.
    SocketGone { socket: SocketId },
    /// Senders of the group wait for a reader: look whether it still exists.
    Starving { group: GroupId },
    /// Policy took datagrams away from a reader.
    Gapped {
        group: GroupId,
        socket: SocketId,
        datagrams: u64,
    },
    /// A ping is in order, after so long, or why not.
    Pong {
        asked: Asked,
        taken: Result<Duration, &'static str>,
    },
    /// Policy ended a membership.
    Expelled { group: GroupId, socket: SocketId },
}

/// What the engine thread uses, for operators.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) groups: Vec<GroupUsage>,
    pub(crate) lanes: Vec<LaneUsage>,
    /// `None` in a ring of one.
    pub(crate) ring: Option<RingUsage>,
}

/// The ring as this host sees it.
#[derive(Clone, Debug)]
pub(crate) struct RingUsage {
    pub(crate) me: HostId,
    pub(crate) inspection: Inspection,
    pub(crate) traffic: Counters,
    /// Messages for groups that this monitor does not have, and those in no known form.
    pub(crate) foreign: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct GroupUsage {
    pub(crate) id: GroupId,
    pub(crate) seq: u64,
    pub(crate) messages: u64,
    pub(crate) log_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) readers: Vec<ReaderUsage>,
    pub(crate) gaps: u64,
    pub(crate) expelled: u64,
    pub(crate) waited: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct ReaderUsage {
    pub(crate) socket: SocketId,
    pub(crate) lag_bytes: u64,
    /// It has received everything of its group up to this place in the order.
    pub(crate) delivered: Seq,
}

#[derive(Clone, Debug)]
pub(crate) struct LaneUsage {
    pub(crate) session: SessionId,
    pub(crate) submitted: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) used_bytes: u64,
}

/// The control thread's end of both queues.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: Arc<ArrayQueue<Command>>,
    pub(crate) notices: Arc<ArrayQueue<Notice>>,
    board: Mapped<Board>,
}

impl EngineHandle {
    pub(crate) fn new(board: Mapped<Board>) -> Self {
        Self {
            commands: Arc::new(ArrayQueue::new(QUEUE_MAX)),
            notices: Arc::new(ArrayQueue::new(QUEUE_MAX)),
            board,
        }
    }

    pub(crate) fn commands(&self) -> Arc<ArrayQueue<Command>> {
        Arc::clone(&self.commands)
    }

    /// Queues a command and wakes the engine thread.
    pub(crate) fn send(&self, command: Command) {
        let mut command = command;
        while let Err(back) = self.commands.push(command) {
            // The engine thread empties the queue on each pass and never waits for this one.
            command = back;
            self.wake();
            rustix::thread::sched_yield();
        }
        self.wake();
    }

    /// Queues a command and waits for its answer; `None` if the engine thread has stopped.
    pub(crate) fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Option<T> {
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        self.send(command(done));
        answer.recv_timeout(ANSWER_MAX).ok()
    }

    fn wake(&self) {
        libexo::sync::fence(libexo::sync::Ordering::SeqCst); // pairs with the one in `sleep`
        if self
            .board
            .engine_asleep
            .load(libexo::sync::Ordering::SeqCst)
            != 0
        {
            // The engine thread also wakes by itself, a little later.
            let _ = futex::wake(&self.board.engine_asleep, futex::Flags::empty(), 1);
        }
    }
}

/// The engine thread answers within a pass; longer means that it has stopped.
const ANSWER_MAX: Duration = Duration::from_secs(5);
