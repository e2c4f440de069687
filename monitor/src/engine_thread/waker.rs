//! Wakes an engine thread that waits for descriptors.
//!
//! Senders and the control thread wake the engine thread through the board's word, a futex. An
//! engine thread with a network sleeps on descriptors; this helper sleeps on the word and makes
//! each wake-up a byte in an eventfd. It costs one more switch, and only for who finds the engine
//! thread asleep.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Std};
use std::thread::JoinHandle;

use libexo::shm::board::Board;
use libexo::sync::Ordering;
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::futex;

use crate::mapped::Mapped;

#[derive(Debug)]
pub(super) struct Waker {
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    board: Mapped<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Waker {
    pub(super) fn start(board: Mapped<Board>) -> std::io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (bell, stop, board) = (Arc::clone(&bell), Arc::clone(&stop), board.clone());
            std::thread::Builder::new()
                .name("exo-waker".to_owned())
                .spawn(move || serve(&bell, &stop, &board))?
        };
        Ok(Self {
            bell,
            stop,
            board,
            thread: Some(thread),
        })
    }

    /// What others may write to, to wake the engine thread.
    pub(super) fn bell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.bell)
    }

    /// Readable after a wake-up.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes the wake-ups back that came so far.
    pub(super) fn clear(&self) {
        // Nothing to read means that nobody rang.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

/// The word is 1 while the engine thread sleeps. Whoever sees that wakes who waits on the word,
/// whatever its value; so this thread waits while it is 0, too, and need not be told of sleeps.
fn serve(bell: &OwnedFd, stop: &AtomicBool, board: &Board) {
    let word = &board.engine_asleep;
    loop {
        // Found 1 at once: somebody may have rung since the last time, when nobody waited here.
        let _ = futex::wait(word, futex::Flags::empty(), 0, None);
        if stop.load(Std::Acquire) {
            return;
        }
        word.store(0, Ordering::SeqCst); // those who come now find it awake, which it will be
        ring(bell);
    }
}

/// Wakes the engine thread.
pub(super) fn ring(bell: &OwnedFd) {
    // Full means that it has rung.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.stop.store(true, Std::Release);
        if let Some(thread) = self.thread.take() {
            // Not 0, so that it does not wait if it has not begun to.
            self.board.engine_asleep.store(1, Ordering::SeqCst);
            let _ = futex::wake(&self.board.engine_asleep, futex::Flags::empty(), 1);
            let _ = thread.join();
        }
    }
}
