//! What a vCPU's budget gives it, seen from inside: how long one that always wants to run does so in a few periods.
//!
//! How much is left at a start is not compared, and not to be the same: a budget is the partition's, not a life's, and loading
//! is on it. A restart that renewed it would give more than the budget in a period. So the measure begins where the budget
//! ends first.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest_runtime::{manage, timer};

/// Between two looks at the clock this guest ran, unless they are so far apart.
const INTERRUPTED_NS: u64 = 20_000;
/// A pause that no neighbour and no time slice makes: the budget is used up.
const THROTTLED_NS: u64 = 2_000_000;
/// A budget that does not end for so long is none.
const ENDLESS_NS: u64 = 60_000_000;
/// The time over which it is measured: five periods of the table.
const MEASURED_NS: u64 = 50_000_000;
/// Looks at the clock between two kicks of the watchdog.
const KICK: u32 = 4096;

/// What each vCPU got, in nanoseconds.
static SUPPLIES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Measures what the vCPU with an index gets.
pub fn measure(index: usize) {
    ran(ENDLESS_NS, THROTTLED_NS);
    SUPPLIES[index].store(ran(MEASURED_NS, u64::MAX), Relaxed);
}

/// Returns what a vCPU got.
pub fn of(index: usize) -> u64 {
    SUPPLIES[index].load(Relaxed)
}

/// Runs for a time, or until a pause that is longer than `pause_ns`. Returns for how long it ran.
fn ran(time_ns: u64, pause_ns: u64) -> u64 {
    let [time, pause, interrupted] = [time_ns, pause_ns, INTERRUPTED_NS].map(ticks);
    let begin = timer::now();
    let (mut last, mut ran, mut looks) = (begin, 0, 0_u32);
    while last.wrapping_sub(begin) < time {
        let now = timer::now();
        let gap = now.wrapping_sub(last);
        last = now;
        if gap > pause {
            break;
        }
        if gap < interrupted {
            ran += gap;
        }
        looks += 1;
        if looks.is_multiple_of(KICK) {
            manage::kick();
        }
    }
    timer::ticks_to_ns(ran)
}

/// Returns ticks, and for ever for ever.
fn ticks(ns: u64) -> u64 {
    match ns {
        u64::MAX => u64::MAX,
        ns => timer::ns_to_ticks(ns),
    }
}
