//! `cargo xtask test`: every gate, from the format to systems under QEMU.

pub mod barriers;
pub mod bench;
pub mod debugger;
pub mod fuzz;
pub mod gates;
pub mod inputs;
pub mod mutants;
pub mod new_platform;
pub mod rows;
pub mod scenarios;
pub mod secrets;
pub mod sections;
pub mod startup;
pub mod trace;

use std::time::Instant;

use bulkhead_tests::skips;

use crate::args::Test;
use crate::failure::{Failure, Outcome};
use crate::workspace::root;
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
    /// Does it.
    pub run: Box<dyn Fn(&Test) -> Found>,
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
    let mut total = Found::default();
    for case in &cases {
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
        total.passed += found.passed;
        total.failures.extend(
            found
                .failures
                .iter()
                .map(|why| format!("{}: {why}", case.name)),
        );
        total.skipped.extend(found.skipped);
    }
    summary(&total)
}

/// Prints which tests answer which row of the list of isolation faults.
fn print_rows(args: &Test) -> Outcome {
    let names: Vec<String> = others(args)?.into_iter().map(|case| case.name).collect();
    print!("{}", rows::evidence(&names)?.markdown());
    Ok(())
}

/// Prints a case's result.
fn report(case: &Case, found: &Found, started: Instant) {
    let seconds = started.elapsed().as_secs_f32();
    if found.failures.is_empty() {
        println!(
            "ok   {} ({} passed, {seconds:.1} s)",
            case.name, found.passed
        );
        return;
    }
    for line in &found.details {
        println!("     {line}");
    }
    for why in &found.failures {
        println!("FAIL {}: {why}", case.name);
    }
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
    cases.push(new_platform::case());
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
    cases.insert(0, rows::case(names));
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
