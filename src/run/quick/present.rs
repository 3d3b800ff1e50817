//! The list registers, as the short ways fill them.

use crate::hw::{gich, list_registers};
use bulkhead::vgic::Present;

/// GICv3's first list registers, in few instructions.
pub struct FirstFour;

impl Present for FirstFour {
    #[inline(always)]
    fn present(self, slot: usize, value: u64) -> bool {
        list_registers::fill_first(slot, value)
    }
}

/// All of GICv3's list registers.
#[derive(Clone, Copy)]
pub struct Any;

impl Present for Any {
    fn present(self, slot: usize, value: u64) -> bool {
        list_registers::fill(slot, value)
    }
}

/// All of GICv2's list registers.
pub struct AnyInMemory;

impl Present for AnyInMemory {
    fn present(self, slot: usize, value: u64) -> bool {
        gich::fill(slot, value)
    }
}
