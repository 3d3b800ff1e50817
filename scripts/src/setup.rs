//! Makes sure that tools are there, and installs those that are not.

pub mod debian;
pub mod emulator;
pub mod source;
pub mod trees;

use std::env;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::args::Consent;
use crate::failure::{Code, Failure, Outcome};
use crate::workspace::{GUEST_TARGET, HYPERVISOR_TARGET, call, capture};

/// A tool that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Program looked for in PATH.
    pub program: &'static str,
    /// Package of Debian and Ubuntu that holds it.
    pub package: &'static str,
}

/// Emulator of the boards.
pub const QEMU: Tool = Tool {
    program: "qemu-system-aarch64",
    package: "qemu-system-arm",
};
/// Debugger that knows AArch64.
pub const GDB: Tool = Tool {
    program: "gdb-multiarch",
    package: "gdb-multiarch",
};

/// Compiler of device trees.
pub const DTC: Tool = Tool {
    program: "dtc",
    package: "device-tree-compiler",
};
/// Compiler of the fuzzing engine.
pub const CXX: Tool = Tool {
    program: "c++",
    package: "g++",
};

/// Finds a program in PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Makes sure that `tools` are there.
///
/// # Errors
/// [`Code::ToolMissing`]: one is missing and may not or cannot be installed.
pub fn ensure(tools: &[Tool], consent: Consent) -> Outcome {
    let missing: Vec<&Tool> = tools.iter().filter(|t| find(t.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    install(&packages, consent)?;
    match missing.iter().find(|tool| find(tool.program).is_none()) {
        Some(tool) => Err(tool_missing(&format!(
            "{} is still missing after {} was installed",
            tool.program, tool.package
        ))),
        None => Ok(()),
    }
}

/// Returns the QEMU to use: the one that the person named, else the system's, installed if need be.
pub fn qemu(chosen: Option<&Path>, consent: Consent) -> Outcome<PathBuf> {
    match chosen {
        Some(path) if path.is_file() => Ok(path.to_owned()),
        Some(path) => find(&path.to_string_lossy()).ok_or_else(|| {
            tool_missing(&format!(
                "--qemu {}: there is no such program",
                path.display()
            ))
        }),
        None => {
            ensure(&[QEMU], consent)?;
            Ok(find(QEMU.program).unwrap_or_else(|| QEMU.program.into()))
        }
    }
}

/// Makes sure that the compiler builds for bare metal.
///
/// # Errors
/// [`Code::ToolMissing`]: a target is missing and there is no rustup, or it failed.
pub fn rust_targets() -> Outcome {
    let installed = |target: &str| {
        let output = Command::new("rustc")
            .args(["--print", "target-libdir", "--target", target])
            .current_dir(crate::workspace::root())
            .output();
        output.is_ok_and(|output| {
            let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Path::new(&folder).is_dir()
        })
    };
    let missing: Vec<&str> = [HYPERVISOR_TARGET, GUEST_TARGET]
        .into_iter()
        .filter(|target| !installed(target))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add"]).args(&missing);
    rustup.current_dir(crate::workspace::root());
    call(&mut rustup, "rustup target add").map_err(|failure| {
        tool_missing(&format!(
            "the compiler lacks the target {}: run `rustup target add {}` ({failure})",
            missing.join(" and "),
            missing.join(" ")
        ))
    })
}

/// Waits until no other test holds something that serves one at a time. A test that panicked while it held it has harmed
/// nobody: what it was making is not there under its final name.
pub fn alone<T>(thing: &Mutex<T>) -> MutexGuard<'_, T> {
    thing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes sure that the nightly toolchain, where there is one, has Miri; says whether it has.
pub fn miri(consent: Consent) -> bool {
    let there = || {
        let mut miri = Command::new("cargo");
        capture(miri.args(["+nightly", "miri", "--version"]), "Miri").is_ok()
    };
    if there() {
        return true;
    }
    let mut toolchain = Command::new("rustc");
    let nightly = capture(toolchain.args(["+nightly", "--version"]), "rustc").is_ok();
    if !nightly || consent.no_install {
        return false;
    }
    eprintln!("xtask: adding Miri to the nightly toolchain");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "miri", "rust-src"]);
    rustup.args(["--toolchain", "nightly"]);
    capture(&mut rustup, "rustup component add").is_ok() && there()
}

/// Installs packages: at once as root or with `--yes`, after a question otherwise.
fn install(packages: &[&str], consent: Consent) -> Outcome {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = alone(&INSTALLING);
    let names = packages.join(" ");
    if consent.no_install {
        return Err(tool_missing(&format!("not installed: package {names}")));
    }
    if find("apt-get").is_none() {
        return Err(tool_missing(&format!(
            "not installed: what Debian calls {names}; this machine has no apt-get: install it with the system's \
             own package manager, so that it is in PATH (QEMU also by --qemu PATH)"
        )));
    }
    let root = rustix::process::geteuid().is_root();
    let sudo = if root { "" } else { "sudo " };
    let line = format!(
        "{sudo}apt-get update && {sudo}apt-get install --yes --no-install-recommends {names}"
    );
    eprintln!("xtask: installing {names}: {line}");
    if !root && !consent.yes && !agreed(&names)? {
        return Err(tool_missing(&format!("not installed: package {names}")));
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]);
    shell.env("DEBIAN_FRONTEND", "noninteractive");
    // The console of a run is our standard output alone.
    shell.stdout(io::stderr());
    call(&mut shell, "apt-get")
        .map_err(|failure| tool_missing(&format!("package {names}: {failure}")))
}

/// Asks the person at the terminal.
fn agreed(names: &str) -> Outcome<bool> {
    if !io::stdin().is_terminal() {
        return Err(tool_missing(&format!(
            "not installed: package {names}; run the line above, or pass --yes"
        )));
    }
    eprint!("Run it now? [y/N] ");
    io::stderr().flush().ok();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(error.to_string()))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Makes the failure of a missing tool.
pub fn tool_missing(message: &str) -> Failure {
    Failure::new(Code::ToolMissing, message)
}
