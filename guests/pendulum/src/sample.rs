//! A message that tells where the pendulum is, for a channel.

use crate::rig::Reading;

/// Name of the channel that the loop writes these messages to, if the partition table has it.
pub const CHANNEL: &str = "pendulum";

/// Where the pendulum was, and when.
///
/// | bytes, little-endian | field |
/// | --- | --- |
/// | 0 to 7 | time since the loop's start in ms |
/// | 8 to 11, 12 to 15, 16 to 19 | angle in m°, position in mm, force in mN, with signs |
/// | 20 to 23 | 1 when the rod lies, else 0 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Time since the loop's start.
    pub time_ms: u64,
    /// Where everything was.
    pub reading: Reading,
}

impl Sample {
    /// Bytes of a message.
    pub const BYTES: usize = 24;

    /// Returns the message.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let Reading {
            angle_mdeg,
            position_mm,
            force_mn,
            fallen,
        } = self.reading;
        let mut bytes = [0; Self::BYTES];
        let (time, rest) = bytes.split_at_mut(8);
        time.copy_from_slice(&self.time_ms.to_le_bytes());
        let fields = [angle_mdeg, position_mm, force_mn, i32::from(fallen)];
        for (to, field) in rest.chunks_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads a message.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let field = |at: usize| {
            let mut field = [0; 4];
            field.copy_from_slice(&bytes[at..at + 4]);
            i32::from_le_bytes(field)
        };
        let mut time = [0; 8];
        time.copy_from_slice(&bytes[..8]);
        Self {
            time_ms: u64::from_le_bytes(time),
            reading: Reading {
                angle_mdeg: field(8),
                position_mm: field(12),
                force_mn: field(16),
                fallen: field(20) != 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let sample = Sample {
            time_ms: 0x0102,
            reading: Reading {
                angle_mdeg: -2,
                position_mm: 3,
                force_mn: -0x1000,
                fallen: true,
            },
        };
        let bytes = sample.to_bytes();
        assert_eq!(bytes[..3], [2, 1, 0]);
        assert_eq!(bytes[8..13], [0xfe, 0xff, 0xff, 0xff, 3]);
        assert_eq!(Sample::from_bytes(&bytes), sample);
    }
}
