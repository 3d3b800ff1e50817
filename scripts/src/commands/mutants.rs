//! `cargo xtask mutants`: changes EL2's pure modules one place at a time by cargo-mutants, and says which changes their own
//! tests do not see. `tests/mutants.toml` has what was found, and why each survivor is none or is borne.
//!
//! A mutant counts as caught when a unit test of its own top-level module fails; tests of other modules are not asked, so
//! that a mutant takes seconds. It works on a copy of the sources in `target/bulkhead/mutants`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::args;
use crate::failure::{Failure, Outcome};
use crate::setup;
use crate::workspace::{call, capture, cargo, make_folder, products, read, root, write};

/// The pure modules.
pub const MODULES: [&str; 18] = [
    "addr",
    "board",
    "config",
    "console",
    "device",
    "ids",
    "message",
    "partition",
    "sched",
    "smccc",
    "stage1",
    "stage2",
    "sync",
    "trace",
    "trap",
    "uart",
    "vcpu",
    "vgic",
];
/// Cases of each property: every mutant meets them all.
const CASES: &str = "32";
/// Longest test of a mutant, in seconds: what takes longer hangs, and is caught.
const TEST_SECONDS: &str = "120";

/// `tests/mutants.toml`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
struct Known {
    /// Kinds of mutants that are left out.
    #[serde(default)]
    left_out: Vec<LeftOut>,
    #[serde(default)]
    survivor: Vec<Survivor>,
}

/// A kind of mutants that is left out.
#[derive(Clone, Debug, Deserialize)]
struct LeftOut {
    /// A regular expression.
    matches: String,
    /// Why.
    #[serde(rename = "why")]
    _why: String,
}

/// A mutant that no test sees.
#[derive(Clone, Debug, Deserialize)]
struct Survivor {
    /// As cargo-mutants names it, without line and column.
    mutant: String,
    /// Why that is as it should be.
    #[serde(rename = "why")]
    _why: String,
}

/// What became of the mutants.
#[derive(Debug, Default)]
pub struct Tally {
    /// A test failed or did not end.
    pub caught: usize,
    /// No test saw them, and the file says why.
    pub explained: usize,
    /// No test saw them.
    pub missed: Vec<String>,
}

impl Tally {
    /// Returns how many of a hundred are caught.
    pub fn percent(&self) -> usize {
        let all = self.caught + self.explained + self.missed.len();
        100 * self.caught / all.max(1)
    }
}

/// Runs the command.
pub fn run(args: &args::Mutants) -> Outcome {
    let modules: Vec<&str> = match args.modules.as_slice() {
        [] => MODULES.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    if let Some(wrong) = modules.iter().find(|name| !MODULES.contains(name)) {
        let all = MODULES.join(", ");
        return Err(Failure::usage(format!(
            "no pure module `{wrong}`; there are: {all}"
        )));
    }
    let tally = measure(&modules, args.sample.as_deref(), args.consent)?;
    let (caught, explained, missed) = (tally.caught, tally.explained, tally.missed.len());
    println!(
        "{caught} caught, {explained} survive for a reason, {missed} survive: {} % caught",
        tally.percent()
    );
    Ok(())
}

/// Tests the mutants of modules, all or a sample.
///
/// # Errors
/// cargo-mutants cannot be had, or fails.
pub fn measure(modules: &[&str], sample: Option<&str>, consent: args::Consent) -> Outcome<Tally> {
    let tool = tool(consent)?;
    let tree = copy()?;
    let known = known()?;
    let mut all = Tally::default();
    for module in modules {
        let results = products(&["mutants", "results", module]);
        drop(fs::remove_dir_all(&results)); // it may not be there yet
        make_folder(&results)?;
        let mut command = command(&tool, module, sample);
        for kind in &known.left_out {
            command.arg("--exclude-re").arg(&kind.matches);
        }
        command.current_dir(&tree).arg("--output").arg(&results);
        // Tests see only what is behind `--`.
        command.arg("--").arg(format!("{module}::"));
        let output = command.output();
        let output = output.map_err(|error| Failure::failed(format!("cargo-mutants: {error}")))?;
        // 2: some were missed; 3: some took too long.
        if !matches!(output.status.code(), Some(0 | 2 | 3)) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::failed(format!(
                "cargo-mutants failed: {}",
                said.trim()
            )));
        }
        let tally = tally(&results.join("mutants.out"), &known)?;
        println!(
            "{module:<10} {:>4} caught, {:>3} explained, {:>3} survive",
            tally.caught,
            tally.explained,
            tally.missed.len()
        );
        tally
            .missed
            .iter()
            .for_each(|mutant| println!("  {mutant}"));
        all.caught += tally.caught;
        all.explained += tally.explained;
        all.missed.extend(tally.missed);
    }
    Ok(all)
}

/// Returns the call for a module.
fn command(tool: &Path, module: &str, sample: Option<&str>) -> Command {
    let mut command = Command::new(tool);
    command.args(["mutants", "--in-place", "--package", "bulkhead"]);
    command.args([
        "--test-workspace=false",
        "--cargo-arg=--lib",
        "--baseline=skip",
    ]);
    command.args([
        "--timeout",
        TEST_SECONDS,
        "--build-timeout",
        "600",
        "--no-shuffle",
    ]);
    command.args(["--colors", "never"]);
    for file in [format!("src/{module}.rs"), format!("src/{module}/**")] {
        command.arg("--file").arg(file);
    }
    for tests in [
        "src/vgic/model*",
        "src/**/tests*",
        "**/samples.rs",
        "**/orders.rs",
    ] {
        command.args(["--exclude", tests]);
    }
    if let Some(sample) = sample {
        command.args(["--shard", sample, "--sharding", "round-robin"]);
    }
    // No symbols, and tests that are quick; mutants are many.
    command.env("CARGO_PROFILE_TEST_DEBUG", "0");
    command.env("CARGO_PROFILE_TEST_OPT_LEVEL", "1");
    command.env("PROPTEST_CASES", CASES);
    command.env("CARGO_TARGET_DIR", products(&["mutants", "build"]));
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command
}

/// Finds cargo-mutants, or builds it.
fn tool(consent: args::Consent) -> Outcome<PathBuf> {
    let folder = products(&["tools"]);
    let own = folder.join("bin/cargo-mutants");
    if let Some(found) = setup::find("cargo-mutants") {
        return Ok(found);
    }
    if own.is_file() {
        return Ok(own);
    }
    if consent.no_install {
        return Err(Failure::failed(
            "not installed: run `cargo install cargo-mutants`",
        ));
    }
    eprintln!("xtask: building cargo-mutants into {}", folder.display());
    let mut install = cargo();
    install.args(["install", "--quiet", "--locked", "cargo-mutants", "--root"]);
    call(install.arg(&folder), "cargo install cargo-mutants")?;
    Ok(own)
}

/// Copies the sources, and leaves alone what is the same, so that a second run builds little.
fn copy() -> Outcome<PathBuf> {
    let tree = products(&["mutants", "tree"]);
    let mut git = Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(root());
    let names = capture(&mut git, "git ls-files")?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let from = root().join(name);
        if from.is_file() {
            write(&tree.join(name), &read(&from)?)?;
        }
    }
    Ok(tree)
}

/// Reads which survivors are known.
fn known() -> Outcome<Known> {
    let file = root().join("tests/mutants.toml");
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    toml::from_str(&text).map_err(|error| Failure::file(&file, error))
}

/// Reads what cargo-mutants found.
fn tally(results: &Path, known: &Known) -> Outcome<Tally> {
    let lines = |name: &str| {
        let text = fs::read_to_string(results.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    if !results.is_dir() {
        return Ok(Tally::default()); // the sample has nothing of this module
    }
    let is_known = |mutant: &String| {
        let name = unplaced(mutant);
        known
            .survivor
            .iter()
            .any(|survivor| survivor.mutant == name)
    };
    let (explained, missed): (Vec<_>, Vec<_>) = lines("missed.txt").into_iter().partition(is_known);
    Ok(Tally {
        caught: lines("caught.txt").len() + lines("timeout.txt").len(),
        explained: explained.len(),
        missed,
    })
}

/// Takes line and column out of a mutant's name: `src/a.rs:1:2: replace ...`.
fn unplaced(mutant: &str) -> String {
    let (place, what) = mutant.split_once(": ").unwrap_or((mutant, ""));
    let file = place.split(':').next().unwrap_or(place);
    format!("{file}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_known_wherever_they_stand() {
        let name = "src/sched/mail.rs:12:34: replace < with <= in Heard::new";
        assert_eq!(
            unplaced(name),
            "src/sched/mail.rs: replace < with <= in Heard::new"
        );
    }

    #[test]
    fn survivors_in_the_file_have_a_reason() {
        let known = known().expect("tests/mutants.toml");
        for survivor in &known.survivor {
            assert!(survivor._why.len() > 20, "{}", survivor.mutant);
            let file = survivor.mutant.split(": ").next().unwrap_or("");
            assert!(root().join(file).is_file(), "{file}");
        }
    }
}
