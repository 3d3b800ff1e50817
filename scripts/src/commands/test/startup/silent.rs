//! A board whose UART nobody drives.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead::console::log;
use bulkhead::console::steps::Step;
use serde_json::json;

use super::places::{IMAGE_AT, TREE_AT, with_tree};
use super::{SECONDS, found, machine, target};
use crate::args::Test;
use crate::commands::test::Found;
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::session::{self, Plan};
use crate::system::build_for;
use crate::trace::qmp::{self, Monitor};
use crate::workspace::products;

/// Bytes of the log with its two words.
const LOG: u64 = 4096 + 8;
/// What it has to hold: the reason, the start, and the end of a guest that printed more than its UART holds.
const LINES: [&str; 4] = [
    "warning: the console is of no kind that bulkhead drives (zcme,pl0z)",
    "\nBulkhead ",
    "\nhello: started",
    "\nhello: stopped\n",
];

/// Starts `hello` where the tree's UART is a stranger: the machine powers off as usual, without a word, and the memory log
/// tells of it.
pub fn logs(args: &Test) -> Outcome<Found> {
    let name = "start-silent";
    let target = target(args, "hello");
    let machine = machine(args);
    let built = build_for(&target, &machine, &|tree| estrange(tree))?;
    let mut tree = built.qemu_board()?.device_tree()?;
    estrange(&mut tree);
    let mut command = with_tree(&built, name, &tree, TREE_AT)?;
    command.args(["-serial", "stdio"]);
    let socket = products(&["test", "silent.qmp"]);
    qmp::open(&mut command, &socket)?;
    let of = |name| Ok(built.address_of(name)? + IMAGE_AT - built.system.image_address());
    let (log, step) = (of("MEMORY_LOG")?, of("START_STEP")?);
    let watcher = thread::spawn(move || watch(&socket, log, step));
    let names = built.names();
    let plan = Plan {
        peer: command.into(),
        script: Script::new(&[], None, &[], &names)?,
        names,
        timeout: Some(Duration::from_secs(SECONDS)),
        style: Style {
            hidden: !args.verbose,
            ..Style::default()
        },
        attached: false,
        log: Some(products(&["test", &format!("{name}.log")])),
        survive_panic: false,
    };
    let finished = session::run(plan)?;
    let dump = watcher.join();
    let (dump, step) =
        dump.unwrap_or_else(|_| Err(Failure::failed("the memory log was not read")))?;
    let said: Vec<u8> = log::text(&dump).into_iter().flatten().collect();
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut wrong: Vec<String> = LINES
        .iter()
        .filter(|line| !said.contains(**line))
        .map(|line| format!("the memory log does not hold `{line}`: {said:?}"))
        .collect();
    if step != [Step::Started.letter()] {
        wrong.push(format!("the last step in memory is {step:?}"));
    }
    if finished
        .transcript
        .lines
        .iter()
        .any(|line| !line.text.is_empty())
    {
        wrong.push("the strange UART was written to".to_owned());
    }
    Ok(found(name, &finished, wrong))
}

/// Lets the machine go, waits until it has turned itself off, and returns the memory of the log and of the last step.
fn watch(socket: &Path, log: u64, step: u64) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let mut monitor = Monitor::connect(socket, || false)?;
    monitor.execute("cont", json!({}))?;
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut off = false;
    while !off && Instant::now() < end {
        thread::sleep(Duration::from_millis(50));
        off = monitor.has_shut_down()?;
    }
    let log = monitor.memory(log, LOG);
    let step = monitor.memory(step, 1);
    // It ends before it answers, perhaps.
    let _ = monitor.execute("quit", json!({}));
    match off {
        true => Ok((log?, step?)),
        false => Err(Failure::failed("the machine did not turn itself off")),
    }
}

/// Gives the UARTs of a board's tree another kind, of the same length.
pub fn estrange(tree: &mut [u8]) {
    let (known, strange) = (b"arm,pl011\0", b"zcme,pl0z\0");
    for at in 0..tree.len().saturating_sub(known.len()) {
        if let Some(place) = tree.get_mut(at..at + known.len())
            && place == known
        {
            place.copy_from_slice(strange);
        }
    }
}
