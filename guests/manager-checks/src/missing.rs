//! Partitions of which some vCPUs, or all, live on pCPUs that never came up are stopped and started like others.

use guest_runtime::manage::{self, phase};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, tests, timer};

use crate::team::{number, wait};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_half_of_it_is_missing_and_it_restarts,
    c_all_of_it_is_missing_and_it_stops,
];

/// The name of the partition whose first vCPU alone is there.
pub const HALF: &str = "half";
/// The name of the one whose only vCPU is missing.
const ALL: &str = "gone";

/// When EL2 has said long ago that a pCPU is missing, in nanoseconds.
const ROLL_CALL_NS: u64 = 1_500_000_000;

/// Gives an order, and waits for what comes of it.
fn order(call: u32, id: u64, becomes: u8, starts: u32) -> Outcome {
    expect_eq!(manage::ask(call, id), manage::DONE, "an order");
    let (holds, info) = wait(id, |info| {
        info.phase() == becomes && info.starts() == starts
    });
    expect!(holds, "state {:#x} after call {call:#x}", info.state);
    Ok(())
}

fn c_half_of_it_is_missing_and_it_restarts() -> Outcome {
    timer::spin(ROLL_CALL_NS);
    let half = number(HALF).unwrap_or(u64::MAX);
    order(manage::RESTART, half, phase::RUNNING, 2)?;
    order(manage::STOP, half, phase::STOPPED, 2)?;
    order(manage::START, half, phase::RUNNING, 3)
}

fn c_all_of_it_is_missing_and_it_stops() -> Outcome {
    let gone = number(ALL).unwrap_or(u64::MAX);
    order(manage::STOP, gone, phase::STOPPED, 1)?;
    // It waits for its pCPU.
    order(manage::START, gone, phase::LOADING, 2)?;
    order(manage::RESTART, gone, phase::LOADING, 3)?;
    order(manage::STOP, gone, phase::STOPPED, 3)
}
