//! The few environment variables, read once.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// Where the system's monitor listens.
const SYSTEM_SOCKET: &CStr = c"/run/exo/exod.sock";

static SOCKET: AtomicPtr<libc::c_char> = AtomicPtr::new(core::ptr::null_mut());
/// 0 not read, 1 read, 2 read and `EXO_REQUIRE` set.
static STATE: AtomicU8 = AtomicU8::new(0);

/// Path of the monitor's socket (`EXO_SOCKET`), if there is one and it may be trusted.
pub(crate) fn socket_path() -> Option<&'static [u8]> {
    read();
    let path = SOCKET.load(Ordering::Acquire);
    if path.is_null() {
        return None;
    }
    // SAFETY: a copy of our own, never given back.
    Some(unsafe { CStr::from_ptr(path) }.to_bytes())
}

/// Whether sockets of marked groups must never fall back to the kernel (`EXO_REQUIRE`).
pub(crate) fn is_required() -> bool {
    read();
    STATE.load(Ordering::Relaxed) == 2
}

fn read() {
    if STATE.load(Ordering::Acquire) != 0 {
        return;
    }
    // SAFETY: libc's variable; null before libc has set it up.
    if unsafe { environ }.is_null() {
        return; // asked again later
    }
    // SAFETY: constant names; getauxval and secure_getenv only read. A privileged program's
    // environment is not trusted, and its preload would not have been honoured.
    unsafe {
        let require = secure_getenv(c"EXO_REQUIRE".as_ptr());
        let required = !require.is_null() && *require == b'1'.cast_signed();
        let mut path = secure_getenv(c"EXO_SOCKET".as_ptr()).cast_const();
        if required && (path.is_null() || *path == 0) {
            // Who must have Exo does not do without because a variable was lost on the way.
            path = SYSTEM_SOCKET.as_ptr();
        }
        if !path.is_null() && *path != 0 {
            SOCKET.store(libc::strdup(path), Ordering::Release);
        }
        STATE.store(if required { 2 } else { 1 }, Ordering::Release);
    }
}

unsafe extern "C" {
    static environ: *const *const libc::c_char;
    fn secure_getenv(name: *const libc::c_char) -> *mut libc::c_char;
}
