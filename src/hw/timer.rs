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

/// Says whether this pCPU's EL2 timer is armed.
#[inline(always)]
pub fn is_armed() -> bool {
    read::cnthp_ctl_el2() & 1 != 0
}

/// Arms this pCPU's EL2 timer for a time in counter ticks, unless it is armed for an earlier one.
#[inline(always)]
pub fn arm_by(deadline: u64) {
    if !is_armed() || deadline < read::cnthp_cval_el2() {
        arm(deadline);
    }
}

/// Returns the counter's frequency in Hz, as the firmware wrote it: 32 bits.
pub fn frequency() -> u64 {
    (read::cntfrq_el0() & 0xffff_ffff).max(1)
}

/// Nanoseconds in a second.
const NS_PER_S: u64 = 1_000_000_000;

/// Turns nanoseconds into ticks, rounded up, saturating.
// Not inlined: start-up alone asks, in many places.
#[inline(never)]
pub fn ticks(ns: u64) -> u64 {
    let frequency = frequency();
    let (seconds, rest) = (ns / NS_PER_S, ns % NS_PER_S);
    // `CNTFRQ_EL0` has 32 bits, so the product has at most 62.
    seconds
        .saturating_mul(frequency)
        .saturating_add((rest * frequency).div_ceil(NS_PER_S))
}

/// Turns nanoseconds into ticks, rounded down, saturating: for times that must not become longer.
pub fn ticks_within(ns: u64) -> u64 {
    let frequency = frequency();
    let (seconds, rest) = (ns / NS_PER_S, ns % NS_PER_S);
    // Whole seconds are whole ticks, so rounding the rest down rounds the sum down. The product as above.
    seconds
        .saturating_mul(frequency)
        .saturating_add(rest * frequency / NS_PER_S)
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
        let frequency = frequency();
        Self {
            ns_per_tick: (NS_PER_S << 32) / frequency,
            ticks_per_ns: (frequency << 32) / NS_PER_S,
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
