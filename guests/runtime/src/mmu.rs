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

/// Added to a RAM address it gives the virtual address by which EL0 reaches it.
pub const EL0_ALIAS: usize = 0x10_0000_0000;

/// Descriptor bits of a 1 GiB or 2 MiB block of device memory.
pub const BLOCK_DEVICE: u64 = 1 << 54 | 1 << 53 | 1 << 10 | 1; // UXN, PXN, AF, attribute 0, block
/// Descriptor bits of a 1 GiB or 2 MiB block of normal memory for EL1.
pub const BLOCK_NORMAL: u64 = 1 << 54 | 1 << 10 | 3 << 8 | 1 << 2 | 1; // UXN, AF, inner shareable, attribute 1, block
const BLOCK_EL0: u64 = 1 << 53 | 1 << 10 | 3 << 8 | 1 << 6 | 1 << 2 | 1; // PXN, AP = EL0 too

/// `MAIR_EL1`: attribute 0 device-nGnRE, attribute 1 normal write-back.
pub const MAIR: u64 = 0xff04;
/// `TCR_EL1`: 39-bit addresses by TTBR0 (4 KiB granule, cacheable walks, 36-bit physical), none by TTBR1.
pub const TCR: u64 = 1 << 32 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25;
/// `SCTLR_EL1` with the MMU off: the bits that are one on Armv8.0.
pub const SCTLR_OFF: u64 = 0x30d0_0800;
/// `SCTLR_EL1` with the MMU and caches on; EL0 may use WFI, WFE, DC ZVA and cache upkeep.
pub const SCTLR_ON: u64 =
    SCTLR_OFF | 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14 | 1 << 12 | 1 << 2 | 1;

/// A translation table of 512 descriptors.
#[repr(C, align(4096))]
pub struct Table(pub [u64; 512]);

#[unsafe(no_mangle)]
static RUNTIME_ROOT: Table = root();

const fn root() -> Table {
    const GIB: u64 = 1 << 30;
    let mut table = [0; 512];
    table[0] = BLOCK_DEVICE;
    table[1] = GIB | BLOCK_NORMAL;
    table[2] = (2 * GIB) | BLOCK_NORMAL;
    table[3] = (3 * GIB) | BLOCK_NORMAL;
    table[EL0_ALIAS / (1 << 30) + 1] = GIB | BLOCK_EL0;
    Table(table)
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
