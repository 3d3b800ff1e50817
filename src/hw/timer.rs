//! EL2's own timer (CNTHP), and time.
//!
//! Source: Arm DDI 0487, "The Generic Timer in AArch64 state".

use crate::arch::aarch64::cpu;
use crate::arch::aarch64::sysreg::{read, write};

/// Returns the time in counter ticks.
#[inline(always)]
pub fn now() -> u64 {
    cpu::isb();
    read::cntpct_el0()
}

/// Arms this pCPU's EL2 timer for a time in counter ticks; `u64::MAX` turns it off.
#[inline(always)]
pub fn arm(deadline: u64) {
    if deadline == u64::MAX {
        write::cnthp_ctl_el2(0);
    } else {
        write::cnthp_cval_el2(deadline);
        write::cnthp_ctl_el2(1);
    }
}

/// Returns the counter's frequency in Hz, as the firmware wrote it.
pub fn frequency() -> u64 {
    read::cntfrq_el0().max(1)
}

/// Turns nanoseconds into ticks, rounded up, saturating.
pub fn ticks(ns: u64) -> u64 {
    let ticks = (u128::from(ns) * u128::from(frequency())).div_ceil(1_000_000_000);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}
