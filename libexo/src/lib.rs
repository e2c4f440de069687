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
//! | `transport` (feature of that name) | frames between monitors: UDP, TCP, Ethernet |
//! | `journal` (feature of that name) | the order on disk |
//!
//! `wire` and `engine` exist with the feature `engine` only, which the monitor and the simulator ask
//! for: what runs inside other people's programs contains none of the optional rooms.
//!
//! Import rules, checked by `tests/tidy.rs`: `engine` knows neither `shm` nor `control` nor any
//! clock; `shm` knows neither `engine` nor `control`; `client` knows no `engine`; `transport` knows
//! `ids`, `time` and `quorum` only, and the monitor alone enables it. What also runs
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
// Sockets and mapped rings, which a loom model does not have.
#[cfg(feature = "engine")]
pub mod planted;
#[cfg(all(feature = "transport", not(loom)))]
pub mod transport;
#[cfg(feature = "engine")]
pub mod wire;
