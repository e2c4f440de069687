//! `dprintf`, `vdprintf` and their fortified forms: formatted text as datagrams.
//!
//! glibc formats into a buffer of its own and writes with a system call that no hook sees. Here the
//! buffer is that of a stream whose writes are `send::write`, and as large as glibc's, so text is
//! cut into datagrams where the kernel's would be. Up to 2.36 (measured) that is one datagram of up
//! to 4,096 bytes, and of longer text what fills whole blocks, then the rest; since 2.37 (from its
//! source, not tried) pieces of 2,048 bytes.
//!
//! Rust cannot define a C function with `...`, so those two are a few instructions of assembly
//! that build the `va_list`. Elsewhere than on x86-64 they are not hooked.

use core::ffi::{CStr, c_void};

use libc::{FILE, c_char, c_int};

use crate::{descriptor, real};

/// `st_blksize` of a socket, which glibc up to 2.36 takes as the size of the buffer.
const BLOCK_BYTES: usize = 4096;
/// The buffer of newer ones, and the most that they write at once.
const PIECE_BYTES: usize = 2048;

/// A `va_list` as it is passed to a function: on x86-64 the address of its one element, on
/// 64-bit ARM the address of the caller's copy.
type VaList = *mut c_void;

unsafe extern "C" fn send_block(cookie: *mut c_void, block: *const c_char, len: usize) -> isize {
    let fd = c_int::try_from(cookie.addr()).unwrap_or(-1);
    let most = if writes_pieces() { PIECE_BYTES } else { len };
    let mut sent = 0;
    while sent < len {
        let piece = most.min(len - sent);
        // SAFETY: a part of stdio's buffer.
        if unsafe { super::send::write(fd, block.add(sent).cast(), piece) } < 0 {
            return 0; // how a stream's write says that it failed
        }
        sent += piece;
    }
    len.cast_signed()
}

/// Whether this glibc is 2.37 or newer.
fn writes_pieces() -> bool {
    // SAFETY: a constant text of libc's.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    let minor = version.to_bytes().strip_prefix(b"2.").unwrap_or_default();
    let digits = minor.iter().take_while(|byte| byte.is_ascii_digit());
    digits
        .take(4)
        .fold(0, |number, byte| number * 10 + u32::from(byte - b'0'))
        >= 37
}

/// Formats to a socket of ours. `flag` is the fortified caller's, 0 for none.
///
/// # Safety
///
/// `format` and `arguments` are what `vdprintf` takes.
unsafe fn print(fd: c_int, flag: c_int, format: *const c_char, arguments: VaList) -> c_int {
    let functions = CookieFunctions {
        read: None,
        write: Some(send_block),
        seek: None,
        close: None,
    };
    let cookie = core::ptr::without_provenance_mut(fd.cast_unsigned() as usize);
    let mut block: [c_char; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let size = if writes_pieces() {
        PIECE_BYTES
    } else {
        BLOCK_BYTES
    };
    // SAFETY: functions of the right signatures; the cookie is only a number; the block outlives
    // the stream, which is closed here.
    unsafe {
        let stream = fopencookie(cookie, c"w".as_ptr(), functions);
        if stream.is_null() {
            return -1; // ENOMEM, as glibc's own stream would say
        }
        libc::setvbuf(stream, block.as_mut_ptr(), libc::_IOFBF, size);
        let printed = if flag == 0 {
            vfprintf(stream, format, arguments)
        } else {
            __vfprintf_chk(stream, flag, format, arguments)
        };
        // What is left in the block goes out even when the formatting failed, as in glibc.
        let errno = crate::errno::get();
        let closed = real::fclose(stream);
        if printed < 0 {
            crate::errno::set(errno);
        }
        if closed == 0 { printed } else { -1 }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vdprintf(fd: c_int, format: *const c_char, arguments: VaList) -> c_int {
    // SAFETY: the caller's arguments, as libc's function takes them; so in all hooks below.
    unsafe {
        if descriptor::get(fd).is_none() {
            return real::vdprintf(fd, format, arguments);
        }
        print(fd, 0, format, arguments)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdprintf_chk(
    fd: c_int,
    flag: c_int,
    format: *const c_char,
    arguments: VaList,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if descriptor::get(fd).is_none() {
            return real::__vdprintf_chk(fd, flag, format, arguments);
        }
        print(fd, flag, format, arguments)
    }
}

/// The body of a variadic hook: calls `$hook` with the named arguments of a variadic function and a `va_list` of the others.
///
/// System V ABI, 3.5.7. The frame, from `rsp` on: `va_list` (24 bytes: `gp_offset`, `fp_offset`,
/// `overflow_arg_area`, `reg_save_area`), padding (8), six general registers (48), eight vector
/// registers (128), padding (8); then the return address, then the arguments on the stack. `al` is
/// 0 when no vector register holds an argument.
#[cfg(target_arch = "x86_64")]
macro_rules! variadic {
    (named: $named:literal, list: $list:literal, $hook:ident) => {
        core::arch::naked_asm!(
            ".cfi_startproc", // a cancelled thread is unwound through here
            "sub rsp, 216",
            ".cfi_def_cfa_offset 224",
            "mov [rsp + 32], rdi",
            "mov [rsp + 40], rsi",
            "mov [rsp + 48], rdx",
            "mov [rsp + 56], rcx",
            "mov [rsp + 64], r8",
            "mov [rsp + 72], r9",
            "test al, al",
            "je 2f",
            "movaps [rsp + 80], xmm0",
            "movaps [rsp + 96], xmm1",
            "movaps [rsp + 112], xmm2",
            "movaps [rsp + 128], xmm3",
            "movaps [rsp + 144], xmm4",
            "movaps [rsp + 160], xmm5",
            "movaps [rsp + 176], xmm6",
            "movaps [rsp + 192], xmm7",
            "2:",
            "mov dword ptr [rsp], 8 * {named}",
            "mov dword ptr [rsp + 4], 48",
            "lea rax, [rsp + 224]",
            "mov [rsp + 8], rax",
            "lea rax, [rsp + 32]",
            "mov [rsp + 16], rax",
            concat!("mov ", $list, ", rsp"),
            "call {hook}",
            "add rsp, 216",
            ".cfi_def_cfa_offset 8",
            "ret",
            ".cfi_endproc",
            named = const $named,
            hook = sym $hook,
        )
    };
}

#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dprintf() -> c_int {
    variadic!(named: 2, list: "rdx", vdprintf)
}

#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn __dprintf_chk() -> c_int {
    variadic!(named: 3, list: "rcx", __vdprintf_chk)
}

/// glibc's `cookie_io_functions_t`.
#[repr(C)]
struct CookieFunctions {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut c_char, usize) -> isize>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize>,
    seek: Option<unsafe extern "C" fn(*mut c_void) -> c_int>, // not used here
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

unsafe extern "C" {
    fn fopencookie(
        cookie: *mut c_void,
        mode: *const c_char,
        functions: CookieFunctions,
    ) -> *mut FILE;
    fn vfprintf(stream: *mut FILE, format: *const c_char, arguments: VaList) -> c_int;
    fn __vfprintf_chk(
        stream: *mut FILE,
        flag: c_int,
        format: *const c_char,
        arguments: VaList,
    ) -> c_int;
}
