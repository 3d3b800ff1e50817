//! The guest that measures on boards, `bench-cycles`, against the bench: under icount a cycle of QEMU's counter is an
//! instruction, so both have to find the same. The virtual count is as slow as the machine has it, as on a board.

use std::collections::BTreeMap;

use super::budgets::{Bench, Bound, Budgets, Row};
use super::results::{self, Measured, Results};
use super::{built, built_on, console, machine};
use crate::args::{self, Machine};
use crate::failure::Outcome;
use crate::session::Finished;

/// Table of the guest.
const TABLE: &str = "bench-cycles";
/// The CPU with its own counter.
const CPU: &str = "cortex-a53";
/// Instructions by which both may differ: where in a tick a deadline lies is known to half of a loop of six.
const TOLERANCE: u64 = 4;
/// The same for a byte with its drain: the bench reads flags until the line is sent, the other one works meanwhile.
const MEAN_TOLERANCE: u64 = 16;
/// The same for what passes the pCPU on, whose means are made of ticks: one and a half.
const TICK_TOLERANCE: u64 = 24;
/// Rows of that kind. The bench holds them to their budgets, which are what it found.
const PASSING: [&str; 4] = [
    "wake_more_urgent",
    "yield_fp_untouched",
    "channel_doorbell",
    "channel_doorbell_register",
];
/// The row that is over when a guest begins.
const RESET: &str = "reset_to_guest";

/// Runs both guests and returns how many rows agree, and those that do not.
///
/// # Errors
/// A system does not run.
pub fn judge(args: &args::Bench, budgets: &Budgets) -> Outcome<(usize, Vec<String>)> {
    let counted = results::read(&console(&built(args, Bench::Alone.table())?, args)?)?;
    let machine = Machine {
        cpu: Some(CPU.to_owned()),
        cpus: Some(2),
        ..machine(args)
    };
    let built = built_on(args, TABLE, &machine)?;
    let shown = table(&console(&built, args)?);
    // What comes before anything counts cycles is no row there.
    let rows = budgets.rows(Bench::Alone).filter(|row| row.name != RESET);
    let rows: Vec<&Row> = rows.collect();
    let passing = |row: &&Row| PASSING.contains(&row.name.as_str());
    let passing: Vec<&Row> = budgets.row.iter().filter(passing).collect();
    let alone = rows.iter().filter_map(|row| differs(row, &counted, &shown));
    let shared = passing.iter().filter_map(|row| strays(row, &shown));
    let failures: Vec<String> = alone.chain(shared).collect();
    Ok((rows.len() + passing.len() - failures.len(), failures))
}

/// Reads the lines `| operation | min | mean | max |`.
fn table(finished: &Finished) -> BTreeMap<String, [u64; 3]> {
    let lines = finished.transcript.lines.iter();
    lines.filter_map(|line| row(&line.text)).collect()
}

/// Reads one.
fn row(line: &str) -> Option<(String, [u64; 3])> {
    let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
    let name = cells.next()?.to_owned();
    let mut number = || cells.next()?.parse().ok();
    Some((name, [number()?, number()?, number()?]))
}

/// Says in which row the guests differ.
fn differs(row: &Row, counted: &Results, shown: &BTreeMap<String, [u64; 3]>) -> Option<String> {
    let (Some(shown), Some(counted)) = (shown.get(&row.about), counted.get(row.measure())) else {
        return Some(format!("{}: one of the guests has no such row", row.about));
    };
    let Measured { min, mean, max, .. } = *counted;
    let within = |tolerance, one: u64, other: u64| one.abs_diff(other) <= tolerance;
    let agree = match row.of {
        // What varies has a mean that is promised.
        Bound::Mean => within(MEAN_TOLERANCE, mean, shown[1]),
        Bound::Max => [min, mean, max]
            .into_iter()
            .zip(*shown)
            .all(|(one, other)| within(TOLERANCE, one, other)),
    };
    (!agree).then(|| {
        format!(
            "{}: the bench counts {min} {mean} {max}, the board's guest {} {} {}",
            row.about, shown[0], shown[1], shown[2]
        )
    })
}

/// Says how far a row whose mean is made of ticks is from its budget.
fn strays(row: &Row, shown: &BTreeMap<String, [u64; 3]>) -> Option<String> {
    let mean = shown.get(&row.about).map(|[_, mean, _]| *mean);
    let close = mean.is_some_and(|mean| mean.abs_diff(row.budget) <= TICK_TOLERANCE);
    let Row { about, budget, .. } = row;
    (!close)
        .then(|| format!("{about}: budget {budget}, the board's guest has {mean:?} in the mean"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_table_is_read() {
        let read = row("| hypercall, by HVC | 65 | 66 | 70 |");
        assert_eq!(read, Some(("hypercall, by HVC".to_owned(), [65, 66, 70])));
        assert_eq!(row("| operation | min | mean | max |"), None);
        assert_eq!(row("| self SGI: write to handler | - | - | - |"), None);
    }
}
