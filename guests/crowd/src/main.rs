//! Has EL2 look after all of its sleeping vCPUs at once, again and again.
//!
//! All but the first vCPU wait with interrupts pending that their own mask holds back. The first one turns the distributor
//! off and on: whoever has an interrupt in a list register has to be looked at each time, on whichever pCPU it lives.
#![no_std]
#![no_main]

use core::arch::global_asm;
use guest_runtime::{entry, gic, mmu, println, smccc, sysreg, timer};

/// `GICD_CTLR`: affinity routing, and group 1.
const OFF: u32 = 0x10;
const ON: u32 = 0x12;
/// All SGIs.
const SGIS: u32 = 0xffff;
/// Time in which all fall asleep.
const SETTLE_NS: u64 = 100_000_000;

// `ICC_PMR_EL1` is 0 at a start: nothing comes through. There are more of them than the runtime has stacks for.
global_asm!(
    ".pushsection .text.crowd_sleep, \"ax\", %progbits",
    ".global crowd_sleep",
    "crowd_sleep: wfi",
    "b crowd_sleep",
    ".popsection",
);

unsafe extern "C" {
    fn crowd_sleep();
}

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    let own = sysreg::affinity();
    let mut sleepers = 0;
    for (position, affinity) in gic::redistributor_affinities().enumerate() {
        if affinity == own {
            continue;
        }
        let frame = gic::redistributor_at(position);
        frame.write32(gic::SGI_FRAME + gic::IGROUPR, u32::MAX);
        frame.write32(gic::SGI_FRAME + gic::ISENABLER, SGIS);
        frame.write32(gic::SGI_FRAME + gic::ISPENDR, SGIS);
        let entry = crowd_sleep as *const () as u64;
        let result = smccc::psci(smccc::CPU_ON, [affinity, entry, 0]);
        assert_eq!(result, 0, "CPU_ON of {affinity:#x}");
        sleepers += 1;
    }
    timer::spin(SETTLE_NS);
    println!("sleepers {sleepers}");
    loop {
        gic::DISTRIBUTOR.write32(gic::GICD_CTLR, OFF);
        gic::DISTRIBUTOR.write32(gic::GICD_CTLR, ON);
    }
}
