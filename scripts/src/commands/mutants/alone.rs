//! cargo-mutants: it lists the mutants there are, and tries one in a build of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::draw::{Mutant, mutants};
use super::ledger::Fate;
use super::{LeftOut, PROPERTIES, quick_build};
use crate::args::Consent;
use crate::failure::{Failure, Outcome};
use crate::setup;
use crate::workspace::{call, capture, cargo, make_folder, products};

/// What is in the modules' files and no part of EL2: models and tests.
const NOT_EL2: [&str; 5] = [
    "src/vgic/model.rs",
    "src/vgic/model/**",
    "src/**/tests*",
    "**/samples.rs",
    "**/orders.rs",
];
/// Longest test of a mutant, in seconds: what takes longer hangs, and is caught.
const TEST_SECONDS: &str = "60";

/// cargo-mutants, the sources it works on, and what it leaves out.
#[derive(Debug)]
pub struct Tool {
    path: PathBuf,
    tree: PathBuf,
    left_out: Vec<LeftOut>,
}

impl Tool {
    /// Finds it, or builds it.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn new(tree: PathBuf, left_out: Vec<LeftOut>, consent: Consent) -> Outcome<Self> {
        let path = found(consent)?;
        Ok(Self {
            path,
            tree,
            left_out,
        })
    }

    /// Lists the mutants of modules.
    ///
    /// # Errors
    /// cargo-mutants fails.
    pub fn list(&self, modules: &[&str]) -> Outcome<Vec<Mutant>> {
        let mut command = self.call();
        command.args(["--list", "--json"]);
        for module in modules {
            command.arg("--file").arg(format!("src/{module}.rs"));
            command.arg("--file").arg(format!("src/{module}/**"));
        }
        for file in NOT_EL2 {
            command.args(["--exclude", file]);
        }
        let list = capture(&mut command, "cargo-mutants")?;
        mutants(&list).map_err(|error| Failure::failed(format!("cargo-mutants' list: {error}")))
    }

    /// Tries a mutant, and returns what became of it: with the tests of its own module, and with all when they do not see it.
    ///
    /// # Errors
    /// cargo-mutants did not try it.
    pub fn try_one(&self, mutant: &Mutant) -> Outcome<Fate> {
        let own = format!("{}::", mutant.module());
        match self.try_with(mutant, &["--", &own])? {
            Fate::Missed => self.try_with(mutant, &[]),
            fate => Ok(fate),
        }
    }

    /// Tries a mutant with the tests that these arguments choose. It is named by its place in its file: by a name
    /// cargo-mutants 27.1 would try all fields that can be left out as well.
    fn try_with(&self, mutant: &Mutant, tests: &[&str]) -> Outcome<Fate> {
        let results = products(&["mutants", "last"]);
        drop(fs::remove_dir_all(&results)); // it may not be there yet
        make_folder(&results)?;
        let mut command = self.call();
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
        quick_build(&mut command, "build");
        command.arg("--output").arg(&results).args(tests);
        let output = command.output();
        let output = output.map_err(|error| Failure::failed(format!("cargo-mutants: {error}")))?;
        let found = fate(&results.join("mutants.out"), &mutant.name);
        found.ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            let name = &mutant.name;
            Failure::failed(format!("cargo-mutants did not try {name}: {}", said.trim()))
        })
    }

    /// Returns a call of it.
    fn call(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["mutants", "--package", "bulkhead", "--colors", "never"]);
        for kind in &self.left_out {
            command.arg("--exclude-re").arg(&kind.matches);
        }
        command.current_dir(&self.tree);
        command
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
fn found(consent: Consent) -> Outcome<PathBuf> {
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
