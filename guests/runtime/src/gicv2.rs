//! The GICv2's half of [`crate::gic`].
//!
//! # Source
//! Arm IHI 0048 (GICv2), register pages of the names used here.

use crate::gic::{
    DISTRIBUTOR, GICD_CTLR, GICD_TYPER, ICACTIVER, ICENABLER, ICPENDR, IGROUPR, SPURIOUS,
};
use crate::mmio::Mmio;
use crate::smp::{self, MAX_VCPUS};
use crate::{layout, sysreg, tree};
use core::sync::atomic::{AtomicU8, Ordering};

/// Distributor: targets, one byte an interrupt.
pub const ITARGETSR: usize = 0x0800;
/// Distributor: sends an SGI.
pub const SGIR: usize = 0x0f00;
/// `GICD_SGIR`: to the sender alone.
pub const TO_SELF: u32 = 2 << 24;
/// Distributor: takes SGIs back, one byte of senders each.
pub const CPENDSGIR: usize = 0x0f10;
/// Distributor: makes SGIs pending, one byte of senders each.
pub const SPENDSGIR: usize = 0x0f20;
/// CPU interface: control.
pub const GICC_CTLR: usize = 0x0;
/// CPU interface: priority mask.
pub const GICC_PMR: usize = 0x4;
/// CPU interface: binary point.
pub const GICC_BPR: usize = 0x8;
/// CPU interface: acknowledge.
pub const GICC_IAR: usize = 0xc;
/// CPU interface: end.
pub const GICC_EOIR: usize = 0x10;
/// CPU interface: running priority.
pub const GICC_RPR: usize = 0x14;
/// CPU interface: what would be acknowledged.
pub const GICC_HPPIR: usize = 0x18;
/// CPU interface: active priorities.
pub const GICC_APR: usize = 0xd0;
/// CPU interface: deactivate.
pub const GICC_DIR: usize = 0x1000;
/// `GICC_CTLR`: an end leaves the interrupt active.
pub const SPLIT_END: u32 = 1 << 9;

/// The CPU interface.
// SAFETY: it lies there in every layout with a GICv2, and writes no memory.
pub const INTERFACE: Mmio = unsafe { Mmio::new(layout::GICC) };

/// Who sent the SGI that a vCPU acknowledged last, by vCPU and SGI.
static SENDERS: [[AtomicU8; 16]; MAX_VCPUS] =
    [const { [const { AtomicU8::new(0) }; 16] }; MAX_VCPUS];

/// Looks which version there is: what the tree says, or without one what the CPU has.
pub fn find_version() -> u8 {
    let mut compatibles = tree::properties().filter(|property| property.name == "compatible");
    let found = compatibles.find_map(|property| {
        let v2 = property.has("arm,cortex-a15-gic") || property.has("arm,gic-400");
        match property.has("arm,gic-v3") {
            true => Some(3),
            false => v2.then_some(2),
        }
    });
    found.unwrap_or_else(|| match read_sysreg!("id_aa64pfr0_el1") >> 24 & 0xf {
        0 => 2,
        _ => 3,
    })
}

/// Returns the number of the last CPU.
pub fn last_cpu() -> usize {
    DISTRIBUTOR.read32(GICD_TYPER) as usize >> 5 & 7
}

/// See [`crate::gic::init_distributor`].
pub fn init_distributor() {
    DISTRIBUTOR.write32(GICD_CTLR, 0);
    let words = (DISTRIBUTOR.read32(GICD_TYPER) as usize & 0x1f) + 1;
    for word in 1..words.min(32) {
        DISTRIBUTOR.write32(ICENABLER + word * 4, u32::MAX);
        DISTRIBUTOR.write32(IGROUPR + word * 4, 0);
    }
    DISTRIBUTOR.write32(GICD_CTLR, 1);
}

/// See [`crate::gic::init_cpu`].
pub fn init_cpu() {
    DISTRIBUTOR.write32(ICENABLER, u32::MAX);
    DISTRIBUTOR.write32(ICPENDR, u32::MAX);
    DISTRIBUTOR.write32(ICACTIVER, u32::MAX);
    DISTRIBUTOR.write32(IGROUPR, 0);
    for word in 0..4 {
        DISTRIBUTOR.write32(CPENDSGIR + word * 4, u32::MAX);
    }
    INTERFACE.write32(GICC_CTLR, 0);
    INTERFACE.write32(GICC_APR, 0);
    INTERFACE.write32(GICC_BPR, 0);
    INTERFACE.write32(GICC_PMR, 0xff);
    INTERFACE.write32(GICC_CTLR, 1);
    sysreg::dsb();
}

/// See [`crate::gic::route`].
pub fn route(intid: u32, affinity: u64) {
    DISTRIBUTOR.write8(ITARGETSR + intid as usize, target(affinity) as u8);
}

/// See [`crate::gic::acknowledge`].
pub fn acknowledge() -> u32 {
    let read = INTERFACE.read32(GICC_IAR);
    sysreg::dsb();
    let intid = read & SPURIOUS;
    if let Some(sender) = SENDERS[smp::index()].get(intid as usize) {
        sender.store((read >> 10 & 7) as u8, Ordering::Relaxed);
    }
    intid
}

/// Returns who sent the SGI that this vCPU acknowledged last.
pub fn sender(sgi: u32) -> u8 {
    SENDERS[smp::index()][sgi as usize & 15].load(Ordering::Relaxed)
}

/// Returns an INTID as acknowledging had it.
fn with_sender(intid: u32) -> u32 {
    match intid {
        0..16 => intid | u32::from(sender(intid)) << 10,
        _ => intid,
    }
}

/// See [`crate::gic::end`].
pub fn end(intid: u32) {
    INTERFACE.write32(GICC_EOIR, with_sender(intid));
    sysreg::dsb();
}

/// See [`crate::gic::deactivate`].
pub fn deactivate(intid: u32) {
    INTERFACE.write32(GICC_DIR, with_sender(intid));
    sysreg::dsb();
}

/// See [`crate::gic::split_end`].
pub fn split_end(split: bool) {
    INTERFACE.write32(GICC_CTLR, if split { SPLIT_END | 1 } else { 1 });
    sysreg::dsb();
}

/// See [`crate::gic::set_mask`].
pub fn set_mask(mask: u32) {
    INTERFACE.write32(GICC_PMR, mask);
    sysreg::dsb();
}

/// Writes to `GICD_SGIR` what a value of `ICC_SGI1R_EL1` means.
pub fn write_sgi1r(value: u64) {
    let sgi = (value >> 24 & 15) as u32;
    let elsewhere = value & 0x00ff_f0ff_00ff_0000 != 0;
    sysreg::dsb();
    if value & 1 << 40 != 0 {
        DISTRIBUTOR.write32(SGIR, 1 << 24 | sgi);
    } else if !elsewhere {
        DISTRIBUTOR.write32(SGIR, (value as u32 & 0xff) << 16 | sgi);
    }
    sysreg::dsb();
}

/// Makes SGIs of a mask pending as sent by this vCPU, or takes them back.
pub fn change_sgis(pend: bool, sgis: u32) {
    let own = target(sysreg::affinity()) as u8;
    let register = if pend { SPENDSGIR } else { CPENDSGIR };
    for sgi in (0..16).filter(|sgi| sgis >> sgi & 1 != 0) {
        DISTRIBUTOR.write8(register + sgi, own);
    }
}

/// Returns the mask of the vCPU with an affinity; of none where there can be none.
fn target(affinity: u64) -> u32 {
    match affinity {
        0..8 => 1 << affinity,
        _ => 0,
    }
}
