//! errno, and our errors in its words.

use libc::c_int;

/// Sets errno and gives -1.
pub(crate) fn fail(errno: c_int) -> c_int {
    set(errno);
    -1
}

/// Sets errno and gives -1, for calls that return a length.
pub(crate) fn fail_len(errno: c_int) -> isize {
    set(errno);
    -1
}

pub(crate) fn set(errno: c_int) {
    // SAFETY: libc's own location of this thread's errno.
    unsafe { *libc::__errno_location() = errno };
}

pub(crate) fn get() -> c_int {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() }
}
