//! A board with two UARTs of different kinds, started with the tree's other one as its console.

use super::places::kept;
use super::{Boot, found};
use crate::args::{Machine, Target, Test};
use crate::commands::test::Found;
use crate::failure::{Code, Failure, Outcome};
use crate::session::Ending;
use crate::system::build_for;

/// The board: its tree names the mini UART, and QEMU's first is the PL011.
const BOARD: &str = "raspberry-pi-4";
const CHOSEN: &[u8] = b"serial1:115200n8\0";
const OTHER: &[u8] = b"serial0:115200n8\0";

/// Starts `hello` with its console on the PL011, as a card does whose `config.txt` gives the pins to that.
pub fn talks(args: &Test) -> Outcome<Found> {
    let name = "start-other-uart";
    let target = Target {
        platform: Some(BOARD.to_owned()),
        partitions: Some("hello".to_owned()),
        consent: args.consent,
        ..Target::default()
    };
    let built = match build_for(&target, &Machine::default(), &|tree| choose(tree)) {
        Err(failure) if failure.code == Code::ToolMissing => {
            println!("{}", failure.message);
            return Ok(Found::skip(&format!("board-{BOARD}")));
        }
        built => built?,
    };
    let mut board = built.qemu_board()?.clone();
    let mut tree = board.device_tree()?;
    choose(&mut tree);
    board.serial = 0;
    let handover = board.handover.as_mut();
    let handover = handover.ok_or_else(|| Failure::failed("the board is not handed its tree"))?;
    handover.tree = kept(name, "dtb", &tree)?;
    let names = built.names();
    let mut command = board.command();
    board.load(&mut command, &built.image, built.system.image_address())?;
    let finished = Boot {
        until: Some("bulkhead:^hello: stopped"),
        ..Boot::new(name, command, &names)
    }
    .run(args)?;
    let lines = finished.transcript.lines.iter();
    let said = lines.filter(|line| line.text.starts_with("line ")).count();
    let mut wrong = Vec::new();
    if said != 100 || finished.ending != Ending::Matched {
        wrong.push(format!(
            "{said} of 100 lines came over the PL011: {:?}",
            finished.ending
        ));
    }
    Ok(found(name, &finished, wrong))
}

/// Names the other UART in a tree.
fn choose(tree: &mut [u8]) {
    let place = tree.windows(CHOSEN.len()).position(|at| at == CHOSEN);
    let place = place.and_then(|at| tree.get_mut(at..at + OTHER.len()));
    if let Some(place) = place {
        place.copy_from_slice(OTHER);
    }
}
