//! `cargo xtask bench`: latency and footprint, beside the budgets of `tests/bench-budgets.toml`.
//!
//! Under icount an instruction takes a nanosecond and the counter runs at 1 GHz, so a guest that reads it counts
//! single instructions, and every run gives the same numbers. The same guest runs natively too, for comparison.

mod linux;
mod table;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bulkhead_platforms::Images;
use serde::Deserialize;

use crate::args::{Bench, Machine, Target};
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::guests::Workshop;
use crate::qemu::{Board, ICOUNT};
use crate::session::{self, Ending, Finished, Plan};
use crate::system::{Built, build};
use crate::workspace::{read, root};

/// The CPU of the published numbers, its counter as fast as icount's clock.
const CPU: &str = "cortex-a53,cntfrq=1000000000";
/// Longest run of the bench guest.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Guest that measures.
const GUEST: &str = "bench";

/// `tests/bench-budgets.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    row: Vec<Row>,
    footprint: Footprint,
    linux: Linux,
}

/// A measured operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    about: String,
    budget: u64,
    /// What the budget bounds.
    #[serde(default)]
    of: Bound,
    #[serde(default)]
    bao: String,
    #[serde(default)]
    xen: String,
    #[serde(default)]
    least: String,
}

/// Which of a row's numbers has the budget.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Bound {
    #[default]
    Max,
    Mean,
}

/// Bytes of EL2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footprint {
    text: u64,
    text_and_data: u64,
    bao: String,
    xen: String,
}

/// Linux's way to `LINUX UP`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Linux {
    ratio: f64,
    xen: String,
}

/// Numbers that the guest printed for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measured {
    min: u64,
    mean: u64,
    max: u64,
    count: u64,
}

/// What the guest printed, by operation.
type Results = BTreeMap<String, Measured>;

/// All that was measured.
struct Report {
    budgets: Budgets,
    ours: Results,
    native: Results,
    text: u64,
    text_and_data: u64,
    linux: Option<linux::Times>,
}

/// Runs the command.
pub fn run(args: &Bench) -> Outcome {
    let file = root().join("tests/bench-budgets.toml");
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    let budgets: Budgets = toml::from_str(&text).map_err(|error| Failure::file(&file, error))?;
    let built = built(args, "bench")?;
    let sizes = built.hypervisor.sizes;
    let ours = ours(&built, args)?;
    let native = native(built.qemu_board()?, args)?;
    let report = Report {
        budgets,
        ours,
        native,
        text: sizes.text,
        text_and_data: sizes.text + sizes.rodata + sizes.data,
        linux: args.linux.then(|| linux::measure(args)).transpose()?,
    };
    if args.target.json {
        println!("{:#}", table::as_json(&report));
    } else {
        print!("{}", table::as_text(&report));
    }
    match table::exceeded(&report) {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} budgets exceeded"))),
    }
}

/// Builds a table for the machine of the published numbers; the command line's table goes first.
fn built(args: &Bench, table: &str) -> Outcome<Built> {
    let named = args.target.partitions.clone();
    let target = Target {
        partitions: Some(named.unwrap_or_else(|| table.to_owned())),
        ..args.target.clone()
    };
    build(&target, &machine(args))
}

/// Returns the machine of the published numbers.
fn machine(args: &Bench) -> Machine {
    Machine {
        cpu: Some(CPU.to_owned()),
        cpus: Some(1),
        qemu: args.qemu.clone(),
        ..Machine::default()
    }
}

/// Measures under our hypervisor.
fn ours(built: &Built, args: &Bench) -> Outcome<Results> {
    let finished = measure(built.launch(true)?, built.names(), args)?;
    results(&finished, "under Bulkhead")
}

/// Measures on the bare machine.
fn native(board: &Board, args: &Bench) -> Outcome<Results> {
    let guest = Workshop::default().guest(GUEST).map_err(Failure::failed)?;
    let mut command = board.without_el2().command();
    command.arg("-kernel").arg(guest);
    command.args(["-serial", "stdio"]).args(ICOUNT);
    results(&measure(command, Vec::new(), args)?, "natively")
}

/// Runs a bench guest to its end.
fn measure(command: Command, names: Vec<String>, args: &Bench) -> Outcome<Finished> {
    session::run(Plan {
        command,
        script: Script::new(&[], Some("^DONE"), &[], &names)?,
        names,
        timeout: Some(TIMEOUT),
        style: Style {
            hidden: !args.verbose,
            ..Style::default()
        },
        attached: false,
        log: None,
        survive_panic: false,
    })
}

/// Collects the lines `BENCH name min mean max n`.
fn results(finished: &Finished, place: &str) -> Outcome<Results> {
    let lines = finished
        .transcript
        .lines
        .iter()
        .map(|line| line.text.as_str());
    let found: Results = lines.filter_map(parse).collect();
    if finished.ending == Ending::Matched && !found.is_empty() {
        return Ok(found);
    }
    let tail = finished.transcript.tail(10).join("\n  ");
    Err(Failure::failed(format!(
        "the bench guest did not finish {place} ({:?}):\n  {tail}",
        finished.ending
    )))
}

/// Reads `BENCH name min mean max n`.
fn parse(line: &str) -> Option<(String, Measured)> {
    let mut words = line.strip_prefix("BENCH ")?.split(' ');
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let measured = Measured {
        min: number()?,
        mean: number()?,
        max: number()?,
        count: number()?,
    };
    Some((name, measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_guest_is_read() {
        let expected = Measured {
            min: 6,
            mean: 7,
            max: 9,
            count: 1000,
        };
        assert_eq!(
            parse("BENCH hypercall_hvc 6 7 9 1000"),
            Some(("hypercall_hvc".to_owned(), expected))
        );
        assert_eq!(parse("BENCH hypercall_hvc 6 7"), None);
        assert_eq!(parse("bench x 1 2 3 4"), None);
    }

    #[test]
    fn the_budgets_of_the_project_can_be_read() {
        let text = std::fs::read_to_string(root().join("tests/bench-budgets.toml")).unwrap();
        let budgets: Budgets = toml::from_str(&text).unwrap();
        assert!(
            budgets
                .row
                .iter()
                .any(|row| row.name == "self_sgi" && row.budget == 220)
        );
    }
}
