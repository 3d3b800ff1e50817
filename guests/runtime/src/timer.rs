//! The generic timer: the virtual count, both EL1 timers, bounded waiting.
//!
//! # Source
//! Arm DDI 0487, "The Generic Timer in AArch64 state"; register pages `CNTV_CTL_EL0`, `CNTV_CVAL_EL0`, `CNTP_CTL_EL0`,
//! `CNTP_CVAL_EL0`.

use crate::sysreg::isb;

/// Control bit: the timer runs.
pub const CTL_ENABLE: u64 = 1;
/// Control bit: the timer's interrupt is masked.
pub const CTL_IMASK: u64 = 2;
/// Control bit: the deadline has passed.
pub const CTL_ISTATUS: u64 = 4;

/// How long a test waits for what has to come, in nanoseconds. Far longer than it ever takes: on a busy host a vCPU may
/// stand still for seconds, and that is no fault of what is tested.
pub const PATIENCE_NS: u64 = 20_000_000_000;

/// Returns the virtual count.
#[inline(always)]
pub fn now() -> u64 {
    isb();
    read_sysreg!("cntvct_el0")
}

/// Returns the physical count.
#[inline(always)]
pub fn physical_now() -> u64 {
    isb();
    read_sysreg!("cntpct_el0")
}

/// Returns the count's frequency in Hz.
pub fn frequency() -> u64 {
    read_sysreg!("cntfrq_el0")
}

/// Turns nanoseconds into ticks, rounding down.
pub fn ns_to_ticks(ns: u64) -> u64 {
    const NS: u64 = 1_000_000_000;
    (ns / NS) * frequency() + (ns % NS) * frequency() / NS
}

/// Turns ticks into nanoseconds, rounding down; cheap enough for an interrupt handler.
pub fn ticks_to_ns(ticks: u64) -> u64 {
    const NS: u64 = 1_000_000_000;
    let frequency = frequency().max(1);
    let (seconds, rest) = (ticks / frequency, ticks % frequency);
    // `rest` is below the frequency, which is at most 2^32 Hz, so that the product fits.
    seconds
        .saturating_mul(NS)
        .saturating_add(rest * NS / frequency)
}

/// Sets the virtual timer's absolute deadline in ticks and starts it.
#[inline(always)]
pub fn set_virtual(deadline: u64) {
    // SAFETY: a timer changes no memory; its interrupt goes to the installed handler.
    unsafe {
        write_sysreg!("cntv_cval_el0", deadline);
        write_sysreg!("cntv_ctl_el0", CTL_ENABLE);
    }
    isb();
}

/// Stops the virtual timer.
#[inline(always)]
pub fn stop_virtual() {
    // SAFETY: as for starting it.
    unsafe { write_sysreg!("cntv_ctl_el0", 0) };
    isb();
}

/// Returns the virtual timer's control register.
pub fn virtual_control() -> u64 {
    read_sysreg!("cntv_ctl_el0")
}

/// Sets the physical timer's absolute deadline in ticks and starts it.
pub fn set_physical(deadline: u64) {
    // SAFETY: as for the virtual timer.
    unsafe {
        write_sysreg!("cntp_cval_el0", deadline);
        write_sysreg!("cntp_ctl_el0", CTL_ENABLE);
    }
    isb();
}

/// Stops the physical timer.
pub fn stop_physical() {
    // SAFETY: as for starting it.
    unsafe { write_sysreg!("cntp_ctl_el0", 0) };
    isb();
}

/// Busily waits until `done` says so or `timeout_ns` have passed; returns whether `done` said so.
pub fn wait_until(timeout_ns: u64, mut done: impl FnMut() -> bool) -> bool {
    let start = now();
    let limit = ns_to_ticks(timeout_ns);
    loop {
        if done() {
            return true;
        }
        if now().wrapping_sub(start) > limit {
            return done();
        }
    }
}

/// Spends `turns` turns of two instructions, without a look at the clock.
#[inline(always)]
pub fn spend(turns: u64) {
    // SAFETY: counts a register down.
    unsafe {
        core::arch::asm!(
            "2: subs {turns}, {turns}, #1",
            "b.ne 2b",
            turns = inout(reg) turns => _,
            options(nomem, nostack)
        );
    }
}

/// Busily waits for `ns` nanoseconds.
pub fn spin(ns: u64) {
    wait_until(ns, || false);
}
