//! `cargo xtask mutants`: changes EL2's pure modules one place at a time by cargo-mutants, and says which changes
//! unit tests do not see. `tests/mutants.toml` has what was found, and why each survivor is none or is borne.
//!
//! A mutant counts as caught when a unit test of EL2's library fails or does not end. All that are in functions are tried in
//! one build (`together`), with the tests that get to them. What does not compile there, what is in no function, and what
//! survives and may be seen in constants alone is tried in a build of its own (`alone`). It works on copies of the sources
//! in `target/bulkhead/mutants`.

mod alone;
mod draw;
mod ledger;
mod schemata;
mod together;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde::Deserialize;

use self::alone::Tool;
pub use self::draw::Sample;
use self::draw::{Mutant, draw};
use self::ledger::{Fate, Ledger};
use self::together::Found;
use crate::args;
use crate::failure::{Failure, Outcome};
use crate::workspace::{capture, products, read, root, write};

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
/// Cases of each property. Every mutant meets the same ones, and what one of them breaks on is not kept for the next.
const PROPERTIES: [(&str, &str); 4] = [
    ("PROPTEST_CASES", "32"),
    ("PROPTEST_RNG_SEED", "1"),
    ("PROPTEST_MAX_SHRINK_ITERS", "0"),
    ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"),
];

/// `tests/mutants.toml`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
struct Known {
    /// Kinds of mutants that are left out.
    #[serde(default)]
    left_out: Vec<LeftOut>,
    #[serde(default)]
    survivor: Vec<Survivor>,
}

impl Known {
    /// Returns the mutants that have a reason to survive.
    fn explained(&self) -> impl Iterator<Item = &str> {
        let each = self.survivor.iter().flat_map(|one| &one.mutants);
        each.map(String::as_str)
    }
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

/// Mutants that no test sees.
#[derive(Clone, Debug, Deserialize)]
struct Survivor {
    /// [`Mutant::key`] of each.
    mutants: Vec<String>,
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
    /// The file says why, and there is no such mutant or a test sees it.
    pub needless: Vec<String>,
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
        let is_known = || known.explained().any(|known| known == mutant.key);
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
    for mutant in all.needless {
        println!("not there or caught, so take it out of tests/mutants.toml: {mutant}");
    }
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
    let tree = copy()?;
    let known = known()?;
    let tool = Tool::new(tree.clone(), known.left_out.clone(), consent)?;
    let listed = tool.list(modules)?;
    let drawn = draw(listed.clone(), sample);
    let ledger = Ledger::open(&products(&["mutants", "results.txt"]), goes_on);
    let ledger = try_all(&tool, &tree, &drawn, ledger)?;
    let mut all = Tally {
        needless: needless(&known, modules, &listed, &ledger),
        ..Tally::default()
    };
    for module in modules {
        let mut tally = Tally::default();
        for mutant in drawn.iter().filter(|one| one.module() == *module) {
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

/// Tries mutants: all together that can be, the others one by one.
fn try_all(tool: &Tool, tree: &Path, drawn: &[Mutant], ledger: Ledger) -> Outcome<Ledger> {
    let open = drawn.iter().filter(|one| !ledger.is_settled(&one.key));
    let open: Vec<&Mutant> = open.collect();
    let state = Mutex::new((ledger, Vec::new()));
    together::try_all(tree, &open, |mutant, found| {
        let (ledger, alone) = &mut *state.lock().expect("no thread panics");
        match found {
            Found::Fate(fate) => return ledger.note(mutant, fate),
            Found::Alone => alone.push(mutant.clone()),
        }
        Ok(())
    })?;
    let (mut ledger, alone) = state.into_inner().expect("no thread panics");
    eprintln!("xtask: {} mutants, each in a build of its own", alone.len());
    for mutant in &alone {
        let fate = tool.try_one(mutant)?;
        ledger.note(mutant, fate)?;
    }
    Ok(ledger)
}

/// Returns the mutants of modules that are explained, and are not there or are caught.
fn needless(known: &Known, modules: &[&str], listed: &[Mutant], ledger: &Ledger) -> Vec<String> {
    let asked = |key: &&str| modules.contains(&draw::module(key));
    let explained = known.explained().filter(asked);
    let needless = explained.filter(|key| {
        let is_caught = matches!(ledger.fate(key), Some(Fate::Caught | Fate::Timeout));
        is_caught || listed.iter().all(|mutant| mutant.key != *key)
    });
    needless.map(str::to_owned).collect()
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

/// Makes a call of cargo build quickly: no symbols, and only what has changed. What says which package calls is taken out: it
/// is not the one that is built.
fn quick_build(command: &mut Command, folder: &str) {
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command.env("CARGO_PROFILE_TEST_DEBUG", "0");
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.env("CARGO_INCREMENTAL", "1");
    command.env("CARGO_TARGET_DIR", products(&["mutants", folder]));
}

/// Copies the sources, and leaves alone what is the same, so that a second run builds little.
fn copy() -> Outcome<PathBuf> {
    let tree = products(&["mutants", "tree"]);
    for name in sources()? {
        write(&tree.join(&name), &read(&root().join(&name))?)?;
    }
    Ok(tree)
}

/// Returns the names of the project's files.
fn sources() -> Outcome<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(root());
    let names = capture(&mut git, "git ls-files")?;
    let names = names.split('\0').filter(|name| root().join(name).is_file());
    Ok(names.map(str::to_owned).collect())
}

/// Reads which survivors are known.
fn known() -> Outcome<Known> {
    let file = root().join("tests/mutants.toml");
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    toml::from_str(&text).map_err(|error| Failure::file(&file, error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn survivors_in_the_file_have_a_reason() {
        let known = known().expect("tests/mutants.toml");
        for survivor in &known.survivor {
            assert!(survivor._why.len() > 20, "{:?}", survivor.mutants);
        }
        let mut seen = BTreeSet::new();
        for mutant in known.explained() {
            let file = mutant.split(": ").next().unwrap_or("");
            assert!(root().join(file).is_file(), "{file}");
            assert!(seen.insert(mutant), "{mutant} is there twice");
        }
    }

    #[test]
    fn what_hangs_is_caught_and_what_does_not_compile_does_not_count() {
        let known = Known {
            survivor: vec![Survivor {
                mutants: vec!["src/ids.rs: b #1".to_owned()],
                _why: String::new(),
            }],
            ..Known::default()
        };
        let list = [
            "src/ids.rs:1:1: a",
            "src/ids.rs:1:1: b",
            "src/ids.rs:2:1: b",
        ];
        let mut tally = Tally::default();
        for mutant in &draw::tests::named(&list) {
            for (fate, _) in Fate::ALL {
                tally.add(mutant, Some(fate), &known);
            }
        }
        let missed = tally.missed.len();
        assert_eq!((tally.caught, tally.explained, missed), (6, 1, 2));
        assert_eq!((tally.total(), tally.percent()), (9, 66));
    }
}
