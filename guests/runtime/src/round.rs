//! Instructions that ask nothing of EL2, and what they took, measured in two ways.
//!
//! * By the virtual count. Under icount a round takes the same ticks each time, to the instruction: its length is a
//!   multiple of a tick, so the phase at which it begins does not show.
//! * By the exclusive monitor, which every return from EL2 clears: a store-exclusive at the end of a round fails when EL2
//!   was entered since the load-exclusive at its beginning, however briefly, and whatever the host does to time.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// Instructions of a round, from one read of the count to the other: at 62.5 MHz and 1 GHz alike a whole number of ticks.
pub const INSTRUCTIONS: u64 = 16 * 1024;

/// Runs a round; returns its ticks, and whether EL2 was entered meanwhile. One vCPU runs rounds.
pub fn run() -> (u64, bool) {
    static MONITORED: AtomicU32 = AtomicU32::new(0);
    let (before, after, failed): (u64, u64, u32);
    // SAFETY: changes the registers that are named; the store, if it happens, writes the value that was loaded.
    unsafe {
        asm!(
            "isb", "ldxr {value:w}, [{monitored}]", "mrs {before}, cntvct_el0",
            "nop", "2:", "subs {left}, {left}, #1", "b.ne 2b",
            "mrs {after}, cntvct_el0", "stxr {failed:w}, {value:w}, [{monitored}]",
            value = out(reg) _, monitored = in(reg) MONITORED.as_ptr(), before = out(reg) before, after = out(reg) after,
            left = inout(reg) INSTRUCTIONS / 2 - 1 => _, failed = out(reg) failed, options(nostack)
        );
    }
    MONITORED.load(Ordering::Relaxed);
    (after - before, failed != 0)
}
