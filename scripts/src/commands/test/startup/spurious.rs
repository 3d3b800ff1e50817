//! Interrupts that nobody owns, as a board's fault or a line that is wired wrong would bring them: enabled, as urgent as can
//! be, on both pCPUs, again and again. Among them is a level that never falls: the clock's, which no partition has.
//!
//! The test writes the board's registers from outside, by QEMU's qtest protocol: a line for each access.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{Boot, found, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::{Failure, Outcome};
use crate::session::{Ending, Finished};
use crate::workspace::{products, root, shown};

/// The distributor, and offsets of its registers (Arm IHI 0069, register pages by name).
const DISTRIBUTOR: u64 = 0x0800_0000;
const ISENABLER: u64 = 0x100;
const ISPENDR: u64 = 0x200;
const IPRIORITYR: u64 = 0x400;
const IROUTER: u64 = 0x6000;
/// Banks of 32 lines that nothing drives.
const BANKS: Range<u64> = 3..8;
/// The clock's registers (Arm DDI 0224, "Programmer's Model"), and its bit in the distributor's second bank.
const CLOCK_DATA: u64 = 0x0901_0000;
const CLOCK_MATCH: u64 = 0x0901_0004;
const CLOCK_MASK: u64 = 0x0901_0010;
const CLOCK_BIT: u64 = 1 << 2;
const CLOCK_INTID: u64 = 34;
/// Rounds that there have to be: in each, all lines come once, and EL2 turns all of them off.
const LEAST_ROUNDS: u64 = 200;
const ROUNDS: u64 = 2_000;
/// How long EL2 may take to turn all of a round off: far longer than a host's pauses.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest time in seconds.
const SECONDS: u64 = 120;
/// When witnesses are asked, in their spans of 50 ms.
const AFTER: &str = "near:^span 200 ";

/// Lets them come while witnesses beat, which are asked then.
pub fn borne(args: &Test) -> Outcome<Found> {
    let name = "start-spurious-storm";
    let table = root().join("tests/systems/spurious.toml");
    let built = system(args, &table.to_string_lossy())?;
    let mut command = built.qemu_board()?.command();
    command.arg("-kernel").arg(&built.image);
    let socket = products(&["test", "spurious.qtest"]);
    listen(&mut command, &socket);
    let storm = thread::spawn(move || storm(&socket));
    let names = built.names();
    let steps = [
        (AFTER.to_owned(), "near:g\\c".to_owned()),
        ("near:^DONE".to_owned(), "far:g\\c".to_owned()),
    ];
    let mut boot = Boot::new(name, command, &names);
    (boot.steps, boot.until, boot.seconds) = (&steps, Some("far:^DONE"), SECONDS);
    let finished = boot.run(args)?;
    let rounds = storm
        .join()
        .unwrap_or_else(|_| Err(Failure::failed("the storm panicked")));
    Ok(found(name, &finished, check(&finished, rounds)))
}

/// Lets a call of QEMU take accesses at a socket.
fn listen(command: &mut Command, socket: &Path) {
    // Left over from a run that was killed, or not there.
    let _ = std::fs::remove_file(socket);
    let place = format!("unix:{},server=on,wait=off", shown(socket));
    command.args(["-qtest", &place, "-qtest-log", "none"]);
}

/// A board's registers, from outside.
struct Outside {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Outside {
    /// Connects, as soon as QEMU listens.
    fn connect(socket: &Path) -> Outcome<Self> {
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(shown(socket)) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => return Err(lost(&error)),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        let writer = stream.try_clone().map_err(|error| lost(&error))?;
        let reader = BufReader::new(stream);
        Ok(Self { reader, writer })
    }

    /// Says a line and returns the answer behind `OK`.
    fn ask(&mut self, line: &str) -> Outcome<String> {
        writeln!(self.writer, "{line}").map_err(|error| lost(&error))?;
        let mut answer = String::new();
        self.reader
            .read_line(&mut answer)
            .map_err(|error| lost(&error))?;
        let value = answer.strip_prefix("OK").map(str::trim);
        let value = value.ok_or_else(|| Failure::failed(format!("qtest: {line}: {answer:?}")))?;
        Ok(value.to_owned())
    }

    fn write(&mut self, at: u64, value: u64) -> Outcome {
        self.ask(&format!("writel {at:#x} {value:#x}"))?;
        Ok(())
    }

    fn read(&mut self, at: u64) -> Outcome<u64> {
        let value = self.ask(&format!("readl {at:#x}"))?;
        let digits = value.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).map_err(|error| Failure::failed(error.to_string()))
    }
}

/// Words a broken connection.
fn lost(error: &std::io::Error) -> Failure {
    Failure::failed(format!("qtest: {error}"))
}

/// Lets all lines come again and again until QEMU ends; returns how many rounds EL2 has turned off.
fn storm(socket: &Path) -> Outcome<u64> {
    let mut board = Outside::connect(socket)?;
    // EL2 has started when a guest's UART is on its way: the lines are set up after that, not before.
    while board.read(DISTRIBUTOR)? & 3 == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(500));
    prepare(&mut board)?;
    let mut rounds = 0;
    while rounds < ROUNDS {
        match round(&mut board) {
            Ok(None) => rounds += 1,
            Ok(Some(left)) => {
                let why = format!("EL2 leaves lines of round {rounds} on: {left}");
                return Err(Failure::failed(why));
            }
            // The witnesses were asked, and QEMU ended.
            Err(_) if rounds > 0 => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(rounds)
}

/// Makes all of them as urgent as can be, half of them the second pCPU's, and raises the clock's line for good.
fn prepare(board: &mut Outside) -> Outcome {
    for intid in (BANKS.start * 32..BANKS.end * 32).chain([CLOCK_INTID]) {
        board.write(DISTRIBUTOR + IROUTER + 8 * intid, intid & 1)?;
        board.ask(&format!("writeb {:#x} 0", DISTRIBUTOR + IPRIORITYR + intid))?;
    }
    board.write(CLOCK_MASK, 1)?;
    let now = board.read(CLOCK_DATA)?;
    board.write(CLOCK_MATCH, now)
}

/// Lets each come once, and waits until EL2 has turned all of them off. Returns what it leaves on.
fn round(board: &mut Outside) -> Outcome<Option<String>> {
    let banks = BANKS.map(|bank| (bank, u64::from(u32::MAX)));
    let all: Vec<(u64, u64)> = banks.chain([(1, CLOCK_BIT)]).collect();
    for (bank, bits) in &all {
        board.write(DISTRIBUTOR + ISPENDR + 4 * bank, *bits)?;
        board.write(DISTRIBUTOR + ISENABLER + 4 * bank, *bits)?;
    }
    let end = Instant::now() + PATIENCE;
    for (bank, bits) in &all {
        loop {
            let left = board.read(DISTRIBUTOR + ISENABLER + 4 * bank)? & bits;
            if left == 0 {
                break;
            }
            if Instant::now() > end {
                return Ok(Some(format!("bank {bank}, bits {left:#x}")));
            }
        }
    }
    Ok(None)
}

/// Says what is wrong with a run.
fn check(finished: &Finished, rounds: Outcome<u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("it did not go on: {:?}", finished.ending));
    }
    match rounds {
        Ok(rounds) if rounds < LEAST_ROUNDS => {
            wrong.push(format!("only {rounds} rounds, {LEAST_ROUNDS} are wanted"))
        }
        Ok(_) => {}
        Err(failure) => wrong.push(failure.message),
    }
    let witness = |name: &str| {
        let mut lines = finished.transcript.lines.iter();
        lines.any(|line| {
            line.speaker.as_deref() == Some(name) && line.text == "DONE 5 passed 0 failed 0 skipped"
        })
    };
    for name in ["near", "far"] {
        if !witness(name) {
            wrong.push(format!("`{name}` noticed something"));
        }
    }
    wrong
}
