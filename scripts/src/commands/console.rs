//! `cargo xtask console`: the console of a system on a board, over a serial line.

use bulkhead_platforms::partition_names;

use super::run::{plan, verdict};
use crate::args::Console;
use crate::failure::Outcome;
use crate::selection::select;
use crate::session::{self, Finished, Plan};
use crate::terminal::Line;

/// Runs the command.
pub fn run(args: &Console) -> Outcome {
    verdict(&played(args, |_| {})?, args.play.until.is_some())
}

/// Plays the console; `change` may change how.
///
/// # Errors
/// The line cannot be opened, or a pattern is wrong.
pub fn played(args: &Console, change: impl FnOnce(&mut Plan)) -> Outcome<Finished> {
    let names = partition_names(&select(&args.target)?.table);
    let line = Line::open(&args.port, args.baud)?;
    // A board that panicked says so, and stays attached: it may be reset.
    let attached = !args.play.headless;
    let mut plan = plan(session::Peer::Line(line), names, &args.play, attached)?;
    change(&mut plan);
    session::run(plan)
}
