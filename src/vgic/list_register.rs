//! The bit image of a list register.
//!
//! # Source
//! Arm IHI 0069 (GICv3/v4), register page `ICH_LR<n>_EL2`: `State` 63:62, `HW` 61, `Group` 60, `Priority` 55:48,
//! `pINTID` 44:32 (with `HW` = 0 bit 41 is `EOI`), `vINTID` 31:0.

use crate::regs::{SOURCE, SOURCE_SHIFT};

/// `State` bit 0: the interrupt is pending.
pub const PENDING: u64 = 1 << 62;
/// `State` bit 1: the interrupt is active.
pub const ACTIVE: u64 = 1 << 63;
/// Both bits of `State`; zero is a free list register.
pub const STATE: u64 = PENDING | ACTIVE;
/// The physical interrupt `pINTID` is deactivated together with the virtual one.
pub const HW: u64 = 1 << 61;
/// The interrupt belongs to group 1.
pub const GROUP1: u64 = 1 << 60;
/// Without `HW`: raise a maintenance interrupt when the guest deactivates this one.
pub const EOI: u64 = 1 << 41;

/// `pINTID`.
pub const PHYSICAL: u64 = 0x1fff << PHYSICAL_SHIFT;
/// How the guest took an active interrupt: its priority and group then.
pub const TAKEN: u64 = 0xff << PRIORITY_SHIFT | GROUP1;
/// In the model's own copy: an SGI of GICv2, with its sender in [`SOURCE`]. No hardware sees it.
pub const SENT: u64 = 1 << 19;

const PRIORITY_SHIFT: u32 = 48;
const PHYSICAL_SHIFT: u32 = 32;

/// One virtual interrupt as a list register holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRegister {
    /// Virtual INTID, 0..=1019.
    pub intid: u16,
    /// GIC priority: a smaller number is more urgent. Five bits are kept.
    pub priority: u8,
    /// Group 1 instead of group 0.
    pub group1: bool,
    /// Is pending.
    pub pending: bool,
    /// Is active. Never together with `pending` when `link` is [`Link::Physical`].
    pub active: bool,
    /// What happens at deactivation besides the list register becoming free.
    pub link: Link,
}

/// What the hardware does when the guest deactivates the interrupt of a list register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing else.
    None,
    /// It raises a maintenance interrupt.
    Maintenance,
    /// It deactivates the physical interrupt of the same INTID.
    Physical,
}

impl ListRegister {
    /// Returns the register's 64 bits.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        let mut bits = self.intid as u64 | ((self.priority & 0xf8) as u64) << PRIORITY_SHIFT;
        if self.group1 {
            bits |= GROUP1;
        }
        if self.pending {
            bits |= PENDING;
        }
        if self.active {
            bits |= ACTIVE;
        }
        match self.link {
            Link::None => bits,
            Link::Maintenance => bits | EOI,
            Link::Physical => bits | HW | (self.intid as u64) << PHYSICAL_SHIFT,
        }
    }
}

/// Returns the virtual INTID of a list register's bits, cut to 16 bits.
pub const fn intid(bits: u64) -> u16 {
    bits as u16
}

/// Returns the bits with the vCPU that sent the SGI.
pub const fn with_sender(bits: u64, sender: u8) -> u64 {
    bits | SENT | (sender as u64) << SOURCE_SHIFT & SOURCE
}

/// Returns the vCPU that sent the SGI of a list register's bits.
pub const fn sender(bits: u64) -> u8 {
    ((bits & SOURCE) >> SOURCE_SHIFT) as u8
}

/// Returns the priority of a list register's bits.
pub const fn priority(bits: u64) -> u8 {
    (bits >> PRIORITY_SHIFT) as u8
}

/// Says whether a list register holds a pending interrupt that is not active: the only kind that is signalled.
pub const fn is_signalled(bits: u64) -> bool {
    bits & STATE == PENDING
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMER: ListRegister = ListRegister {
        intid: 27,
        priority: 0xa0,
        group1: true,
        pending: true,
        active: false,
        link: Link::Physical,
    };

    #[test]
    fn encodes_a_hardware_linked_pending_group_1_interrupt() {
        // State 01, HW, Group 1, priority a0 at bit 48, pINTID 27 at bit 32, vINTID 27.
        assert_eq!(TIMER.encode(), 0x70a0_001b_0000_001b);
    }

    #[test]
    fn encodes_active_with_maintenance_at_bit_41() {
        let uart = ListRegister {
            intid: 33,
            priority: 0x08,
            group1: false,
            pending: false,
            active: true,
            link: Link::Maintenance,
        };
        assert_eq!(uart.encode(), 0x8008_0200_0000_0021);
    }

    #[test]
    fn encodes_pending_and_active_without_link() {
        let sgi = ListRegister {
            intid: 5,
            priority: 0xff,
            group1: true,
            pending: true,
            active: true,
            link: Link::None,
        };
        assert_eq!(
            sgi.encode(),
            0xd0f8_0000_0000_0005,
            "three low priority bits do not exist"
        );
    }

    #[test]
    fn encodes_the_sender_of_an_sgi() {
        // Pending, EOI, the mark at bit 19, the sender at 16, INTID 3.
        let sgi = with_sender(0x4000_0200_0000_0003, 5);
        assert_eq!(sgi, 0x4000_0200_000d_0003);
        assert_eq!((sender(sgi), intid(sgi)), (5, 3));
    }

    #[test]
    fn decodes_the_fields_that_the_model_reads_back() {
        assert_eq!(intid(0x70a0_001b_0000_001b), 27);
        assert_eq!(priority(0x70a0_001b_0000_001b), 0xa0);
        assert!(is_signalled(0x4000_0000_0000_0000));
        assert!(!is_signalled(0xc000_0000_0000_0000));
        assert!(!is_signalled(0x8000_0000_0000_0000));
    }
}
