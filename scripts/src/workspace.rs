//! Where things lie, and how cargo and other programs are called.

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::failure::{Failure, Outcome};

/// Target of EL2: the compiler must not touch vector registers there.
pub const HYPERVISOR_TARGET: &str = "aarch64-unknown-none-softfloat";
/// Target of the guest crates, which may use vector registers.
pub const GUEST_TARGET: &str = "aarch64-unknown-none";

/// Returns the project's folder.
pub fn root() -> PathBuf {
    let scripts = env::var_os("CARGO_MANIFEST_DIR")
        .filter(|_| env::var("CARGO_PKG_NAME").is_ok_and(|name| name == "xtask"))
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    scripts.parent().map(Path::to_owned).unwrap_or(scripts)
}

/// Returns cargo's build folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Returns the folder of our own products, `target/bulkhead`, with `parts` appended.
pub fn products(parts: &[&str]) -> PathBuf {
    let mut path = target().join("bulkhead");
    path.extend(parts);
    path
}

thread_local! {
    /// Which of several tests that run at once this thread is about: 0 is the first, and all else that people call.
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Says in which lane all goes on that this thread does from now on; see [`own`].
pub fn take_lane(lane: usize) {
    LANE.set(lane);
}

/// [`products`] of one run alone, images for example: tests that run at once have a folder each, and the first has the one
/// that people know.
pub fn own(parts: &[&str]) -> PathBuf {
    match LANE.get() {
        0 => products(parts),
        lane => {
            let mut path = products(&["lanes", &lane.to_string()]);
            path.extend(parts);
            path
        }
    }
}

/// Makes a folder and those above it.
pub fn make_folder(path: &Path) -> Outcome {
    fs::create_dir_all(path).map_err(|error| Failure::file(path, error))
}

/// Reads a file.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| Failure::file(path, error))
}

/// Writes a file and the folders above it; leaves a file alone that holds the same bytes, so that what depends on
/// its time is not redone.
pub fn write(path: &Path, bytes: &[u8]) -> Outcome {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    // Written beside and renamed, so that an interrupted command leaves no half file behind.
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    let write = WRITES.fetch_add(1, Relaxed);
    let fresh = path.with_extension(format!("{}-{write}.new", std::process::id()));
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| {
            // A full disk needs the room, and a server's folder no half files.
            let _ = fs::remove_file(&fresh);
            Failure::file(path, error)
        })
}

/// Returns a path as people want to read it: relative to the current folder where it lies below.
pub fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Returns a call of cargo in the project's folder.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set for us by the outer `cargo run`; the inner build must not see them.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command
}

/// Returns cargo's own folder, where the sources of other crates are.
pub fn cargo_home() -> PathBuf {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cargo"))
}

/// Returns a call of cargo that builds a program for bare metal. The places of panics in it do not say in which folders it
/// was built, so that all folders give the same bytes; what a debugger reads still does.
pub fn bare_metal_build(target: &str) -> Command {
    let sources = cargo_home().join("registry").join("src");
    let prefixes = [(sources, "/crates"), (root(), "/bulkhead")];
    let prefixes =
        prefixes.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let flags = ["--remap-path-scope=macro".to_owned()].into_iter();
    let flags: Vec<_> = flags.chain(prefixes).collect();
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--target", target]);
    command.arg("--config");
    command.arg(format!(
        "target.{target}.rustflags={}",
        serde_json::json!(flags)
    ));
    command
}

/// Runs a program with our terminal and fails when it fails.
pub fn call(command: &mut Command, what: &str) -> Outcome {
    let status = command
        .status()
        .map_err(|error| Failure::failed(format!("{what}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::failed(format!("{what} failed ({status})")))
}

/// Runs a program silently and returns what it printed; its messages become part of the failure.
pub fn capture(command: &mut Command, what: &str) -> Outcome<String> {
    let output = command
        .output()
        .map_err(|error| Failure::failed(format!("{what}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(format!("{what} failed: {}", said.trim())))
}

/// May messages on standard error be coloured?
pub fn colour_on_stderr() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && env::var_os("NO_COLOR").is_none()
}
