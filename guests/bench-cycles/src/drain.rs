//! What a byte of output costs the vCPU that wrote it, with all that sending it takes away from that vCPU later.
//!
//! A line at 115,200 baud takes milliseconds, so waiting for it would measure the line. The vCPU works instead until the
//! line is over: what that work takes longer than without a line is the cost.

use core::sync::atomic::AtomicU32;
use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::stats::Summary;
use guest_runtime::{console, pmu, timer};

/// Bytes of the line, which has room.
const BYTES: usize = 64;
/// Counted runs.
const RUNS: u64 = 20;
/// Added to what the work has to take at least, in nanoseconds: what is behind the console's flag.
const MARGIN_NS: u64 = 3_000_000;
/// What is written for comparison: a word of memory.
static NOWHERE: AtomicU32 = AtomicU32::new(0);

/// Measures; `None` without a console.
pub fn measure() -> Option<Summary> {
    if !console::is_present() || catch(console::flush).1.is_some() {
        return None;
    }
    // SAFETY: a word of this guest's own, which is written by one vCPU alone and read by none.
    let nowhere = unsafe { Mmio::new(NOWHERE.as_ptr() as usize) };
    let begin = timer::now();
    line_to(console::UART, console::DR);
    console::flush();
    let ns = timer::ticks_to_ns(timer::now() - begin) * 2 + MARGIN_NS;
    let turns = turns_for(ns);
    let mut summary = Summary::new();
    for _ in 0..RUNS {
        let without = cycles(nowhere, 0, turns);
        let with = cycles(console::UART, console::DR, turns);
        console::flush();
        summary.add(with.saturating_sub(without) / BYTES as u64);
    }
    Some(summary)
}

/// Returns how many turns of [`timer::spend`] take so long.
fn turns_for(ns: u64) -> u64 {
    const TRIED: u64 = 100_000;
    let begin = timer::now();
    timer::spend(TRIED);
    let took = timer::ticks_to_ns(timer::now() - begin).max(1);
    ns.saturating_mul(TRIED) / took
}

/// Writes a line to a register.
#[inline(never)]
fn line_to(device: Mmio, register: usize) {
    for at in 0..BYTES {
        let byte = match BYTES - at {
            2 => b'\r',
            1 => b'\n',
            _ => b'.',
        };
        device.write32(register, u32::from(byte));
    }
}

/// Returns the cycles that a line and this much work take.
#[inline(never)]
fn cycles(device: Mmio, register: usize, turns: u64) -> u64 {
    let begin = pmu::cycles();
    line_to(device, register);
    timer::spend(turns);
    pmu::cycles().wrapping_sub(begin)
}
