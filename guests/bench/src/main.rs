//! Measures what calls, emulated registers and interrupts cost a guest.
//!
//! Prints one line a row, `BENCH name min mean max n`, in ticks of the virtual count, then `DONE`. Run under QEMU with
//! `-icount shift=0` and a count of 1 GHz a tick is one instruction; what the measuring itself costs (the distance of two
//! reads of the count with nothing between, printed first) is subtracted, so that on a machine without a hypervisor a load
//! costs 1 and a call 6: five instructions that set x0 to x3, and the call.
//!
//! Nothing is printed while anything is measured: what the console still has to send could interrupt. All rows run
//! [`REHEARSALS`] times, one after the other, before the first one counts: a host that watches from outside has seen each
//! of them by then. Each runs [`WARM_UPS`] times more right before it counts. A row whose device the partition does not have is skipped, with a line that says so.
//!
//! Beside a busy partition that is less urgent, the same rows show what sharing the pCPU costs. Giving way to another
//! partition is `bench-yield`'s to measure.
#![no_std]
#![no_main]

/// Counted runs of each row.
const RUNS: u64 = 1000;
/// Runs of each row before the first row is counted.
const REHEARSALS: u64 = 8;
/// Runs of each row right before it is counted.
const WARM_UPS: u64 = 8;

/// The count that rows read: that of the virtual timer.
macro_rules! counter {
    () => {
        "cntvct_el0"
    };
}

#[macro_use]
mod operations;
mod drain;
mod interrupts;
mod quiet;
mod rows;

use core::arch::global_asm;
use guest_runtime::stats::Summary;
use guest_runtime::{entry, gic, gicv2, layout, mmu, println, smccc, start, timer};
use quiet::rest;
use rows::{ROWS, Row};

global_asm!(
    include_str!("vectors.S"),
    concat!("VECTORS bench_vectors, ", counter!()),
    interface = const layout::GICC,
    acknowledge = const gicv2::GICC_IAR,
    end = const gicv2::GICC_EOIR,
);

unsafe extern "C" {
    static bench_vectors: u8;
    static bench_vectors_v2: u8;
}

/// Returns the vector table for this GIC.
fn own_vectors() -> u64 {
    match gic::is_v2() {
        false => &raw const bench_vectors as u64,
        true => &raw const bench_vectors_v2 as u64,
    }
}

/// Returns how long after a deadline of the virtual timer its handler was entered: both are of one count.
fn since_deadline(deadline: u64, entered: u64) -> u64 {
    entered.saturating_sub(deadline)
}

/// Beside the rows that other guests measure too.
const DRAIN: Row = Row {
    name: "pl011_data_write_with_drain",
    overheads: 0,
    measure: drain::pl011_data_write_with_drain,
};

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    rest();
    let rows = || ROWS.iter().chain([&DRAIN]);
    for row in rows() {
        for _ in 0..REHEARSALS {
            (row.measure)();
        }
    }
    rest();
    let overhead = operations::overhead().min();
    let mut results = [const { None }; ROWS.len() + 1];
    for (row, result) in rows().zip(&mut results) {
        *result = run(row.measure, row.overheads * overhead);
    }
    println!("");
    println!(
        "ticks of a count at {} Hz, {overhead} subtracted as own overhead",
        timer::frequency()
    );
    for (Row { name, .. }, result) in rows().zip(&results) {
        match result {
            Some(row) => println!(
                "BENCH {name} {} {} {} {}",
                row.min(),
                row.mean(),
                row.max(),
                row.count()
            ),
            None => println!("SKIP {name}: not there"),
        }
    }
    let first = start::entry_state().count;
    println!("BENCH reset_to_guest {first} {first} {first} 1");
    println!("DONE");
    smccc::system_off()
}

/// Measures a row [`RUNS`] times.
fn run(measure: fn() -> Option<u64>, overhead: u64) -> Option<Summary> {
    for _ in 0..WARM_UPS {
        measure()?;
    }
    let mut summary = Summary::new();
    for _ in 0..RUNS {
        summary.add(measure()?.saturating_sub(overhead));
    }
    Some(summary)
}
