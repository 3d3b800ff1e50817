//! Systems under QEMU, as `tests/scenarios` declares them.

mod drive;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_tests::judge::{Line, judge};
use bulkhead_tests::scenario::{Scenario, read_all};

use super::{Case, Found};
use crate::args::{Machine, Target, Test};
use crate::commands::run::verdict;
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Code, Failure, Outcome};
use crate::selection::select;
use crate::session::{self, Finished, Plan};
use crate::setup::alone;
use crate::setup::emulator::of_version;
use crate::system::build;
use crate::workspace::{products, root};

/// Lines of the console shown with a failure.
const TAIL: usize = 25;

/// QEMU in the versions that were asked for: where each is, or why it cannot be had.
type Emulators = Mutex<BTreeMap<String, Result<PathBuf, String>>>;

/// Returns all scenarios; with `--long` every machine of their matrices too.
///
/// # Errors
/// A file is wrong.
pub fn all(args: &Test) -> Outcome<Vec<Case>> {
    let scenarios = read_all(&root().join("tests/scenarios")).map_err(Failure::failed)?;
    let emulators = Arc::new(Emulators::default());
    let mut cases = Vec::new();
    for mut scenario in scenarios {
        if args.qemu.is_some() {
            // The person named the one to use.
            scenario.matrix.qemu.clear();
        }
        let variants = match args.long && scenario.has_matrix() {
            true => scenario.variants(),
            false => Vec::new(),
        };
        cases.push(case(scenario, &emulators));
        cases.extend(variants.into_iter().map(|one| case(one, &emulators)));
    }
    Ok(cases)
}

/// Makes a test of a scenario.
fn case(scenario: Scenario, emulators: &Arc<Emulators>) -> Case {
    let emulators = Arc::clone(emulators);
    Case {
        name: scenario.name.clone(),
        about: scenario.about.clone(),
        long: scenario.long,
        alone: false,
        run: Box::new(move |args| {
            let qemu = match emulator(&scenario, args, &emulators) {
                Ok(qemu) => qemu,
                Err(skip) => return skip,
            };
            match play(&scenario, args, qemu) {
                Ok(found) => found,
                Err(failure) => Found::fail(failure.message),
            }
        }),
    }
}

/// Returns the QEMU to run on, or a skip when the scenario's version cannot be had.
fn emulator(
    scenario: &Scenario,
    args: &Test,
    emulators: &Emulators,
) -> Result<Option<PathBuf>, Found> {
    let Some(version) = &scenario.machine.qemu else {
        return Ok(args.qemu.clone());
    };
    let mut emulators = alone(emulators);
    let there = emulators.entry(version.clone()).or_insert_with(|| {
        let there = of_version(version).map_err(|failure| failure.message);
        if let Err(why) = &there {
            println!("{why}");
        }
        there
    });
    match there {
        Ok(program) => Ok(Some(program.clone())),
        Err(_) => Err(Found::skip(&format!("qemu-{version}"))),
    }
}

/// Builds and runs a scenario and judges its console.
fn play(scenario: &Scenario, args: &Test, qemu: Option<PathBuf>) -> Outcome<Found> {
    let target = Target {
        platform: scenario.platform.clone(),
        partitions: Some(scenario.table.clone()),
        kernel: args.kernel.clone(),
        busybox: args.busybox.clone(),
        consent: args.consent,
        ..Target::default()
    };
    let built = match build(&target, &machine(scenario, &target, qemu)?) {
        Ok(built) => built,
        // A table that is meant to be refused.
        Err(failure) if failure.code as u8 == scenario.exit => return Ok(Found::pass()),
        // What the board needs, an emulator or a device tree, cannot be had.
        Err(failure) if failure.code == Code::ToolMissing && scenario.platform.is_some() => {
            println!("{}", failure.message);
            let board = scenario.platform.as_deref().unwrap_or_default();
            return Ok(Found::skip(&format!("board-{board}")));
        }
        Err(failure) => return Err(failure),
    };
    let names = built.names();
    let mut command = built.launch(scenario.machine.icount)?;
    let drive = match &scenario.drive {
        Some(drive) => Some(drive::make(&scenario.name, drive, &mut command)?),
        None => None,
    };
    let plan = Plan {
        peer: command.into(),
        script: script(scenario, &names)?,
        names: names.clone(),
        timeout: Some(Duration::from_secs(scenario.timeout)),
        style: Style {
            hidden: !args.verbose,
            ..Style::default()
        },
        attached: false,
        log: Some(products(&["test", &format!("{}.log", scenario.name)])),
        survive_panic: false,
    };
    let mut found = judged(scenario, &session::run(plan)?, &names);
    if let Some(file) = drive
        && let Err(failure) = drive::compare(&file)
    {
        found.failures.push(failure.message);
    }
    Ok(found)
}

/// Returns the machine.
fn machine(scenario: &Scenario, target: &Target, qemu: Option<PathBuf>) -> Outcome<Machine> {
    let named = match scenario.machine.exact {
        true => bulkhead_platforms::cpus_needed(&select(target)?.table),
        false => None,
    };
    Ok(Machine {
        cpu: scenario.machine.cpu.clone(),
        cpus: scenario.machine.cpus.or(named),
        memory: scenario.machine.memory.clone(),
        gic: scenario.machine.gic,
        qemu,
    })
}

/// Returns the script, its pairs repeated.
fn script(scenario: &Scenario, names: &[String]) -> Outcome<Script> {
    let pair = |step: &bulkhead_tests::scenario::Step| {
        let send = step.send.clone().unwrap_or_else(|| "\\c".to_owned());
        (step.when.clone(), send)
    };
    let once: Vec<_> = scenario.steps.iter().map(pair).collect();
    let pairs: Vec<_> = (0..scenario.repeat).flat_map(|_| once.clone()).collect();
    Script::new(&pairs, scenario.until.as_deref(), &scenario.fail_on, names)
}

/// Judges a run by its end and its console.
fn judged(scenario: &Scenario, finished: &Finished, names: &[String]) -> Found {
    let mut found = Found {
        details: finished.transcript.tail(TAIL),
        ..Found::default()
    };
    let (code, message) = match verdict(finished, scenario.until.is_some()) {
        Ok(()) => (0, String::new()),
        Err(failure) => (failure.code as u8, failure.message),
    };
    if code != scenario.exit {
        found.failures.push(format!(
            "exit code {code}, expected {}: {message}",
            scenario.exit
        ));
    }
    let lines: Vec<Line<'_>> = finished
        .transcript
        .lines
        .iter()
        .map(|line| Line {
            speaker: line.speaker.as_deref(),
            text: &line.text,
        })
        .collect();
    let verdict = judge(scenario, &lines, names);
    found.failures.extend(verdict.failures);
    found.skipped = verdict.skipped;
    found.passed = verdict.passed + usize::from(found.failures.is_empty());
    found
}
