//! Bytes of the ring's frames, version 1, and the types that say they were checked.
//!
//! Source: `docs/wire.md`. The law of this room: `Frame::parse(emit(x)) == x`, and whatever else
//! arrives is refused with one named reason, without an allocation. No I/O, no state but the
//! replay window of [`auth`].
//!
//! ```text
//! bytes ─▶ Frame::parse ─▶ Frame { header, payload, trailer } ─▶ auth::Guard ─▶ body::*::parse
//!          length, magic,  (every field in its range)            tag, replay    (typed body)
//!          version, check
//! ```

pub mod auth;
pub mod batch;
pub mod body;
pub mod digest;
pub mod header;
pub mod hosts;
pub mod memory;
mod reader;
pub mod record;

pub use header::{Flags, Frame, HEADER_BYTES, Header, Kind, ParseError, emit};
pub use hosts::HostSet;
