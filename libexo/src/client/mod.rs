#![allow(unsafe_code, reason = "types over mapped memory are made here")]
//! The interface for applications, and what the shim is built from.
//!
//! Rust programs use [`group`]; the shim uses the parts: [`session`] (attachment to the monitor),
//! [`socket`] (receiving on one open file description), [`pair`] (turning a UDP socket into a
//! doorbell) and [`turn`] (who may submit). Nothing here allocates once a socket is open, starts
//! a thread, logs, or makes a system call other than through rustix's raw backend.

pub mod group;
pub mod pair;
mod peek;
pub mod session;
pub mod socket;
pub mod turn;
