#![allow(unsafe_code, reason = "set_robust_list has no safe wrapper")]
//! A word that says whether the engine thread lives, true even after `kill -9`.
//!
//! It holds the thread's number. The kernel keeps for each thread a list of locks that it takes
//! away from a dead one (`set_robust_list(2)`); the word is announced there as a lock that this
//! thread is about to release, and so loses the number when the thread ends, however it ends.

use std::ptr;

use libexo::shm::board::Board;
use libexo::sync::Ordering;
use rustix::io::Errno;

use crate::mapped::Mapped;

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    /// A list without entries: points to itself.
    list: *const Self,
    /// From an entry to its lock.
    offset: isize,
    /// The one entry that matters: the word itself.
    pending: *const u32,
}

/// Writes the calling thread's number to the board; the kernel takes it out at the thread's end.
///
/// glibc has a list of its own for each thread, for robust mutexes of pthread. This thread has
/// none.
pub(super) fn announce(board: &Mapped<Board>) -> Result<(), Errno> {
    // The thread may end later than anything else of ours: list and board stay for ever.
    let board: &'static Mapped<Board> = Box::leak(Box::new(board.clone()));
    let head = Box::leak(Box::new(Head {
        list: ptr::null(),
        offset: 0,
        pending: ptr::from_ref(&board.engine_thread).cast(),
    }));
    head.list = ptr::from_ref(head);
    // SAFETY: the list is complete and lives for ever, and so does the word that it names.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_set_robust_list,
            ptr::from_ref::<Head>(head),
            size_of::<Head>(),
        )
    };
    if result != 0 {
        return Err(Errno::NOSYS);
    }
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    board
        .engine_thread
        .store(thread.cast_unsigned(), Ordering::Release); // pairs with `Board::is_over`
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn board_is_over_when_the_announced_thread_has_ended() {
        let (_fd, board) = crate::mapped::board().unwrap();
        assert!(board.is_over());
        let (alive, ended) = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                announce(&board).unwrap();
                board.is_over()
            });
            let was_over = thread.join().unwrap();
            (!was_over, board.is_over())
        });
        assert!(alive && ended);
    }
}
