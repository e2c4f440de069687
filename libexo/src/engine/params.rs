//! Sizes and times of the ring engine, with their reasons and the inequalities between them.

use core::time::Duration;

use super::Stage;

/// Most bytes of a turn that a host takes from another, whatever its own `turn_bytes_max` is.
pub const TURN_BYTES_LIMIT: usize = 1 << 20;

/// Least `frame_bytes_max`: what goes through the narrowest links is far above, and an INSTALL cut
/// into dozens of parts hardly ever arrives whole where frames get lost.
pub const FRAME_BYTES_MIN: usize = 192;

/// Bounds of one host's engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Params {
    /// Most bytes of messages in one turn.
    pub turn_bytes_max: usize,
    /// Most bytes of messages that wait for a turn.
    pub queue_bytes_max: usize,
    /// Most messages that wait for a turn.
    pub queue_messages_max: usize,
    /// Bytes of the log that are kept for hosts that return, beyond what members still need.
    pub retain_bytes: usize,
    /// Bytes that may wait for delivery here; credit for others comes out of it.
    pub receive_bytes: usize,
    /// Bytes of turns that arrived early or in part.
    pub early_bytes_max: usize,
    /// Most bytes of a frame on the network, header and trailer included: at most the transport's
    /// MTU, and the same on all hosts.
    pub frame_bytes_max: usize,
    /// A host that is at most so many positions behind may come in inside an epoch.
    pub join_window: u64,
    /// When a message is delivered: `Agreed` or `Safe`.
    pub level: Stage,
    /// The token never rests: least delay after a silence, for a processor that is never idle. All
    /// hosts of a ring should say the same.
    pub spin: bool,
    /// Times of the ring.
    pub times: Times,
}

/// Times of the ring. Safety rests on none of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Times {
    /// Least time until the last turn is sent again.
    pub resend_min: Duration,
    /// Least time without progress until a host asks whether others see none, either.
    pub loss_min: Duration,
    /// Least time until a gap is asked for, and asked for again.
    pub nack_min: Duration,
    /// Most time until a gap is asked for again.
    pub nack_max: Duration,
    /// Time until a request for promises, or for a part of the log, is repeated.
    pub prepare: Duration,
    /// Most time that a founder waits before it gives up.
    pub epoch_max: Duration,
    /// Least time between two requests to come in.
    pub join_min: Duration,
    /// Most time between two requests to come in.
    pub join_max: Duration,
    /// Least time between two planned epochs.
    pub planned: Duration,
    /// How often a parked owner says that it is there.
    pub park: Duration,
    /// A host that was removed three times within this time waits before it asks to come in.
    pub removals_within: Duration,
    /// How long it waits the first time; each further removal doubles it.
    pub removed_min: Duration,
    /// Most time that it waits.
    pub removed_max: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            resend_min: ms(1),
            // An owner that is not scheduled for so long is voted out, harmlessly.
            loss_min: ms(50),
            nack_min: Duration::from_micros(50),
            nack_max: ms(10),
            prepare: ms(5),
            epoch_max: ms(2000),
            join_min: ms(200),
            join_max: ms(2000),
            planned: ms(1000),
            park: ms(100),
            removals_within: Duration::from_secs(300),
            removed_min: ms(1000),
            removed_max: Duration::from_secs(60),
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            // Exceeds two of the largest datagrams, so that one never has to be cut.
            turn_bytes_max: 128 * 1024,
            // Two turns: one can be filled while one is being delivered.
            queue_bytes_max: 256 * 1024,
            queue_messages_max: 32 * 1024,
            retain_bytes: 64 << 20,
            receive_bytes: 64 << 20,
            early_bytes_max: 16 << 20,
            // An Ethernet frame's 1500 bytes without the heads of IPv4 and UDP.
            frame_bytes_max: 1472,
            join_window: 1024,
            level: Stage::Agreed,
            spin: false,
            times: Times::default(),
        }
    }
}

impl Params {
    /// Asserts the inequalities; for a value that did not come from a checked configuration.
    pub const fn assert_sound(&self) {
        assert!(
            self.turn_bytes_max >= 64,
            "a turn holds the head of an entry and some bytes"
        );
        assert!(
            self.queue_bytes_max >= self.turn_bytes_max,
            "a turn can be filled"
        );
        assert!(self.queue_messages_max >= 1, "a message can be queued");
        assert!(
            self.early_bytes_max >= 2 * self.turn_bytes_max,
            "a turn can be put together while the next comes in"
        );
        assert!(
            self.turn_bytes_max <= TURN_BYTES_LIMIT,
            "others take the turn"
        );
        assert!(
            self.frame_bytes_max >= FRAME_BYTES_MIN && self.frame_bytes_max <= 65_000,
            "a frame holds its header and trailer and what is worth both, and a datagram the frame"
        );
    }
}
