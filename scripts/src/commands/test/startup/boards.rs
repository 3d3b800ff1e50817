//! Boards that the table was not written for.

use super::super::gates::sum;
use super::{Boot, check_refusal, found, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::qemu::Board;
use crate::system::Built;

/// Starts on each.
pub fn refused(args: &Test) -> Outcome<Found> {
    let hello = system(args, "hello")?;
    let default = system(args, "default")?;
    let board = hello.qemu_board()?.clone();
    let gicv2 = Board {
        machine: board.machine.replace("gic-version=3", "gic-version=2"),
        ..board.clone()
    };
    let small = Board {
        cpus: 1,
        memory: "256M".to_owned(),
        ..board.clone()
    };
    let start = |name, built, board: &Board, reasons| refusal(args, name, built, board, reasons);
    Ok(sum([
        start(
            "start-gicv2",
            &hello,
            &gicv2,
            &["the board has a GICv2, the table was made for a GICv3"],
        )?,
        // Violations of two kinds, both said.
        start(
            "start-small-board",
            &default,
            &small,
            &[
                "linux: vCPU 1 wants pCPU 1, this board has 1 CPU",
                "no room",
            ],
        )?,
        start(
            "start-at-el1",
            &hello,
            &board.without_el2(),
            &["virtualization=on"],
        )?,
    ]))
}

/// Boots a system on another board than it was built for.
fn refusal(
    args: &Test,
    name: &str,
    built: &Built,
    board: &Board,
    reasons: &[&str],
) -> Outcome<Found> {
    let names = built.names();
    let mut command = board.command();
    command.arg("-kernel").arg(&built.image);
    let finished = Boot::new(name, command, &names).run(args)?;
    Ok(found(name, &finished, check_refusal(&finished, reasons)))
}
