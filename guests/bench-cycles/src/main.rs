//! Measures on a board, in cycles of its CPU, what calls, emulated registers and interrupts cost a guest: the rows of the
//! guest `bench`, which counts instructions under QEMU.
//!
//! Prints a table for `RESULTS.md`: `| operation | min | mean | max |`, then `DONE`. What measuring itself costs is
//! subtracted. The cycle counter is asked to count at EL2 too; whether it does is tried out first, since not all CPUs let
//! a guest have that without `counts_el2` in the partition table. Where there is no such counter, times come from the
//! virtual count and are nanoseconds: the means are right, least and greatest are as coarse as a tick.
//!
//! Deadlines are ticks of the virtual count, and their handler is entered at a moment in cycles: [`clock`] says how the two
//! are brought together.
#![no_std]
#![no_main]
#![expect(
    clippy::duplicate_mod,
    reason = "the same rows are measured by two counters"
)]

mod clock;
mod cycles;
mod drain;
mod labels;
#[path = "../../bench/src/quiet.rs"]
mod quiet;
mod show;
mod ticks;

use clock::Counter;
use core::arch::global_asm;
use guest_runtime::channel::{self, Memory};
use guest_runtime::stats::Summary;
use guest_runtime::{console, entry, gic, gicv2, layout, mmu, println, smccc, timer};

/// Counted runs of each row.
const RUNS: u64 = 1000;
/// Runs of each row right before it is counted: caches and branch predictors know it then.
const WARM_UPS: u64 = 8;

global_asm!(
    include_str!("../../bench/src/vectors.S"),
    "VECTORS cycle_vectors, pmccntr_el0",
    "VECTORS tick_vectors, cntvct_el0",
    interface = const layout::GICC,
    acknowledge = const gicv2::GICC_IAR,
    end = const gicv2::GICC_EOIR,
);

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    quiet::rest();
    match clock::start() {
        Counter::Cycles => by_cycles(),
        Counter::WithoutEl2 => by_ticks("the cycle counter stands while EL2 works"),
        Counter::None => by_ticks("there is no cycle counter"),
    }
    println!("DONE");
    console::flush();
    // Others may wait for silence.
    if let Some(go) = channel::find("go") {
        go.memory.write(0, 1);
        go.ring();
    }
    smccc::system_off()
}

/// Measures in cycles.
fn by_cycles() {
    use cycles::operations::overhead;
    use cycles::rows::ROWS;
    let overhead = overhead().min();
    let results: [_; ROWS.len()] = core::array::from_fn(|at| {
        let row = &ROWS[at];
        run(row.measure).map(|all| show::Row::in_cycles(&all, row.overheads * overhead))
    });
    let drained = drain::measure().map(|all| show::Row::in_cycles(&all, 0));
    show::head("cycles");
    println!(
        "{} cycles a second; {overhead} subtracted for reading the counter twice",
        clock::from_ticks(timer::frequency())
    );
    show::columns();
    for (row, result) in ROWS.iter().zip(results) {
        show::line(labels::of(row.name), result);
    }
    show::line("emulated PL011: data write, drain amortized", drained);
}

/// Measures in nanoseconds.
fn by_ticks(why: &str) {
    use ticks::operations::overhead;
    use ticks::rows::ROWS;
    let overhead = overhead();
    let results: [_; ROWS.len()] = core::array::from_fn(|at| {
        let row = &ROWS[at];
        run(row.measure).map(|all| show::Row::in_ns(&all, row.overheads, &overhead))
    });
    show::head("nanoseconds");
    println!("{why}: the means are right, the others as coarse as a tick");
    show::columns();
    for (row, result) in ROWS.iter().zip(results) {
        show::line(labels::of(row.name), result);
    }
}

/// Measures a row [`RUNS`] times.
fn run(measure: fn() -> Option<u64>) -> Option<Summary> {
    for _ in 0..WARM_UPS {
        measure()?;
    }
    let mut summary = Summary::new();
    for _ in 0..RUNS {
        summary.add(measure()?);
    }
    Some(summary)
}
