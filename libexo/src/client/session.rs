//! One process's attachment to the monitor: control channel, lane, board.

use core::net::SocketAddr;
use core::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::turn::{Turn, wake_engine};
use crate::control::channel::{Channel, Descriptors};
use crate::control::message::{PACKET_MAX, Reply, Request};
use crate::ids::{GrantId, SessionId};
use crate::shm::area::Area;
use crate::shm::board::Board;
use crate::shm::region::{Descriptor, Mapping, sealed_len};
use crate::shm::submit_ring::{Full, HEADER_BYTES, LaneHeader, Submitter};
use crate::sync::{AtomicU32, Ordering};

/// How long a request may take before the monitor counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The control channel's descriptor is moved to this number or above.
const DESCRIPTOR_LOWEST: i32 = 600;

/// Why a request was not answered with what was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The monitor refused; the errno is the one for the application.
    #[error("the monitor refused with errno {0}")]
    Refused(i32),
    /// The monitor is away, or its answer made no sense.
    #[error("the monitor is away ({0})")]
    Away(Errno),
}

impl CallError {
    /// The errno that an application sees.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            Self::Refused(errno) => errno,
            Self::Away(_) => Errno::NETDOWN.raw_os_error(),
        }
    }
}

/// An attachment. One per process; its memory stays mapped while the process lives.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    channel: Channel,
    lane: Submitter<&'static LaneHeader>,
    board: &'static Board,
    calling: AtomicU32,
    calls: AtomicU32,
}

impl Session {
    /// Attaches to the monitor at `path`.
    ///
    /// # Errors
    ///
    /// [`CallError::Away`] when nobody listens there or it has another version,
    /// [`CallError::Refused`] when the monitor does not want this process.
    pub fn attach(path: &[u8]) -> Result<Self, CallError> {
        let mut channel = Channel::connect(path).map_err(CallError::Away)?;
        // A failure leaves a low number, which only matters to programs that count theirs.
        let _ = channel.move_high(DESCRIPTOR_LOWEST);
        channel
            .set_timeout(ANSWER_TIMEOUT)
            .map_err(CallError::Away)?;
        let (reply, descriptors) = call(&channel, Request::Hello, 1, &[])?;
        let Reply::Welcome { session } = reply else {
            return Err(bad_answer());
        };
        let [Some(board), Some(lane), ..] = descriptors else {
            return Err(bad_answer());
        };
        let (board, board_bytes) = map_shared(&board, false)?;
        // SAFETY: the region is sealed against shrinking, stays mapped for ever, and holds a
        // board, which `check` confirms; its words are atomics.
        let board: &'static Board = unsafe { &*board.cast::<Board>() };
        board.check(board_bytes as u64).map_err(|_| bad_answer())?;
        let (lane, lane_bytes) = map_shared(&lane, true)?;
        // SAFETY: as above, for a lane.
        let header: &'static LaneHeader = unsafe { &*lane.cast::<LaneHeader>() };
        let capacity = header
            .capacity(lane_bytes as u64)
            .map_err(|_| bad_answer())?;
        // SAFETY: `capacity` bytes follow the header in the same mapping, as was just checked.
        let area = unsafe { Area::new(lane.add(HEADER_BYTES), capacity) };
        Ok(Self {
            id: session,
            channel,
            lane: Submitter::new(header, area),
            board,
            calling: AtomicU32::new(0),
            calls: AtomicU32::new(1),
        })
    }

    /// The monitor's number of this session.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The monitor's board.
    #[inline]
    #[must_use]
    pub const fn board(&self) -> &'static Board {
        self.board
    }

    /// Number of the control channel's descriptor.
    #[must_use]
    pub const fn descriptor(&self) -> i32 {
        self.channel.descriptor().raw()
    }

    /// Whether the monitor has ended this session, or is itself gone.
    #[inline]
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.board.is_over() || self.lane.header().ended.load(Ordering::Relaxed) != 0
    }

    /// Whether sends fail, because no majority of the hosts can be reached.
    #[inline]
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.board.refuses()
    }

    /// One request and its answer. Signals are held back meanwhile: a handler must not find the
    /// channel half used.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn call(
        &self,
        request: Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Descriptors), CallError> {
        let held = HeldSignals::hold();
        while self
            .calling
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            rustix::thread::sched_yield();
        }
        let id = self.calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let answer = call(&self.channel, request, id, descriptors);
        self.calling.store(0, Ordering::Release); // pairs with the Acquire above
        drop(held);
        match answer? {
            (Reply::Refused { errno }, _) => Err(CallError::Refused(errno)),
            answered => Ok(answered),
        }
    }

    /// Appends one datagram to the lane and wakes the engine thread if it sleeps.
    ///
    /// `me` marks the calling thread; `fill` writes the payload and may be called twice.
    ///
    /// # Errors
    ///
    /// [`Full`] when the lane has no room now.
    #[inline]
    pub fn submit(
        &self,
        me: u64,
        grant: GrantId,
        len: usize,
        fill: impl FnMut(&Area, u64),
    ) -> Result<(), Full> {
        {
            let _turn = Turn::take(&self.lane.header().turn, me);
            self.lane.submit(grant, len, fill)?;
        }
        self.wake_engine();
        Ok(())
    }

    /// Wakes the engine thread if it sleeps.
    #[inline]
    pub fn wake_engine(&self) {
        // SeqCst: after the publication, which was SeqCst, too; see `Board::engine_asleep`.
        #[cfg(not(loom))]
        if self.board.engine_asleep.load(Ordering::SeqCst) != 0 {
            wake_engine(&self.board.engine_asleep);
        }
    }

    /// Whether a datagram of `len` bytes would fit now.
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        self.lane.has_room(len)
    }

    /// The right to submit to `group`, for one source address.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] with `EACCES` by policy.
    pub fn grant(
        &self,
        group: SocketAddr,
        source: SocketAddr,
        ttl: u8,
        tos: u8,
        no_loop: bool,
    ) -> Result<GrantId, CallError> {
        let request = Request::Grant {
            group,
            source,
            ttl,
            tos,
            no_loop,
        };
        match self.call(request, &[])? {
            (Reply::Granted { grant }, _) => Ok(grant),
            _ => Err(bad_answer()),
        }
    }
}

fn call(
    channel: &Channel,
    request: Request,
    id: u32,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(Reply, Descriptors), CallError> {
    channel
        .send(request.emit(id).as_bytes(), descriptors)
        .map_err(CallError::Away)?;
    loop {
        let mut bytes = [0; PACKET_MAX];
        let mut received = Descriptors::default();
        let len = channel
            .receive(&mut bytes, &mut received)
            .map_err(CallError::Away)?;
        if len == 0 {
            return Err(CallError::Away(Errno::CONNRESET));
        }
        let (reply, of) = Reply::parse(&bytes[..len]).map_err(|_| bad_answer())?;
        if of == id {
            return Ok((reply, received));
        }
        // An answer that came after its caller had given up.
    }
}

/// The monitor said something that this version does not understand.
pub(super) const fn bad_answer() -> CallError {
    CallError::Away(Errno::PROTO)
}

/// Maps a sealed region for the rest of the process's life.
pub(super) fn map_shared(fd: &Descriptor, writable: bool) -> Result<(*mut u8, usize), CallError> {
    let len = sealed_len(fd.as_fd()).map_err(CallError::Away)?;
    let mapping = Mapping::new(fd.as_fd(), len, writable).map_err(CallError::Away)?;
    Ok((mapping.leak(), len))
}

/// All signals blocked in this thread until dropped.
#[derive(Debug)]
pub struct HeldSignals(libc::sigset_t);

impl HeldSignals {
    /// Blocks every signal that can be blocked.
    #[must_use]
    pub fn hold() -> Self {
        // SAFETY: both sets are initialised by the calls before they are read.
        unsafe {
            let mut all = core::mem::zeroed();
            let mut old = core::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
            Self(old)
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by `hold`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, core::ptr::null_mut());
        }
    }
}
