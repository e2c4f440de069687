//! The first 16 bytes of a connection, in each direction.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic "EXOT" |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | host that says this |
//! | 6 | 1 | host that is meant |
//! | 7 | 1 | zero |
//! | 8 | 4 | length of the longest frame, little-endian |
//! | 12 | 4 | zero |

use crate::ids::HostId;

/// Length of a hello.
pub(super) const HELLO_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"EXOT";
const VERSION: u8 = 1;

/// Who talks to whom, and what it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hello {
    pub(super) from: HostId,
    pub(super) to: HostId,
    pub(super) frame_bytes_max: u32,
}

impl Hello {
    pub(super) fn emit(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..7].copy_from_slice(&[VERSION, self.from.0, self.to.0]);
        bytes[8..12].copy_from_slice(&self.frame_bytes_max.to_le_bytes());
        bytes
    }

    /// `None` for anything that this version would not say.
    pub(super) fn parse(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        let [_, _, _, _, _, from, to, _, a, b, c, d, ..] = *bytes;
        let hello = Self {
            from: HostId(from),
            to: HostId(to),
            frame_bytes_max: u32::from_le_bytes([a, b, c, d]),
        };
        (hello.emit() == *bytes).then_some(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_read_as_it_was_written_and_nothing_else_is() {
        let hello = Hello {
            from: HostId(3),
            to: HostId(200),
            frame_bytes_max: 0x0102_0304,
        };
        let bytes = hello.emit();
        assert_eq!(bytes, *b"EXOT\x01\x03\xc8\x00\x04\x03\x02\x01\0\0\0\0");
        assert_eq!(Hello::parse(&bytes), Some(hello));
        for at in [0, 3, 4, 7, 12, 15] {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(Hello::parse(&other), None, "byte {at}");
        }
    }
}
