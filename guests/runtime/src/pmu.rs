//! The cycle counter of the performance monitors.
//!
//! # Source
//! Arm DDI 0487, register pages `PMCR_EL0`, `PMCNTENSET_EL0`, `PMCCFILTR_EL0`, `PMCCNTR_EL0`.

use crate::sysreg;

/// Starts the cycle counter from zero, counting at EL1 and EL0.
pub fn start_cycles() {
    let control = read_sysreg!("pmcr_el0") | 0x45;
    // SAFETY: counters change no memory.
    unsafe {
        write_sysreg!("pmccfiltr_el0", 0);
        write_sysreg!("pmcntenset_el0", 1 << 31);
        write_sysreg!("pmcr_el0", control);
    }
    sysreg::isb();
}

/// Returns the cycles counted.
#[inline(always)]
pub fn cycles() -> u64 {
    read_sysreg!("pmccntr_el0")
}
