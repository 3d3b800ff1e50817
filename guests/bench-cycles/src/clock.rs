//! Cycles beside the virtual count: how many make a tick, and when in cycles a tick began.
//!
//! The count of a board is slow, one tick in tens or hundreds of cycles. Its edges are not: whoever looks at it all the time
//! sees one within a few cycles. So a time in ticks and one in cycles are compared at edges.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::{pmu, smccc, timer};

/// How long cycles and ticks are compared, in nanoseconds.
const COMPARED_NS: u64 = 20_000_000;
/// Looks at the count before it is taken to stand still.
const PATIENCE: u64 = 1 << 24;

/// As many cycles as make [`TICKS`] ticks.
static CYCLES: AtomicU64 = AtomicU64::new(1);
static TICKS: AtomicU64 = AtomicU64::new(1);

/// A moment: when a tick of the virtual count began.
#[derive(Clone, Copy)]
pub struct Edge {
    /// The tick.
    pub tick: u64,
    /// The cycle counter.
    pub cycles: u64,
}

/// Waits for the next tick; its begin is known to half of the loop.
pub fn next_edge() -> Edge {
    let (tick, earlier, cycles): (u64, u64, u64);
    // SAFETY: reads of counters change nothing.
    unsafe {
        asm!(
            "isb", "mrs {tick}, cntvct_el0", "mrs {cycles}, pmccntr_el0",
            "2: mov {last}, {tick}", "mov {earlier}, {cycles}",
            "isb", "mrs {tick}, cntvct_el0", "mrs {cycles}, pmccntr_el0",
            "subs {left}, {left}, #1", "b.eq 3f", "cmp {tick}, {last}", "b.eq 2b", "3:",
            tick = out(reg) tick, earlier = out(reg) earlier, cycles = out(reg) cycles, last = out(reg) _,
            left = inout(reg) PATIENCE => _, options(nomem, nostack)
        );
    }
    let cycles = earlier + cycles.wrapping_sub(earlier) / 2;
    Edge { tick, cycles }
}

/// What can be counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// All cycles, EL2's among them.
    Cycles,
    /// There is no cycle counter.
    None,
    /// There is one, but it stands while EL2 works.
    WithoutEl2,
}

/// Starts the cycle counter, compares it with the virtual count, and says what it counts.
pub fn start() -> Counter {
    if !pmu::is_present() {
        return Counter::None;
    }
    pmu::start_cycles_at_el2();
    let (cycles, ticks) = compare(|| timer::spend(100));
    CYCLES.store(cycles, Ordering::Relaxed);
    TICKS.store(ticks.max(1), Ordering::Relaxed);
    if cycles == 0 {
        return Counter::None;
    }
    // A counter that stands at EL2 loses half of them at least.
    let (called, long) = compare(|| {
        smccc::psci(smccc::PSCI_VERSION, [0; 3]);
    });
    match called < from_ticks(long) / 8 * 7 {
        true => Counter::WithoutEl2,
        false => Counter::Cycles,
    }
}

/// Does this for a while; returns how many cycles and ticks that took.
fn compare(work: impl Fn()) -> (u64, u64) {
    let begin = next_edge();
    let until = begin.tick + timer::ns_to_ticks(COMPARED_NS);
    while timer::now() < until {
        work();
    }
    let end = next_edge();
    (
        end.cycles.wrapping_sub(begin.cycles),
        end.tick.wrapping_sub(begin.tick),
    )
}

/// Turns ticks, at most some seconds of them, into cycles.
pub fn from_ticks(ticks: u64) -> u64 {
    let (cycles, whole) = (
        CYCLES.load(Ordering::Relaxed),
        TICKS.load(Ordering::Relaxed),
    );
    ticks.saturating_mul(cycles) / whole
}
