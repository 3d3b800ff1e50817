//! The commands, a module each.

pub mod build;
pub mod check;
pub mod run;
pub mod setup;

use crate::args::{Action, Cli};
use crate::failure::{Failure, Outcome};

/// Does what the command line says.
pub fn run(cli: Cli) -> Outcome {
    match cli.command {
        Action::Run(args) => run::run(&args),
        Action::Build(args) => build::run(&args),
        Action::Check(args) => check::run(&args),
        Action::Setup(args) => setup::run(&args),
        Action::Test(_) | Action::Bench(_) | Action::Debug(_) => {
            Err(Failure::failed("this command is not built yet"))
        }
    }
}
