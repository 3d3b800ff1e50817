//! A trace of guests that say themselves what they did.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Case, Found};
use crate::args::{Machine, Play, Run, Target, Test};
use crate::commands::run::verdict;
use crate::commands::trace::{EXACT_CPU, built, play};
use crate::failure::{Failure, Outcome};
use crate::session::Finished;
use crate::trace::perfetto;
use crate::trace::summary::{Spent, Summary};
use crate::trace::timeline::Timeline;
use crate::workspace::{products, root};

/// Partitions of the system, by their place in its table.
const TURNS: u8 = 0;
const LOAD: u8 = 1;
/// INTID of the virtual timer.
const TIMER: u16 = 27;

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "trace".to_owned(),
        about: "a trace says of guests what they say themselves, and accounts for all time"
            .to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| match traced(args) {
            Ok(found) => found,
            Err(failure) => Found::fail(failure.message),
        }),
    }
}

/// Runs the system and judges its trace.
fn traced(args: &Test) -> Outcome<Found> {
    let mut run = run(args);
    let built = built(&mut run)?;
    let (finished, recording) = play(&built, &run, !args.verbose)?;
    verdict(&finished, true)?;
    let recording = recording?;
    let timeline = Timeline::new(&recording);
    let summary = Summary::new(&timeline);
    let text = summary.text(&recording);
    let mut found = Found {
        details: text.lines().map(str::to_owned).collect(),
        ..Found::default()
    };
    let file = perfetto::file(&timeline, &recording);
    match perfetto::reader::complaints(&file) {
        wrong if wrong.is_empty() => found.passed += 1,
        wrong => found.failures.extend(wrong),
    }
    let names = tracks(&file)?;
    let wanted = ["pCPUs", "pCPU 0", "turns", "load", "vCPU 0"];
    let named = wanted.map(|name| (format!("track `{name}`"), names.contains(name).into(), 1));
    let counted = counts(&summary, said(&finished)?, recording.lost());
    for (what, traced, wanted) in counted.into_iter().chain(named) {
        match traced == wanted {
            true => found.passed += 1,
            false => {
                let why = format!("{what}: {traced} in the trace, {wanted} wanted");
                found.failures.push(why);
            }
        }
    }
    Ok(found)
}

/// Returns the run.
fn run(args: &Test) -> Run {
    let mut run = exact_run(args, "traced", "trace.log");
    run.play.until = Some("bulkhead:^turns: stopped".to_owned());
    run
}

/// Returns a run of a system under icount on one CPU, which ends by itself; what its console shows goes to a file.
pub fn exact_run(args: &Test, system: &str, log: &str) -> Run {
    let table = root().join(format!("tests/systems/{system}.toml"));
    Run {
        target: Target {
            partitions: Some(table.to_string_lossy().into_owned()),
            consent: args.consent,
            ..Target::default()
        },
        machine: Machine {
            cpu: Some(EXACT_CPU.to_owned()),
            cpus: Some(1),
            qemu: args.qemu.clone(),
            ..Machine::default()
        },
        play: Play {
            headless: true,
            timeout: Some(120),
            log: Some(products(&["test", log])),
            ..Play::default()
        },
        icount: true,
        ..Run::default()
    }
}

/// Lists numbers of the trace: what, how many, and how many there must be. The guest says that it yielded and waited so
/// often.
fn counts(summary: &Summary, (yields, waits): (u64, u64), lost: u64) -> Vec<(String, u64, u64)> {
    let time = |(pcpu, spent): (&u8, &Spent)| {
        let what = format!("ticks of pCPU {pcpu}");
        (what, spent.total(), summary.elapsed)
    };
    let switches: u64 = summary.switches.values().sum();
    let counts = [
        ("lost records", lost, 0),
        (
            "yields of turns",
            traps(summary, TURNS, "HVC yield"),
            yields,
        ),
        ("waits of turns", traps(summary, TURNS, "WFI"), waits),
        ("waits of load", traps(summary, LOAD, "WFI"), 0),
        ("timer interrupts of turns", shown(summary, TURNS), waits),
        ("timer interrupts of load", shown(summary, LOAD), 0),
        // To `load` and back. The last one, to `load` for good, may come behind the line that ends the run.
        ("switches there and back", switches / 2, waits),
    ];
    let counts = counts.map(|(what, traced, wanted)| (what.to_owned(), traced, wanted));
    summary.pcpus.iter().map(time).chain(counts).collect()
}

/// Returns how often the guest says that it yielded and waited.
fn said(finished: &Finished) -> Outcome<(u64, u64)> {
    let lines = finished
        .transcript
        .lines
        .iter()
        .map(|line| line.text.as_str());
    let numbers = lines.filter_map(|line| {
        let (yields, waits) = line
            .strip_prefix("yielded ")?
            .split_once(" times, waited ")?;
        Some((
            yields.parse().ok()?,
            waits.strip_suffix(" times")?.parse().ok()?,
        ))
    });
    let first = numbers.into_iter().next();
    first.ok_or_else(|| Failure::failed("the guest does not say what it did"))
}

/// Returns how often a partition trapped for a reason.
fn traps(summary: &Summary, partition: u8, reason: &str) -> u64 {
    let key = (partition, reason.to_owned());
    summary.traps.get(&key).copied().unwrap_or(0)
}

/// Returns how often a partition's vCPU 0 was shown its timer's interrupt.
fn shown(summary: &Summary, partition: u8) -> u64 {
    let key = ((partition, 0), TIMER);
    summary.shown.get(&key).copied().unwrap_or(0)
}

/// Returns the names of the file's tracks.
fn tracks(file: &str) -> Outcome<BTreeSet<String>> {
    let file: Value = serde_json::from_str(file)
        .map_err(|error| Failure::failed(format!("the file is no JSON: {error}")))?;
    let events = file.get("traceEvents").and_then(Value::as_array);
    let names = events.into_iter().flatten().filter_map(|event| {
        let name = event.get("args")?.get("name")?;
        name.as_str().map(str::to_owned)
    });
    Ok(names.collect())
}
