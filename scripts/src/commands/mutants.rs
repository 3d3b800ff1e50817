//! `cargo xtask mutants`: changes EL2's pure modules one place at a time by cargo-mutants, and says which changes their own
//! tests do not see. `tests/mutants.toml` has what was found, and why each survivor is none or is borne.
//!
//! A mutant counts as caught when a unit test of its own top-level module fails or does not end; tests of other modules are
//! not asked. With that, and a build that compiles the changed part alone and optimises nothing, a mutant takes some three
//! seconds of a processor. It works on a copy of the sources in `target/bulkhead/mutants`.

mod draw;
mod ledger;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

pub use self::draw::Sample;
use self::draw::{Mutant, draw, mutants};
use self::ledger::{Fate, Ledger};
use crate::args;
use crate::failure::{Failure, Outcome};
use crate::setup;
use crate::workspace::{call, capture, cargo, make_folder, products, read, root, write};

/// The pure modules.
pub const MODULES: [&str; 19] = [
    "addr",
    "board",
    "config",
    "console",
    "device",
    "ids",
    "message",
    "partition",
    "regs",
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
/// What is in their files and no part of EL2: models and tests.
const NOT_EL2: [&str; 4] = [
    "src/vgic/model/**",
    "src/**/tests*",
    "**/samples.rs",
    "**/orders.rs",
];
/// Cases of each property. Every mutant meets the same ones, and what one of them breaks on is not kept for the next.
const PROPERTIES: [(&str, &str); 4] = [
    ("PROPTEST_CASES", "32"),
    ("PROPTEST_RNG_SEED", "1"),
    ("PROPTEST_MAX_SHRINK_ITERS", "0"),
    ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"),
];
/// Longest test of a mutant, in seconds: what takes longer hangs, and is caught.
const TEST_SECONDS: &str = "60";

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
    /// [`Mutant::key`].
    mutant: String,
    /// Why that is as it should be.
    #[serde(rename = "why")]
    _why: String,
}

/// What became of mutants.
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
    /// Returns how many there are that compile.
    pub fn total(&self) -> usize {
        self.caught + self.explained + self.missed.len()
    }

    /// Returns how many of a hundred are caught; those that are explained are not.
    pub fn percent(&self) -> usize {
        100 * self.caught / self.total().max(1)
    }

    /// Counts one.
    fn add(&mut self, mutant: &Mutant, fate: Option<Fate>, known: &Known) {
        let is_known = || known.survivor.iter().any(|one| one.mutant == mutant.key);
        match fate {
            Some(Fate::Caught | Fate::Timeout) => self.caught += 1,
            Some(Fate::Missed) if is_known() => self.explained += 1,
            Some(Fate::Missed) => self
                .missed
                .push(format!("{} ({})", mutant.key, mutant.name)),
            Some(Fate::Unviable) | None => {}
        }
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
    let sample = Sample {
        count: args.sample,
        seed: args.seed,
    };
    let all = measure(&modules, sample, args.resume, args.consent)?;
    println!(
        "{}/{} caught, {} %; of the others {} are explained in tests/mutants.toml, {} are not",
        all.caught,
        all.total(),
        all.percent(),
        all.explained,
        all.missed.len()
    );
    Ok(())
}

/// Tests the mutants of modules, all or a sample, and prints what became of those of each.
///
/// # Errors
/// cargo-mutants cannot be had, or fails.
pub fn measure(
    modules: &[&str],
    sample: Sample,
    goes_on: bool,
    consent: args::Consent,
) -> Outcome<Tally> {
    let tool = tool(consent)?;
    let tree = copy()?;
    let known = known()?;
    let list = capture(&mut listing(&tool, &tree, modules, &known), "cargo-mutants")?;
    let drawn = draw(mutants(&list), sample);
    let mut ledger = Ledger::open(&products(&["mutants", "results.txt"]), goes_on);
    let mut all = Tally::default();
    for module in modules {
        let of_module = drawn.iter().filter(|mutant| mutant.module() == *module);
        let of_module: Vec<&Mutant> = of_module.collect();
        let open = of_module.iter().filter(|one| !ledger.is_settled(&one.key));
        let open: Vec<&Mutant> = open.copied().collect();
        for mutant in open {
            let fate = try_one(&tool, &tree, mutant, &known)?;
            ledger.note(mutant, fate)?;
        }
        let mut tally = Tally::default();
        for mutant in of_module {
            tally.add(mutant, ledger.fate(&mutant.key), &known);
        }
        if tally.total() > 0 {
            print(module, &tally);
        }
        all.caught += tally.caught;
        all.explained += tally.explained;
        all.missed.extend(tally.missed);
    }
    Ok(all)
}

/// Prints a module's line, and which of its mutants survive.
fn print(module: &str, tally: &Tally) {
    let (caught, total) = (tally.caught, tally.total());
    println!(
        "{module:<10} {caught:>4}/{total:<4} {} explained",
        tally.explained
    );
    tally
        .missed
        .iter()
        .for_each(|mutant| println!("  {mutant}"));
}

/// Returns the call that lists the mutants of modules.
fn listing(tool: &Path, tree: &Path, modules: &[&str], known: &Known) -> Command {
    let mut command = call_of(tool, tree, known);
    command.arg("--list");
    for module in modules {
        command.arg("--file").arg(format!("src/{module}.rs"));
        command.arg("--file").arg(format!("src/{module}/**"));
    }
    for file in NOT_EL2 {
        command.args(["--exclude", file]);
    }
    command
}

/// Returns a call of cargo-mutants, as far as listing and trying have it in common.
fn call_of(tool: &Path, tree: &Path, known: &Known) -> Command {
    let mut command = Command::new(tool);
    command.args(["mutants", "--package", "bulkhead", "--colors", "never"]);
    for kind in &known.left_out {
        command.arg("--exclude-re").arg(&kind.matches);
    }
    command.current_dir(tree);
    without_own_package(&mut command);
    command
}

/// Tries a mutant, and returns what became of it. It is named by its place in its file: by a name cargo-mutants 27.1 would
/// try all fields that can be left out as well.
fn try_one(tool: &Path, tree: &Path, mutant: &Mutant, known: &Known) -> Outcome<Fate> {
    let results = products(&["mutants", "last"]);
    drop(fs::remove_dir_all(&results)); // it may not be there yet
    make_folder(&results)?;
    let mut command = call_of(tool, tree, known);
    let (place, all) = mutant.place;
    command.args([
        "--file",
        mutant.file(),
        "--sharding",
        "round-robin",
        "--shard",
    ]);
    command.arg(format!("{place}/{all}"));
    command.args(["--in-place", "--no-shuffle", "--baseline=skip"]);
    command.args(["--test-workspace=false", "--cargo-arg=--lib"]);
    command.args(["--timeout", TEST_SECONDS, "--build-timeout", "600"]);
    command.envs(PROPERTIES);
    // No symbols, nothing optimised, only what has changed: building is most of the time.
    command.env("CARGO_PROFILE_TEST_DEBUG", "0");
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.env("CARGO_INCREMENTAL", "1");
    command.env("CARGO_TARGET_DIR", products(&["mutants", "build"]));
    command.arg("--output").arg(&results);
    // Tests see only what is behind `--`.
    command.arg("--").arg(format!("{}::", mutant.module()));
    let output = command.output();
    let output = output.map_err(|error| Failure::failed(format!("cargo-mutants: {error}")))?;
    let found = fate(&results.join("mutants.out"), &mutant.name);
    found.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        Failure::failed(format!(
            "cargo-mutants did not try {}: {}",
            mutant.name,
            said.trim()
        ))
    })
}

/// Takes out what says which package this is: it is not the one that is changed.
fn without_own_package(command: &mut Command) {
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
}

/// Reads what cargo-mutants found of a mutant.
fn fate(results: &Path, name: &str) -> Option<Fate> {
    let found = Fate::ALL.iter().find(|(_, list)| {
        let text = fs::read_to_string(results.join(format!("{list}.txt")));
        text.is_ok_and(|text| text.lines().any(|line| line == name))
    });
    found.map(|(fate, _)| *fate)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_in_the_file_have_a_reason() {
        let known = known().expect("tests/mutants.toml");
        for survivor in &known.survivor {
            assert!(survivor._why.len() > 20, "{}", survivor.mutant);
            let file = survivor.mutant.split(": ").next().unwrap_or("");
            assert!(root().join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn what_hangs_is_caught_and_what_does_not_compile_does_not_count() {
        let known = Known {
            survivor: vec![Survivor {
                mutant: "src/ids.rs: b #1".to_owned(),
                _why: String::new(),
            }],
            ..Known::default()
        };
        let list = "src/ids.rs:1:1: a\nsrc/ids.rs:1:1: b\nsrc/ids.rs:2:1: b\n";
        let mut tally = Tally::default();
        for mutant in &mutants(list) {
            for (fate, _) in Fate::ALL {
                tally.add(mutant, Some(fate), &known);
            }
        }
        let missed = tally.missed.len();
        assert_eq!((tally.caught, tally.explained, missed), (6, 1, 2));
        assert_eq!((tally.total(), tally.percent()), (9, 66));
    }
}
