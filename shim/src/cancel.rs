//! Cancellation of threads: where libc's own calls are cancellation points, ours are.

use core::ptr;

use libc::c_int;

const PTHREAD_CANCEL_ASYNCHRONOUS: c_int = 1;

unsafe extern "C" {
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
    fn pthread_testcancel();
}

/// The beginning of a call that transfers data: a thread that was cancelled ends here.
#[inline]
pub(crate) fn point() {
    // SAFETY: nothing is held and nothing was taken yet, as in libc's own call.
    unsafe { pthread_testcancel() }
}

/// Does what libc's calls do while they block: the thread may be cancelled at any moment.
pub(crate) fn during<R>(sleep: impl FnOnce() -> R) -> R {
    let mut kind = 0;
    // SAFETY: nothing is held and nothing was taken that an end of the thread here would lose, as
    // in glibc's own `recv`. The calls cannot fail for these kinds.
    unsafe {
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &raw mut kind);
        let result = sleep();
        pthread_setcanceltype(kind, ptr::null_mut());
        result
    }
}
