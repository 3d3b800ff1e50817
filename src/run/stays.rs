//! Places where a stay at EL2 ends or may be interrupted, for whoever measures from outside. With the feature
//! `stay-counter` the module of that name stands here, which measures from inside.

use crate::arch::aarch64::cpu;
use bulkhead::ids::PcpuId;

/// Whether every entry of a guest has to be seen: not without the feature.
pub const COUNTED: bool = false;

/// Marks a place where long work looks for interrupts.
#[inline(always)]
pub fn preemption_point(_: PcpuId) {
    cpu::preemption_point();
}

/// Sleeps until an interrupt is pending, masked or not.
#[inline(always)]
pub fn wait_for_interrupt(_: PcpuId) {
    cpu::wait_for_interrupt();
}

/// Lets this pCPU's stays be counted: not without the feature.
#[inline(always)]
pub fn count_stays() {}
