//! Device registers, each access one plain load or store.
//!
//! Written as assembly so that the compiler never picks a form that a hypervisor cannot decode (pairs, write-back).

use core::arch::asm;

/// A block of device registers at a fixed address.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: usize,
}

macro_rules! accessors {
    ($read:ident, $write:ident, $type:ty, $load:literal, $store:literal, $modifier:literal) => {
        #[doc = concat!("Reads a `", stringify!($type), "` at `offset` bytes from the block's start.")]
        #[inline(always)]
        pub fn $read(self, offset: usize) -> $type {
            let value: $type;
            // SAFETY: `new`'s caller vouched that accesses in this block reach a device and no memory of this program.
            unsafe {
                asm!(concat!($load, " {v", $modifier, "}, [{a}]"), v = out(reg) value, a = in(reg) self.base.wrapping_add(offset),
                    options(nostack, preserves_flags));
            }
            value
        }

        #[doc = concat!("Writes a `", stringify!($type), "` at `offset` bytes from the block's start.")]
        #[inline(always)]
        pub fn $write(self, offset: usize, value: $type) {
            // SAFETY: as for the read.
            unsafe {
                asm!(concat!($store, " {v", $modifier, "}, [{a}]"), v = in(reg) value, a = in(reg) self.base.wrapping_add(offset),
                    options(nostack, preserves_flags));
            }
        }
    };
}

impl Mmio {
    /// Names the block of device registers at `base`.
    ///
    /// # Safety
    /// Whatever is reached from `base` is a device or a hole, never memory that this program uses, and the device does not
    /// write memory on its own.
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Returns the address of the block's first byte.
    pub const fn base(self) -> usize {
        self.base
    }

    accessors!(read8, write8, u8, "ldrb", "strb", ":w");
    accessors!(read16, write16, u16, "ldrh", "strh", ":w");
    accessors!(read32, write32, u32, "ldr", "str", ":w");
    accessors!(read64, write64, u64, "ldr", "str", ":x");
}
