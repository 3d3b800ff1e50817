//! `cargo xtask inputs`: the fuzz targets of `tests/fuzz`, driven by LLVM's libFuzzer.
//!
//! The targets are built by the stable compiler: the passes that count coverage are LLVM's own, and `unsafe` code is looked
//! at by Miri. What was found stays in `target/bulkhead/inputs/TARGET`; what broke something becomes a seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bulkhead_fuzz::{TARGETS, Target, target, write_hex};

use crate::args;
use crate::failure::{Failure, Outcome};
use crate::setup;
use crate::workspace::{call, capture, cargo, make_folder, products, read, write};

/// What makes the compiler count which edges and comparisons an input reaches.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cforce-frame-pointers",
];
/// Longest time of one input, in seconds: what takes longer hangs.
const INPUT_SECONDS: u32 = 20;

/// The engine with all targets in it.
pub struct Engine(PathBuf);

/// What a run of a target did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Inputs that it was run on.
    pub executions: u64,
    /// Edges that they reached.
    pub edges: u64,
}

/// How a target is run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seconds.
    pub seconds: u64,
    /// Most inputs, if fewer than time allows.
    pub executions: Option<u64>,
    /// What was found before is kept and gone on with.
    pub keeps: bool,
    /// Where the engine draws from; `None`: from somewhere else each time.
    pub seed: Option<u32>,
}

/// Runs the command.
pub fn run(args: &args::Inputs) -> Outcome {
    let targets = chosen(&args.targets)?;
    if args.list {
        for target in targets {
            println!(
                "{:<12} {:>4} seeds  {}",
                target.name,
                target.seeds().len(),
                target.about
            );
        }
        return Ok(());
    }
    let engine = Engine::build(args.consent)?;
    if let Some(file) = &args.input {
        let [target] = targets.as_slice() else {
            return Err(Failure::usage(
                "--input wants one target: cargo xtask inputs TARGET --input FILE",
            ));
        };
        return call(engine.command(target).arg(file), target.name);
    }
    if let Some(bytes) = args.small {
        return targets
            .iter()
            .try_for_each(|target| engine.print_small(target, bytes));
    }
    let bounds = Bounds {
        seconds: args.time,
        executions: None,
        keeps: true,
        seed: None,
    };
    for target in targets {
        println!("==> {}: {}", target.name, target.about);
        let ran = engine.run(target, bounds)?;
        println!("{} executions, {} edges", ran.executions, ran.edges);
    }
    Ok(())
}

/// Returns the targets with these names; all when there are none.
fn chosen(names: &[String]) -> Outcome<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let found = names.iter().map(|name| {
        target(name).ok_or_else(|| {
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            Failure::usage(format!("no target `{name}`; there are: {}", all.join(", ")))
        })
    });
    found.collect()
}

impl Engine {
    /// Builds the engine.
    ///
    /// # Errors
    /// There is no C++ compiler, or the build fails.
    pub fn build(consent: args::Consent) -> Outcome<Self> {
        setup::ensure(&[setup::CXX], consent)?;
        let host = host()?;
        let folder = products(&["inputs", "build"]);
        let mut build = cargo();
        build.args(["build", "--quiet", "--package", "bulkhead-fuzz"]);
        build.args(["--features", "engine", "--profile", "fuzz"]);
        // For a named target, so that build scripts are built without coverage.
        build
            .args(["--target", &host])
            .arg("--target-dir")
            .arg(&folder);
        build.env("RUSTFLAGS", COVERAGE.join(" "));
        build.env_remove("CARGO_ENCODED_RUSTFLAGS");
        capture(&mut build, "the build of the fuzz targets")?;
        Ok(Self(folder.join(host).join("fuzz").join("bulkhead-fuzz")))
    }

    /// Returns a call of a target.
    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.0);
        command.env("BULKHEAD_FUZZ_TARGET", target.name);
        command.arg(format!("-timeout={INPUT_SECONDS}"));
        let folder = folder(target, "broken");
        command.arg(format!("-artifact_prefix={}/", folder.display()));
        command
    }

    /// Runs a target on its seeds and on what the engine makes of them.
    ///
    /// # Errors
    /// An input that breaks something; the message says how to run it again.
    pub fn run(&self, target: &Target, bounds: Bounds) -> Outcome<Ran> {
        let (found, seeds) = (folder(target, "found"), folder(target, "seeds"));
        for folder in [&seeds, if bounds.keeps { &seeds } else { &found }] {
            drop(fs::remove_dir_all(folder)); // it may not be there yet
        }
        make_folder(&found)?;
        make_folder(&folder(target, "broken"))?;
        for (seed, number) in target.seeds().iter().zip(0..) {
            write(&seeds.join(format!("{number:04}")), seed)?;
        }
        let mut command = self.command(target);
        command.arg(format!("-max_total_time={}", bounds.seconds));
        command.arg(format!("-max_len={}", target.longest));
        command.arg("-print_final_stats=1");
        if let Some(count) = bounds.executions {
            command.arg(format!("-runs={count}"));
        }
        if let Some(seed) = bounds.seed {
            command.arg(format!("-seed={seed}"));
        }
        command.arg(&found).arg(&seeds);
        let output = command.output();
        let output =
            output.map_err(|error| Failure::failed(format!("{}: {error}", target.name)))?;
        judged(target, &output)
    }

    /// Prints what was found, without what says nothing new, as lines for a file of seeds.
    fn print_small(&self, target: &Target, bytes: usize) -> Outcome {
        let (found, least) = (folder(target, "found"), folder(target, "least"));
        drop(fs::remove_dir_all(&least)); // it may not be there yet
        make_folder(&least)?;
        let mut command = self.command(target);
        command.arg("-merge=1").arg(format!("-max_len={bytes}"));
        command.arg(&least).arg(&found);
        capture(&mut command, target.name)?;
        println!("# {}", target.name);
        for file in files(&least)? {
            println!("{}", write_hex(&read(&file)?));
        }
        Ok(())
    }
}

/// Returns a folder of a target.
fn folder(target: &Target, what: &str) -> PathBuf {
    products(&["inputs", target.name, what])
}

/// Returns the files of a folder by name.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::file(folder, error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// Asks the compiler for which machine it builds.
fn host() -> Outcome<String> {
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV").current_dir(crate::workspace::root());
    let said = capture(&mut rustc, "rustc -vV")?;
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned)
        .ok_or_else(|| Failure::failed("rustc -vV names no host"))
}

/// Reads what the engine says.
fn judged(target: &Target, output: &Output) -> Outcome<Ran> {
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(counts(&text));
    }
    // The panic's message, and the file with the input.
    let words = [
        "panicked at",
        "ERROR",
        "Test unit written to",
        "DEADLYSIGNAL",
    ];
    let told = |line: &&str| words.iter().any(|word| line.contains(word));
    let mut lines: Vec<&str> = text.lines().filter(told).collect();
    let panic = text
        .lines()
        .skip_while(|line| !line.contains("panicked at"));
    lines.extend(panic.skip(1).take(3));
    let file = text
        .lines()
        .find_map(|line| line.split("Test unit written to ").nth(1));
    let file = file.unwrap_or("FILE");
    let again = format!("cargo xtask inputs {} --input {file}", target.name);
    Err(Failure::failed(format!("{}\n{again}", lines.join("\n"))))
}

/// Returns executions and edges out of the engine's last lines.
fn counts(text: &str) -> Ran {
    let number = |text: &str| text.split_whitespace().next()?.parse().ok();
    let after = |line: &str, word: &str| number(line.split(word).nth(1)?);
    let executions = |line| after(line, "stat::number_of_executed_units:");
    let mut edges = text.lines().filter_map(|line| after(line, " cov: "));
    Ran {
        executions: text.lines().find_map(executions).unwrap_or(0),
        edges: edges.next_back().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_last_lines_are_read() {
        let text = "#7\tNEW    cov: 17 ft: 7\n#100\tDONE   cov: 110 ft: 10\n\
                    stat::number_of_executed_units: 1234\nstat::average_exec_per_sec:     5\n";
        let ran = counts(text);
        assert_eq!((ran.executions, ran.edges), (1234, 110));
    }

    #[test]
    fn unknown_targets_are_answered_with_the_known_ones() {
        let failure = chosen(&["tre".to_owned()])
            .err()
            .map(|failure| failure.message);
        assert!(failure.is_some_and(|text| text.contains("`tre`") && text.contains("tree, table")));
    }
}
