//! `cargo xtask trace`: runs a system and shows what its pCPUs did.

use std::path::Path;

use super::run::{plan, verdict};
use crate::args::{Run, Trace};
use crate::failure::{Failure, Outcome};
use crate::session::{self, Finished};
use crate::system::{Built, build};
use crate::trace::collector::Collector;
use crate::trace::recording::Recording;
use crate::trace::summary::Summary;
use crate::trace::timeline::Timeline;
use crate::trace::{perfetto, svg};
use crate::workspace::{own, products, read, shown, write};

/// Bytes of every pCPU's ring, unless the command line or the table says otherwise.
const RING_BYTES: u64 = 256 << 10;
/// EL2's variable that says where the rings are.
const SYMBOL: &str = "TRACE_RINGS";
/// The counter as fast as icount's clock: a tick is an instruction.
pub const EXACT_CPU: &str = "cortex-a53,cntfrq=1000000000";

/// Runs the command.
pub fn run(args: &Trace) -> Outcome {
    if args.run.list || args.run.gdb.is_some() {
        let what = "trace takes neither --list nor --gdb: `cargo xtask run` does";
        return Err(Failure::usage(what));
    }
    let (built, recording, ended) = match &args.from {
        Some(dump) => dumped(args, dump)?,
        None => recorded(args)?,
    };
    let timeline = Timeline::new(&recording);
    let default = || products(&["trace", &format!("{}.json", built.selection.name)]);
    let file = args.output.clone().unwrap_or_else(default);
    write(&file, perfetto::file(&timeline, &recording).as_bytes())?;
    if let Some(file) = &args.svg {
        let picture = svg::picture(&timeline, &recording, args.window);
        write(file, picture.as_bytes())?;
    }
    let summary = Summary::new(&timeline);
    if args.run.target.json {
        println!("{:#}", summary.json(&recording));
    } else {
        print!("\n{}", summary.text(&recording));
        println!("\n{}: open it at https://ui.perfetto.dev", shown(&file));
    }
    ended
}

/// Reads a dump of a board's memory.
fn dumped(args: &Trace, dump: &Path) -> Outcome<(Built, Recording, Outcome)> {
    let built = build(&args.run.target, &args.run.machine)?;
    let mut recording = empty(&built);
    let added = recording.add(&read(dump)?, |_| None);
    added.map_err(|error| Failure::file(dump, error))?;
    Ok((built, recording, Ok(())))
}

/// Runs a system and reads its rings.
fn recorded(args: &Trace) -> Outcome<(Built, Recording, Outcome)> {
    let mut run = args.run.clone();
    if run.icount && run.machine.cpu.is_none() {
        run.machine.cpu = Some(EXACT_CPU.to_owned());
    }
    let built = built(&mut run)?;
    let (finished, recording) = play(&built, &run, false)?;
    let ended = verdict(&finished, run.play.until.is_some());
    match (recording, ended) {
        (Ok(recording), ended) => Ok((built, recording, ended)),
        // Why there is no trace is the lesser news.
        (Err(_), Err(ended)) => Err(ended),
        (Err(failure), Ok(())) => Err(failure),
    }
}

/// Builds the system, with rings.
pub fn built(run: &mut Run) -> Outcome<Built> {
    let built = build(&run.target, &run.machine)?;
    match built.system.trace_bytes() {
        0 => {
            run.target.trace = Some(RING_BYTES);
            build(&run.target, &run.machine)
        }
        _ => Ok(built),
    }
}

/// Runs a system to its end, whatever that is, and reads its rings; `hidden` shows nothing of its console.
///
/// # Errors
/// QEMU cannot be started.
pub fn play(built: &Built, run: &Run, hidden: bool) -> Outcome<(Finished, Outcome<Recording>)> {
    let mut command = built.launch(run.icount)?;
    command.args(&run.extra);
    let name = format!("{}-{}.qmp", built.selection.name, std::process::id());
    let socket = own(&["trace", &name]);
    crate::workspace::make_folder(&own(&["trace"]))?;
    let rings = built.address_of(SYMBOL)?;
    let collector = Collector::start(&mut command, &socket, rings, empty(built))?;
    let mut recording = Err(Failure::failed("the trace was not read"));
    let mut plan = plan(command.into(), built.names(), &run.play, run.gdb.is_some())?;
    plan.style.hidden = hidden;
    let finished = session::run_then(plan, || recording = collector.finish())?;
    // QEMU removes it unless it was killed.
    let _ = std::fs::remove_file(socket);
    Ok((finished, recording))
}

/// Makes a recording without records.
fn empty(built: &Built) -> Recording {
    Recording::new(built.names(), built.system.passed_interrupts().to_vec())
}
