//! Whether a program's buffer is there, before our own copy touches it.
//!
//! The kernel answers `EFAULT` for memory that is not mapped; a copy of ours would end the program.
//! So each page is shown to the kernel once, by a call that does nothing else, and remembered.
//! Programs use the same buffers again and again: the rest of the time this is a look into a table.
//! `docs/decisions/0006-probed-buffers.md` says what is given up for that.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libc::c_int;

use crate::{errno, names, real};

const PAGE_SHIFT: u32 = 12;
const PAGE_BYTES: usize = 1 << PAGE_SHIFT;
/// Pages that are remembered, of each kind: 4 MiB of buffers, in 8 KiB.
const PAGES: usize = 1024;

/// The page that was last found good at each place, by its number's low bits. Its number is kept
/// inverted, so 0 is none.
type Table = [AtomicUsize; PAGES];

static READABLE: Table = [const { AtomicUsize::new(0) }; PAGES];
static WRITABLE: Table = [const { AtomicUsize::new(0) }; PAGES];

/// Whether the value that `pointer` points to can be read.
#[inline]
pub(crate) fn can_read<T>(pointer: *const T) -> bool {
    is_readable(pointer.cast(), size_of::<T>())
}

/// Whether the value that `pointer` points to can be read and written.
#[inline]
pub(crate) fn can_write<T>(pointer: *const T) -> bool {
    is_writable(pointer.cast(), size_of::<T>())
}

/// Whether `count` buffers can be listed there.
#[inline]
pub(crate) fn can_read_list(list: *const libc::iovec, count: usize) -> bool {
    count == 0 || is_readable(list.cast(), count * size_of::<libc::iovec>())
}

/// Whether the kernel refuses a buffer by its address alone, before it does anything else.
#[inline]
pub(crate) fn is_refused_at_once(base: *const c_void) -> bool {
    base.addr().cast_signed() < 0
}

/// Whether `len` bytes, a constant, are in one page that is known to be readable. Otherwise nothing is
/// known, and [`is_readable`] finds out.
#[inline(always)]
pub(crate) fn is_known<const LEN: usize>(base: *const u8) -> bool {
    let address = base.addr();
    let page = address >> PAGE_SHIFT;
    // Relaxed: an entry is a fact of its own.
    address % PAGE_BYTES <= PAGE_BYTES - LEN
        && READABLE[page % PAGES].load(Ordering::Relaxed) == !page
}

/// Whether `len` bytes can be read.
#[inline]
pub(crate) fn is_readable(base: *const u8, len: usize) -> bool {
    are_good(&READABLE, base, len, reads)
}

/// Whether `len` bytes can be written.
#[inline]
pub(crate) fn is_writable(base: *const u8, len: usize) -> bool {
    are_good(&WRITABLE, base, len, writes)
}

/// The usual case: one page, which is remembered.
#[inline]
fn are_good(table: &Table, base: *const u8, len: usize, probe: fn(usize) -> bool) -> bool {
    let first = base.addr() >> PAGE_SHIFT;
    let last = base.addr().wrapping_add(len).wrapping_sub(1) >> PAGE_SHIFT;
    // Relaxed: an entry is a fact of its own.
    (first == last && table[first % PAGES].load(Ordering::Relaxed) == !first)
        || look_at_each(table, base, len, probe)
}

#[inline(never)]
fn look_at_each(table: &Table, base: *const u8, len: usize, probe: fn(usize) -> bool) -> bool {
    if len == 0 {
        return true;
    }
    if !names::is_user(base) {
        return false;
    }
    let first = base.addr() >> PAGE_SHIFT;
    let last = base.addr().saturating_add(len - 1) >> PAGE_SHIFT;
    (first..=last).all(|page| {
        let entry = &table[page % PAGES];
        entry.load(Ordering::Relaxed) == !page || look(entry, page, probe)
    })
}

#[cold]
fn look(entry: &AtomicUsize, page: usize, probe: fn(usize) -> bool) -> bool {
    let errno = errno::get();
    let is_good = probe(page << PAGE_SHIFT);
    errno::set(errno);
    if is_good {
        entry.store(!page, Ordering::Relaxed);
    }
    is_good
}

/// Nobody waits for this word.
static NOBODY: AtomicU32 = AtomicU32::new(0);

/// Moves no waiter from the address to `NOBODY`, for which the kernel reads the address.
fn reads(address: usize) -> bool {
    let nobody = ptr::from_ref(&NOBODY).addr();
    is_good(address, libc::FUTEX_CMP_REQUEUE, nobody, 0)
}

/// An atomic "or" of nothing with what is there, beside a wake-up of nobody.
fn writes(address: usize) -> bool {
    let nobody = ptr::from_ref(&NOBODY).addr();
    is_good(nobody, libc::FUTEX_WAKE_OP, address, OR_NOTHING)
}

/// `FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0)`.
const OR_NOTHING: usize = 2 << 28;

/// Whether the kernel could use both addresses. Both are aligned: the first of a page, or a word.
fn is_good(word: usize, operation: c_int, other: usize, argument: usize) -> bool {
    let operation = (operation | libc::FUTEX_PRIVATE_FLAG).cast_unsigned() as usize;
    // SAFETY: no waiter is woken or moved, and the bytes stay what they are, also while other
    // threads change them; the kernel judges the addresses.
    let result = unsafe { real::syscall(libc::SYS_futex, word, operation, 0, 0, other, argument) };
    // Any other error is the call's own: then nothing is known, and the copy is tried.
    result >= 0 || errno::get() != libc::EFAULT
}
