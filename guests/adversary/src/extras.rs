//! The vCPUs beyond those that the runtime has stacks for: they sleep, take what comes, and sleep again.

use core::arch::global_asm;
use guest_runtime::{gic, smccc, smp};

unsafe extern "C" {
    fn adversary_extra();
}

// With IRQs masked: WFI ends all the same. The timer is due at the same time on all of them.
global_asm!(
    ".global adversary_extra",
    "adversary_extra:",
    "mov x0, #0xf8",
    "msr icc_pmr_el1, x0",
    "mov x0, #1",
    "msr icc_igrpen1_el1, x0",
    "msr cntv_ctl_el0, x0",
    "1: mrs x0, cntvct_el0",
    "orr x0, x0, #0x3fff",
    "add x0, x0, #1",
    "msr cntv_cval_el0, x0",
    "isb",
    "wfi",
    "mrs x0, icc_iar1_el1",
    "cmp w0, #1020",
    "b.hs 1b",
    "msr icc_eoir1_el1, x0",
    "b 1b",
);

/// Starts them, with their timers and SGIs enabled.
pub fn start() {
    let entry = adversary_extra as *const () as u64;
    for (index, affinity) in gic::redistributor_affinities()
        .enumerate()
        .skip(smp::MAX_VCPUS)
    {
        let redistributor = gic::redistributor_at(index);
        redistributor.write32(gic::GICR_WAKER, 0);
        redistributor.write32(gic::SGI_FRAME + gic::IGROUPR, u32::MAX);
        redistributor.write32(gic::SGI_FRAME + gic::ISENABLER, u32::MAX);
        smccc::psci(smccc::CPU_ON, [affinity, entry, 0]);
    }
}
