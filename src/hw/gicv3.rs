//! GICv3: how its frames are told apart, and the CPU interface by system registers.
//!
//! Source: Arm IHI 0069 (GICv3 and GICv4), "Programmers' Model", register pages by name.

use super::gic::PAGE;
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::probe;
use crate::arch::aarch64::sysreg::{read, write};
use bulkhead::addr::HypVirtAddr;
use bulkhead::ids::Mpidr;

const GICR_TYPER: u32 = 0x8;

/// Bytes of distributor registers.
pub const DISTRIBUTOR_BYTES: u32 = 0x1_0000;
/// Offset of `GICD_PIDR2` and `GICR_PIDR2` in the first frame.
pub const PIDR2: u64 = 0xffe8;

/// Says whether the register at `pidr2` is that of a GICv3 or v4 (`ArchRev`).
///
/// # Safety
/// The register is mapped as device memory, during start-up.
pub unsafe fn is_gicv3(pidr2: HypVirtAddr) -> bool {
    // SAFETY: the caller's claim; identification registers have no side effects.
    let id = unsafe { probe::word(pidr2) };
    id.is_some_and(|id| matches!(id >> 4 & 0xf, 3 | 4))
}

/// What `GICR_TYPER` says of a redistributor frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameType {
    /// Affinity of the pCPU that it serves.
    pub mpidr: Mpidr,
    /// It is the last one of its region.
    pub last: bool,
    /// Bytes to the next frame.
    pub stride: u64,
}

/// Reads what a redistributor frame is, from its mapped control page.
pub fn frame_type(control: Registers<PAGE>) -> FrameType {
    let typer = control.read64(GICR_TYPER);
    let affinity = typer >> 32;
    FrameType {
        mpidr: Mpidr::from_raw((affinity >> 24) << 32 | affinity & 0x00ff_ffff),
        last: typer & 1 << 4 != 0,
        stride: if typer & 1 << 1 != 0 {
            0x4_0000
        } else {
            0x2_0000
        },
    }
}

/// Turns this pCPU's interface on: system registers at both levels, all priorities, EOImode 1. Returns which bits of a mask
/// are kept.
pub fn start_cpu_interface() -> u8 {
    write::icc_sre_el2(0xf);
    cpu::isb();
    write::icc_sre_el1(7);
    cpu::isb();
    write::icc_ctlr_el1(1 << 1);
    write::icc_pmr_el1(0xff);
    write::icc_bpr1_el1(0);
    write::icc_igrpen1_el1(1);
    cpu::isb();
    read::icc_pmr_el1() as u8
}

/// See [`super::gic::takes_whole_masks`].
pub fn takes_whole_masks() -> bool {
    let kept = read::icc_pmr_el1() as u8;
    let lowest = 1u64.checked_shl(kept.trailing_zeros()).unwrap_or(0);
    write::icc_pmr_el1(lowest);
    cpu::isb();
    let whole = read::icc_pmr_el1() != 0;
    write::icc_pmr_el1(0xff);
    cpu::isb();
    whole
}

/// Lets through interrupts whose priority is smaller than `mask`. None that is not is taken after this.
#[inline(always)]
pub fn set_mask(mask: u64) {
    write::icc_pmr_el1(mask);
}

/// Takes the most urgent pending interrupt, or [`super::gic::SPECIAL`] and above. It is active from here on.
#[inline(always)]
pub fn acknowledge() -> u32 {
    let intid = read::icc_iar1_el1() as u32;
    cpu::dsb_sy();
    intid
}

/// Drops the running priority that [`acknowledge`] raised; the interrupt stays active.
#[inline(always)]
pub fn drop_priority(intid: u32) {
    write::icc_eoir1_el1(intid.into());
}

/// Ends the active state.
#[inline(always)]
pub fn deactivate(intid: u32) {
    write::icc_dir_el1(intid.into());
}

/// Returns the most urgent pending interrupt without taking it.
pub fn highest_pending() -> u32 {
    read::icc_hppir1_el1() as u32
}

/// Sends an SGI to one pCPU. Earlier memory writes are visible to it.
pub fn send(sgi: u32, to: Mpidr) {
    let raw = to.raw();
    let (aff0, aff1, aff2, aff3) = (
        raw & 0xff,
        raw >> 8 & 0xff,
        raw >> 16 & 0xff,
        raw >> 32 & 0xff,
    );
    let value = aff3 << 48
        | (aff0 >> 4) << 44
        | aff2 << 32
        | u64::from(sgi & 0xf) << 24
        | aff1 << 16
        | 1 << (aff0 & 0xf);
    cpu::dsb_sy();
    write::icc_sgi1r_el1(value);
    cpu::isb();
}

/// Sends an SGI to all other pCPUs.
pub fn send_to_others(sgi: u32) {
    cpu::dsb_sy();
    write::icc_sgi1r_el1(1 << 40 | u64::from(sgi & 0xf) << 24);
    cpu::isb();
}
