//! The trusted monitor of Exo, as a library: `exod` is its `main`, tests start several in one
//! process.
//!
//! Two threads. The *control thread* ([`control_plane`]) attaches processes, decides who may do
//! what, and makes and unmakes shared memory; no datagram passes through it. The *engine thread*
//! ([`engine_thread`]) drains the lanes, orders, and writes the logs; it waits for nobody. They
//! talk through two bounded queues (`engine_thread::command`). With other hosts a third thread
//! (`probe`) answers their probes, for `exo doctor`.

pub mod access;
pub mod clock;
pub mod config;
pub mod control_plane;
pub mod engine_thread;
pub mod key_file;
mod mapped;
pub mod observe;
mod probe;
pub mod undertaker;

const _: () = assert!(
    !libexo::planted::IS_POSSIBLE,
    "mistakes are for tests of the simulator (docs/planted.md)"
);
