//! The windows in which a guest sees its interrupt controller; `flags` are those of the header.

use super::system_flags;
use crate::addr::PAGE_BYTES;

/// vCPUs that a partition can have at most with GICv2.
pub const MAX_V2_VCPUS: usize = 8;

/// Returns the bytes of the virtual distributor.
pub const fn distributor_bytes(flags: u32) -> u64 {
    match flags & system_flags::GICV2 {
        0 => 0x1_0000,
        _ => PAGE_BYTES,
    }
}

/// Returns the bytes of the virtual redistributors, or of the CPU interface: a page that is hardware, and one that has
/// `GICC_DIR` alone.
pub const fn interface_bytes(flags: u32, vcpus: u64) -> u64 {
    match flags & system_flags::GICV2 {
        0 => 0x2_0000 * vcpus,
        _ => 2 * PAGE_BYTES,
    }
}

/// Returns what both windows are aligned to.
pub const fn alignment(flags: u32) -> u64 {
    match flags & system_flags::GICV2 {
        0 => 0x1_0000,
        _ => PAGE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_the_version() {
        let both = [0, system_flags::SCRUB_AT_BOOT, system_flags::GICV2];
        assert_eq!(both.map(distributor_bytes), [0x1_0000, 0x1_0000, 0x1000]);
        let interfaces = both.map(|flags| interface_bytes(flags, 3));
        assert_eq!(interfaces, [0x6_0000, 0x6_0000, 0x2000]);
        assert_eq!(both.map(alignment), [0x1_0000, 0x1_0000, 0x1000]);
    }
}
