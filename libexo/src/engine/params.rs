//! Sizes of the ring engine, with their reasons and the inequalities between them.

/// Bounds of one host's engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Params {
    /// Most bytes of messages in one turn.
    pub turn_bytes_max: usize,
    /// Most bytes of messages that wait for a turn.
    pub queue_bytes_max: usize,
    /// Most messages that wait for a turn.
    pub queue_messages_max: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            // Exceeds two of the largest datagrams, so that one never has to be cut.
            turn_bytes_max: 128 * 1024,
            // Two turns: one can be filled while one is being delivered.
            queue_bytes_max: 256 * 1024,
            queue_messages_max: 32 * 1024,
        }
    }
}

impl Params {
    /// Asserts the inequalities; for a value that did not come from a checked configuration.
    pub const fn assert_sound(&self) {
        assert!(
            self.turn_bytes_max >= 65_527,
            "a turn holds the largest datagram"
        );
        assert!(
            self.queue_bytes_max >= self.turn_bytes_max,
            "a turn can be filled"
        );
        assert!(self.queue_messages_max >= 1, "a message can be queued");
    }
}
