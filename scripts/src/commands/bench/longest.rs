//! `cargo xtask bench --longest`: the longest stay at EL2, whatever a guest does, and what it was.
//!
//! The guest `adversary` reaches every path and tries to make each long. What is measured is every instruction of EL2, from
//! outside, by QEMU's log; EL2 is the one that ships. A stay counts from the vector to the return, or to a place where EL2
//! looks for interrupts during long work (the section `.preemption` of its ELF file), or to a WFI. [`super::counted`] is the
//! second opinion, from inside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bulkhead_platforms::cpus_needed;
use serde_json::{Value, json};

use super::budgets::{Budgets, Stays};
use super::causes;
use super::counted::{self, Counted};
use super::execution::{Event, Listing, Stay, Watch, watch};
use super::instruction::Class;
use super::paths::one_stay;
use super::symbols::Symbols;
use crate::args::{self, Machine, Target};
use crate::failure::{Failure, Outcome};
use crate::selection::select;
use crate::system::{Built, build};
use crate::workspace::{own, root};

/// Longest run.
const TIMEOUT: Duration = Duration::from_secs(900);
/// The system, unless the command line names another one, and the guest that says by a mark when it is done.
const TABLE: &str = "tests/systems/adversary.toml";
const TABLE_GICV2: &str = "tests/systems/adversary-gicv2.toml";
pub const GUEST: &str = "adversary";
/// Sections of marks, of the guest and of EL2.
const DONE: &str = ".bench.marks";
const PREEMPTION: &str = ".preemption";
/// EL2's function that waits for a lock.
const WAIT: &str = "sync::Turns::wait";

/// What is known of one cause.
#[derive(Debug, Default)]
struct Longest {
    count: u64,
    instructions: usize,
    stay: Stay,
}

/// All that was seen.
pub struct Seen {
    causes: BTreeMap<String, Longest>,
    listing: Listing,
    hypervisor: Symbols,
    built: Built,
    finished: bool,
    /// The person named the system: it need not reach anything, nor end.
    named: bool,
    /// The GIC's version, if it was said.
    gic: Option<u8>,
}

impl Seen {
    /// Returns the longest stay of all.
    fn longest(&self) -> Option<(&String, &Longest)> {
        self.causes
            .iter()
            .max_by_key(|(_, longest)| longest.instructions)
    }

    /// Returns what is wrong, if anything.
    fn failures(&self, stays: &Stays) -> Vec<String> {
        let mut failures = Vec::new();
        for (name, longest) in &self.causes {
            if longest.instructions as u64 > stays.budget {
                failures.push(format!(
                    "a stay of {} instructions, budget {}: {name}",
                    longest.instructions, stays.budget
                ));
            }
        }
        let found: BTreeSet<&str> = self.causes.keys().map(String::as_str).collect();
        let missing =
            causes::reached(self.gic).filter(|name| !found.iter().any(|one| one.starts_with(name)));
        if self.named {
            return failures;
        }
        failures.extend(missing.map(|name| format!("the adversary never reached: {name}")));
        if !self.finished {
            failures.push("the adversary did not get through".to_owned());
        }
        failures
    }
}

/// Returns the system that the command line asks for, and the machine: with as many pCPUs as its table names.
///
/// # Errors
/// There is no such table.
pub fn system(args: &args::Bench) -> Outcome<(Target, Machine)> {
    let table = match args.gic {
        Some(2) => TABLE_GICV2,
        _ => TABLE,
    };
    let own = || root().join(table).display().to_string();
    let target = Target {
        partitions: Some(args.target.partitions.clone().unwrap_or_else(own)),
        ..args.target.clone()
    };
    let machine = Machine {
        cpus: cpus_needed(&select(&target)?.table).or(Some(1)),
        ..super::machine(args)
    };
    Ok((target, machine))
}

/// Runs the adversary and looks at every stay.
///
/// # Errors
/// The system does not run.
pub fn see(args: &args::Bench) -> Outcome<Seen> {
    let named = args.target.partitions.is_some();
    let (target, machine) = system(args)?;
    let built = build(&target, &machine)?;
    let hypervisor = Symbols::read(&built.hypervisor_elf, PREEMPTION)?;
    let elf = built.guest_elfs.iter().find(|elf| elf.ends_with(GUEST));
    let guest = elf.map(|elf| Symbols::read(elf, DONE)).transpose()?;
    let guest = guest.unwrap_or_default();
    let marks: Vec<u64> = guest.marks().iter().map(|(at, _)| *at).collect();
    let mut causes = BTreeMap::new();
    let mut finished = false;
    let plan = Watch {
        built: &built,
        console: own(&["bench", "adversary.log"]),
        marks,
        timeout: TIMEOUT,
        memory: None,
    };
    // Under icount whoever holds a lock may not even run, and the pCPUs take turns of any length: no wait is counted.
    let waits = hypervisor.range(WAIT).unwrap_or_default();
    let watched = watch(&plan, |event| {
        match event {
            Event::Stay(mut stay) => {
                stay.trace.retain(|at| !waits.contains(at));
                add(&mut causes, stay, &hypervisor, &guest);
            }
            Event::Open(_) => {}
            Event::Mark(_) => finished = true,
        }
        !finished
    })?;
    Ok(Seen {
        causes,
        listing: watched.listing,
        hypervisor,
        built,
        finished,
        named,
        gic: args.gic,
    })
}

/// Cuts a stay where EL2 could be interrupted, and keeps the longest piece of each cause.
fn add(causes: &mut BTreeMap<String, Longest>, stay: Stay, hypervisor: &Symbols, guest: &Symbols) {
    let is_cut = |at: &u64| {
        hypervisor.marks().iter().any(|(mark, _)| mark == at)
            || Class::of(hypervisor.word(*at).unwrap_or(0)) == Class::Wait
    };
    let name = causes::name(&stay.cause, guest);
    for (number, piece) in stay.trace.split(is_cut).enumerate() {
        let name = match number {
            0 => name.clone(),
            _ => "work in pieces, after a look at interrupts".to_owned(),
        };
        let longest = causes.entry(name).or_default();
        longest.count += 1;
        if piece.len() > longest.instructions {
            longest.instructions = piece.len();
            longest.stay = Stay {
                trace: piece.to_vec(),
                ..stay.clone()
            };
        }
    }
}

/// Runs the command; lists the longest stay of the cause that is named, or of all, with `--verbose`.
///
/// # Errors
/// The system does not run, or a stay exceeds its budget.
pub fn run(args: &args::Bench, budgets: &Budgets, only: &str) -> Outcome {
    let seen = see(args)?;
    let mut failures = seen.failures(&budgets.stays);
    let counted = match seen.named {
        true => None,
        false => Some(counted::see(args, &budgets.stays)?),
    };
    if args.verbose {
        let named = seen
            .causes
            .iter()
            .find(|(name, _)| !only.is_empty() && name.contains(only));
        if let Some((_, longest)) = named.or_else(|| seen.longest()) {
            let elf = &seen.built.hypervisor_elf;
            print!(
                "{}",
                one_stay(&longest.stay, &seen.listing, &seen.hypervisor, elf)
            );
        }
    }
    if args.target.json {
        println!("{:#}", as_json(&seen, counted.as_ref(), budgets));
    } else {
        print!("{}", as_text(&seen, budgets));
        print!(
            "{}",
            counted.as_ref().map(counted::as_text).unwrap_or_default()
        );
    }
    failures.extend(counted.into_iter().flat_map(|counted| counted.failures));
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(failures.join("\n")))
}

/// Looks at every stay and returns how many causes keep the budget, and what is wrong.
///
/// # Errors
/// The system does not run.
pub fn judge(args: &args::Bench, budgets: &Budgets) -> Outcome<(usize, Vec<String>)> {
    let seen = see(args)?;
    let failures = seen.failures(&budgets.stays);
    let kept = seen.causes.len().saturating_sub(failures.len());
    let counted = counted::see(args, &budgets.stays)?;
    Ok((
        kept + counted.counts.len(),
        [failures, counted.failures].concat(),
    ))
}

/// Shows the stays to people, the longest first.
fn as_text(seen: &Seen, budgets: &Budgets) -> String {
    let mut causes: Vec<_> = seen.causes.iter().collect();
    causes.sort_by_key(|(_, longest)| std::cmp::Reverse(longest.instructions));
    let mut text = String::from(" longest     stays  EL2 was entered by\n");
    for (name, longest) in causes {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:>8} {:>9}  {name}",
            longest.instructions, longest.count
        );
    }
    if let Some((name, longest)) = seen.longest() {
        let stays = &budgets.stays;
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "longest stay at EL2: {} instructions ({name}), budget {}, target {}",
            longest.instructions, stays.budget, stays.target
        );
    }
    text
}

/// Shows the stays to programs.
fn as_json(seen: &Seen, counted: Option<&Counted>, budgets: &Budgets) -> Value {
    let causes = seen.causes.iter().map(|(name, longest)| {
        json!({ "cause": name, "count": longest.count, "longest": longest.instructions })
    });
    json!({
        "stays": causes.collect::<Vec<_>>(),
        "longest": seen.longest().map(|(_, longest)| longest.instructions),
        "budget": budgets.stays.budget,
        "target": budgets.stays.target,
        "counted": counted.map(counted::as_json),
    })
}
