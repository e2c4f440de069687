//! Exo: totally ordered, loss-free multicast under programs that were not written for it.
//!
//! A datagram goes one way through the rooms of this crate and of its two processes:
//!
//! ```text
//! sendto → shm::submit_ring → engine → shm::log → recvfrom
//!          (application)      (monitor) (monitor)  (application)
//! ```
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`shm`] | memory that applications and monitor share: lanes, logs, socket pages, the board |
//! | [`wire`] | the frames between hosts: bytes and the types that say they were checked |
//! | [`engine`] | the ordering protocols as state machines without I/O |
//! | [`control`] | the words between an application, an operator and the monitor |
//! | [`client`] | the interface for applications and for the preloaded shim |
//! | `journal` | the order on disk; with the feature of that name, which the shim does not have |
//!
//! `wire` and `engine` exist with the feature `engine` only, which the monitor and the simulator ask
//! for: what runs inside other people's programs contains neither.
//!
//! Import rules, checked by `tests/tidy.rs`: `engine` knows neither `shm` nor `control` nor any
//! clock; `shm` knows neither `engine` nor `control`; `client` knows no `engine`. What also runs
//! inside other people's programs (`ids`, `sync`, `shm`, `control`, `client`) makes its system
//! calls through `rustix`'s raw backend only, so that it never enters a hook of the shim.

// The client maps memory, which a loom model does not have.
#[cfg(not(loom))]
pub mod client;
pub mod control;
#[cfg(feature = "engine")]
pub mod engine;

pub mod ids;
#[cfg(feature = "journal")]
pub mod journal;
pub mod quorum;
pub mod shm;
pub mod sync;
pub mod time;
#[cfg(feature = "engine")]
pub mod wire;
