//! Ends its life at once, each time in another way, so that the next one follows: a reset, a reset of the newer kind, a fault
//! that EL2 has no answer to. Before that it leaves as much behind as it can: interrupts of all kinds pending and active, both
//! timers running, a mask, FP registers.
//!
//! Which life it is, the doorbell's register of its channel says; its partner finds the number there too.
#![no_std]
#![no_main]

use core::arch::asm;
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{channel, entry, gic, layout, mmu, sysreg, timer, write_sysreg};

/// `SYSTEM_RESET2`, 64-bit.
const SYSTEM_RESET2: u32 = 0xc400_0012;

entry!(main);

fn main() -> ! {
    let life = channel::number(0).map_or(0, |channel| channel.own().generation);
    if life.is_multiple_of(2) {
        mmu::enable();
    }
    litter();
    match life % 3 {
        0 => loop {
            smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
        },
        1 => loop {
            smccc::call(Conduit::Smc, SYSTEM_RESET2, [0; 3]);
        },
        _ => perish(),
    }
}

/// Leaves as much as it can.
fn litter() {
    gic::DISTRIBUTOR.write32(gic::GICD_CTLR, 0x12);
    let private = gic::redistributor_at(0);
    for register in [gic::IGROUPR, gic::ISENABLER, gic::ISPENDR, gic::ISACTIVER] {
        private.write32(gic::SGI_FRAME + register, 0xffff_0f0f);
        gic::DISTRIBUTOR.write32(register + 4, u32::MAX);
    }
    timer::set_virtual(timer::now() + 300);
    timer::set_physical(0);
    // SAFETY: nothing is masked that this guest needs, and the registers are named.
    unsafe {
        write_sysreg!("icc_igrpen1_el1", 1);
        write_sysreg!("icc_pmr_el1", 0xf0);
        write_sysreg!("pmcntenset_el0", 0x8000_0000);
        asm!("fmov d31, #1.0", out("v31") _, options(nostack));
    }
    if let Some(channel) = channel::number(0) {
        channel.ring();
    }
}

/// Faults with vectors where nothing is.
fn perish() -> ! {
    // SAFETY: nothing runs here any more.
    unsafe {
        write_sysreg!("vbar_el1", layout::MEMORY_HOLE as u64);
        sysreg::isb();
        asm!("udf #0", options(noreturn))
    }
}
