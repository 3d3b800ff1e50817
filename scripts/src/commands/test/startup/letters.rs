//! Letters for the steps of start-up.

use super::super::gates::sum;
use super::{Boot, check_hello, check_refusal, found};
use crate::args::{Target, Test};
use crate::commands::test::{Found, machine, target};
use crate::failure::Outcome;
use crate::qemu::Board;
use crate::session::Finished;
use crate::system::{Built, build};

/// Starts `hello` with letters: to its end, below EL2, and on a board that it was not built for.
pub fn shown(args: &Test) -> Outcome<Found> {
    let target = Target {
        letters: true,
        ..target(args, "hello")
    };
    let built = build(&target, &machine(args))?;
    let board = built.qemu_board()?;
    let gicv2 = Board {
        machine: board.machine.replace("gic-version=3", "gic-version=2"),
        ..board.clone()
    };
    let refused = |reason| move |finished: &Finished| check_refusal(finished, &[reason]);
    let start = |name, board: &Board, letters, check: &dyn Fn(&Finished) -> Vec<String>| {
        start(args, &built, (name, board), letters, check)
    };
    Ok(sum([
        start("letters", board, "ABCDEFGH", &check_hello)?,
        start(
            "letters-at-el1",
            &board.without_el2(),
            "A",
            &refused("virtualization=on"),
        )?,
        start(
            "letters-gicv2",
            &gicv2,
            "ABCDE",
            &refused("the board has a GICv2"),
        )?,
    ]))
}

/// Starts on a board: the letters are the first line, and what follows is as without them.
fn start(
    args: &Test,
    built: &Built,
    (name, board): (&str, &Board),
    letters: &str,
    check: &dyn Fn(&Finished) -> Vec<String>,
) -> Outcome<Found> {
    let names = built.names();
    let mut command = board.command();
    command.arg("-kernel").arg(&built.image);
    let finished = Boot::new(name, command, &names).run(args)?;
    let mut wrong = check(&finished);
    let first = finished.transcript.lines.first();
    if first.is_none_or(|line| line.speaker.is_some() || line.text != letters) {
        let first = first.map(|line| &line.text);
        wrong.push(format!("the first line is {first:?}, not {letters}"));
    }
    Ok(found(name, &finished, wrong))
}
