//! The page of registers by which a partition's software rings a channel's doorbell and learns about its partner, without
//! a call: user space can map it. This layout is an interface for guests and does not change.
//!
//! | offset | bits | register | access |
//! | --- | --- | --- | --- |
//! | 0x00 | 32 | SIGNAL: any store rings the partner's doorbell, as the call `channel_signal` does | write |
//! | 0x08 | 64 | PEER: bit 0 the partner runs, bits 63:32 its generation: how often it was started | read |
//! | 0x10 | 64 | OWN: the same of this side | read |
//! | 0x18 | 32 | INFO: bits 7:0 version of this layout, 15:8 side, 16 may read, 17 may write the memory | read |
//! | 0x20 | 64 | SIZE: bytes of the shared memory | read |
//!
//! Parts of a register can be read by narrower loads.

/// Version of the layout.
pub const VERSION: u64 = 1;
/// Offset of SIGNAL.
pub const SIGNAL: u64 = 0x00;

/// Whether a partition runs, and in which of its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// How often it was started.
    pub generation: u32,
    /// It runs.
    pub runs: bool,
}

impl Presence {
    /// Returns the register's value.
    pub const fn raw(self) -> u64 {
        (self.generation as u64) << 32 | self.runs as u64
    }

    /// Reads a register's value.
    pub const fn from_raw(raw: u64) -> Self {
        Self {
            generation: (raw >> 32) as u32,
            runs: raw & 1 != 0,
        }
    }
}

/// What the registers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The partner, [`Presence::raw`].
    pub peer: u64,
    /// This side.
    pub own: u64,
    /// Which side this is.
    pub side: u8,
    /// Bits of [`crate::config::record::access`].
    pub access: u32,
    /// Bytes of the shared memory.
    pub size: u64,
}

impl Status {
    /// Returns INFO.
    pub const fn info(&self) -> u64 {
        VERSION | (self.side as u64) << 8 | (self.access as u64 & 0xff) << 16
    }

    /// Returns what a load at an offset of the page gets; the caller keeps as many bytes as it loads.
    pub const fn read(&self, offset: u64) -> u64 {
        let register = match offset & !7 {
            0x08 => self.peer,
            0x10 => self.own,
            0x18 => self.info(),
            0x20 => self.size,
            _ => 0,
        };
        register >> (8 * (offset & 7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: Status = Status {
        peer: 0x0000_0007_0000_0001,
        own: 0x0000_0002_0000_0001,
        side: 1,
        access: 3,
        size: 0x1_0000,
    };

    #[test]
    fn registers_read_as_documented_and_the_rest_as_zero() {
        for (offset, value) in [
            (0x00, 0),
            (0x08, 0x0000_0007_0000_0001),
            (0x0c, 7),
            (0x10, 0x0000_0002_0000_0001),
            (0x14, 2),
            (0x18, 0x0003_0101),
            (0x1c, 0),
            (0x20, 0x1_0000),
            (0x28, 0),
            (0xff8, 0),
        ] {
            assert_eq!(STATUS.read(offset), value, "{offset:#x}");
        }
    }

    #[test]
    fn presence_survives_its_register() {
        let presence = Presence {
            generation: u32::MAX,
            runs: true,
        };
        assert_eq!(presence.raw(), 0xffff_ffff_0000_0001);
        assert_eq!(Presence::from_raw(presence.raw()), presence);
        assert_eq!(Presence::from_raw(0), Presence::default());
    }
}
