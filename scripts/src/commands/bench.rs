//! `cargo xtask bench`: latency and footprint, beside the budgets of `tests/bench-budgets.toml`.
//!
//! Under icount an instruction takes a nanosecond and the counter runs at 1 GHz, so a guest that reads it counts
//! single instructions, and every run gives the same numbers. The same guest runs natively too, for comparison.

mod budgets;
mod causes;
mod counted;
mod cycles;
mod execution;
mod instruction;
mod linux;
mod longest;
mod memory;
mod paths;
mod results;
mod scaling;
mod symbols;
mod table;
mod tables;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bulkhead_platforms::Images;

use crate::args::{Bench, Machine, Target};
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::guests::Workshop;
use crate::qemu::{Board, ICOUNT};
use crate::session::{self, Finished, Plan};
use crate::system::{Built, build};
use crate::workspace::root;
use budgets::Budgets;
use results::Results;

/// The CPU of the published numbers, its counter as fast as icount's clock.
const CPU: &str = "cortex-a53,cntfrq=1000000000";
/// Longest run of the bench guest.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Guest that measures natively.
const GUEST: &str = "bench";

/// All that was measured.
struct Report {
    budgets: Budgets,
    /// By system; a system that was not run is not there.
    ours: BTreeMap<budgets::Bench, Results>,
    native: Results,
    text: u64,
    text_and_data: u64,
    /// None on a GICv2: EL2's bytes are the same, and its RAM is budgeted once.
    memory: Option<memory::Memory>,
    linux: Option<linux::Times>,
}

/// Runs the command.
pub fn run(args: &Bench) -> Outcome {
    let budgets = Budgets::load()?.for_gic(args.gic);
    if let Some(row) = &args.paths {
        return paths::run(args, &budgets, row);
    }
    if let Some(cause) = &args.longest {
        return longest::run(args, &budgets, cause);
    }
    if args.scaling {
        return scaling::run(args, &budgets);
    }
    let report = report(args, budgets)?;
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

/// Measures all and returns how many rows keep their budgets, and those that do not.
///
/// # Errors
/// A system does not run.
pub fn judge(args: &Bench) -> Outcome<(usize, Vec<String>)> {
    let (kept, over) = table::judge(&report(args, Budgets::load()?)?);
    let budgets = Budgets::load()?;
    let (paths, far) = paths::judge(args, &budgets)?;
    let (stays, long) = longest::judge(args, &budgets)?;
    Ok((kept + paths + stays, [over, far, long].concat()))
}

/// Measures on a GICv2 and returns what [`judge`] returns.
///
/// # Errors
/// A system does not run.
pub fn judge_gicv2(args: &Bench) -> Outcome<(usize, Vec<String>)> {
    let budgets = Budgets::load()?.for_gic(args.gic);
    Ok(table::judge(&report(args, budgets)?))
}

/// Measures as boards do and returns how many rows agree with the bench, and those that do not.
///
/// # Errors
/// A system does not run.
pub fn judge_cycles(args: &Bench) -> Outcome<(usize, Vec<String>)> {
    cycles::judge(args, &Budgets::load()?)
}

/// Looks at EL2's stays on a GICv2 and returns what [`judge`] returns.
///
/// # Errors
/// A system does not run.
pub fn judge_gicv2_stays(args: &Bench) -> Outcome<(usize, Vec<String>)> {
    longest::judge(args, &Budgets::load()?.for_gic(args.gic))
}

/// Measures with more and more partitions and pCPUs; returns how many rows stay what they are, and those that do not.
///
/// # Errors
/// A system does not run.
pub fn judge_scaling(args: &Bench) -> Outcome<(usize, Vec<String>)> {
    scaling::judge(args, &Budgets::load()?)
}

/// Measures.
fn report(args: &Bench, budgets: Budgets) -> Outcome<Report> {
    let alone = built(args, budgets::Bench::Alone.table())?;
    let sizes = alone.hypervisor.sizes;
    let native = native(alone.qemu_board()?, args)?;
    let mut ours = BTreeMap::new();
    ours.insert(
        budgets::Bench::Alone,
        results::read(&console(&alone, args)?)?,
    );
    // A table of the person's own stands for the first one alone.
    if args.target.partitions.is_none() {
        let wanted = |bench: &budgets::Bench| budgets.row.iter().any(|row| row.system == *bench);
        for bench in budgets::Bench::ALL.into_iter().skip(1).filter(wanted) {
            let built = built(args, bench.table())?;
            ours.insert(bench, results::read(&console(&built, args)?)?);
        }
    }
    Ok(Report {
        budgets,
        ours,
        native,
        text: sizes.text,
        text_and_data: sizes.text + sizes.rodata + sizes.data,
        memory: match args.gic {
            Some(2) => None,
            _ => Some(memory::measure(args)?),
        },
        linux: args.linux.then(|| linux::measure(args)).transpose()?,
    })
}

/// Builds a table for the machine of the published numbers; the command line's table goes first.
fn built(args: &Bench, table: &str) -> Outcome<Built> {
    built_on(args, table, &machine(args))
}

/// [`built`] for another machine.
fn built_on(args: &Bench, table: &str, machine: &Machine) -> Outcome<Built> {
    let named = args.target.partitions.clone();
    let table = || match table.contains('/') {
        true => root().join(table).display().to_string(),
        false => table.to_owned(),
    };
    let target = Target {
        partitions: Some(named.unwrap_or_else(table)),
        ..args.target.clone()
    };
    build(&target, machine)
}

/// Returns the machine of the published numbers.
fn machine(args: &Bench) -> Machine {
    Machine {
        cpu: Some(CPU.to_owned()),
        cpus: Some(1),
        gic: args.gic,
        qemu: args.qemu.clone(),
        ..Machine::default()
    }
}

/// Runs a system until its guests have said all.
fn console(built: &Built, args: &Bench) -> Outcome<Finished> {
    measure(built.launch(true)?, built.names(), args)
}

/// Measures on the bare machine.
fn native(board: &Board, args: &Bench) -> Outcome<Results> {
    let guest = Workshop::default().guest(GUEST).map_err(Failure::failed)?;
    let mut command = board.without_el2().command();
    command.arg("-kernel").arg(guest);
    command.args(["-serial", "stdio"]).args(ICOUNT);
    results::read(&measure(command, Vec::new(), args)?)
}

/// Runs bench guests to their end: the last one that prints `DONE`, or the machine's.
fn measure(command: Command, names: Vec<String>, args: &Bench) -> Outcome<Finished> {
    // Where several print, one does so last.
    let last = names
        .iter()
        .find(|name| ["other", "pair"].contains(&name.as_str()));
    let until = last.map_or_else(|| "^DONE".to_owned(), |name| format!("{name}:^DONE"));
    session::run(Plan {
        peer: command.into(),
        script: Script::new(&[], Some(&until), &[], &names)?,
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
