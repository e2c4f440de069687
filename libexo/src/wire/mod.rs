//! Bytes of the ring's frames, version 2, and the types that say they were checked.
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
mod cipher;
pub mod digest;
pub mod header;
pub mod hosts;
pub mod key;
pub mod keys;
pub mod memory;
mod reader;
pub mod record;
pub mod table;

pub(crate) use header::draft;
pub use header::{Flags, Frame, HEADER_BYTES, Header, Kind, ParseError, RingId, emit};
pub use hosts::HostSet;

/// Why bytes from the network were not let in. Never fatal: counted and dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// They are no frame of this ring.
    #[error(transparent)]
    Form(#[from] ParseError),
    /// They are a frame that nobody of this ring made.
    #[error(transparent)]
    Seal(#[from] auth::AuthError),
}

impl FrameError {
    /// Whether the two hosts are configured so that they can never hear each other: something that
    /// an operator must change, and should be told by name.
    #[must_use]
    pub const fn is_disagreement(&self) -> bool {
        match self {
            Self::Form(error) => matches!(
                error,
                ParseError::Version { .. } | ParseError::Ring { .. } | ParseError::Table { .. }
            ),
            Self::Seal(error) => matches!(
                error,
                auth::AuthError::Mode { .. }
                    | auth::AuthError::Key { .. }
                    | auth::AuthError::Impostor { .. }
                    | auth::AuthError::OwnId { .. }
            ),
        }
    }
}
