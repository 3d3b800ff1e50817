//! GICv2's virtual interface control: list registers, active priorities and the guest's own controls, as memory that every
//! pCPU sees its own part of.
//!
//! Everything is told and taken in the form that GICv3's system registers have.
//!
//! Source: Arm IHI 0048 (GICv2), "GIC virtual interface control register descriptions".

use super::gic::PAGE;
use super::list_registers::{Interface, Kind, STATE, Shape};
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::probe;
use bulkhead::addr::HypVirtAddr;
use bulkhead::regs::{gich_list_register, ich_list_register};
use core::sync::atomic::{AtomicU64, Ordering};

const HCR: u32 = 0x0;
const VTR: u32 = 0x4;
const VMCR: u32 = 0x8;
const ELRSR: u32 = 0x30;
const APR: u32 = 0xf0;
const LR: u32 = 0x100;
/// List registers that are used at most.
const MOST: u32 = 16;

/// Where the registers are mapped: written once at start-up.
static FRAME: AtomicU64 = AtomicU64::new(0);

/// Makes all pCPUs use these.
///
/// # Safety
/// Mapped as device memory for good, before any other pCPU runs.
pub unsafe fn use_frame(frame: HypVirtAddr) {
    FRAME.store(frame.0, Ordering::Relaxed);
}

/// Says whether something answers as the type register.
///
/// # Safety
/// The page is mapped as device memory, during start-up.
pub unsafe fn answers(page: HypVirtAddr) -> bool {
    // SAFETY: the caller's claim; reading the type changes nothing.
    let vtr = unsafe { probe::word(HypVirtAddr(page.0 + u64::from(VTR))) };
    // Five bits of priority and of preemption, each less 1.
    vtr.is_some_and(|vtr| vtr >> 26 == 4 << 3 | 4)
}

#[inline(always)]
fn registers() -> Registers<PAGE> {
    // SAFETY: `use_frame`'s claim: with GICv2 alone does anybody come here. Each pCPU reaches its own bank alone.
    unsafe { Registers::new(HypVirtAddr(FRAME.load(Ordering::Relaxed))) }
}

/// Reads the shape of this pCPU's interface.
#[cold]
pub fn shape() -> Shape {
    let vtr = registers().read(VTR);
    Shape {
        count: ((vtr & 0x3f) + 1).min(MOST) as u8,
        active_priorities: 1,
        kind: Kind::Memory,
    }
}

/// Reads `GICH_HCR`.
#[cold]
#[inline(never)]
pub fn control() -> u64 {
    registers().read(HCR).into()
}

/// Writes `GICH_HCR`.
#[cold]
#[inline(never)]
pub fn set_control(value: u64) {
    registers().write(HCR, value as u32);
}

/// Reads `GICH_VMCR`.
#[cold]
#[inline(never)]
pub fn vmcr() -> u64 {
    registers().read(VMCR).into()
}

/// Reads `GICH_APR`: both groups' active priorities.
#[cold]
#[inline(never)]
pub fn active() -> u64 {
    registers().read(APR).into()
}

/// Returns the list registers that hold nothing, as a mask.
#[cold]
pub fn empty() -> u16 {
    registers().read(ELRSR) as u16
}

/// Reads the interface out of the hardware.
#[cold]
#[inline(never)]
pub fn save(interface: &mut Interface) {
    interface.vmcr = vmcr();
    interface.active_group0[0] = active();
}

/// Writes the interface into the hardware.
#[cold]
#[inline(never)]
pub fn restore(interface: &Interface) {
    registers().write(VMCR, interface.vmcr as u32);
    registers().write(APR, interface.active_group0[0] as u32);
}

/// Reads list register `index`; one that does not exist reads as zero.
#[inline(never)]
pub fn read_list_register(index: u8) -> u64 {
    let index = u32::from(index);
    match index < MOST {
        true => ich_list_register(registers().read(LR + 4 * index)),
        false => 0,
    }
}

/// Reads the state of the interrupt in list register `index`, where GICv3's has it; nothing else of it.
#[inline(always)]
pub fn read_state(index: u8) -> u64 {
    const STATE_SHIFT: u32 = 28;
    let word = registers().read(LR + 4 * u32::from(index & (MOST as u8 - 1)));
    u64::from(word >> STATE_SHIFT & 3) << STATE.trailing_zeros()
}

/// Writes list register `index`; one that does not exist is ignored.
#[inline(always)]
pub fn write_list_register(index: u8, value: u64) {
    let index = u32::from(index);
    if index < MOST {
        registers().write(LR + 4 * index, gich_list_register(value));
    }
}

/// Writes the list registers that a mask names.
#[inline(never)]
pub fn write_list_registers(mask: u16, values: &[u64; 16]) {
    let mut left = mask;
    while left != 0 {
        let index = left.trailing_zeros() as u8;
        left &= left - 1;
        write_list_register(index, values.get(usize::from(index)).copied().unwrap_or(0));
    }
}

/// Writes list register `index` unless it holds an interrupt, pending or active, and says whether it did.
#[inline(never)]
pub fn fill(index: usize, value: u64) -> bool {
    let free = read_state(index as u8) == 0;
    if free {
        write_list_register(index as u8, value);
    }
    free
}
