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

mod interrupts;
mod operations;

use guest_runtime::stats::Summary;
use guest_runtime::{console, entry, gic, layout, mmu, println, smccc, start, sysreg, timer};

/// Counted runs of each row.
const RUNS: u64 = 1000;
/// Runs of each row before the first row is counted.
const REHEARSALS: u64 = 8;
/// Runs of each row right before it is counted.
const WARM_UPS: u64 = 8;
/// How long the console is left alone, and less urgent partitions have to get ready, before measuring, in nanoseconds.
const QUIET_NS: u64 = 50_000_000;

/// A row: its name, how many times the overhead is in what it measures, and a function that measures it once, in ticks;
/// `None` where what it measures is not there.
type Row = (&'static str, u64, fn() -> Option<u64>);

const ROWS: &[Row] = &[
    ("untrapped_load", 1, operations::untrapped_load),
    ("hypercall_hvc", 1, operations::hypercall_hvc),
    ("hypercall_smc", 1, operations::hypercall_smc),
    ("call_smccc_version", 1, operations::call_smccc_version),
    ("call_psci_features", 1, operations::call_psci_features),
    ("call_features", 1, operations::call_features),
    ("call_unknown", 1, operations::call_unknown),
    ("call_fp_live", 1, operations::call_fp_live),
    ("call_full_vgic", 1, operations::call_full_vgic),
    ("gicd_ctlr_read", 1, operations::gicd_ctlr_read),
    ("gicd_isenabler_read", 1, operations::gicd_isenabler_read),
    ("gicd_isenabler_write", 1, operations::gicd_isenabler_write),
    ("pl011_flag_read", 1, operations::pl011_flag_read),
    ("self_sgi", 1, interrupts::self_sgi),
    ("timer_busy", 0, interrupts::timer_busy),
    ("timer_wfi", 0, interrupts::timer_wfi),
    ("timer_full_vgic", 0, interrupts::timer_full_vgic),
    ("spi_passed_through", 1, interrupts::spi_passed_through),
    ("ispendr_to_handler", 1, interrupts::ispendr_to_handler),
    ("pl011_data_write", 1, operations::pl011_data_write),
    (
        "pl011_data_write_with_drain",
        0,
        operations::pl011_data_write_with_drain,
    ),
];

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    rest();
    for (_, _, measure) in ROWS {
        for _ in 0..REHEARSALS {
            measure();
        }
    }
    rest();
    let overhead = operations::overhead();
    let mut results = [const { None }; ROWS.len()];
    for ((_, overheads, measure), result) in ROWS.iter().zip(&mut results) {
        *result = run(*measure, overheads * overhead);
    }
    println!("");
    println!(
        "ticks of a count at {} Hz, {overhead} subtracted as own overhead",
        timer::frequency()
    );
    for ((name, ..), result) in ROWS.iter().zip(&results) {
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

/// Waits until the console has sent everything, and sleeps a while, so that less urgent partitions run.
fn rest() {
    console::flush();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let end = timer::now() + timer::ns_to_ticks(QUIET_NS);
    while timer::now() < end {
        timer::set_virtual(end);
        sysreg::wfi();
    }
    timer::stop_virtual();
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
