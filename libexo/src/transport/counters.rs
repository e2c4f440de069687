//! What passed through a transport, and why the rest did not.

/// Frames and their bytes. Headers of the medium are not counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one frame.
    pub(super) const fn add(&mut self, frame_bytes: usize) {
        self.frames += 1;
        self.bytes += frame_bytes as u64;
    }
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DropReason {
    /// Heard, but sent by this host.
    Own,
    /// Heard from an address that no peer has.
    UnknownSource,
    /// Heard, but longer than the longest frame.
    TooLong,
    /// Heard, but for another host or another virtual LAN.
    NotForUs,
    /// Arrived when the receive buffer was full; the system dropped it.
    ReceiveBufferFull,
    /// To be sent when the system's send buffer was full.
    SendBufferFull,
    /// To be sent, and the system refused it ([`Counters::last_errno`]).
    SendRefused,
    /// To be sent to a peer without a connection.
    NotConnected,
    /// Oldest of a peer's send queue when a newer one needed the room, or lost with a connection.
    QueueOverflow,
}

impl DropReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Own,
        Self::UnknownSource,
        Self::TooLong,
        Self::NotForUs,
        Self::ReceiveBufferFull,
        Self::SendBufferFull,
        Self::SendRefused,
        Self::NotConnected,
        Self::QueueOverflow,
    ];

    /// Name for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::UnknownSource => "unknown_source",
            Self::TooLong => "too_long",
            Self::NotForUs => "not_for_us",
            Self::ReceiveBufferFull => "receive_buffer_full",
            Self::SendBufferFull => "send_buffer_full",
            Self::SendRefused => "send_refused",
            Self::NotConnected => "not_connected",
            Self::QueueOverflow => "queue_overflow",
        }
    }
}

/// What passed and what was dropped since the start.
///
/// A frame to all counts once for each copy that this host sent: once by multicast, n − 1 times
/// by copies for each peer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Handed to the system.
    pub sent: Traffic,
    /// Put into an inbox.
    pub received: Traffic,
    dropped: [u64; DropReason::ALL.len()],
    /// Connections that were made and greeted.
    pub connected: u64,
    /// Greeted connections that ended.
    pub disconnected: u64,
    /// Connections closed because of what came through them, or because nothing did.
    pub nonsense: u64,
    /// The system's last answer to something that it refused; 0 if there was none.
    pub last_errno: i32,
}

impl Counters {
    /// Frames dropped for `reason`.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(super) const fn drop_frames(&mut self, reason: DropReason, frames: u64) {
        self.dropped[reason as usize] += frames;
    }

    pub(super) const fn set_dropped(&mut self, reason: DropReason, frames: u64) {
        self.dropped[reason as usize] = frames;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let mut counters = Counters::default();
            counters.drop_frames(reason, 2);
            assert_eq!(counters.dropped(reason), 2);
            assert_eq!(counters.dropped.iter().sum::<u64>(), 2);
        }
        let mut names = DropReason::ALL.map(DropReason::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
