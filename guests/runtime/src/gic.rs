//! The interrupt controller, as the device tree has it: a GICv3 (distributor, this vCPU's redistributor, CPU interface by
//! system registers) or a GICv2 (distributor and CPU interface in memory, SGIs with senders). With GICv2 a vCPU's number is
//! its affinity, and all interrupts are in group 0.
//!
//! # Source
//! Arm IHI 0069 (GICv3/v4), "Programmers' model", and Arm IHI 0048 (GICv2): register pages of the names used here.

use crate::mmio::Mmio;
use crate::sysreg::isb;
use crate::{gicv2, layout, sysreg, timer};
use core::sync::atomic::{AtomicU8, Ordering};

/// The version that was found: 0 before anybody looked.
static VERSION: AtomicU8 = AtomicU8::new(0);

/// Looks which version there is, and returns it: 2 or 3. What depends on it is a GICv3's before somebody has looked.
pub fn version() -> u8 {
    match VERSION.load(Ordering::Relaxed) {
        0 => {
            let found = gicv2::find_version();
            VERSION.store(found, Ordering::Relaxed);
            found
        }
        found => found,
    }
}

/// Says whether it is a GICv2.
#[inline(always)]
pub fn is_v2() -> bool {
    VERSION.load(Ordering::Relaxed) == 2
}

/// Distributor: control.
pub const GICD_CTLR: usize = 0x0000;
/// Distributor: what it has.
pub const GICD_TYPER: usize = 0x0004;
/// Group, one bit an interrupt.
pub const IGROUPR: usize = 0x0080;
/// Enable set.
pub const ISENABLER: usize = 0x0100;
/// Enable clear.
pub const ICENABLER: usize = 0x0180;
/// Pending set.
pub const ISPENDR: usize = 0x0200;
/// Pending clear.
pub const ICPENDR: usize = 0x0280;
/// Active set.
pub const ISACTIVER: usize = 0x0300;
/// Active clear.
pub const ICACTIVER: usize = 0x0380;
/// Priority, one byte an interrupt.
pub const IPRIORITYR: usize = 0x0400;
/// Level or edge, two bits an interrupt.
pub const ICFGR: usize = 0x0c00;
/// Route, eight bytes an SPI.
pub const IROUTER: usize = 0x6000;
/// Redistributor: what it has, and for whom.
pub const GICR_TYPER: usize = 0x0008;
/// Redistributor: wake.
pub const GICR_WAKER: usize = 0x0014;
/// Distance of a redistributor's second frame (SGIs and PPIs) from its first.
pub const SGI_FRAME: usize = 0x1_0000;
/// What acknowledging returns when nothing is pending.
pub const SPURIOUS: u32 = 1023;
/// A priority mask that lets everything through.
pub const MASK_NONE: u64 = 0xff;

/// The distributor.
// SAFETY: the distributor lies there in every layout that guests run in; without an ITS it writes no memory.
pub const DISTRIBUTOR: Mmio = unsafe { Mmio::new(layout::GICD) };

/// Says whether a GICv3 has no register in a word of one of its frames: 0 is the distributor, 1 a redistributor's first frame,
/// 2 its second. Registers that always read as zero under affinity routing, such as GICD_SGIR, are holes too.
pub const fn is_hole(frame: usize, offset: usize) -> bool {
    match (frame, offset) {
        (_, 0xffd0..) => false, // identification
        (0, 0..=0xf | 0x80..=0x7ff | 0xc00..=0xdff | 0x6100..=0x7fdf) => false,
        (1, 0..=0x1f | 0x70..=0x7f) => false,
        (2, 0x400..=0x41f) => false,
        (2, 0x80..=0x3ff | 0xc00..=0xd7f) => offset & 0x7f >= 8,
        _ => true,
    }
}

/// Returns the redistributor at `position` in the region, which must not lie beyond the last one.
pub fn redistributor_at(position: usize) -> Mmio {
    // SAFETY: as for the distributor.
    unsafe { Mmio::new(layout::GICR + position * layout::GICR_STRIDE) }
}

/// Lists the affinity fields that the redistributors name, in their order, up to the last one; with GICv2 those of its CPUs.
pub fn redistributor_affinities() -> impl Iterator<Item = u64> {
    let last = (version() == 2).then(gicv2::last_cpu);
    let mut position = Some(0);
    core::iter::from_fn(move || {
        let at = position?;
        if let Some(last) = last {
            position = (at < last).then_some(at + 1);
            return Some(at as u64);
        }
        let typer = redistributor_at(at).read64(GICR_TYPER);
        position = (typer & 1 << 4 == 0).then_some(at + 1);
        let affinity = typer >> 32;
        Some((affinity & 0xff00_0000) << 8 | affinity & 0x00ff_ffff)
    })
}

/// Returns this vCPU's redistributor.
///
/// # Panics
/// No redistributor names this vCPU.
pub fn redistributor() -> Mmio {
    let own = sysreg::affinity();
    let position = redistributor_affinities().position(|affinity| affinity == own);
    redistributor_at(position.expect("no redistributor names this vCPU"))
}

/// Sets the distributor up: affinity routing, group 1 on, every SPI in group 1 and disabled.
pub fn init_distributor() {
    if version() == 2 {
        return gicv2::init_distributor();
    }
    DISTRIBUTOR.write32(GICD_CTLR, 0);
    DISTRIBUTOR.write32(GICD_CTLR, 0x10);
    let words = (DISTRIBUTOR.read32(GICD_TYPER) as usize & 0x1f) + 1;
    for word in 1..words.min(32) {
        DISTRIBUTOR.write32(ICENABLER + word * 4, u32::MAX);
        DISTRIBUTOR.write32(IGROUPR + word * 4, u32::MAX);
    }
    DISTRIBUTOR.write32(GICD_CTLR, 0x12);
}

/// Sets this vCPU's redistributor and CPU interface up: awake, SGIs and PPIs in group 1, disabled and
/// inactive, nothing masked.
pub fn init_cpu() {
    if version() == 2 {
        return gicv2::init_cpu();
    }
    let frame = redistributor();
    frame.write32(GICR_WAKER, frame.read32(GICR_WAKER) & !2);
    timer::wait_until(10_000_000, || frame.read32(GICR_WAKER) & 4 == 0);
    frame.write32(SGI_FRAME + ICENABLER, u32::MAX);
    frame.write32(SGI_FRAME + ICPENDR, u32::MAX);
    frame.write32(SGI_FRAME + ICACTIVER, u32::MAX);
    frame.write32(SGI_FRAME + IGROUPR, u32::MAX);
    // SAFETY: the CPU interface changes no memory; interrupts are masked or have a handler.
    unsafe {
        write_sysreg!("icc_sre_el1", 7);
        isb();
        write_sysreg!("icc_ctlr_el1", 0);
        write_sysreg!("icc_bpr1_el1", 0);
        // Priorities that were left active would hold everything back. Five bits of priority: one register of each.
        write_sysreg!("icc_ap0r0_el1", 0);
        write_sysreg!("icc_ap1r0_el1", 0);
        write_sysreg!("icc_pmr_el1", MASK_NONE);
        write_sysreg!("icc_igrpen1_el1", 1);
    }
    isb();
}

/// Sets distributor and this vCPU up.
pub fn init() {
    init_distributor();
    init_cpu();
}

/// Returns the block that holds the registers of this interrupt, its offset included, for registers laid out alike.
pub fn bank(intid: u32) -> Mmio {
    if intid < 32 && !is_v2() {
        let frame = redistributor();
        // SAFETY: the second frame of the same redistributor.
        unsafe { Mmio::new(frame.base() + SGI_FRAME) }
    } else {
        DISTRIBUTOR
    }
}

/// Writes this interrupt's bit to the register of bits that starts at `register`.
pub fn write_bit(register: usize, intid: u32) {
    write_bits(register, intid & !31, 1 << (intid % 32));
}

/// Writes bits to the register that starts at `register`, of the 32 interrupts from `first` on. With GICv2 an SGI is pended
/// and taken back as one that this vCPU sent.
pub fn write_bits(register: usize, first: u32, bits: u32) {
    if first == 0 && is_v2() && (register == ISPENDR || register == ICPENDR) {
        gicv2::change_sgis(register == ISPENDR, bits & 0xffff);
    }
    bank(first).write32(register + (first / 32) as usize * 4, bits);
}

/// Returns the priority of what runs on this vCPU, 0xff when nothing does.
pub fn running_priority() -> u64 {
    match is_v2() {
        false => read_sysreg!("icc_rpr_el1"),
        true => gicv2::INTERFACE.read32(gicv2::GICC_RPR).into(),
    }
}

/// Returns the most urgent pending interrupt of this vCPU without acknowledging it.
pub fn highest_pending() -> u64 {
    match is_v2() {
        false => read_sysreg!("icc_hppir1_el1"),
        true => (gicv2::INTERFACE.read32(gicv2::GICC_HPPIR) & SPURIOUS).into(),
    }
}

/// Returns the priority mask.
pub fn mask() -> u64 {
    match is_v2() {
        false => read_sysreg!("icc_pmr_el1"),
        true => gicv2::INTERFACE.read32(gicv2::GICC_PMR).into(),
    }
}

/// Returns the binary point of the group in use.
pub fn binary_point() -> u64 {
    match is_v2() {
        false => read_sysreg!("icc_bpr1_el1"),
        true => gicv2::INTERFACE.read32(gicv2::GICC_BPR).into(),
    }
}

/// Sets the binary point of the group in use.
pub fn set_binary_point(point: u64) {
    if is_v2() {
        return gicv2::INTERFACE.write32(gicv2::GICC_BPR, point as u32);
    }
    // SAFETY: the CPU interface changes no memory.
    unsafe { write_sysreg!("icc_bpr1_el1", point) };
    isb();
}

/// Says whether [`split_end`] was chosen.
pub fn ends_are_split() -> bool {
    match is_v2() {
        false => read_sysreg!("icc_ctlr_el1") & 2 != 0,
        true => gicv2::INTERFACE.read32(gicv2::GICC_CTLR) & gicv2::SPLIT_END != 0,
    }
}

/// Says whether the group in use is on at this vCPU's CPU interface.
pub fn is_on() -> bool {
    match is_v2() {
        false => read_sysreg!("icc_igrpen1_el1") & 1 != 0,
        true => gicv2::INTERFACE.read32(gicv2::GICC_CTLR) & 1 != 0,
    }
}

/// Turns the group in use on or off at this vCPU's CPU interface.
pub fn turn(on: bool) {
    if is_v2() {
        return gicv2::INTERFACE.write32(gicv2::GICC_CTLR, on.into());
    }
    // SAFETY: the CPU interface changes no memory; interrupts are masked or have a handler.
    unsafe { write_sysreg!("icc_igrpen1_el1", u64::from(on)) };
    isb();
}

/// Turns the group in use on or off at the distributor.
pub fn turn_distributor(on: bool) {
    let value = match (is_v2(), on) {
        (true, on) => u32::from(on),
        (false, true) => 0x12,
        (false, false) => 0x10,
    };
    DISTRIBUTOR.write32(GICD_CTLR, value);
}

/// Reads this interrupt's bit from the register of bits that starts at `register`.
pub fn read_bit(register: usize, intid: u32) -> bool {
    bank(intid).read32(register + (intid / 32) as usize * 4) >> (intid % 32) & 1 != 0
}

/// Sets priority (smaller is more urgent).
pub fn set_priority(intid: u32, priority: u8) {
    bank(intid).write8(IPRIORITYR + intid as usize, priority);
}

/// Enables an interrupt at a priority (smaller is more urgent).
pub fn enable(intid: u32, priority: u8) {
    set_priority(intid, priority);
    if intid >= 32 {
        route(intid, sysreg::affinity());
    }
    write_bit(ISENABLER, intid);
}

/// Disables an interrupt.
pub fn disable(intid: u32) {
    write_bit(ICENABLER, intid);
}

/// Routes an SPI to the vCPU with these affinity fields.
pub fn route(intid: u32, affinity: u64) {
    if is_v2() {
        return gicv2::route(intid, affinity);
    }
    DISTRIBUTOR.write64(IROUTER + intid as usize * 8, affinity);
}

/// Acknowledges the most urgent pending interrupt; [`SPURIOUS`] when there is none.
#[inline(always)]
pub fn acknowledge() -> u32 {
    if is_v2() {
        return gicv2::acknowledge();
    }
    let intid = read_sysreg!("icc_iar1_el1") as u32 & 0xff_ffff;
    sysreg::dsb();
    intid
}

/// Ends an interrupt: drops its priority, and deactivates it too unless [`split_end`] was chosen.
#[inline(always)]
pub fn end(intid: u32) {
    if is_v2() {
        return gicv2::end(intid);
    }
    // SAFETY: the CPU interface changes no memory.
    unsafe { write_sysreg!("icc_eoir1_el1", u64::from(intid)) };
    isb();
}

/// Deactivates an interrupt that was ended with [`split_end`] on.
#[inline(always)]
pub fn deactivate(intid: u32) {
    if is_v2() {
        return gicv2::deactivate(intid);
    }
    // SAFETY: the CPU interface changes no memory.
    unsafe { write_sysreg!("icc_dir_el1", u64::from(intid)) };
    isb();
}

/// Chooses on this vCPU whether ending an interrupt leaves deactivating it to [`deactivate`] (EOImode 1).
pub fn split_end(split: bool) {
    if is_v2() {
        return gicv2::split_end(split);
    }
    // SAFETY: the CPU interface changes no memory.
    unsafe { write_sysreg!("icc_ctlr_el1", if split { 2 } else { 0 }) };
    isb();
}

/// Masks interrupts on this vCPU that are not more urgent than `mask`.
pub fn set_mask(mask: u64) {
    if is_v2() {
        return gicv2::set_mask(mask as u32);
    }
    // SAFETY: the CPU interface changes no memory.
    unsafe { write_sysreg!("icc_pmr_el1", mask) };
    isb();
}

/// Sends SGI `intid` (0..16) to the vCPU with these affinity fields.
pub fn send_sgi(intid: u32, affinity: u64) {
    let fields = (affinity >> 32 & 0xff) << 48
        | (affinity >> 16 & 0xff) << 32
        | (affinity >> 8 & 0xff) << 16;
    let target = affinity & 0xff;
    write_sgi1r(fields | (target >> 4) << 44 | u64::from(intid & 15) << 24 | 1 << (target & 15));
}

/// Sends SGI `intid` (0..16) to every other vCPU.
pub fn send_sgi_to_others(intid: u32) {
    write_sgi1r(1 << 40 | u64::from(intid & 15) << 24);
}

/// Writes `ICC_SGI1R_EL1` as it is; with GICv2 what comes to the same.
#[inline(always)]
pub fn write_sgi1r(value: u64) {
    if is_v2() {
        return gicv2::write_sgi1r(value);
    }
    sysreg::dsb();
    // SAFETY: an interrupt goes to the installed handler.
    unsafe { write_sysreg!("icc_sgi1r_el1", value) };
    isb();
}
