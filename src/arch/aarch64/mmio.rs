//! Device registers by single load and store instructions, so that the compiler neither splits nor merges them.

use bulkhead::addr::HypVirtAddr;
use core::arch::asm;

/// A mapped window of `BYTES` bytes of device registers that has one owner. The size is in the type, so that the check
/// of a register that is known when EL2 is compiled costs nothing.
#[derive(Clone, Copy)]
pub struct Registers<const BYTES: u32> {
    base: HypVirtAddr,
}

impl<const BYTES: u32> Registers<BYTES> {
    /// Takes charge of a window.
    ///
    /// # Safety
    /// `base` is mapped as device memory for `BYTES` bytes as long as the value lives, and whoever shares the window
    /// agrees on who writes which register.
    pub const unsafe fn new(base: HypVirtAddr) -> Self {
        Self { base }
    }

    /// Reads a 32-bit register. An offset outside the window reads as zero.
    #[inline(always)]
    pub fn read(self, offset: u32) -> u32 {
        if offset > BYTES.wrapping_sub(4) {
            return 0;
        }
        let value: u32;
        // SAFETY: `new`'s claim; the offset was checked, and no window wraps.
        unsafe {
            asm!("ldr {:w}, [{}]", out(reg) value, in(reg) self.base.0.wrapping_add(offset.into()), options(nostack, preserves_flags));
        }
        value
    }

    /// Writes a 32-bit register. An offset outside the window is ignored.
    #[inline(always)]
    pub fn write(self, offset: u32, value: u32) {
        if offset > BYTES.wrapping_sub(4) {
            return;
        }
        // SAFETY: `new`'s claim; the offset was checked, and no window wraps.
        unsafe {
            asm!("str {:w}, [{}]", in(reg) value, in(reg) self.base.0.wrapping_add(offset.into()), options(nostack, preserves_flags));
        }
    }

    /// Reads a register of eight bits. An offset outside the window reads as zero.
    #[inline(always)]
    pub fn read8(self, offset: u32) -> u8 {
        if offset >= BYTES {
            return 0;
        }
        let value: u32;
        // SAFETY: `new`'s claim; the offset was checked, and no window wraps.
        unsafe {
            asm!("ldrb {:w}, [{}]", out(reg) value, in(reg) self.base.0.wrapping_add(offset.into()), options(nostack, preserves_flags));
        }
        value as u8
    }

    /// Writes a byte of a register. An offset outside the window is ignored.
    #[inline(always)]
    pub fn write8(self, offset: u32, value: u8) {
        if offset >= BYTES {
            return;
        }
        // SAFETY: `new`'s claim; the offset was checked, and no window wraps.
        unsafe {
            asm!("strb {:w}, [{}]", in(reg) u32::from(value), in(reg) self.base.0.wrapping_add(offset.into()), options(nostack, preserves_flags));
        }
    }

    /// Reads a 64-bit register. An offset outside the window reads as zero.
    #[inline(always)]
    pub fn read64(self, offset: u32) -> u64 {
        if offset > BYTES.wrapping_sub(8) {
            return 0;
        }
        let value: u64;
        // SAFETY: `new`'s claim; the offset was checked, and no window wraps.
        unsafe {
            asm!("ldr {}, [{}]", out(reg) value, in(reg) self.base.0.wrapping_add(offset.into()), options(nostack, preserves_flags));
        }
        value
    }

    /// Writes a 64-bit register. An offset outside the window is ignored.
    #[inline(always)]
    pub fn write64(self, offset: u32, value: u64) {
        if offset > BYTES.wrapping_sub(8) {
            return;
        }
        // SAFETY: `new`'s claim; the offset was checked, and no window wraps.
        unsafe {
            asm!("str {}, [{}]", in(reg) value, in(reg) self.base.0.wrapping_add(offset.into()), options(nostack, preserves_flags));
        }
    }
}
