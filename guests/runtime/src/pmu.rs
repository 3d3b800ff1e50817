//! The cycle counter of the performance monitors.
//!
//! # Source
//! Arm DDI 0487, register pages `PMCR_EL0`, `PMCNTENSET_EL0`, `PMCCFILTR_EL0`, `PMCCNTR_EL0`.

use crate::sysreg;

/// `PMCCFILTR_EL0.NSH`: count at EL2 too.
const NSH: u64 = 1 << 27;

/// Says whether there is a cycle counter.
pub fn is_present() -> bool {
    !matches!(read_sysreg!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf)
}

/// Starts the cycle counter from zero, counting at EL1 and EL0.
pub fn start_cycles() {
    start(0);
}

/// Starts the cycle counter from zero, counting at EL2 too where whoever is there allows it.
pub fn start_cycles_at_el2() {
    start(NSH);
}

fn start(filter: u64) {
    let control = read_sysreg!("pmcr_el0") | 0x45;
    // SAFETY: counters change no memory.
    unsafe {
        write_sysreg!("pmccfiltr_el0", filter);
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
