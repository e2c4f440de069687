#![allow(unsafe_code, reason = "SO_MEMINFO has no safe wrapper")]
//! How full a socket's receive queue is.

use libexo::shm::region::Descriptor;

/// Bytes accounted to the receive queue, and its limit.
pub(super) fn receive_queue(socket: &Descriptor) -> Option<(usize, usize)> {
    const SO_MEMINFO: i32 = 55;
    let mut values = [0_u32; 9];
    let mut len = u32::try_from(size_of_val(&values)).ok()?;
    // SAFETY: the kernel writes at most `len` bytes to `values`.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.raw(),
            nix::libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 || len < 8 {
        return None;
    }
    Some((values[0] as usize, values[1] as usize))
}
