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

/// Turns ticks into nanoseconds and back without a division.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds in a tick, times 2^32.
    ns_per_tick: u64,
    /// Ticks in a nanosecond, times 2^32.
    ticks_per_ns: u64,
}

impl Clock {
    /// Reads the counter's frequency.
    pub fn new() -> Self {
        let frequency = u128::from(frequency());
        let scale = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        Self {
            ns_per_tick: scale((1_000_000_000u128 << 32) / frequency),
            ticks_per_ns: scale((frequency << 32) / 1_000_000_000),
        }
    }

    /// Returns the time in nanoseconds.
    #[inline(always)]
    pub fn now_ns(self) -> u64 {
        ((u128::from(now()) * u128::from(self.ns_per_tick)) >> 32) as u64
    }

    /// Returns the tick at which a time in nanoseconds is over.
    pub fn ticks_at(self, ns: u64) -> u64 {
        (((u128::from(ns) * u128::from(self.ticks_per_ns)) >> 32) as u64).saturating_add(1)
    }
}
