//! Stage 1: an identity map in 1 GiB blocks, made at compile time so that a starting vCPU reads nothing else.
//!
//! | virtual | physical | as |
//! | --- | --- | --- |
//! | 0 .. 1 GiB | the same | device-nGnRE, never executed |
//! | 1 .. 4 GiB | the same | normal write-back memory, executable (RAM is at its start, above it are holes) |
//! | [`EL0_ALIAS`] + (1 .. 2 GiB) | 1 .. 2 GiB | the same memory for EL0 |
//!
//! # Source
//! Arm DDI 0487, "VMSAv8-64 translation table format descriptors"; register pages `TCR_EL1`, `MAIR_EL1`, `SCTLR_EL1`.

use crate::sysreg;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Added to a RAM address it gives the virtual address by which EL0 reaches it.
pub const EL0_ALIAS: usize = 0x10_0000_0000;

/// Descriptor bits of a 1 GiB or 2 MiB block of device memory.
pub const BLOCK_DEVICE: u64 = 1 << 54 | 1 << 53 | 1 << 10 | 1; // UXN, PXN, AF, attribute 0, block
/// Descriptor bits of a 1 GiB or 2 MiB block of normal memory for EL1.
pub const BLOCK_NORMAL: u64 = 1 << 54 | 1 << 10 | 3 << 8 | 1 << 2 | 1; // UXN, AF, inner shareable, attribute 1, block
const BLOCK_EL0: u64 = 1 << 53 | 1 << 10 | 3 << 8 | 1 << 6 | 1 << 2 | 1; // PXN, AP = EL0 too

/// `MAIR_EL1`: attribute 0 device-nGnRE, attribute 1 normal write-back.
pub const MAIR: u64 = 0xff04;
/// `TCR_EL1`: 39-bit addresses by TTBR0 (4 KiB granule, cacheable walks), none by TTBR1. The start-up code adds the size of
/// physical addresses that the CPU has.
pub const TCR: u64 = 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25;
/// `SCTLR_EL1` with the MMU off: the bits that are one on Armv8.0.
pub const SCTLR_OFF: u64 = 0x30d0_0800;
/// `SCTLR_EL1` with the MMU and caches on; EL0 may use WFI, WFE, DC ZVA and cache upkeep.
pub const SCTLR_ON: u64 =
    SCTLR_OFF | 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14 | 1 << 12 | 1 << 2 | 1;

/// A translation table of 512 descriptors.
#[repr(C, align(4096))]
pub struct Table([AtomicU64; 512]);

impl Table {
    /// Returns a table that maps nothing.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 512])
    }

    /// Returns the address of the table, for a descriptor or `TTBR0_EL1`.
    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// Copies the identity map into this table.
    pub fn copy_identity(&self) {
        for (to, from) in self.0.iter().zip(&RUNTIME_ROOT.0) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        sysreg::dsb();
    }

    /// Writes one descriptor; no translation is dropped.
    ///
    /// # Safety
    /// What the table maps where Rust's objects lie stays as it was.
    pub unsafe fn write(&self, index: usize, descriptor: u64) {
        self.0[index].store(descriptor, Ordering::Relaxed);
        sysreg::dsb();
        sysreg::isb();
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Number of the first GiB that the identity map leaves free for [`set_window`].
pub const WINDOW_GIB: usize = 128;

/// Maps the GiB of virtual addresses at `WINDOW_GIB + window` (`window` below 16) as `descriptor` says, or not at all with 0;
/// returns its first address. Old translations are dropped on every vCPU.
pub fn set_window(window: usize, descriptor: u64) -> usize {
    let index = WINDOW_GIB + (window & 15);
    // SAFETY: nothing of Rust's lies there.
    unsafe { RUNTIME_ROOT.write(index, 0) };
    flush_all();
    // SAFETY: as above.
    unsafe { RUNTIME_ROOT.write(index, descriptor) };
    index << 30
}

/// Lets EL0 reach RAM by addresses of 32 bits, or takes that back; returns the address of RAM's first byte there. What
/// the identity map has in that GiB is gone meanwhile.
pub fn set_low_alias(on: bool) -> usize {
    const INDEX: usize = 3;
    const GIB: u64 = 1 << 30;
    let descriptor = if on {
        GIB | BLOCK_EL0
    } else {
        (INDEX as u64 * GIB) | BLOCK_NORMAL
    };
    // SAFETY: nothing of Rust's lies there: RAM ends below.
    unsafe { RUNTIME_ROOT.write(INDEX, 0) };
    flush_all();
    // SAFETY: as above.
    unsafe { RUNTIME_ROOT.write(INDEX, descriptor) };
    INDEX << 30
}

/// Drops all translations of stage 1 on every vCPU of the partition.
pub fn flush_all() {
    // SAFETY: dropping translations makes the tables be read again.
    unsafe {
        asm!(
            "dsb ishst",
            "tlbi vmalle1is",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

#[unsafe(no_mangle)]
static RUNTIME_ROOT: Table = root();

const fn root() -> Table {
    const GIB: u64 = 1 << 30;
    let mut table = Table::new();
    table.0[0] = AtomicU64::new(BLOCK_DEVICE);
    table.0[1] = AtomicU64::new(GIB | BLOCK_NORMAL);
    table.0[2] = AtomicU64::new((2 * GIB) | BLOCK_NORMAL);
    table.0[3] = AtomicU64::new((3 * GIB) | BLOCK_NORMAL);
    table.0[EL0_ALIAS / (1 << 30) + 1] = AtomicU64::new(GIB | BLOCK_EL0);
    table
}

unsafe extern "C" {
    fn runtime_enable_mmu();
}

/// Returns whether this vCPU's MMU is on.
pub fn is_enabled() -> bool {
    read_sysreg!("sctlr_el1") & 1 != 0
}

/// Turns this vCPU's MMU and caches on, with the identity map.
///
/// Writes made with the MMU off went to memory: lines of the image that a cache may still hold are dropped first.
pub fn enable() {
    // SAFETY: the map is an identity map that covers the image, its stacks and its devices, so nothing that Rust knows
    // changes its address; the assembly keeps the procedure call standard.
    unsafe { runtime_enable_mmu() };
}
