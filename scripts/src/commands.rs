//! The commands, a module each.

pub mod bench;
pub mod build;
pub mod check;
pub mod console;
pub mod debug;
pub mod flash;
pub mod fuzz;
pub mod image;
pub mod inputs;
pub mod mutants;
pub mod new_platform;
pub mod run;
pub mod setup;
pub mod test;
pub mod trace;

use crate::args::{Action, Cli};
use crate::failure::Outcome;

/// Does what the command line says.
pub fn run(cli: Cli) -> Outcome {
    match cli.command {
        Action::Run(args) => run::run(&args),
        Action::Build(args) => build::run(&args),
        Action::Check(args) => check::run(&args),
        Action::Console(args) => console::run(&args),
        Action::Image(args) => image::run(&args),
        Action::Flash(args) => flash::run(&args),
        Action::NewPlatform(args) => new_platform::run(&args),
        Action::Setup(args) => setup::run(&args),
        Action::Test(args) => test::run(&args),
        Action::Trace(args) => trace::run(&args),
        Action::Debug(args) => debug::run(&args),
        Action::Bench(args) => bench::run(&args),
        Action::Fuzz(args) => fuzz::run(&args),
        Action::Inputs(args) => inputs::run(&args),
        Action::Mutants(args) => mutants::run(&args),
    }
}
