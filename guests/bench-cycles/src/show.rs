//! The table on the console.

use guest_runtime::stats::Summary;
use guest_runtime::{gic, println, read_sysreg, timer};

/// A row's numbers.
#[derive(Clone, Copy)]
pub struct Row {
    min: u64,
    mean: u64,
    max: u64,
}

impl Row {
    /// Returns counts of cycles without what measuring cost.
    pub const fn in_cycles(all: &Summary, overhead: u64) -> Self {
        Self {
            min: all.min().saturating_sub(overhead),
            mean: all.mean().saturating_sub(overhead),
            max: all.max().saturating_sub(overhead),
        }
    }

    /// Returns counts of ticks as nanoseconds. The mean has `overheads` times the mean of `overhead` taken off; in a row
    /// without, from a deadline, it is half a tick more than it was counted: a tick is not over when it is read.
    pub fn in_ns(all: &Summary, overheads: u64, overhead: &Summary) -> Self {
        let taken = overhead.sum() * all.count() * overheads / overhead.count().max(1);
        let half = match overheads {
            0 => all.count() / 2,
            _ => 0,
        };
        let sum = (all.sum() + half).saturating_sub(taken);
        Self {
            min: timer::ticks_to_ns(all.min()),
            mean: timer::ticks_to_ns(sum) / all.count().max(1),
            max: timer::ticks_to_ns(all.max()),
        }
    }
}

/// Says on what is measured, and in what.
pub fn head(unit: &str) {
    println!("");
    println!(
        "In {unit}. MIDR_EL1 {:#x}, REVIDR_EL1 {:#x}, GICv{}, virtual count at {} Hz",
        read_sysreg!("midr_el1"),
        read_sysreg!("revidr_el1"),
        gic::version(),
        timer::frequency()
    );
}

/// Begins the table.
pub fn columns() {
    println!("| operation | min | mean | max |");
    println!("| --- | --- | --- | --- |");
}

/// Prints a row.
pub fn line(label: &str, row: Option<Row>) {
    match row {
        Some(Row { min, mean, max }) => println!("| {label} | {min} | {mean} | {max} |"),
        None => println!("| {label} | - | - | - |"),
    }
}
