//! This process's attachment to the monitor: made when it is first needed, made anew in a forked
//! child, kept across everything else.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use libexo::client::session::{HeldSignals, Session};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::env;

static SESSION: AtomicPtr<Session> = AtomicPtr::new(ptr::null_mut());
/// Number of the control channel's descriptor, -1 for none.
static CHANNEL: AtomicI32 = AtomicI32::new(-1);
/// Mark of the thread that attaches; 0 for none.
static ATTACHING: AtomicU64 = AtomicU64::new(0);
/// A word that the kernel sets to zero in a forked child, and only there; else the process number.
static PID: AtomicPtr<AtomicI32> = AtomicPtr::new(ptr::null_mut());

/// Whether this is a forked child that has not looked at its session yet.
#[inline]
fn has_forked() -> bool {
    let word = PID.load(Ordering::Acquire);
    // SAFETY: null or a word that stays mapped.
    unsafe { word.as_ref() }.is_some_and(|word| word.load(Ordering::Relaxed) == 0)
}

/// Whether this is a vfork child: it shares its parent's memory, and nothing that it does to its
/// own descriptors may be written down there.
pub(crate) fn is_vfork_child() -> bool {
    let word = PID.load(Ordering::Acquire);
    // SAFETY: as above.
    let Some(word) = (unsafe { word.as_ref() }) else {
        return false;
    };
    let known = word.load(Ordering::Relaxed);
    known != 0 && known != rustix::process::getpid().as_raw_nonzero().get()
}

/// The session, if this process has one or can get one.
#[inline]
pub(crate) fn get() -> Option<&'static Session> {
    let session = SESSION.load(Ordering::Acquire);
    if !session.is_null() && !has_forked() {
        // SAFETY: made by `Box::into_raw` and never given back.
        let session = unsafe { &*session };
        if !session.has_ended() {
            return Some(session);
        }
    }
    attach()
}

/// The session that this process last had, for what needs no monitor.
#[inline]
pub(crate) fn last() -> Option<&'static Session> {
    // SAFETY: as in `get`.
    unsafe { SESSION.load(Ordering::Acquire).as_ref() }
}

/// Number of the descriptor that a program must not close.
#[inline]
pub(crate) fn channel() -> i32 {
    if has_forked() {
        -1
    } else {
        CHANNEL.load(Ordering::Relaxed)
    }
}

/// Whether `fd` has the channel's number; in a forked child it may be anything by now.
#[inline]
pub(crate) fn may_be_channel(fd: i32) -> bool {
    fd >= 0 && fd == CHANNEL.load(Ordering::Relaxed)
}

#[cold]
fn attach() -> Option<&'static Session> {
    let path = env::socket_path()?;
    let errno = crate::errno::get();
    let session = attach_at(path);
    crate::errno::set(errno);
    session
}

fn attach_at(path: &[u8]) -> Option<&'static Session> {
    if is_vfork_child() {
        return last();
    }
    let word = pid_word()?;
    if has_forked() {
        // The parent's channel is the parent's.
        let channel = CHANNEL.swap(-1, Ordering::AcqRel);
        if channel >= 0 {
            // SAFETY: this child's copy of a descriptor that only we know.
            unsafe { rustix::io::close(channel) };
        }
        ATTACHING.store(0, Ordering::Release);
    } else if let Some(session) = last()
        && !session.has_ended()
    {
        return Some(session); // another thread was faster
    }
    // With signals held back it is another thread that is at it, whose result is ours; or this one,
    // whose allocator makes sockets.
    let _held = HeldSignals::hold();
    let me = thread_mark();
    while let Err(other) = ATTACHING.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        if other == me {
            return None;
        }
        rustix::thread::sched_yield();
    }
    if let Some(session) = last()
        && !has_forked()
        && !session.has_ended()
    {
        ATTACHING.store(0, Ordering::Release);
        return Some(session);
    }
    let old = CHANNEL.swap(-1, Ordering::AcqRel);
    if old >= 0 {
        // SAFETY: ours, and of a session that has ended.
        unsafe { rustix::io::close(old) };
    }
    let attached = Session::attach(path).ok().map(|session| {
        CHANNEL.store(session.descriptor(), Ordering::Release);
        let session = Box::into_raw(Box::new(session));
        SESSION.store(session, Ordering::Release);
        word.store(
            rustix::process::getpid().as_raw_nonzero().get(),
            Ordering::Release,
        );
        // SAFETY: just made, never given back.
        unsafe { &*session }
    });
    ATTACHING.store(0, Ordering::Release);
    attached
}

/// The word that a fork clears; made once.
fn pid_word() -> Option<&'static AtomicI32> {
    let word = PID.load(Ordering::Acquire);
    // SAFETY: null or mapped for ever.
    if let Some(word) = unsafe { word.as_ref() } {
        return Some(word);
    }
    let (flags, protection) = (MapFlags::PRIVATE, ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new mapping at an address of the kernel's choice, advised as a whole.
    let page = unsafe {
        let page = rustix::mm::mmap_anonymous(ptr::null_mut(), 4096, protection, flags).ok()?;
        rustix::mm::madvise(page, 4096, Advice::LinuxWipeOnFork).ok()?;
        page
    };
    let page: *mut AtomicI32 = page.cast::<c_void>().cast();
    // SAFETY: zeroed, aligned, mapped for ever.
    let word = unsafe { &*page };
    word.store(
        rustix::process::getpid().as_raw_nonzero().get(),
        Ordering::Release,
    );
    match PID.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(word),
        // SAFETY: another thread's, mapped for ever; ours is a page lost once.
        Err(other) => Some(unsafe { &*other }),
    }
}

/// What marks the calling thread: the address of its control block, unique in the process.
#[inline]
pub(crate) fn thread_mark() -> u64 {
    let mark: u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the x86-64 ABI keeps the thread pointer's own address at its offset 0.
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) mark, options(nostack, pure, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reading the thread pointer has no effect.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) mark, options(nostack, nomem, pure));
    }
    mark
}

/// The program takes the channel's number for something else: the next call attaches anew.
pub(crate) fn lose_channel() {
    // The old session ends when the monitor sees this process say hello again.
    CHANNEL.store(-1, Ordering::Release);
    SESSION.store(ptr::null_mut(), Ordering::Release);
}
