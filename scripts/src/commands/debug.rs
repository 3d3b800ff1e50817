//! `cargo xtask debug`: gdb with the symbols of EL2 and of the guests.

use std::process::Command;

use crate::args::{Debug, Machine};
use crate::failure::Outcome;
use crate::setup::{GDB, ensure};
use crate::system::build;
use crate::workspace::call;

/// Runs the command.
pub fn run(args: &Debug) -> Outcome {
    ensure(&[GDB], args.target.consent)?;
    let built = build(&args.target, &Machine::default())?;
    let mut gdb = Command::new(GDB.program);
    gdb.args(["-q", "-ex", "set architecture aarch64"]);
    gdb.arg("-ex")
        .arg(format!("file {}", built.hypervisor_elf.display()));
    for elf in &built.guest_elfs {
        gdb.arg("-ex")
            .arg(format!("add-symbol-file {}", elf.display()));
    }
    gdb.arg("-ex").arg(format!("target remote :{}", args.port));
    gdb.args(&args.extra);
    call(&mut gdb, GDB.program)
}
