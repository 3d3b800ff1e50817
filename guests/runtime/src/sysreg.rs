//! System registers by name, and barriers.

/// Reads the system register of this name (any name or `s3_...` form that the assembler knows) as a `u64`.
#[macro_export]
macro_rules! read_sysreg {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: a read of a system register touches no memory of this program. One that does not exist is an exception,
        // which is reported or caught.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Writes a `u64` to the system register of this name. An `unsafe` operation: some registers decide what memory means.
#[macro_export]
macro_rules! write_sysreg {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags))
    }};
}

/// Synchronizes the context: later instructions see earlier register writes.
#[inline(always)]
pub fn isb() {
    // SAFETY: a barrier changes no state.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// Waits until every earlier memory access of this vCPU is complete for the whole system.
#[inline(always)]
pub fn dsb() {
    // SAFETY: a barrier changes no state.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Waits for an interrupt; returns at once when one is pending, masked or not.
#[inline(always)]
pub fn wfi() {
    // SAFETY: waiting changes no state.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// Waits for an event.
#[inline(always)]
pub fn wfe() {
    // SAFETY: waiting changes no state.
    unsafe { core::arch::asm!("wfe", options(nostack, preserves_flags)) };
}

/// Sends an event to every vCPU.
#[inline(always)]
pub fn sev() {
    // SAFETY: an event changes no state that a program can see.
    unsafe { core::arch::asm!("dsb sy", "sev", options(nostack, preserves_flags)) };
}

/// Unmasks interrupts on this vCPU.
#[inline(always)]
pub fn unmask_irqs() {
    // SAFETY: the vector table is installed before any guest code runs.
    unsafe { core::arch::asm!("msr daifclr, #2", options(nostack, preserves_flags)) };
}

/// Unmasks SErrors on this vCPU: one that comes ends the program with a report.
#[inline(always)]
pub fn unmask_serrors() {
    // SAFETY: the vector table is installed before any guest code runs.
    unsafe { core::arch::asm!("msr daifclr, #4", options(nostack, preserves_flags)) };
}

/// Masks interrupts on this vCPU.
#[inline(always)]
pub fn mask_irqs() {
    // SAFETY: masking changes no memory.
    unsafe { core::arch::asm!("msr daifset, #2", options(nostack, preserves_flags)) };
}

/// Runs `body` with interrupts masked, then restores the mask as it was.
pub fn without_irqs<T>(body: impl FnOnce() -> T) -> T {
    let daif = read_sysreg!("daif");
    mask_irqs();
    let result = body();
    // SAFETY: puts back the value that was read above.
    unsafe { write_sysreg!("daif", daif) };
    result
}

/// Returns the affinity fields of this vCPU's MPIDR (Aff3 in bits 39..32, Aff2..Aff0 in bits 23..0).
pub fn affinity() -> u64 {
    read_sysreg!("mpidr_el1") & 0xff_00ff_ffff
}
