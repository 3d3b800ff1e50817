//! `cargo xtask setup`: installs what the other commands need.

use std::process::Command;

use crate::args::Setup;
use crate::failure::Outcome;
use crate::setup::{GDB, QEMU, ensure, find, rust_targets, tool_missing};
use crate::workspace::{call, root};

/// Runs the command.
pub fn run(args: &Setup) -> Outcome {
    rust_targets()?;
    rust_components()?;
    ensure(&[QEMU, GDB], args.consent)?;
    for tool in [QEMU, GDB] {
        let path = find(tool.program).unwrap_or_default();
        println!("{:<22} {}", tool.program, path.display());
    }
    println!("all tools are there");
    Ok(())
}

/// Makes sure that the formatter and the linter are there.
pub fn rust_components() -> Outcome {
    let works = |tool: &str| {
        let output = Command::new("cargo")
            .args([tool, "--version"])
            .current_dir(root())
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let parts = [("fmt", "rustfmt"), ("clippy", "clippy")];
    let missing: Vec<&str> = parts
        .iter()
        .filter(|(tool, _)| !works(tool))
        .map(|(_, part)| *part)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup
        .args(["component", "add"])
        .args(&missing)
        .current_dir(root());
    call(&mut rustup, "rustup component add").map_err(|failure| {
        tool_missing(&format!(
            "the toolchain lacks {}: {failure}",
            missing.join(" and ")
        ))
    })
}
