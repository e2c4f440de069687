#![allow(
    unsafe_code,
    reason = "C functions over other people's pointers; see each block"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "every hook has the contract of the libc function whose name it bears"
)]
#![allow(unreachable_pub, reason = "a hook is reached by its symbol")]
#![allow(
    missing_docs,
    reason = "a hook is documented by the manual page of its name"
)]
//! `libexo_shim.so`: loaded into programs that know nothing of Exo.
//!
//! It intercepts the calls listed in `docs/shim.md`. A socket whose address is marked as a group
//! is carried over shared memory; for everything else a hook is one load, one branch and the real
//! function. The program keeps its own kernel socket (same descriptor, same open file
//! description), which becomes the doorbell (`libexo::client::pair`).
//!
//! Rules of the house: no panic for anything that a program passes, no allocation and no lock on
//! the data path, no thread, nothing on stdout, errno as the kernel's. Calls that are passed
//! through go to libc's function, not to the raw system call, so that cancellation points stay
//! what they are; calls of our own go through rustix's raw backend and never enter a hook.

mod cancel;
mod convert;
mod descriptor;
mod env;
mod errno;
mod foreign;
mod hooks;
mod names;
mod probe;
mod real;
mod session;

ctor::declarative::ctor! {
    #[ctor(unsafe)]
    fn start() {
        hooks::process::start();
    }
}
