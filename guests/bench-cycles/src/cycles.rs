//! The rows by the cycle counter.

macro_rules! counter {
    () => {
        "pmccntr_el0"
    };
}

#[path = "../../bench/src/interrupts.rs"]
mod interrupts;
#[path = "../../bench/src/operations.rs"]
pub mod operations;
#[path = "../../bench/src/rows.rs"]
pub mod rows;

use guest_runtime::gic;

unsafe extern "C" {
    static cycle_vectors: u8;
    static cycle_vectors_v2: u8;
}

/// Returns the vector table for this GIC.
fn own_vectors() -> u64 {
    match gic::is_v2() {
        false => &raw const cycle_vectors as u64,
        true => &raw const cycle_vectors_v2 as u64,
    }
}

/// Returns how long after a deadline of the virtual timer its handler was entered.
fn since_deadline(deadline: u64, entered: u64) -> u64 {
    crate::clock::since_tick(deadline, entered)
}
