//! `cargo xtask bench --paths`: what lies on each row's way through EL2, instruction by instruction.
//!
//! The guests mark what they measure (the section `.bench.marks`): whatever EL2 does between the two reads of the count
//! belongs to the row, which has the name of the function that holds the place. What a vCPU does to fall asleep is not on
//! the way of what wakes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::budgets::{Bench, Budgets, Row};
use super::execution::{Event, Listing, Stay, Watch, watch};
use super::instruction::{Class, Costs};
use super::symbols::Symbols;
use crate::args;
use crate::failure::{Failure, Outcome};
use crate::system::Built;
use crate::workspace::own;

/// Runs of each row that are looked at: those that the guest makes before it counts.
const RUNS: u64 = 6;
/// Longest run of one system.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Section of a guest that says where what it measures begins and ends.
const MARKS: &str = ".bench.marks";

/// A row's way through EL2.
#[derive(Debug, Default)]
pub struct Way {
    /// Runs that were seen.
    pub runs: u64,
    /// Entries to EL2 in a run, at most.
    pub entries: u64,
    /// The most of each kind in a run.
    pub most: Costs,
    /// The longest run.
    worst: Vec<Stay>,
}

/// Paths by what the guest calls the row.
pub type Paths = BTreeMap<String, Way>;

impl Way {
    /// Takes one more run.
    fn add(&mut self, run: Vec<Stay>, hypervisor: &Symbols) {
        let costs = costs(&run, hypervisor);
        self.runs += 1;
        self.entries = self.entries.max(run.len() as u64);
        if costs.instructions > self.most.instructions {
            self.worst = run;
        }
        self.most = self.most.max(costs);
    }
}

/// A run that is under way, by the row's function.
#[derive(Default)]
struct Run {
    row: String,
    stays: Vec<Stay>,
    /// The vCPU fell asleep: what wakes it is the last stay.
    waits: bool,
}

/// Exception class of a trapped WFI.
const WAIT: u64 = 1;

/// Follows the events of a system and sorts them by rows.
struct Follower<'a> {
    paths: Paths,
    hypervisor: &'a Symbols,
    guest: &'a Symbols,
    run: Option<Run>,
}

impl Follower<'_> {
    /// Takes an event; returns whether more are wanted.
    fn take(&mut self, event: Event) -> bool {
        match (event, &mut self.run) {
            (Event::Stay(stay), Some(run)) => {
                run.waits |= stay.cause.esr >> 26 == WAIT;
                if run.waits {
                    run.stays.clear();
                }
                run.stays.push(stay);
            }
            (Event::Stay(_), None) | (Event::Open(_), _) => {}
            (Event::Mark(at), _) => self.mark(at),
        }
        self.paths.values().any(|path| path.runs < RUNS)
    }

    /// A guest is at the begin or the end of what it measures.
    fn mark(&mut self, at: u64) {
        let row = |at| {
            let name = self.guest.function(at).unwrap_or_default();
            name.rsplit("::").next().unwrap_or_default()
        };
        let mut ends = self.guest.marks().iter().filter(|(_, end)| *end == at);
        match (ends.clone().next().is_some(), self.run.take()) {
            (false, _) => {
                self.run = Some(Run {
                    row: row(at).to_owned(),
                    ..Run::default()
                });
            }
            // Another function's instruction may end a row, and that of several.
            (true, Some(run))
                if !run.stays.is_empty() && ends.any(|(from, _)| row(*from) == run.row) =>
            {
                if let Some(path) = self.paths.get_mut(&run.row) {
                    path.add(run.stays, self.hypervisor);
                }
            }
            (true, _) => {}
        }
    }
}

/// Adds up what stays executed.
fn costs(stays: &[Stay], hypervisor: &Symbols) -> Costs {
    let mut costs = Costs::default();
    for address in stays.iter().flat_map(|stay| &stay.trace) {
        costs.add(Class::of(hypervisor.word(*address).unwrap_or(0)));
    }
    costs
}

/// Watches the system of some rows.
///
/// # Errors
/// It does not run.
fn follow(built: &Built, bench: Bench, wanted: &[&str]) -> Outcome<(Paths, Listing, Symbols)> {
    let hypervisor = Symbols::read(&built.hypervisor_elf, "")?;
    let name = bench.guest();
    let elf = built.guest_elfs.iter().find(|elf| elf.ends_with(name));
    let elf = elf.ok_or_else(|| Failure::failed(format!("the guest {name} was not built")))?;
    let guest = Symbols::read(elf, MARKS)?;
    let way = |name: &&str| ((*name).to_owned(), Way::default());
    let mut follower = Follower {
        paths: wanted.iter().map(way).collect(),
        hypervisor: &hypervisor,
        guest: &guest,
        run: None,
    };
    let marks = guest.marks().iter();
    let plan = Watch {
        built,
        console: own(&["bench", &format!("{}-paths.log", bench.table())]),
        // The instruction before a mark reads the count first; the one at its end reads it again.
        marks: marks.flat_map(|(from, to)| [from - 4, *to]).collect(),
        timeout: TIMEOUT,
        memory: None,
    };
    let watched = watch(&plan, |event| follower.take(event))?;
    Ok((follower.paths, watched.listing, hypervisor))
}

/// Rows, and what lies on their way.
type Seen<'a> = Vec<(&'a Row, Way)>;

/// Runs the command: all rows, or the one that is named.
///
/// # Errors
/// A system does not run, a name is wrong, or a budget is exceeded.
pub fn run(args: &args::Bench, budgets: &Budgets, only: &str) -> Outcome {
    let (seen, text) = see(args, budgets, only)?;
    if args.target.json {
        println!("{:#}", as_json(&seen));
    } else {
        print!("{text}{}", as_text(&seen));
    }
    match seen.iter().filter(|(row, path)| is_over(row, path)).count() {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} budgets of paths exceeded"
        ))),
    }
}

/// Looks at all rows and returns how many keep their budgets, and those that do not.
///
/// # Errors
/// A system does not run.
pub fn judge(args: &args::Bench, budgets: &Budgets) -> Outcome<(usize, Vec<String>)> {
    let (seen, _) = see(args, budgets, "")?;
    let over = seen.iter().filter(|(row, path)| is_over(row, path));
    let failures: Vec<String> = over
        .map(|(row, path)| format!("{}: its path exceeds its budget: {:?}", row.name, path.most))
        .collect();
    Ok((seen.len() - failures.len(), failures))
}

/// Looks at rows; with `--verbose` lists their instructions too.
fn see<'a>(args: &args::Bench, budgets: &'a Budgets, only: &str) -> Outcome<(Seen<'a>, String)> {
    let named = |row: &&Row| only.is_empty() || row.name == only;
    if !budgets.row.iter().any(|row| named(&row)) {
        let names: Vec<&str> = budgets.row.iter().map(|row| row.name.as_str()).collect();
        return Err(Failure::usage(format!(
            "there is no row `{only}`; there are: {}",
            names.join(", ")
        )));
    }
    let mut seen = Vec::new();
    let mut text = String::new();
    for bench in Bench::ALL {
        let rows: Vec<&Row> = budgets.rows(bench).filter(named).collect();
        let rows: Vec<&Row> = rows
            .into_iter()
            .filter(|row| row.path.is_some() || !only.is_empty())
            .collect();
        if rows.is_empty() {
            continue;
        }
        let built = super::built(args, bench.table())?;
        let measures: Vec<&str> = rows.iter().map(|row| row.measure()).collect();
        let (mut paths, listing, symbols) = follow(&built, bench, &measures)?;
        for row in rows {
            let path = paths.remove(row.measure()).unwrap_or_default();
            if args.verbose {
                text += &instructions(&path, &listing, &symbols, &built.hypervisor_elf);
            }
            seen.push((row, path));
        }
    }
    Ok((seen, text))
}

/// Is this path's budget exceeded? One that was not seen is.
fn is_over(row: &Row, path: &Way) -> bool {
    path.runs == 0
        || row
            .path
            .is_some_and(|budget| budget.is_exceeded(&path.most))
}

/// Shows the paths to people.
fn as_text(seen: &[(&Row, Way)]) -> String {
    let mut text = format!(
        "{:<52}{:>8}{:>13}{:>11}{:>6}{:>10}{:>13}  {}\n",
        "on the way through EL2, at most",
        "entries",
        "instructions",
        "registers",
        "GIC",
        "barriers",
        "TLB, caches",
        "budget"
    );
    for (row, path) in seen {
        let most = &path.most;
        let budget = row.path.map_or_else(String::new, |budget| {
            format!(
                "{}/{}/{}",
                budget.registers, budget.barriers, budget.maintenance
            )
        });
        let mark = if is_over(row, path) { "over" } else { "ok" };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<52}{:>8}{:>13}{:>11}{:>6}{:>10}{:>13}  {budget} {mark}",
            row.about,
            path.entries,
            most.instructions,
            most.registers,
            most.interface,
            most.barriers,
            most.maintenance
        );
    }
    text
}

/// Shows the paths to programs.
fn as_json(seen: &[(&Row, Way)]) -> Value {
    let rows = seen.iter().map(|(row, path)| {
        json!({
            "name": row.name,
            "runs": path.runs,
            "entries": path.entries,
            "instructions": path.most.instructions,
            "registers": path.most.registers,
            "interface": path.most.interface,
            "barriers": path.most.barriers,
            "maintenance": path.most.maintenance,
            "ok": !is_over(row, path),
        })
    });
    json!({ "paths": rows.collect::<Vec<_>>() })
}

/// Lists a row's longest run, and how many instructions each function has of it.
fn instructions(path: &Way, listing: &Listing, symbols: &Symbols, elf: &Path) -> String {
    let mut text = String::new();
    for stay in &path.worst {
        text += &one_stay(stay, listing, symbols, elf);
    }
    text
}

/// Lists one stay.
pub fn one_stay(stay: &Stay, listing: &Listing, symbols: &Symbols, elf: &Path) -> String {
    let places = places(&stay.trace, symbols, elf);
    let cause = &stay.cause;
    let mut text = format!(
        "{} ESR {:#x} FAR {:#x} ELR {:#x}, back to {:#x}: {} instructions\n",
        cause.exception,
        cause.esr,
        cause.far,
        cause.elr,
        stay.back,
        stay.trace.len()
    );
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, (address, place)) in stay.trace.iter().zip(&places).enumerate() {
        let what = listing.get(address).map_or("?", String::as_str);
        let mark = match Class::of(symbols.word(*address).unwrap_or(0)) {
            Class::Plain => ' ',
            _ => '*',
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:>5} {address:#x} {mark} {what:<44} {place}",
            number + 1
        );
        *shares
            .entry(place.split(" at ").next().unwrap_or_default())
            .or_default() += 1;
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (function, count) in shares {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{count:>5} in {function}");
    }
    text
}

/// Returns function, file and line of each address: from `addr2line` where the host has it, else the function alone.
fn places(trace: &[u64], symbols: &Symbols, elf: &Path) -> Vec<String> {
    if let Some(places) = lines(trace, elf) {
        return places;
    }
    let name = |address: &u64| symbols.function(*address).unwrap_or("?").to_owned();
    trace.iter().map(name).collect()
}

/// Asks `addr2line`.
fn lines(trace: &[u64], elf: &Path) -> Option<Vec<String>> {
    let mut command = Command::new("addr2line");
    command.arg("-e").arg(elf).args(["-f", "-i", "-p", "-C"]);
    command.args(trace.iter().map(|address| format!("{address:#x}")));
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with(" (inlined by)"));
    let short = |line: &str| {
        let (name, place) = line.split_once(" at ").unwrap_or((line, ""));
        let place = place.rsplit_once("/src/").map_or(place, |(_, rest)| rest);
        format!("{name} at {place}")
    };
    let places: Vec<String> = lines.map(short).collect();
    (places.len() == trace.len()).then_some(places)
}
