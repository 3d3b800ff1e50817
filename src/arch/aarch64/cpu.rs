//! Barriers, waiting, and calls to the firmware.

use core::arch::asm;

/// Makes earlier system-register writes visible to what follows.
#[inline(always)]
pub fn isb() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) }
}

/// Waits until earlier accesses have completed for the whole system, devices included.
#[inline(always)]
pub fn dsb_sy() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// Wakes all CPUs that sleep by WFE, once earlier accesses have completed.
pub fn send_event() {
    // SAFETY: a barrier and a hint.
    unsafe { asm!("dsb sy", "sev", options(nostack, preserves_flags)) }
}

/// Sleeps until an interrupt is pending, masked or not.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: sleeps; memory accesses before it are completed first, as the manual asks.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// Lets whoever shares the core go first, while this CPU waits for another one.
pub fn give_way() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) }
}

/// Says whether an interrupt is pending that the mask lets through.
#[inline(always)]
pub fn interrupt_is_pending() -> bool {
    super::sysreg::read::isr_el1() & 1 << 7 != 0
}

/// Marks a place where long work looks for interrupts: no instruction, only the address in a section of the ELF file that
/// is not loaded, for whoever measures from outside how long EL2 stays.
#[inline(always)]
pub fn preemption_point() {
    // SAFETY: no instruction.
    unsafe {
        asm!(
            "771:",
            ".pushsection .preemption, \"\", %progbits",
            ".quad 771b, 771b",
            ".popsection",
            options(nomem, nostack, preserves_flags)
        )
    }
}

/// Sleeps for ever.
pub fn park() -> ! {
    loop {
        // SAFETY: sleeps with interrupts masked.
        unsafe {
            asm!(
                "msr daifset, #0xf",
                "wfe",
                options(nostack, preserves_flags)
            )
        }
    }
}

/// Calls the firmware by SMC as SMCCC says, and returns x0.
///
/// # Safety
/// The function asked for does not change memory or CPU state that EL2 relies on, other than as the caller expects.
pub unsafe fn smc(function: u32, arguments: [u64; 3]) -> i64 {
    let result;
    // SAFETY: SMCCC 1.0 preserves x18 to x30 and SP; everything else is declared as overwritten.
    unsafe {
        asm!("smc #0", inout("x0") u64::from(function) => result, inout("x1") arguments[0] => _,
            inout("x2") arguments[1] => _, inout("x3") arguments[2] => _, out("x4") _, out("x5") _, out("x6") _,
            out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
            out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack));
    }
    result
}
