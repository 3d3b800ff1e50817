//! Values of the registers that switch stage 2 on.

use super::GUEST_BITS;
use crate::addr::HostPhysAddr;
use crate::ids::Vmid;

// The values of `PARange` from 2 on stand for 40 bits and more.
const _: () = assert!(36 <= GUEST_BITS && GUEST_BITS <= 40);

/// Returns the bits of guest-physical addresses on a CPU: [`GUEST_BITS`], fewer where it has fewer physical ones.
///
/// `pa_range` is `ID_AA64MMFR0_EL1.PARange`, bits 3:0. On a board with several kinds of CPU, the least of all.
pub fn guest_bits(pa_range: u64) -> u32 {
    match pa_range {
        0 => 32,
        1 => 36,
        _ => GUEST_BITS,
    }
}

/// Returns `VTCR_EL2` for our tables.
///
/// `pa_range` is `ID_AA64MMFR0_EL1.PARange`, bits 3:0. T0SZ gives 39-bit guest addresses, or what the CPU has when
/// that is less (the walk starts at level 1 all the same, with a smaller part of the root in use); SL0 = 1: level 1;
/// walks are inner shareable, write-back; 4 KiB granule; 8-bit VMIDs.
///
/// # Source
/// Arm DDI 0487, register page `VTCR_EL2`.
pub fn vtcr(pa_range: u64) -> u64 {
    const RES1: u64 = 1 << 31;
    const SH0_INNER: u64 = 0b11 << 12;
    const ORGN0_WRITE_BACK: u64 = 0b01 << 10;
    const IRGN0_WRITE_BACK: u64 = 0b01 << 8;
    const SL0_LEVEL_1: u64 = 0b01 << 6;
    let t0sz = u64::from(64 - guest_bits(pa_range));
    // 52-bit output addresses (PARange 6) would change the descriptors.
    let ps = pa_range.min(5) << 16;
    RES1 | ps | SH0_INNER | ORGN0_WRITE_BACK | IRGN0_WRITE_BACK | SL0_LEVEL_1 | t0sz
}

/// Returns `VTTBR_EL2`: the root's address and the VMID in bits 55:48.
///
/// # Source
/// Arm DDI 0487, register page `VTTBR_EL2`.
pub fn vttbr(root: HostPhysAddr, vmid: Vmid) -> u64 {
    root.0 & 0x0000_ffff_ffff_f000 | u64::from(vmid.0) << 48
}
