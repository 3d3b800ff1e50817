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

use crate::clock::{from_ticks, next_edge};
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

/// Returns how long after a deadline of the virtual timer its handler was entered, a short while ago. The cycle counter may
/// have stood before that: WFI can stop the CPU's clock.
fn since_deadline(deadline: u64, entered: u64) -> u64 {
    let edge = next_edge();
    let ticks = edge.tick.saturating_sub(deadline);
    from_ticks(ticks).saturating_sub(edge.cycles.wrapping_sub(entered))
}
