//! What a socket collects for one datagram: `MSG_MORE` and `UDP_CORK`.
//!
//! The kernel keeps this with the open file description. Here it is memory that forked children
//! share, made when a socket is first corked. Deviation: processes that have the socket in another
//! way (passed on, or kept across exec) collect by themselves, and so do those that a fork parted
//! before the first cork.

use core::cell::UnsafeCell;
use core::net::SocketAddr;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libexo::client::turn::Turn;
use libexo::shm::socket_page::SharedAddress;
use rustix::mm::{MapFlags, ProtFlags};

/// Longest datagram that can be collected: the payload of UDP over IPv6.
const BYTES_MAX: usize = 65_527;

/// Nothing is collected, which is not the same as no bytes.
const NOTHING: u32 = 0;

/// One open file description's unfinished datagram.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Cork {
    /// Which thread changes the rest.
    turn: AtomicU64,
    /// `UDP_CORK` is set.
    on: AtomicU32,
    /// [`NOTHING`], or 1 + the bytes collected.
    held: AtomicU32,
    /// Where it goes: the destination of the first piece.
    target: SharedAddress,
    bytes: UnsafeCell<[u8; BYTES_MAX]>,
}

// SAFETY: the bytes are read and written only in a turn, see `Pieces`.
unsafe impl Sync for Cork {}

impl Cork {
    /// New memory, or `None` if the system gives none.
    pub(super) fn map() -> Option<*mut Self> {
        let (flags, protection) = (MapFlags::SHARED, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice. Zero bytes are a cork.
        unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), size_of::<Self>(), protection, flags)
                .ok()
                .map(<*mut core::ffi::c_void>::cast)
        }
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// `cork` is of `map`, and nobody in this process uses it any more.
    pub(super) unsafe fn unmap(cork: *mut Self) {
        // SAFETY: the whole mapping. It cannot fail for a mapped range.
        let _ = unsafe { rustix::mm::munmap(cork.cast(), size_of::<Self>()) };
    }

    /// Whether `UDP_CORK` is set.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed) != 0 // orders nothing: a send beside it may see either
    }

    pub(crate) fn set_on(&self, on: bool) {
        self.on.store(u32::from(on), Ordering::Relaxed);
    }

    /// Waits for the turn to collect or to send what was collected.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        // Unlike the address of a control block, unique among all that share this.
        let me = rustix::thread::gettid().as_raw_nonzero().get();
        Pieces {
            cork: self,
            _turn: Turn::take(&self.turn, u64::from(me.cast_unsigned())),
        }
    }
}

/// The collected pieces, while this thread has the turn.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    cork: &'a Cork,
    _turn: Turn<'a>,
}

impl Pieces<'_> {
    /// Destination and bytes so far, unless nothing is collected.
    pub(crate) fn held(&self) -> Option<(SocketAddr, usize)> {
        let held = self.cork.held.load(Ordering::Relaxed).checked_sub(1)?;
        Some((self.cork.target.get()?, held as usize))
    }

    /// Begins with no bytes.
    pub(crate) fn begin(&self, target: SocketAddr) {
        self.cork.target.set(Some(target));
        self.cork.held.store(1, Ordering::Relaxed); // the turn orders it
    }

    /// What is collected goes elsewhere.
    pub(crate) fn redirect(&self, target: SocketAddr) {
        if self.held().is_some() {
            self.cork.target.set(Some(target));
        }
    }

    /// Where the next `len` bytes go. Null: there is no room for them.
    pub(crate) fn room(&self, len: usize) -> *mut u8 {
        match self.held() {
            Some((_, held)) if len <= BYTES_MAX - held.min(BYTES_MAX) => {
                // SAFETY: within the array, as just checked.
                unsafe { self.first().add(held) }
            }
            _ => ptr::null_mut(),
        }
    }

    /// `len` bytes were put where `room` said.
    pub(crate) fn add(&self, len: usize) {
        let held = self.held().map_or(0, |(_, held)| held) + len;
        let held = u32::try_from(held.min(BYTES_MAX)).unwrap_or(0);
        self.cork.held.store(held + 1, Ordering::Relaxed);
    }

    /// The first byte.
    pub(crate) const fn first(&self) -> *mut u8 {
        self.cork.bytes.get().cast()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.cork.held.store(NOTHING, Ordering::Relaxed);
    }
}
