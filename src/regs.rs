//! Register images of the virtual CPU interface, from one version of the hardware to another: the virtual GIC's model speaks
//! GICv3's.
//!
//! `GICH_VMCR` and `GICH_HCR` have their fields where `ICH_VMCR_EL2` and `ICH_HCR_EL2` have theirs, as far as both have
//! them. List registers are packed differently.
//!
//! # Source
//! Arm IHI 0069 (GICv3/v4), register page `ICH_LR<n>_EL2`: `State` 63:62, `HW` 61, `Group` 60, `Priority` 55:48, `pINTID`
//! 44:32 (with `HW` = 0 bit 41 is `EOI`), `vINTID` 31:0. Arm IHI 0048 (GICv2), register page `GICH_LRn`: `HW` 31, `Grp1`
//! 30, `State` 29:28, `Priority` 27:23, `PhysicalID` 19:10 (with `HW` = 0 bit 19 is `EOI` and 12:10 `CPUID`), `VirtualID`
//! 9:0.
#![forbid(unsafe_code)]

/// Where an image of GICv3's form has the CPU that sent an SGI of GICv2, which no GICv3 ever sees.
pub const SOURCE_SHIFT: u32 = 16;
/// The sender, 0 to 7.
pub const SOURCE: u64 = 7 << SOURCE_SHIFT;

/// `ICH_LR<n>_EL2`: `HW` and `Group`, next to each other, and how far down `GICH_LRn` has them.
const LINK_AND_GROUP: u64 = 3 << 60;
const LINK_AND_GROUP_DOWN: u32 = 30;
const STATE: u64 = 3 << 62;
const STATE_DOWN: u32 = 34;
/// The five bits of `Priority` that both have.
const PRIORITY: u64 = 0x1f << 51;
const PRIORITY_DOWN: u32 = 28;
/// The ten bits of `pINTID`, `EOI` the highest of them.
const PHYSICAL: u64 = 0x3ff << 32;
const PHYSICAL_DOWN: u32 = 22;
/// `CPUID` lies in the same field.
const SOURCE_DOWN: u32 = SOURCE_SHIFT - 10;
const VIRTUAL: u64 = 0x3ff;

/// Returns the bits of `GICH_LRn` for an image in the form of `ICH_LR<n>_EL2`.
pub const fn gich_list_register(bits: u64) -> u32 {
    let word = (bits & LINK_AND_GROUP) >> LINK_AND_GROUP_DOWN
        | (bits & STATE) >> STATE_DOWN
        | (bits & PRIORITY) >> PRIORITY_DOWN
        | (bits & PHYSICAL) >> PHYSICAL_DOWN
        | (bits & SOURCE) >> SOURCE_DOWN
        | bits & VIRTUAL;
    word as u32
}

/// Returns the image in the form of `ICH_LR<n>_EL2` for the bits of `GICH_LRn`.
pub const fn ich_list_register(word: u32) -> u64 {
    const GICH_HW: u64 = 1 << 31;
    const GICH_EOI: u64 = 1 << 19;
    let word = word as u64;
    let physical = match word & GICH_HW != 0 {
        true => word << PHYSICAL_DOWN & PHYSICAL,
        false => (word & GICH_EOI) << PHYSICAL_DOWN | word << SOURCE_DOWN & SOURCE,
    };
    word << LINK_AND_GROUP_DOWN & LINK_AND_GROUP
        | word << STATE_DOWN & STATE
        | word << PRIORITY_DOWN & PRIORITY
        | physical
        | word & VIRTUAL
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image of GICv3's form, and what GICv2 has for it: both by hand from the register pages.
    const PAIRS: &[(u64, u32)] = &[
        // Free.
        (0, 0),
        // Pending, HW, group 0, priority a0 (14 of 32), pINTID 27, vINTID 27.
        (0x60a0_001b_0000_001b, 0x9a00_6c1b),
        // Active, HW, group 1, priority 08, SPI 1019 linked to itself.
        (0xb008_03fb_0000_03fb, 0xe08f_effb),
        // Active with EOI, group 0, priority f8, INTID 33.
        (0x80f8_0200_0000_0021, 0x2f88_0021),
        // SGI 5 from CPU 6, pending, group 1, priority 0.
        (0x5000_0000_0006_0005, 0x5000_1805),
        // SGI 15 from CPU 7, active, with EOI: others wait.
        (0x8080_0200_0007_000f, 0x2808_1c0f),
        // Pending and active.
        (0xc000_0000_0000_0010, 0x3000_0010),
    ];

    #[test]
    fn packs_list_registers_for_gicv2() {
        for (image, packed) in PAIRS {
            assert_eq!(gich_list_register(*image), *packed, "{image:#x}");
        }
    }

    #[test]
    fn unpacks_what_it_packs() {
        for (image, packed) in PAIRS {
            assert_eq!(ich_list_register(*packed), *image, "{packed:#x}");
        }
    }
}
