//! Bulkhead's host tool: sets up a machine, builds images, runs them under QEMU, tests and measures them.
//!
//! [`args`] is the command line, [`commands`] has one module for each command. Below them: [`setup`] (what must be
//! installed), [`selection`] (which table, which board), [`system`] (EL2 + payload = image), [`guests`] and
//! [`recipe`] (guest images), [`qemu`] (its command line and the device tree it makes), [`console`] (what comes
//! over the wire, and scripts that answer it), [`session`] (one bounded run of QEMU), and [`trace`] (what its pCPUs did).

pub mod args;
pub mod commands;
pub mod console;
pub mod failure;
pub mod guests;
pub mod image;
pub mod layering;
pub mod medium;
pub mod qemu;
pub mod recipe;
pub mod selection;
pub mod session;
pub mod setup;
pub mod system;
pub mod terminal;
pub mod trace;
pub mod workspace;

use std::process::ExitCode;

/// Runs the command that the arguments name and returns its exit code.
pub fn main() -> ExitCode {
    let result = args::parse().and_then(commands::run);
    match result {
        Ok(()) => ExitCode::from(failure::Code::Done as u8),
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message.trim_end());
            }
            ExitCode::from(failure.code as u8)
        }
    }
}
