//! The rows by the virtual count.

macro_rules! counter {
    () => {
        "cntvct_el0"
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
    static tick_vectors: u8;
    static tick_vectors_v2: u8;
}

/// Returns the vector table for this GIC.
fn own_vectors() -> u64 {
    match gic::is_v2() {
        false => &raw const tick_vectors as u64,
        true => &raw const tick_vectors_v2 as u64,
    }
}

/// Returns how long after a deadline of the virtual timer its handler was entered.
fn since_deadline(deadline: u64, entered: u64) -> u64 {
    entered.saturating_sub(deadline)
}
