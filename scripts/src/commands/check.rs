//! `cargo xtask check`: a table against its board.

use crate::args::Check;
use crate::failure::Outcome;
use crate::system;

/// Runs the command.
pub fn run(args: &Check) -> Outcome {
    let (_, system) = system::check(&args.target, &args.machine, args.dtb.as_deref())?;
    if args.target.json {
        println!("{}", system.report_json());
    } else {
        println!("{}", system.report().trim_end());
    }
    Ok(())
}
