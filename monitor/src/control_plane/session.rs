//! What the control thread knows about connections, sessions and sockets.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use libexo::control::channel::Channel;
use libexo::control::message::DemoteReason;
use libexo::ids::{GroupId, SessionId, SocketId};
use libexo::shm::region::Descriptor;
use libexo::shm::socket_page::SocketPage;

use crate::access::Identity;
use crate::engine_thread::kernel_queue::KernelQueue;
use crate::mapped::Mapped;

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    pub(super) identity: Identity,
    /// The session that said hello on it.
    pub(super) session: Option<SessionId>,
}

/// One attached process.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) identity: Identity,
    /// Readable when the process has died.
    pub(super) pidfd: Descriptor,
    pub(super) token: usize,
    /// The kernel's tables of the UDP sockets in the process's network namespace.
    pub(super) tables: Vec<File>,
    pub(super) grants: Vec<(GroupId, SocketAddr)>,
    pub(super) refusals: Vec<RefusalNote>,
}

/// A wish that policy refused, kept for `exo why`.
#[derive(Clone, Debug)]
pub(super) struct RefusalNote {
    pub(super) group: String,
    pub(super) wish: &'static str,
    pub(super) why: String,
}

/// Most refusals kept for one session.
pub(super) const REFUSALS_MAX: usize = 32;
/// Most sockets of one session.
pub(super) const SOCKETS_MAX: usize = 65_536;

/// One open file description that the monitor serves.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: SocketId,
    /// The session that opened it, or the last one that adopted it.
    pub(super) session: SessionId,
    pub(super) cookie: u64,
    pub(super) inode: u64,
    pub(super) inet6: bool,
    pub(super) bound: SocketAddr,
    pub(super) page_fd: Descriptor,
    pub(super) page: Mapped<SocketPage>,
    pub(super) bell: Arc<Descriptor>,
    /// Holds the program's address in the kernel.
    pub(super) holder: Option<Descriptor>,
    /// Event token of the holder, if its datagrams are relayed.
    pub(super) relay_token: Option<usize>,
    /// The program's own socket, with kernel delivery.
    pub(super) queue: Option<Arc<KernelQueue>>,
    pub(super) demoted: Option<DemoteReason>,
    /// Group of each slot.
    pub(super) memberships: Vec<Option<GroupId>>,
    pub(super) rule: String,
}
