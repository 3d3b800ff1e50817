//! A console that takes no byte, its FIFO is full for ever; and a silent one, which takes all of them at once.

use super::super::gates::sum;
use super::places::{TREE_AT, kept, with_tree};
use super::silent::estrange;
use super::trees::move_registers;
use super::{Boot, found, load, machine, target};
use crate::args::{Machine, Test};
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::qemu::ICOUNT;
use crate::session::{Ending, Finished};
use crate::system::build_for;
use crate::workspace::root;

/// The board's RAM without its last mebibyte.
const RAM: (u32, u32) = (0x4000_0000, 0x4000_0000);
const RAM_KEPT: (u32, u32) = (0x4000_0000, 0x3ff0_0000);
/// The board's UART, and a page of the RAM that is left out, which plays one.
const UART: (u32, u32) = (0x900_0000, 0x1000);
const DEAF_UART: (u32, u32) = (0x7ff0_0000, 0x1000);
/// Offset of the flag register, and its flags: transmit FIFO full, receive FIFO empty (Arm DDI 0183, "UARTFR").
const FLAGS_AT: usize = 0x18;
const FULL: u8 = 1 << 5 | 1 << 4;
/// Longest time.
const SECONDS: u64 = 120;

/// A system, and what a partition with a UART of its own shows there: a text, and the least and most of the number behind
/// it.
struct Shown {
    name: &'static str,
    table: &'static str,
    /// What is done to the board's tree.
    change: fn(&mut [u8]),
    /// Counted in instructions: as long as the guests take, but the host's pauses do not show.
    icount: bool,
    until: &'static str,
    text: &'static str,
    least: u64,
    most: u64,
}

const DEAF: [Shown; 2] = [
    // An urgent loop is as punctual as above any other guests (`latency-storm`).
    Shown {
        name: "start-deaf-loop",
        table: "deaf-loop",
        change: deafen,
        icount: true,
        until: "^period 1000 ",
        text: "missed 0 worst_ns ",
        least: 1,
        most: 5000,
    },
    // One that prints and drops has come to its end, and one that waits keeps nobody up who is more urgent.
    Shown {
        name: "start-deaf-hog",
        table: "deaf-hog",
        change: deafen,
        icount: false,
        until: "^second 2 ppm ",
        text: "ppm ",
        least: 1,
        most: 1_000_000,
    },
];

/// The console's server has always something to do then: whoever wakes has to be chosen all the same, within what `check`
/// promises.
const SILENT: Shown = Shown {
    name: "start-silent-flood",
    table: "silent-loop",
    change: silence,
    icount: true,
    until: "^period 3000 ",
    text: "missed 0 worst_ns ",
    least: 1,
    most: 5500,
};

/// Runs the systems of a console that takes nothing.
pub fn goes_on(args: &Test) -> Outcome<Found> {
    run(args, &DEAF)
}

/// Runs the system of one that takes everything.
pub fn drains(args: &Test) -> Outcome<Found> {
    run(args, &[SILENT])
}

/// Runs systems.
fn run(args: &Test, systems: &[Shown]) -> Outcome<Found> {
    let mut all = Vec::new();
    for shown in systems {
        let name = shown.name;
        let table = root().join(format!("tests/systems/{}.toml", shown.table));
        let target = target(args, &table.to_string_lossy());
        let machine = Machine {
            cpus: Some(1),
            ..machine(args)
        };
        let built = build_for(&target, &machine, &|tree| (shown.change)(tree))?;
        let mut tree = built.qemu_board()?.device_tree()?;
        (shown.change)(&mut tree);
        let mut registers = vec![0; DEAF_UART.1 as usize];
        if let Some(flags) = registers.get_mut(FLAGS_AT) {
            *flags = FULL;
        }
        let mut command = with_tree(&built, name, &tree, TREE_AT)?;
        load(
            &mut command,
            &kept(name, "uart", &registers)?,
            DEAF_UART.0.into(),
        );
        if shown.icount {
            command.args(ICOUNT);
        }
        let names = built.names();
        let mut boot = Boot::new(name, command, &names);
        (boot.until, boot.seconds) = (Some(shown.until), SECONDS);
        let finished = boot.run(args)?;
        all.push(found(name, &finished, check(shown, &finished)));
    }
    Ok(sum(all))
}

/// Gives a board's tree the console that takes nothing.
fn deafen(tree: &mut [u8]) {
    move_registers(tree, RAM, RAM_KEPT);
    move_registers(tree, UART, DEAF_UART);
}

/// Gives it one that is of no known kind.
fn silence(tree: &mut [u8]) {
    deafen(tree);
    estrange(tree);
}

/// Says what is wrong with a run.
fn check(shown: &Shown, finished: &Finished) -> Vec<String> {
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("it did not go on: {:?}", finished.ending));
    }
    let lines = finished.transcript.lines.iter();
    for line in lines.filter(|line| line.text.contains("worst_ns") || line.text.contains("ppm")) {
        let number = line.text.split_once(shown.text).map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split(' ').next()?.parse().ok());
        if !number.is_some_and(|number| (shown.least..=shown.most).contains(&number)) {
            wrong.push(format!("out of bounds: {}", line.text));
        }
    }
    wrong
}
