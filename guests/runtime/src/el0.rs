//! Short trips to EL0.
//!
//! A piece of position-independent code is run at EL0 through the map's alias for EL0; SVC or any fault there comes back.
//! AArch32 code is run through an alias below 4 GiB, where the CPU has that state.

use crate::exception::{Fault, Frame};
use crate::{esr, mmu, smp};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// PSTATE of a trip in AArch64 state: everything masked.
const AARCH64: u64 = 0x3c0;
/// PSTATE of a trip in AArch32 state: user mode, the A32 instruction set, everything masked.
pub const A32: u64 = 0x1d0;
/// The same with the T32 instruction set, and the flag Z.
pub const T32: u64 = A32 | 1 << 5 | 1 << 30;

global_asm!(
    ".section .text.runtime_el0, \"ax\"",
    ".global runtime_el0_enter", // x0: where, x1: first argument, x2: where to keep SP
    "runtime_el0_enter:",        // x3: PSTATE there
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
    "    mov x4, sp",
    "    str x4, [x2]",
    "    msr elr_el1, x0",
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
    fn runtime_el0_enter(address: u64, argument: u64, keep: *mut u64, pstate: u64) -> u64;
    fn runtime_el0_back();
}

#[derive(Default)]
struct Trip {
    away: AtomicBool,
    stack: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
}

static TRIPS: [Trip; smp::MAX_VCPUS] = [const {
    Trip {
        away: AtomicBool::new(false),
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
    // SAFETY: the caller's claim.
    let (result, fault) = unsafe { visit(address + mmu::EL0_ALIAS, argument, AARCH64) };
    (
        result,
        Some(fault).filter(|fault| esr::class(fault.esr) != esr::EC_SVC),
    )
}

/// Runs AArch32 code at `address` with PSTATE `pstate` ([`A32`] or [`T32`]), and returns r0 and what ended it, SVC too. A CPU
/// that has no AArch32 state answers with an illegal exception return.
///
/// # Safety
/// As for [`run`].
pub unsafe fn run_aarch32(address: usize, argument: u32, pstate: u64) -> (u32, Fault) {
    let alias = mmu::set_low_alias(true) + (address - crate::layout::RAM);
    // SAFETY: the caller's claim.
    let (result, fault) = unsafe { visit(alias, argument.into(), pstate) };
    mmu::set_low_alias(false);
    (result as u32, fault)
}

/// Goes to EL0 and comes back.
///
/// # Safety
/// As for [`run`]; `address` is the code's for EL0.
unsafe fn visit(address: usize, argument: u64, pstate: u64) -> (u64, Fault) {
    let trip = &TRIPS[smp::index()];
    trip.away.store(true, Ordering::Relaxed);
    let daif = read_sysreg!("daif");
    // SAFETY: the assembly keeps the procedure call standard, and the caller vouches for the code.
    let result =
        unsafe { runtime_el0_enter(address as u64, argument, trip.stack.as_ptr(), pstate) };
    // SAFETY: puts back the mask that was read above; the way back leaves everything masked.
    unsafe { write_sysreg!("daif", daif) };
    let [esr, far, elr] =
        [&trip.esr, &trip.far, &trip.elr].map(|kept| kept.load(Ordering::Relaxed));
    (result, Fault { esr, far, elr })
}

/// Says whether an exception at EL1 is the end of a trip that never began: its return was illegal.
pub(crate) fn refused(frame: &Frame) -> bool {
    esr::class(frame.esr) == esr::EC_ILLEGAL_STATE
        && TRIPS[smp::index()].away.load(Ordering::Relaxed)
}

/// Ends a trip to EL0: the exception `frame` returns to where the trip began.
pub(crate) fn leave(frame: &mut Frame) -> bool {
    let trip = &TRIPS[smp::index()];
    trip.away.store(false, Ordering::Relaxed);
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
