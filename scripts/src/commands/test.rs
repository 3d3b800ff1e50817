//! `cargo xtask test`: every gate, from the format to systems under QEMU.

pub mod barriers;
pub mod bench;
pub mod debugger;
pub mod flash;
pub mod fuzz;
pub mod gates;
pub mod inputs;
pub mod miri;
pub mod mutants;
pub mod new_platform;
pub mod rows;
pub mod scenarios;
pub mod secrets;
pub mod sections;
pub mod serial;
pub mod startup;
pub mod trace;

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use bulkhead_tests::skips::{self, Skip};

use crate::args::{Machine, Target, Test};
use crate::failure::{Failure, Outcome};
use crate::setup::alone;
use crate::workspace::{root, take_lane};
use crate::{commands, setup};

/// What a test found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Tests that passed.
    pub passed: usize,
    /// What is wrong: a line for each failed test.
    pub failures: Vec<String>,
    /// Names of tests that were skipped.
    pub skipped: Vec<String>,
    /// Further lines for people: the last ones of a console, a tool's messages.
    pub details: Vec<String>,
}

impl Found {
    /// One test passed.
    pub fn pass() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// One test failed.
    pub fn fail(why: impl Into<String>) -> Self {
        Self {
            failures: vec![why.into()],
            ..Self::default()
        }
    }

    /// One test was skipped.
    pub fn skip(name: &str) -> Self {
        Self {
            skipped: vec![name.to_owned()],
            ..Self::default()
        }
    }
}

/// Something that can be run by name.
pub struct Case {
    /// What `--only` selects by.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Runs with `--long` only.
    pub long: bool,
    /// Nothing else may run at the same time: it takes the time.
    pub alone: bool,
    /// Does it.
    pub run: Box<dyn Fn(&Test) -> Found + Send>,
}

/// Runs the command.
pub fn run(args: &Test) -> Outcome {
    if args.rows {
        return print_rows(args);
    }
    let cases = selected(args)?;
    if args.list {
        for case in &cases {
            let when = if case.long { " (--long)" } else { "" };
            println!("{:<34} {}{when}", case.name, case.about);
        }
        return Ok(());
    }
    setup::rust_targets()?;
    commands::setup::rust_components()?;
    setup::qemu(args.qemu.as_deref(), args.consent)?;
    let allowed = skips::read(&root().join("tests/skips.toml")).map_err(Failure::failed)?;
    let total = Mutex::new(Found::default());
    let play = |case: &Case| {
        let found = played(case, args, &allowed);
        add(&mut alone(&total), case, found);
    };
    let (last, together): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.alone);
    at_once(together, jobs(args), &play);
    last.iter().for_each(play);
    summary(&alone(&total))
}

/// Returns which system a test builds: the table's, with what the command line says of all.
fn target(args: &Test, table: &str) -> Target {
    Target {
        partitions: Some(table.to_owned()),
        kernel: args.kernel.clone(),
        busybox: args.busybox.clone(),
        consent: args.consent,
        ..Target::default()
    }
}

/// Returns the machine of a test that changes nothing of its platform's.
fn machine(args: &Test) -> Machine {
    Machine {
        qemu: args.qemu.clone(),
        ..Machine::default()
    }
}

/// Returns how many tests may run at once.
fn jobs(args: &Test) -> usize {
    let processors = || thread::available_parallelism().ok();
    args.jobs.or_else(processors).map_or(1, NonZeroUsize::get)
}

/// Runs tests in their order, so many at once, each in a lane of its own.
fn at_once(cases: Vec<Case>, lanes: usize, play: &(dyn Fn(&Case) + Sync)) {
    let waiting = Mutex::new(cases.into_iter());
    let next = || alone(&waiting).next();
    thread::scope(|scope| {
        for lane in 0..lanes {
            scope.spawn(move || {
                take_lane(lane);
                while let Some(case) = next() {
                    play(&case);
                }
            });
        }
    });
}

/// Runs a test, and says how it ended.
fn played(case: &Case, args: &Test, allowed: &[Skip]) -> Found {
    let started = Instant::now();
    eprintln!("==> {}: {}", case.name, case.about);
    let mut found = (case.run)(args);
    for name in &found.skipped {
        match allowed.iter().find(|skip| skip.name == *name) {
            Some(skip) => println!("SKIP {}: {name}: {}", case.name, skip.when),
            None => found.failures.push(format!(
                "{name} was skipped, and tests/skips.toml does not list it"
            )),
        }
    }
    report(case, &found, started);
    found
}

/// Adds what a test found to what all found.
fn add(total: &mut Found, case: &Case, found: Found) {
    total.passed += found.passed;
    let named = |why| format!("{}: {why}", case.name);
    total.failures.extend(found.failures.into_iter().map(named));
    total.skipped.extend(found.skipped);
}

/// Prints which tests answer which row of the list of isolation faults.
fn print_rows(args: &Test) -> Outcome {
    let names: Vec<String> = others(args)?.into_iter().map(|case| case.name).collect();
    print!("{}", rows::evidence(&names)?.markdown());
    Ok(())
}

/// Prints a case's result: at once, so that the lines of tests that end together do not mix.
fn report(case: &Case, found: &Found, started: Instant) {
    let seconds = started.elapsed().as_secs_f32();
    let name = &case.name;
    if found.failures.is_empty() {
        println!("ok   {name} ({} passed, {seconds:.1} s)", found.passed);
        return;
    }
    let details = found.details.iter().map(|line| format!("     {line}\n"));
    let failures = found.failures.iter();
    let failures = failures.map(|why| format!("FAIL {name}: {why}\n"));
    print!("{}", details.chain(failures).collect::<String>());
}

/// Prints the last lines.
fn summary(total: &Found) -> Outcome {
    if !total.failures.is_empty() {
        println!("\nFailed:");
        for why in &total.failures {
            println!("  {why}");
        }
    }
    let failed = total.failures.len();
    let skipped = match total.skipped.len() {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    println!("{} passed, {failed} failed{skipped}", total.passed);
    match failed {
        0 => Ok(()),
        _ => Err(Failure::failed("")),
    }
}

/// Returns all tests but the one that counts them.
fn others(args: &Test) -> Outcome<Vec<Case>> {
    let mut cases = gates::all();
    cases.push(barriers::case());
    cases.push(sections::case());
    cases.push(debugger::case());
    cases.push(serial::case());
    cases.push(flash::case());
    cases.extend(new_platform::all());
    cases.extend(bench::all());
    cases.push(trace::case());
    cases.push(secrets::case());
    cases.extend(fuzz::all());
    cases.extend(inputs::all());
    cases.push(mutants::case());
    cases.extend(startup::all());
    cases.extend(scenarios::all(args)?);
    Ok(cases)
}

/// Returns what the command line selects.
fn selected(args: &Test) -> Outcome<Vec<Case>> {
    let mut cases = others(args)?;
    let names = cases.iter().map(|case| case.name.clone()).collect();
    let long = cases.iter().filter(|case| case.long).count();
    cases.insert(0, rows::case(names, long));
    let wanted = |case: &Case| {
        let named = args
            .only
            .iter()
            .any(|text| case.name.contains(text.as_str()));
        match args.only.is_empty() {
            true => args.long || args.list || !case.long,
            false => named,
        }
    };
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    cases.retain(wanted);
    if cases.is_empty() {
        return Err(Failure::usage(format!(
            "no test has {} in its name; there are: {}",
            args.only.join(" or "),
            names.join(", ")
        )));
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::workspace::{own, products};

    #[test]
    fn tests_run_at_once_once_each_and_have_folders_of_their_own() {
        let images = Mutex::new(Vec::new());
        let both = Barrier::new(2);
        let case = |name: &str| Case {
            name: name.to_owned(),
            about: String::new(),
            long: false,
            alone: false,
            run: Box::new(|_| Found::pass()),
        };
        let cases = ["one", "two", "three", "four"].map(case).into();
        at_once(cases, 2, &|case| {
            // Nobody comes past here alone.
            both.wait();
            alone(&images).push((case.name.clone(), own(&["hello.img"])));
        });
        let mut seen = images.into_inner().expect("nobody panicked");
        seen.sort();
        seen.dedup_by(|one, other| one.0 == other.0);
        assert_eq!(seen.len(), 4);
        let of_first = |(_, image): &&(String, _)| *image == products(&["hello.img"]);
        assert_eq!(seen.iter().filter(of_first).count(), 2);
    }
}
