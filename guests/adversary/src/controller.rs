//! The interrupt controller: each register of 32 interrupts, in states as full as they get.

use crate::calmly;
use guest_runtime::mmio::Mmio;
use guest_runtime::random::{below, random};
use guest_runtime::{gic, gicv2, layout, sysreg, timer};

/// Registers of a bit for each interrupt.
const BITS: [usize; 7] = [
    gic::IGROUPR,
    gic::ISENABLER,
    gic::ICENABLER,
    gic::ISPENDR,
    gic::ICPENDR,
    gic::ISACTIVER,
    gic::ICACTIVER,
];
/// Banks of 32 interrupts: the vCPU's own, the board's first ones, and one that is all the partition's.
const BANKS: [usize; 3] = [0, 1, 3];

/// What the interrupts are in before a register is written.
#[derive(Clone, Copy)]
enum Before {
    Quiet,
    Pending,
    Active,
    Both,
    /// Pending, but none may be signalled.
    Disabled,
}

/// Returns the block with a bank's registers, the bank's offset included, for registers of one word a bank.
fn block(bank: usize, owner: usize) -> Mmio {
    match bank {
        0 if !gic::is_v2() => {
            let frame = gic::redistributor_at(owner);
            // SAFETY: the second frame of that redistributor.
            unsafe { Mmio::new(frame.base() + gic::SGI_FRAME) }
        }
        // SAFETY: the distributor.
        _ => unsafe { Mmio::new(layout::GICD + bank * 4) },
    }
}

/// Brings a bank into a state.
fn prepare(bank: usize, owner: usize, before: Before) {
    let block = block(bank, owner);
    block.write32(gic::IGROUPR, u32::MAX);
    block.write32(gic::ICENABLER, u32::MAX);
    block.write32(gic::ICPENDR, u32::MAX);
    block.write32(gic::ICACTIVER, u32::MAX);
    if !matches!(before, Before::Disabled) {
        block.write32(gic::ISENABLER, u32::MAX);
    }
    let pending = matches!(before, Before::Pending | Before::Both | Before::Disabled);
    if pending {
        block.write32(gic::ISPENDR, u32::MAX);
    }
    if bank == 0 && gic::is_v2() {
        send_from_all(pending);
    }
    if matches!(before, Before::Active | Before::Both) {
        block.write32(gic::ISACTIVER, u32::MAX);
    }
}

/// Makes all SGIs pending from all senders, or none from any; with GICv2.
fn send_from_all(pending: bool) {
    let register = match pending {
        true => gicv2::SPENDSGIR,
        false => gicv2::CPENDSGIR,
    };
    for word in 0..4 {
        gic::DISTRIBUTOR.write32(register + word * 4, u32::MAX);
    }
}

/// Goes through all registers.
pub fn all(own: u64) {
    calmly(|| {});
    for intid in (96..128).chain([layout::UART_INTID, layout::RTC_INTID]) {
        gic::route(intid, own);
    }
    for bank in BANKS {
        for owner in 0..if bank == 0 && !gic::is_v2() { 2 } else { 1 } {
            for before in [
                Before::Quiet,
                Before::Pending,
                Before::Active,
                Before::Both,
                Before::Disabled,
            ] {
                for register in BITS {
                    for value in [u32::MAX, 0] {
                        prepare(bank, owner, before);
                        block(bank, owner).write32(register, value);
                        block(bank, owner).read32(register);
                    }
                }
                wide(bank, owner, before);
            }
        }
    }
    controls();
    sgis();
    ends(own);
}

/// Priorities, triggers and routes.
fn wide(bank: usize, owner: usize, before: Before) {
    let block = match bank {
        0 => block(0, owner),
        _ => gic::DISTRIBUTOR,
    };
    if gic::is_v2() {
        targets(bank, owner, before);
    }
    prepare(bank, owner, before);
    for word in 0..8 {
        for value in [0xa0a0_a0a0, 0, 0x8080_8080] {
            block.write32(gic::IPRIORITYR + bank * 32 + word * 4, value);
        }
    }
    for word in 0..2 {
        for value in [0, u32::MAX, 0] {
            block.write32(gic::ICFGR + bank * 8 + word * 4, value);
        }
    }
    if bank == 3 {
        for intid in 96..128 {
            gic::route(intid, u64::from(intid) & 15);
            gic::route(intid, sysreg::affinity());
        }
    }
}

/// Targets, a byte for each, and who sent SGIs; with GICv2.
fn targets(bank: usize, owner: usize, before: Before) {
    for value in [0, 0x0202_0202, u32::MAX, 0x8001_0280, 0x0101_0101] {
        prepare(bank, owner, before);
        for word in 0..8 {
            gic::DISTRIBUTOR.write32(gicv2::ITARGETSR + bank * 32 + word * 4, value);
            gic::DISTRIBUTOR.read32(gicv2::ITARGETSR + bank * 32 + word * 4);
        }
    }
    for register in [gicv2::SPENDSGIR, gicv2::CPENDSGIR] {
        for word in 0..4 {
            gic::DISTRIBUTOR.write32(register + word * 4, u32::MAX);
            gic::DISTRIBUTOR.read32(register + word * 4);
        }
    }
}

/// The distributor's control, with everything pending.
fn controls() {
    for bank in BANKS {
        prepare(bank, 0, Before::Pending);
    }
    for value in [0, 1, 2, 3, 0x12] {
        gic::DISTRIBUTOR.write32(gic::GICD_CTLR, value);
    }
    let end = if gic::is_v2() { 0x1000 } else { 0x1_0000 };
    for offset in (0..0x100).chain(end - 0x30..end).step_by(4) {
        gic::DISTRIBUTOR.read32(offset);
        if !gic::is_v2() {
            gic::redistributor_at(0).read32(offset);
        }
    }
    if !gic::is_v2() {
        gic::redistributor_at(0).write32(gic::GICR_WAKER, 2);
        gic::redistributor_at(0).write32(gic::GICR_WAKER, 0);
    }
}

/// SGIs to one, to all, to nobody; of both groups; all numbers at once.
fn sgis() {
    for number in 0..16 {
        gic::send_sgi_to_others(number);
        gic::send_sgi(number, sysreg::affinity());
        gic::write_sgi1r(u64::from(number) << 24 | 0xffff);
        gic::write_sgi1r(u64::from(number) << 24 | 0xff << 16 | 0xffff);
        if gic::is_v2() {
            // Each filter, to all.
            for filter in 0..4 {
                let value = filter << 24 | 0xff << 16 | number;
                gic::DISTRIBUTOR.write32(gicv2::SGIR, value);
            }
            continue;
        }
        // SAFETY: an interrupt of group 0 that nobody enabled.
        unsafe { guest_runtime::write_sysreg!("icc_sgi0r_el1", u64::from(number) << 24 | 0xffff) };
        // SAFETY: as before.
        unsafe { guest_runtime::write_sysreg!("icc_asgi1r_el1", u64::from(number) << 24 | 0xffff) };
    }
    sysreg::unmask_irqs();
    timer::spin(20_000);
    sysreg::mask_irqs();
}

/// Many active at once, ended by EOI and by DIR, with more of them than list registers.
fn ends(own: u64) {
    for split in [false, true] {
        calmly(|| {});
        gic::split_end(split);
        for intid in 0..15 {
            gic::enable(intid, (0xf0 - intid * 8) as u8);
        }
        // Each is more urgent than the one before, so all are active at once.
        let mut taken = [1023; 15];
        for (intid, slot) in (0..15).zip(&mut taken) {
            gic::send_sgi(intid, own);
            *slot = gic::acknowledge();
        }
        for intid in 96..128 {
            gic::enable(intid, 0x80);
            gic::route(intid, own);
        }
        gic::DISTRIBUTOR.write32(gic::ISPENDR + 12, u32::MAX);
        for intid in taken.iter().rev().filter(|intid| **intid < 1020) {
            gic::end(*intid);
            if split {
                gic::deactivate(*intid);
            }
        }
        gic::split_end(false);
    }
}

/// Does one thing, drawn at random.
pub fn at_random() {
    let bank = BANKS[below(3) as usize];
    let owner = below(16) as usize;
    let value = match below(4) {
        0 => random() as u32,
        1 => 0,
        _ => u32::MAX,
    };
    match below(20) {
        0..=11 => block(bank, owner).write32(BITS[below(7) as usize], value),
        12 => gic::DISTRIBUTOR.write32(gic::ICFGR + bank * 8 + below(2) as usize * 4, value),
        13 => gic::DISTRIBUTOR.write32(gic::IPRIORITYR + bank * 32 + below(8) as usize * 4, value),
        14 => gic::DISTRIBUTOR.write32(gic::GICD_CTLR, 0x10 | below(4) as u32),
        15 => gic::write_sgi1r(below(16) << 24 | random() & 0xffff),
        16 => {
            gic::end(gic::acknowledge());
        }
        17 => {
            timer::set_virtual(timer::now() + below(2000));
            sysreg::unmask_irqs();
            timer::spin(3000);
            sysreg::mask_irqs();
        }
        18 => gic::route(96 + below(32) as u32, below(16)),
        _ => calmly(|| {}),
    }
    if gic::is_v2() {
        at_random_v2(bank, value);
    }
}

/// Does one thing more that only GICv2 knows.
fn at_random_v2(bank: usize, value: u32) {
    let word = below(8) as usize * 4;
    match below(5) {
        0 => gic::DISTRIBUTOR.write32(gicv2::ITARGETSR + bank * 32 + word, value),
        1 => gic::DISTRIBUTOR.write32(gicv2::SPENDSGIR + (word & 0xc), value),
        2 => gic::DISTRIBUTOR.write32(gicv2::CPENDSGIR + (word & 0xc), value),
        3 => gic::DISTRIBUTOR.write32(gicv2::SGIR, random() as u32 & 0x03ff_000f),
        _ => {}
    }
}
