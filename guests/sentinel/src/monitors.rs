//! The performance monitors, which this guest neither uses nor opens to its EL0: a read there comes to this guest. It would go to
//! EL2, which answers it, if a neighbour's `PMUSERENR_EL0` were left in place; and a neighbour's `MDSCR_EL1` would have EL0 go
//! step by step.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::{el0, esr};

global_asm!(
    ".balign 4",
    "sentinel_el0_reads:",
    "mrs x0, pmccntr_el0",
    "svc #0"
);

unsafe extern "C" {
    fn sentinel_el0_reads();
}

static SERVED: AtomicU64 = AtomicU64::new(0);

/// Exception classes: an unknown instruction, where there are no monitors, and a trapped one.
const REFUSED: [u64; 2] = [esr::EC_UNKNOWN, esr::EC_SYSREG];

/// Reads the cycle counter at EL0, and notes when that is not what is refused.
pub fn check() {
    let code = sentinel_el0_reads as *const () as usize;
    // SAFETY: the code writes no memory, and the MMU is on.
    let (_, fault) = unsafe { el0::run(code, 0) };
    let refused = fault.is_some_and(|fault| REFUSED.contains(&esr::class(fault.esr)));
    SERVED.fetch_add(u64::from(!refused), Ordering::Relaxed);
}

/// Returns how often it was read, or something else came.
pub fn served() -> u64 {
    SERVED.load(Ordering::Relaxed)
}
