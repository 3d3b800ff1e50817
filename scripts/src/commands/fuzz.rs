//! `cargo xtask fuzz`: a guest that does everything that a guest can do, drawn from a seed, beside sentinels that notice
//! whatever is done to them.
//!
//! Under icount, on one pCPU, a seed gives the same run each time, and the more urgent sentinel misses no
//! beat. Under plain multi-threaded TCG the vCPUs race, and a seed gives the same steps in another order.
//!
//! What ends a partition's life has runs of its own, exact too: there the guest manages partitions that end again and again.
//!
//! Some writes are left out because they end QEMU 7.2 itself: see `made::bearable` in the guests' runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bulkhead_platforms::Images;
use serde_json::Value;

use crate::args::{self, Machine, Target};
use crate::commands::run::verdict;
use crate::commands::trace::EXACT_CPU;
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::guests::Workshop;
use crate::image::patched;
use crate::session::{self, Finished, Plan};
use crate::system::build;
use crate::workspace::{products, read, root, write};

/// The guest, and where it finds seed and steps.
const GUEST: &str = "fuzz";
const PLAN: &str = "FUZZ_PLAN";
/// Longest time of a run: for a thousand steps, for a life, and for the rest.
const TIME_OF_STEPS: Duration = Duration::from_millis(1000);
const TIME_OF_A_LIFE: Duration = Duration::from_millis(100);
const TIME_OF_THE_REST: Duration = Duration::from_secs(120);
/// In a line of a sentinel: no beat was missed.
const UNDISTURBED: &str = " missed 0 ";
/// Steps unless something else is asked for, and lives.
const STEPS: u64 = 500_000;
const LIVES: u64 = 10_000;

/// How a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On one pCPU under icount.
    Exact,
    /// On several pCPUs at once.
    Parallel,
    /// On one pCPU under icount, partitions that end again and again: a step is a life.
    Lives,
}

impl Mode {
    /// Returns the table.
    fn table(self) -> &'static str {
        match self {
            Self::Exact => "tests/systems/fuzz-one.toml",
            Self::Parallel => "tests/systems/fuzz.toml",
            Self::Lives => "tests/systems/fuzz-lives.toml",
        }
    }

    /// Says whether each run of a seed is the same.
    fn is_exact(self) -> bool {
        self != Self::Parallel
    }

    /// Returns how much is done unless something else is asked for.
    fn steps(self) -> u64 {
        match self {
            Self::Lives => LIVES,
            _ => STEPS,
        }
    }

    /// Returns the longest time of a run.
    fn time(self, steps: u64) -> Duration {
        let (unit, of_one) = match self {
            Self::Lives => (1, TIME_OF_A_LIFE),
            _ => (1000, TIME_OF_STEPS),
        };
        let units = u32::try_from(steps / unit).unwrap_or(u32::MAX);
        TIME_OF_THE_REST + of_one.saturating_mul(units)
    }

    /// Returns the option of the command line that asks for it.
    fn option(self) -> &'static str {
        match self {
            Self::Exact => "--icount",
            Self::Parallel => "--parallel",
            Self::Lives => "--lives",
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// How.
    pub mode: Mode,
    /// From where the guest draws.
    pub seed: u64,
    /// How much it does.
    pub steps: u64,
    /// It prints how often each row came up, not only the one of each group that came up least.
    pub all: bool,
    /// The GIC's version, if not 3.
    pub gic: Option<u8>,
}

impl Case {
    /// Names a file of a run: runs that go on side by side have files of their own.
    fn file(&self, name: &str) -> PathBuf {
        match self.gic {
            Some(2) => products(&["fuzz", "gicv2", name]),
            _ => products(&["fuzz", name]),
        }
    }
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often the row of each group came up that came up least.
    pub rows: BTreeMap<String, u64>,
    /// Under icount, how late the more urgent sentinel woke at most, in nanoseconds.
    pub worst_ns: Option<u64>,
    /// What is wrong.
    pub failures: Vec<String>,
}

/// Runs the command: one seed, or one after the other until the time is up.
pub fn run(args: &args::Fuzz) -> Outcome {
    let end = Instant::now() + Duration::from_secs(args.time);
    let modes = match (args.icount, args.parallel, args.lives) {
        (true, ..) => vec![Mode::Exact],
        (_, true, _) => vec![Mode::Parallel],
        (.., true) => vec![Mode::Lives],
        _ => vec![Mode::Exact, Mode::Parallel, Mode::Lives],
    };
    let mut seed = args.seed.unwrap_or_else(seed_of_now);
    let mut rows = BTreeMap::new();
    loop {
        for mode in &modes {
            let case = Case {
                mode: *mode,
                seed,
                steps: args.steps.unwrap_or_else(|| mode.steps()),
                all: args.verbose,
                gic: args.gic,
            };
            println!("{}", command_of(&case));
            let seen = play(&case, args.qemu.as_deref(), args.consent, args.verbose)?;
            if let Some(worst) = seen.worst_ns {
                println!("the most urgent partition woke within {worst} ns");
            }
            add(&mut rows, &seen.rows);
            if !seen.failures.is_empty() {
                return Err(Failure::failed(seen.failures.join("\n")));
            }
        }
        if args.seed.is_some() || Instant::now() > end {
            break;
        }
        seed += 1;
    }
    for (name, count) in &rows {
        println!("at least {count:>6} of each of {name}");
    }
    Ok(())
}

/// Returns a seed that differs from run to run.
pub fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

/// Returns the call that does a run again.
fn command_of(case: &Case) -> String {
    let (mode, seed, steps) = (case.mode.option(), case.seed, case.steps);
    let gic = case
        .gic
        .map_or(String::new(), |gic| format!(" --gic {gic}"));
    format!("cargo xtask fuzz --seed {seed} --steps {steps} {mode}{gic}")
}

/// Adds counts up.
pub fn add(all: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *all.entry(name.clone()).or_default() += count;
    }
}

/// Makes a run and judges it.
///
/// # Errors
/// The system does not build, or QEMU cannot be started.
pub fn play(
    case: &Case,
    qemu: Option<&Path>,
    consent: args::Consent,
    verbose: bool,
) -> Outcome<Seen> {
    let exact = case.mode.is_exact();
    let target = Target {
        partitions: Some(table(case)?.display().to_string()),
        consent,
        json: true, // no remarks about a generated table
        ..Target::default()
    };
    let machine = Machine {
        cpu: exact.then(|| EXACT_CPU.to_owned()),
        cpus: exact.then_some(1),
        gic: case.gic,
        qemu: qemu.map(Path::to_owned),
        ..Machine::default()
    };
    let built = build(&target, &machine)?;
    let names = built.names();
    // When all is over, each sentinel is asked what it found.
    let step = |when: &str, send: &str| (when.to_owned(), send.to_owned());
    let pairs = [
        step("fuzz:^done ", "near:x\\c"),
        step("near:^DONE ", "far:x\\c"),
    ];
    let forbidden = ["near:^FAIL", "far:^FAIL", "fuzz:^FAIL|CRASH|PANIC"].map(str::to_owned);
    let script = Script::new(
        &pairs,
        Some("far:^DONE 5 passed 0 failed"),
        &forbidden,
        &names,
    )?;
    let plan = Plan {
        peer: built.launch(exact)?.into(),
        script,
        names,
        timeout: Some(case.mode.time(case.steps)),
        style: Style {
            hidden: !verbose,
            ..Style::default()
        },
        attached: false,
        log: Some(case.file(&format!("console{}.log", case.mode.option()))),
        survive_panic: false,
    };
    let promised = promised_ns(&built.system.report_json());
    Ok(judged(case, &session::run(plan)?, promised))
}

/// Returns within what time `check` promises the most urgent vCPU to wake: the longest stay at EL2, and a switch.
fn promised_ns(report: &str) -> Option<u64> {
    let report: Value = serde_json::from_str(report).ok()?;
    let cost = |name: &str| report.pointer("/time/el2")?.get(name)?.as_u64();
    Some(cost("stay_ns")? + cost("switch_ns")?)
}

/// Writes the table with the guest that has seed and steps in it, and returns its name.
fn table(case: &Case) -> Outcome<PathBuf> {
    let guest = Workshop::default().guest(GUEST).map_err(Failure::failed)?;
    let elf = case.file(&format!("guest{}.elf", case.mode.option()));
    write(
        &elf,
        &patched(
            &read(&guest)?,
            PLAN,
            &[case.seed, case.steps, u64::from(case.all)],
        )?,
    )?;
    let file = root().join(case.mode.table());
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    let image = format!("{{ elf = {:?} }}", elf.display().to_string());
    let text = text.replace(&format!("{{ guest = \"{GUEST}\" }}"), &image);
    let name = file.file_name().unwrap_or_default();
    let copy = case.file(&name.to_string_lossy());
    write(&copy, text.as_bytes())?;
    Ok(copy)
}

/// Judges a run by its console, and under icount by the time within which the more urgent sentinel was to wake.
fn judged(case: &Case, finished: &Finished, promised: Option<u64>) -> Seen {
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    let mut fail = |why: String| failures.push(format!("{why}: {}", command_of(case)));
    if let Err(failure) = verdict(finished, true) {
        let tail = finished.transcript.tail(20).join("\n");
        fail(format!("{tail}\n{}", failure.message));
    }
    // What the host does to a run in real time is no fault of anybody's here.
    if case.mode.is_exact() {
        for line in near(finished).filter(|text| !text.contains(UNDISTURBED)) {
            fail(format!("a more urgent partition was disturbed: {line}"));
        }
        seen.worst_ns = near(finished).filter_map(worst_ns).max();
        match (seen.worst_ns, promised) {
            (Some(worst), Some(promised)) if worst <= promised => {}
            (worst, promised) => fail(format!(
                "the most urgent partition woke within {worst:?} ns, promised were {promised:?}"
            )),
        }
    }
    // `rows N GROUP least M: ROW`
    let lines = finished.transcript.lines.iter();
    for row in lines.filter_map(|line| line.text.strip_prefix("rows ")) {
        if let Some((group, least)) = row.split_once(" least ") {
            let least = least.split(':').next().and_then(|count| count.parse().ok());
            seen.rows.insert(group.to_owned(), least.unwrap_or(0));
        }
    }
    seen.failures = failures;
    seen
}

/// Returns how late a beat of a sentinel's span was at most: `span N ... worst_ns N ...`.
fn worst_ns(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" worst_ns ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Returns what the more urgent sentinel said of its spans.
fn near(finished: &Finished) -> impl Iterator<Item = &str> {
    let lines = finished.transcript.lines.iter();
    let near = lines.filter(|line| line.speaker.as_deref() == Some("near"));
    near.map(|line| line.text.as_str())
        .filter(|text| text.starts_with("span "))
}
