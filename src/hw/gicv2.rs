//! GICv2's CPU interface: memory that every pCPU sees its own part of, at the same place.
//!
//! The interface works alike in the view of a GIC without security and in the non-secure view of one with it: what is
//! group 0 in the one is group 1 in the other, by the same bits.
//!
//! Source: Arm IHI 0048 (GICv2), "CPU interface register descriptions" and the register page `GICD_SGIR`.

use super::gic::PAGE;
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::probe;
use bulkhead::addr::HypVirtAddr;
use core::sync::atomic::{AtomicU64, Ordering};

const GICC_CTLR: u32 = 0x0;
const GICC_PMR: u32 = 0x4;
const GICC_BPR: u32 = 0x8;
const GICC_IAR: u32 = 0xc;
const GICC_EOIR: u32 = 0x10;
const GICC_HPPIR: u32 = 0x18;
const GICC_APR: u32 = 0xd0;
const GICC_IIDR: u64 = 0xfc;
const ICPIDR2: u64 = 0xfe8;
/// Offset of `GICC_DIR` in the page behind the first one.
const GICC_DIR: u32 = 0x0;
const GICD_SGIR: u32 = 0xf00;

/// `GICC_CTLR`: forwarding on, and EOImode 1 (`EOImodeNS`, or the one `EOImode` without security).
const CTLR_ENABLE: u32 = 1 << 0;
const CTLR_SPLIT_END: u32 = 1 << 9;
/// `GICC_CTLR`: the bypass bits, which the firmware chose.
const CTLR_BYPASS: u32 = 0xf << 5;
/// `GICD_SGIR`: where its targets lie, and to all but the sender.
const SGIR_TARGETS: u32 = 16;
const SGIR_OTHERS: u32 = 1 << 24;

/// Where the registers are mapped: written once at start-up, zero with GICv3.
struct Frames {
    distributor: AtomicU64,
    cpu: AtomicU64,
    deactivation: AtomicU64,
}

static FRAMES: Frames = Frames {
    distributor: AtomicU64::new(0),
    cpu: AtomicU64::new(0),
    deactivation: AtomicU64::new(0),
};

/// Makes all pCPUs use these: the distributor's first page, the CPU interface's first page, and the page that has
/// `GICC_DIR` alone.
///
/// # Safety
/// Each is mapped as device memory for good, before any other pCPU runs.
pub unsafe fn use_frames(distributor: HypVirtAddr, cpu: HypVirtAddr, deactivation: HypVirtAddr) {
    FRAMES.distributor.store(distributor.0, Ordering::Relaxed);
    FRAMES.deactivation.store(deactivation.0, Ordering::Relaxed);
    FRAMES.cpu.store(cpu.0, Ordering::Relaxed);
}

/// Says whether the page is the distributor of a GICv2, by its `ICPIDR2.ArchRev`.
///
/// # Safety
/// It is mapped as device memory, during start-up.
pub unsafe fn is_distributor(page: HypVirtAddr) -> bool {
    // SAFETY: the caller's claim; identification registers have no side effects.
    let id = unsafe { probe::word(HypVirtAddr(page.0 + ICPIDR2)) };
    id.is_some_and(|id| id >> 4 & 0xf == 2)
}

/// Returns `GICC_IIDR` when the page is the CPU interface of a GICv2.
///
/// # Safety
/// As for [`is_distributor`].
pub unsafe fn identify_interface(page: HypVirtAddr) -> Option<u32> {
    // SAFETY: the caller's claim; identification registers have no side effects.
    let id = unsafe { probe::word(HypVirtAddr(page.0 + GICC_IIDR)) };
    id.filter(|id| id >> 16 & 0xf == 2)
}

/// Says whether [`use_frames`] was called.
#[inline(always)]
pub fn is_in_use() -> bool {
    FRAMES.cpu.load(Ordering::Relaxed) != 0
}

/// Returns a frame's registers.
#[inline(always)]
fn frame(at: &AtomicU64) -> Registers<PAGE> {
    // SAFETY: `use_frames`' claim: whoever comes here has seen `is_in_use`. Each pCPU reaches its own bank alone.
    unsafe { Registers::new(HypVirtAddr(at.load(Ordering::Relaxed))) }
}

/// Turns this pCPU's interface on: all priorities, EOImode 1. Returns which bits of a mask are kept.
#[cold]
pub fn start_cpu_interface() -> u8 {
    let interface = frame(&FRAMES.cpu);
    let bypass = interface.read(GICC_CTLR) & CTLR_BYPASS;
    interface.write(GICC_CTLR, bypass);
    for at in (GICC_APR..GICC_APR + 16).step_by(4) {
        interface.write(at, 0);
    }
    interface.write(GICC_PMR, 0xff);
    interface.write(GICC_BPR, 0);
    interface.write(GICC_CTLR, bypass | CTLR_SPLIT_END | CTLR_ENABLE);
    interface.read(GICC_PMR) as u8
}

/// See [`super::gic::takes_whole_masks`].
pub fn takes_whole_masks() -> bool {
    let interface = frame(&FRAMES.cpu);
    let kept = interface.read(GICC_PMR);
    let lowest = 1u32.checked_shl(kept.trailing_zeros()).unwrap_or(0);
    interface.write(GICC_PMR, lowest);
    let whole = interface.read(GICC_PMR) != 0;
    interface.write(GICC_PMR, 0xff);
    whole
}

/// See [`super::gic::set_mask`].
#[cold]
#[inline(never)]
pub fn set_mask(mask: u64) {
    let interface = frame(&FRAMES.cpu);
    interface.write(GICC_PMR, mask as u32);
    interface.read(GICC_PMR); // it counts from here on
}

/// See [`super::gic::acknowledge`].
#[cold]
#[inline(never)]
pub fn acknowledge() -> u32 {
    let acknowledged = frame(&FRAMES.cpu).read(GICC_IAR);
    cpu::dsb_sy();
    acknowledged
}

/// See [`super::gic::drop_priority`].
#[cold]
#[inline(never)]
pub fn drop_priority(acknowledged: u32) {
    frame(&FRAMES.cpu).write(GICC_EOIR, acknowledged);
}

/// See [`super::gic::deactivate`].
#[cold]
#[inline(never)]
pub fn deactivate(acknowledged: u32) {
    frame(&FRAMES.deactivation).write(GICC_DIR, acknowledged);
}

/// See [`super::gic::highest_pending`].
#[cold]
pub fn highest_pending() -> u32 {
    frame(&FRAMES.cpu).read(GICC_HPPIR)
}

/// Sends an SGI to the pCPUs whose CPU interfaces a mask names.
#[cold]
pub fn send(sgi: u32, interfaces: u8) {
    cpu::dsb_sy();
    let targets = u32::from(interfaces) << SGIR_TARGETS;
    frame(&FRAMES.distributor).write(GICD_SGIR, targets | sgi & 0xf);
}

/// Sends an SGI to all other pCPUs.
#[cold]
pub fn send_to_others(sgi: u32) {
    cpu::dsb_sy();
    frame(&FRAMES.distributor).write(GICD_SGIR, SGIR_OTHERS | sgi & 0xf);
}
