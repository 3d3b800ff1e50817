//! Mutants tried together: one build that has them all ([`super::schemata`]), one run for each with the tests that get to its
//! function.
//!
//! A test that fails, kills the program, hangs or takes too much memory has caught its mutant.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde::Deserialize;

use super::draw::Mutant;
use super::ledger::Fate;
use super::schemata::{Arm, Reach, reaches, weave};
use super::{PROPERTIES, quick_build, sources};
use crate::failure::{Failure, Outcome};
use crate::workspace::{capture, cargo, make_folder, products, read, write};

/// Builds until all mutants that are left compile.
const ROUNDS: usize = 20;
/// Longest run of one mutant: what takes longer waits for something that does not come.
const WAIT: Duration = Duration::from_secs(60);
/// The number of no mutant.
const NONE: u32 = 0;
/// Tests that take less are run first.
const MOMENT: Duration = Duration::from_millis(30);
/// Signals that end a run that takes too long: signal(7).
const SIGXCPU: i32 = 24;
/// The second one.
const SIGKILL: i32 = 9;
/// Goes before the library's text.
const FEATURES: &str =
    "#![feature(core_intrinsics, const_eval_select)] #![allow(internal_features)]";
/// Goes behind it.
const SWITCH: &str = include_str!("switch.rs");
/// The most memory that a run may take, in KiB.
const MEMORY_KIB: &str = "4000000";

/// What became of a mutant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// What became of it.
    Fate(Fate),
    /// It wants a build of its own.
    Alone,
}

/// A test of the library.
#[derive(Debug)]
struct Test {
    name: String,
    /// How long it runs.
    time: Duration,
    /// The functions that it gets to.
    functions: BTreeSet<u32>,
}

/// Tries mutants, and says of each what became of it as soon as that is known.
///
/// # Errors
/// The sources with no mutant in them do not build, or a test of theirs fails.
pub fn try_all(
    tree: &Path,
    mutants: &[&Mutant],
    note: impl Fn(&Mutant, Found) -> Outcome + Sync,
) -> Outcome {
    let reaches = reaches_of(tree, mutants)?;
    let numbered: BTreeMap<u32, &Mutant> = (1..).zip(mutants.iter().copied()).collect();
    let outside = (1..)
        .zip(&reaches)
        .filter(|(_, reach)| **reach == Reach::Outside);
    let mut alone: BTreeSet<u32> = outside.map(|(number, _)| number).collect();
    let mut unviable = BTreeSet::new();
    let program = build(tree, &numbered, &mut alone, &mut unviable)?;
    for number in &unviable {
        note(numbered[number], Found::Fate(Fate::Unviable))?;
    }
    let tried = |number: &&u32| !alone.contains(number) && !unviable.contains(number);
    let within = numbered.keys().filter(tried);
    let within: Vec<u32> = within.copied().collect();
    for number in &alone {
        note(numbered[number], Found::Alone)?;
    }
    program.sees_nothing_without_a_mutant()?;
    eprintln!("xtask: {} mutants in one build", within.len());
    let try_one = |number: &u32| {
        let fate = program.try_one(*number)?;
        let is_const = reaches[*number as usize - 1] == Reach::ConstFunction;
        let found = match fate {
            Fate::Missed if is_const => Found::Alone,
            fate => Found::Fate(fate),
        };
        note(numbered[number], found)
    };
    in_parallel(&within, try_one)
}

/// Says of each mutant where it can be tried.
fn reaches_of(tree: &Path, mutants: &[&Mutant]) -> Outcome<Vec<Reach>> {
    let mut found = BTreeMap::new();
    for (file, of_file) in by_file(mutants.iter().copied()) {
        let path = tree.join(file);
        let text = text(&path)?;
        let reaches = reaches(&text, &of_file).map_err(|error| Failure::file(&path, error))?;
        found.extend(of_file.into_iter().map(|one| &one.key).zip(reaches));
    }
    Ok(mutants.iter().map(|one| found[&one.key]).collect())
}

/// Sorts mutants by their files.
fn by_file<'a>(mutants: impl Iterator<Item = &'a Mutant>) -> BTreeMap<&'a str, Vec<&'a Mutant>> {
    let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    mutants.for_each(|one| files.entry(one.file()).or_default().push(one));
    files
}

/// Reads a source file.
fn text(path: &Path) -> Outcome<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// Where the arms of each file are.
type Arms = BTreeMap<String, Vec<Arm>>;

/// Builds the tests with all mutants in them but those that are tried alone. A changed body that does not compile is a mutant
/// that does not compile; where it is the body as it was, each of the function's is tried alone.
fn build(
    tree: &Path,
    numbered: &BTreeMap<u32, &Mutant>,
    alone: &mut BTreeSet<u32>,
    unviable: &mut BTreeSet<u32>,
) -> Outcome<Program> {
    for _ in 0..ROUNDS {
        let left = numbered.iter();
        let left = left.filter(|(one, _)| !alone.contains(one) && !unviable.contains(one));
        let arms = lay_out(tree, left)?;
        let said = compile(&["check", "--profile", "test"])?;
        let fallen = fallen(&said, &arms)?;
        if fallen.is_empty() {
            let path = program(&compile(&["test", "--no-run"])?)?;
            let tests = tests(&path)?;
            let functions = functions(&arms);
            return Ok(Program {
                path,
                tests,
                functions,
            });
        }
        for arm in fallen {
            let fate = if arm.is_original {
                &mut *alone
            } else {
                &mut *unviable
            };
            fate.extend(&arm.mutants);
        }
        eprintln!("xtask: {} mutants do not compile", unviable.len());
    }
    Err(Failure::failed("the mutants do not compile together"))
}

/// Writes the sources with mutants in them.
fn lay_out<'a>(
    tree: &Path,
    numbered: impl Iterator<Item = (&'a u32, &'a &'a Mutant)>,
) -> Outcome<Arms> {
    let mut of_file: BTreeMap<&str, Vec<(u32, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in numbered {
        let of_file = of_file.entry(mutant.file()).or_default();
        of_file.push((*number, mutant));
    }
    let mut arms = Arms::new();
    for name in sources()? {
        let from = tree.join(&name);
        let mut bytes = read(&from)?;
        if let Some(mutants) = of_file.get(name.as_str()) {
            let woven = weave(&text(&from)?, mutants);
            let woven = woven.map_err(|error| Failure::file(&from, error))?;
            bytes = out_of_line(&woven.text).into_bytes();
            arms.insert(name.clone(), woven.arms);
        }
        if name == "src/lib.rs" {
            bytes = [FEATURES.as_bytes(), &bytes, SWITCH.as_bytes()].concat();
        }
        write(&folder().join(name), &bytes)?;
    }
    Ok(arms)
}

/// Makes the compiler call all functions: with a mutant in each arm they are too large to be put where they are called.
fn out_of_line(text: &str) -> String {
    let marks = ["#[inline(always)]", "#[inline]"].into_iter();
    marks.fold(text.to_owned(), |text, mark| {
        text.replace(mark, "#[inline(never)]")
    })
}

/// Returns where the sources with mutants are.
fn folder() -> PathBuf {
    products(&["mutants", "together"])
}

/// Calls cargo on the sources with mutants, and returns what it says, a JSON object a line.
fn compile(arguments: &[&str]) -> Outcome<String> {
    let mut command = cargo();
    command
        .args(arguments)
        .args(["--package", "bulkhead", "--lib"]);
    command.args(["--message-format", "json"]);
    command.current_dir(folder());
    quick_build(&mut command, "together-build");
    command.env("RUSTFLAGS", "--cap-lints=allow");
    command.env("CARGO_PROFILE_TEST_OPT_LEVEL", "1");
    // For the switch: what it does in constants differs from what it does when the program runs.
    command.env("RUSTC_BOOTSTRAP", "bulkhead");
    let output = command.output();
    let output = output.map_err(|error| Failure::failed(format!("cargo: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line of cargo.
#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Message>,
    executable: Option<PathBuf>,
}

/// What the compiler says.
#[derive(Deserialize)]
struct Message {
    level: String,
    spans: Vec<MessageSpan>,
    rendered: String,
}

/// Where it says it.
#[derive(Deserialize)]
struct MessageSpan {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}

/// Reads cargo's lines.
fn lines(said: &str) -> impl Iterator<Item = Line> {
    said.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// Returns the arms in which the compiler found errors.
fn fallen<'a>(said: &str, arms: &'a Arms) -> Outcome<Vec<&'a Arm>> {
    let mut fallen = Vec::new();
    for line in lines(said) {
        let message = line.message.filter(|message| message.level == "error");
        let Some(message) = message else { continue };
        let at = |span: &MessageSpan| at(arms.get(&span.file_name)?, span.line_start);
        let (primary, other): (Vec<_>, Vec<_>) =
            message.spans.iter().partition(|span| span.is_primary);
        match primary.into_iter().chain(other).find_map(at) {
            Some(arm) => fallen.push(arm),
            None if message.spans.is_empty() => {} // how many errors there were
            None => return Err(Failure::failed(message.rendered)),
        }
    }
    Ok(fallen)
}

/// Returns the arm at a line.
fn at(arms: &[Arm], line: usize) -> Option<&Arm> {
    arms.iter().find(|arm| arm.lines.contains(&line))
}

/// Returns the program that cargo built.
fn program(said: &str) -> Outcome<PathBuf> {
    let built = lines(said).filter(|line| line.reason == "compiler-artifact");
    let built = built.filter_map(|line| line.executable).last();
    let errors = || lines(said).filter_map(|line| line.message);
    built.ok_or_else(|| {
        let errors = errors().filter(|message| message.level == "error");
        let errors: Vec<String> = errors.map(|message| message.rendered).collect();
        Failure::failed(format!("the mutants do not build: {}", errors.join("\n")))
    })
}

/// Returns the function of each mutant. The last arm that has it is that of the body as it was.
fn functions(arms: &Arms) -> BTreeMap<u32, u32> {
    let arms = arms.values().flatten();
    let each = arms.flat_map(|arm| arm.mutants.iter().map(|one| (*one, arm.mutants[0])));
    each.collect()
}

/// Runs each test by itself, without a mutant, and notes what it gets to.
fn tests(program: &Path) -> Outcome<Vec<Test>> {
    let mut list = Command::new(program);
    let list = capture(
        list.args(["--list", "--format", "terse"]),
        "the tests' list",
    )?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let names: Vec<&str> = names.collect();
    make_folder(&products(&["mutants", "functions"]))?;
    let tests = Mutex::new(Vec::new());
    in_parallel(&names, |name| {
        let found = test(program, name)?;
        tests.lock().expect("no thread panics").push(found);
        Ok(())
    })?;
    Ok(tests.into_inner().expect("no thread panics"))
}

/// Runs a test without a mutant.
fn test(program: &Path, name: &str) -> Outcome<Test> {
    let file = products(&["mutants", "functions", &name.replace("::", ".")]);
    let mut command = Command::new(program);
    command.args(["--exact", name]).envs(PROPERTIES);
    command.env("MUTANT_FUNCTIONS", &file).current_dir(folder());
    let start = Instant::now();
    capture(&mut command, name)?;
    let time = start.elapsed();
    let functions = fs::read_to_string(&file).unwrap_or_default();
    let functions = functions.lines().filter_map(|line| line.parse().ok());
    Ok(Test {
        name: name.to_owned(),
        time,
        functions: functions.collect(),
    })
}

/// The tests with mutants in them.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    tests: Vec<Test>,
    /// The function of each mutant.
    functions: BTreeMap<u32, u32>,
}

impl Program {
    /// Tries a mutant: first the tests that take a moment, then the others.
    fn try_one(&self, number: u32) -> Outcome<Fate> {
        let function = self.functions.get(&number).copied().unwrap_or(0);
        let of_function = self
            .tests
            .iter()
            .filter(|test| test.functions.contains(&function));
        let (quick, slow): (Vec<&Test>, Vec<&Test>) =
            of_function.partition(|test| test.time < MOMENT);
        for tests in [quick, slow] {
            let fate = if tests.is_empty() {
                Fate::Missed
            } else {
                self.run(number, &tests)?
            };
            if fate != Fate::Missed {
                return Ok(fate);
            }
        }
        Ok(Fate::Missed)
    }

    /// Runs all tests as with a mutant, and without one: what stops them then would count every mutant as caught.
    fn sees_nothing_without_a_mutant(&self) -> Outcome {
        let all: Vec<&Test> = self.tests.iter().collect();
        match self.run(NONE, &all)? {
            Fate::Missed => Ok(()),
            fate => Err(Failure::failed(format!(
                "the tests fail with no mutant chosen: {fate:?}"
            ))),
        }
    }

    /// Runs tests with a mutant.
    fn run(&self, number: u32, tests: &[&Test]) -> Outcome<Fate> {
        let time: Duration = tests.iter().map(|test| test.time).sum();
        let seconds = 2 + 5 * time.as_secs();
        let mut command = Command::new("sh");
        // What hangs ends by the processor's time that it takes, however busy the machine is.
        command.args(["-c", "ulimit -t $0; ulimit -v $1; shift; exec \"$@\""]);
        command
            .args([&seconds.to_string(), MEMORY_KIB])
            .arg(&self.path);
        command.args(["--exact", "--test-threads", "1"]);
        command.args(tests.iter().map(|test| &test.name));
        command.env("MUTANT", number.to_string()).envs(PROPERTIES);
        command.current_dir(folder());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        let child = child.map_err(|error| Failure::failed(format!("sh: {error}")))?;
        ended(child)
    }
}

/// Awaits the end of a run.
fn ended(mut child: Child) -> Outcome<Fate> {
    let start = Instant::now();
    let failed = |error| Failure::failed(format!("a mutant's tests: {error}"));
    while start.elapsed() < WAIT {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(match (status.code(), status.signal()) {
                (Some(0), _) => Fate::Missed,
                (None, Some(SIGXCPU | SIGKILL)) => Fate::Timeout,
                _ => Fate::Caught,
            });
        }
        thread::sleep(Duration::from_millis(3));
    }
    child.kill().and_then(|()| child.wait()).map_err(failed)?;
    Ok(Fate::Timeout)
}

/// Does something with each of many, on all processors; ends with the first failure.
fn in_parallel<T: Sync>(all: &[T], work: impl Fn(&T) -> Outcome + Sync) -> Outcome {
    let next = AtomicUsize::new(0);
    let one_after_another = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(one).inspect_err(|_| next.store(all.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(one_after_another))
            .collect();
        let mut ends = threads.into_iter().map(|thread| thread.join());
        ends.try_for_each(|end| end.expect("no thread panics"))
    })
}
