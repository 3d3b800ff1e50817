//! `cargo xtask console` on a serial line with a system behind it: a pseudo-terminal of QEMU's.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;

use super::{Case, Found, machine, target};
use crate::args::{Console, Play, Test};
use crate::commands::console::played;
use crate::commands::run::verdict;
use crate::failure::{Failure, Outcome};
use crate::session::{Emulator, Finished};
use crate::system::build;
use crate::workspace::{call, products, root};

/// The system: two loops that tell what they measured at a key.
const TABLE: &str = "tests/systems/two-loops.toml";
/// The beginning of what a loop answers.
const ANSWER: &str = "wake-up latency";
/// Longest time.
const SECONDS: u64 = 120;

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "console".to_owned(),
        about: "a board's serial line is shown and typed at as QEMU's console is".to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| attached(args).unwrap_or_else(|failure| Found::fail(failure.message))),
    }
}

/// Starts the system, attaches to its line, and asks both loops.
fn attached(args: &Test) -> Outcome<Found> {
    let target = target(args, &root().join(TABLE).to_string_lossy());
    let built = build(&target, &machine(args))?;
    let mut command = built.qemu_board()?.command();
    command.arg("-kernel").arg(&built.image);
    command.args(["-serial", "pty"]);
    let (_board, port) = start(command)?;
    // QEMU's line is raw already; a fresh adapter's is not.
    let mut cooked = Command::new("stty");
    call(cooked.arg("-F").arg(&port).arg("sane"), "stty")?;
    let console = Console {
        port,
        baud: 115_200,
        target,
        play: play(),
    };
    let finished = played(&console, |plan| plan.style.hidden = !args.verbose)?;
    Ok(
        match verdict(&finished, true).and_then(|()| once(&finished)) {
            Ok(()) => Found::pass(),
            Err(failure) => Found {
                details: finished.transcript.tail(25),
                ..Found::fail(failure.message)
            },
        },
    )
}

/// The first loop answered once: a line that echoes would type at it what the board says.
fn once(finished: &Finished) -> Outcome {
    let lines = finished.transcript.lines.iter();
    let first = lines.filter(|line| line.speaker.as_deref() == Some("loop-0"));
    match first.filter(|line| line.text.starts_with(ANSWER)).count() {
        1 => Ok(()),
        count => Err(Failure::failed(format!("loop-0 answered {count} times"))),
    }
}

/// Returns what is typed: each loop is asked, after the other was heard.
fn play() -> Play {
    let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
    Play {
        headless: true,
        timeout: Some(SECONDS),
        when: texts(["loop-0:^period", "loop-0:^wake-up latency"]),
        send: texts(["loop-0:h", "loop-1:h"]),
        until: Some("loop-1:^wake-up latency".to_owned()),
        log: Some(products(&["test", "console.log"])),
        ..Play::default()
    }
}

/// Starts QEMU, and returns the line that it says its UART is on.
fn start(command: Command) -> Outcome<(Emulator, PathBuf)> {
    let mut board = Emulator::start(command)?;
    let mut said = String::new();
    if let Some(output) = board.take_output() {
        let read = BufReader::new(output).read_line(&mut said);
        read.map_err(|error| Failure::failed(format!("QEMU: {error}")))?;
    }
    let mut words = said.split_whitespace();
    let port = words.find(|word| word.starts_with("/dev/"));
    let port = port.ok_or_else(|| Failure::failed(format!("QEMU names no line: {said}")))?;
    Ok((board, port.into()))
}
