//! `cargo xtask image`: files for a board's boot medium.

use crate::args::Image;
use crate::failure::Outcome;
use crate::medium;
use crate::system::build;
use crate::workspace::products;

/// Runs the command.
pub fn run(args: &Image) -> Outcome {
    let built = build(&args.target, &args.machine)?;
    let usual = || {
        products(&[
            &built.selection.platform.name,
            "medium",
            &built.selection.name,
        ])
    };
    let folder = args.out.clone().unwrap_or_else(usual);
    let medium = medium::of(&built)?;
    medium::store(&medium, &folder)?;
    println!("{}", medium::tell(&medium, &folder));
    Ok(())
}
