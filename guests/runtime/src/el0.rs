//! Short trips to EL0.
//!
//! A piece of position-independent code is run at EL0 through the map's alias for EL0; SVC or any fault there comes back.

use crate::exception::{Fault, Frame};
use crate::{esr, mmu, smp};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    ".section .text.runtime_el0, \"ax\"",
    ".global runtime_el0_enter", // x0: where, x1: first argument, x2: where to keep SP
    "runtime_el0_enter:",
    "    stp x29, x30, [sp, #-160]!",
    "    stp x19, x20, [sp, #16]",
    "    stp x21, x22, [sp, #32]",
    "    stp x23, x24, [sp, #48]",
    "    stp x25, x26, [sp, #64]",
    "    stp x27, x28, [sp, #80]",
    "    stp d8, d9, [sp, #96]",
    "    stp d10, d11, [sp, #112]",
    "    stp d12, d13, [sp, #128]",
    "    stp d14, d15, [sp, #144]",
    "    mov x3, sp",
    "    str x3, [x2]",
    "    msr elr_el1, x0",
    "    mov x3, #0x3c0", // EL0, everything masked
    "    msr spsr_el1, x3",
    "    mov x0, x1",
    "    eret",
    ".global runtime_el0_back", // by an exception return to here, at EL1, with SP as it was kept
    "runtime_el0_back:",
    "    mov sp, x2",
    "    ldp x19, x20, [sp, #16]",
    "    ldp x21, x22, [sp, #32]",
    "    ldp x23, x24, [sp, #48]",
    "    ldp x25, x26, [sp, #64]",
    "    ldp x27, x28, [sp, #80]",
    "    ldp d8, d9, [sp, #96]",
    "    ldp d10, d11, [sp, #112]",
    "    ldp d12, d13, [sp, #128]",
    "    ldp d14, d15, [sp, #144]",
    "    ldp x29, x30, [sp], #160",
    "    ret",
);

unsafe extern "C" {
    fn runtime_el0_enter(address: u64, argument: u64, keep: *mut u64) -> u64;
    fn runtime_el0_back();
}

#[derive(Default)]
struct Trip {
    stack: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
}

static TRIPS: [Trip; smp::MAX_VCPUS] = [const {
    Trip {
        stack: AtomicU64::new(0),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
    }
}; smp::MAX_VCPUS];

/// Runs the code at `address` (in RAM, position independent, ending in SVC) at EL0 with `argument` in x0; returns x0 as it
/// was at the end, and the fault that ended it when that was not SVC.
///
/// # Safety
/// The code writes no memory that this program uses; the MMU is on.
pub unsafe fn run(address: usize, argument: u64) -> (u64, Option<Fault>) {
    let trip = &TRIPS[smp::index()];
    let alias = (address + mmu::EL0_ALIAS) as u64;
    // SAFETY: the assembly keeps the procedure call standard, and the caller vouches for the code.
    let result = unsafe { runtime_el0_enter(alias, argument, trip.stack.as_ptr()) };
    let esr = trip.esr.load(Ordering::Relaxed);
    if esr::class(esr) == esr::EC_SVC {
        return (result, None);
    }
    let (far, elr) = (
        trip.far.load(Ordering::Relaxed),
        trip.elr.load(Ordering::Relaxed),
    );
    (result, Some(Fault { esr, far, elr }))
}

/// Ends a trip to EL0: the exception `frame` returns to where the trip began.
pub(crate) fn leave(frame: &mut Frame) -> bool {
    let trip = &TRIPS[smp::index()];
    trip.esr.store(frame.esr, Ordering::Relaxed);
    trip.far.store(frame.far, Ordering::Relaxed);
    trip.elr.store(frame.elr, Ordering::Relaxed);
    frame.x[2] = trip.stack.load(Ordering::Relaxed);
    frame.elr = runtime_el0_back as *const () as u64;
    let mask: u64;
    // SAFETY: reads the mask that exception entry left, for a return to EL1 with the same.
    unsafe { asm!("mrs {}, daif", out(reg) mask, options(nostack, preserves_flags)) };
    frame.spsr = 0x5 | mask;
    true
}
