//! The command line: a contract that scripts outside this repository use. Extend it, rename nothing.

mod inputs;
mod mutants;

use std::num::NonZeroUsize;
use std::path::PathBuf;

pub use inputs::Inputs;
pub use mutants::Mutants;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::{Code, Failure, Outcome};

const CODES: &str = "Exit codes:
  0    done, or the awaited text was seen
  1    a test failed, a budget was exceeded, or a build failed
  2    wrong command line
  3    bad partition table
  4    a tool is missing (its package is named)
  5    EL2 panicked
  6    QEMU ended before the awaited text
  124  the time was up";

/// Builds, runs, tests and measures Bulkhead.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Build a system and boot it under QEMU, console attached
    #[command(after_help = CODES)]
    Run(Box<Run>),
    /// Build the bootable image; print where it is, its sizes, and the start-up memory map
    #[command(after_help = CODES)]
    Build(Build),
    /// Check a partition table against its board and print the report
    #[command(after_help = CODES)]
    Check(Check),
    /// Run the tests: one of each kind, or with --long the whole matrix
    #[command(after_help = CODES)]
    Test(Test),
    /// Measure latency and footprint under icount and compare with the budgets
    #[command(after_help = CODES)]
    Bench(Bench),
    /// Let a guest do everything that a guest can do, from a seed, and look for harm
    #[command(after_help = CODES)]
    Fuzz(Fuzz),
    /// Change inputs of what reads foreign bytes and of what guests drive, on the host, guided by coverage
    #[command(after_help = CODES)]
    Inputs(Inputs),
    /// Change EL2's pure modules one place at a time, and say which changes no test sees
    #[command(after_help = CODES)]
    Mutants(Mutants),
    /// Run a system and show what its pCPUs did: a file for ui.perfetto.dev, and a summary
    #[command(after_help = CODES)]
    Trace(Box<Trace>),
    /// Attach gdb with the symbols of EL2 and of the guests (start `run --gdb` first)
    #[command(after_help = CODES)]
    Debug(Debug),
    /// Write the files that a board's boot medium needs, and print the steps to type
    #[command(after_help = CODES)]
    Image(Image),
    /// Write a system to a card, or to where a boot loader fetches it over the network
    #[command(after_help = CODES)]
    Flash(Flash),
    /// Attach to the serial line of a board that runs a system, as `run` attaches to QEMU's
    #[command(after_help = CODES)]
    Console(Console),
    /// Make a board's folder from its device tree, and list what the tree does not tell
    #[command(after_help = CODES)]
    NewPlatform(NewPlatform),
    /// Install what the other commands need
    #[command(after_help = CODES)]
    Setup(Setup),
}

/// May tools be installed?
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Consent {
    /// Install missing tools without asking
    #[arg(long, conflicts_with = "no_install")]
    pub yes: bool,
    /// Never install; a missing tool is exit code 4
    #[arg(long)]
    pub no_install: bool,
}

/// Which system.
#[derive(Args, Clone, Debug, Default)]
pub struct Target {
    /// Board, a folder of platforms/ [default: the table's, else qemu-virt]
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// Partition table: a name in the board's folder, or a file [default: default]
    #[arg(long, value_name = "NAME|FILE")]
    pub partitions: Option<String>,
    /// Kernel of the Linux recipes, instead of the one that is downloaded
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// busybox (arm64, static) of the Linux recipes, instead of the one that is downloaded
    #[arg(long, value_name = "FILE")]
    pub busybox: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Trace into a ring of this size on each pCPU, for example 64K [default: the table's]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub trace: Option<u64>,
    /// Let EL2 send a letter for every step of start-up to the table's UART, from its first instruction on
    #[arg(long)]
    pub letters: bool,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}

/// Reads a size.
fn size(text: &str) -> Result<u64, String> {
    bulkhead_platforms::size(text)
        .map_err(|_| "a size is a whole number and K, M or G, for example 64K".to_owned())
}

/// How QEMU's board differs from the platform's description.
#[derive(Args, Clone, Debug, Default)]
pub struct Machine {
    /// CPU model of QEMU [default: the platform's]
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// Number of CPUs [default: what the table needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub cpus: Option<u32>,
    /// RAM, for example 512M or 2G [default: the platform's]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Version of the interrupt controller
    #[arg(long, value_name = "2|3|4", value_parser = clap::value_parser!(u8).range(2..=4))]
    pub gic: Option<u8>,
    /// The QEMU to use [default: qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
}

/// `run`
#[derive(Args, Clone, Debug, Default)]
pub struct Run {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// What to wait for and to type.
    #[command(flatten)]
    pub play: Play,
    /// Count instructions as time: one instruction a nanosecond, every run the same (use one CPU)
    #[arg(long)]
    pub icount: bool,
    /// Stop before EL2's first instruction and wait for gdb
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1234"
    )]
    pub gdb: Option<u16>,
    /// List platforms, tables, guests and recipes
    #[arg(long)]
    pub list: bool,
    /// Further arguments for QEMU
    #[arg(last = true, value_name = "EXTRA QEMU ARGUMENTS")]
    pub extra: Vec<String>,
}

/// How the console of a system is played.
#[derive(Args, Clone, Debug, Default)]
pub struct Play {
    /// Do not attach the terminal: print lines until the end, a pattern, or the timeout
    #[arg(long)]
    pub headless: bool,
    /// Stop after this many seconds [default with --headless: 300]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Stop with success at this text; counts once all --when have been seen
    #[arg(long, value_name = "[PARTITION:]REGEX", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Stop with exit code 1 at this text (repeatable)
    #[arg(long, value_name = "[PARTITION:]REGEX", allow_hyphen_values = true)]
    pub fail_on: Vec<String>,
    /// Wait for this text, then send what the next --send says (repeatable, in order)
    #[arg(long, value_name = "[PARTITION:]REGEX", allow_hyphen_values = true)]
    pub when: Vec<String>,
    /// Type this, and Enter unless it ends in a newline or \c; \n \r \t \\ \xNN are known; PARTITION gets the keyboard first
    #[arg(long, value_name = "[PARTITION:]TEXT", allow_hyphen_values = true)]
    pub send: Vec<String>,
    /// Write the console to this file too
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// `console`
#[derive(Args, Debug)]
pub struct Console {
    /// The serial line that the board's UART is on, for example /dev/ttyUSB0
    #[arg(long, value_name = "TTY")]
    pub port: PathBuf,
    /// Its speed in bits a second
    #[arg(long, value_name = "SPEED", default_value_t = 115_200)]
    pub baud: u32,
    /// Which system runs on the board: its partitions' names are the lines' prefixes.
    #[command(flatten)]
    pub target: Target,
    /// What to wait for and to type.
    #[command(flatten)]
    pub play: Play,
}

/// `trace`
#[derive(Args, Debug)]
pub struct Trace {
    /// What to run.
    #[command(flatten)]
    pub run: Run,
    /// Write the trace here, as JSON for ui.perfetto.dev [default: target/bulkhead/trace/TABLE.json]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Draw a piece of it here
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Which piece: where it begins, and how long it is, for example 120ms+3ms [default: the last 5ms]
    #[arg(long, value_name = "TIME+TIME", value_parser = window)]
    pub window: Option<Window>,
    /// Run nothing: read this dump of a board's memory, from EL2's TRACE_RINGS
    #[arg(long, value_name = "DUMP")]
    pub from: Option<PathBuf>,
}

/// A piece of a trace, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it begins.
    pub from_ns: u64,
    /// How long it is.
    pub length_ns: u64,
}

/// Reads a piece of a trace.
fn window(text: &str) -> Result<Window, String> {
    let read = |text| bulkhead_platforms::time_ns(text).ok();
    let parts = text.split_once('+').and_then(|(from, length)| {
        Some(Window {
            from_ns: read(from)?,
            length_ns: read(length).filter(|length| *length > 0)?,
        })
    });
    parts
        .ok_or_else(|| "two times with units and a plus between them, for example 120ms+3ms".into())
}

/// `build`
#[derive(Args, Debug)]
pub struct Build {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// `check`
#[derive(Args, Debug)]
pub struct Check {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Check against this flattened device tree, for example read off a running board
    #[arg(long, value_name = "FILE")]
    pub dtb: Option<PathBuf>,
}

/// `test`
#[derive(Args, Debug)]
pub struct Test {
    /// Run the whole matrix too: machines, memory sizes, QEMU versions, endurance
    #[arg(long)]
    pub long: bool,
    /// Run only the tests whose name holds this text (repeatable)
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// List the tests
    #[arg(long)]
    pub list: bool,
    /// Print which tests answer which row of the list of isolation faults, as a table in Markdown
    #[arg(long)]
    pub rows: bool,
    /// Print all of the console of every system
    #[arg(long)]
    pub verbose: bool,
    /// Tests to run at once [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,
    /// The QEMU to use [default: qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// Kernel of the Linux recipes, instead of the one that is downloaded
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// busybox (arm64, static) of the Linux recipes, instead of the one that is downloaded
    #[arg(long, value_name = "FILE")]
    pub busybox: Option<PathBuf>,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}

/// `bench`
#[derive(Args, Clone, Debug, Default)]
pub struct Bench {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// The QEMU to use [default: qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// The GIC's version; with 2 the rows that depend on it, against budgets of their own
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(2..=3), conflicts_with = "linux")]
    pub gic: Option<u8>,
    /// Measure Linux's way to `LINUX UP` against a native boot too (takes minutes)
    #[arg(long)]
    pub linux: bool,
    /// Show what lies on each row's way through EL2, or on one's; with --verbose instruction by instruction
    #[arg(long, value_name = "ROW", num_args = 0..=1, default_missing_value = "")]
    pub paths: Option<String>,
    /// Let a guest make EL2's stays as long as it can, and show the longest of each cause; with --verbose instruction by
    /// instruction: of all, or of the cause with this text
    #[arg(long, value_name = "CAUSE", num_args = 0..=1, default_missing_value = "", conflicts_with = "paths")]
    pub longest: Option<String>,
    /// Measure with 1 to 64 partitions and with 1 to 8 pCPUs
    #[arg(long, conflicts_with_all = ["paths", "longest"])]
    pub scaling: bool,
    /// Print all of the console
    #[arg(long)]
    pub verbose: bool,
}

/// `fuzz`
#[derive(Args, Debug)]
pub struct Fuzz {
    /// Do this run [default: fresh seeds, one after the other]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Steps of a run [default: 500000], or lives [default: 10000]
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Without a seed: begin no further run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub time: u64,
    /// On one pCPU under icount alone: each run of a seed is the same
    #[arg(long)]
    pub icount: bool,
    /// On several pCPUs alone, whose order differs from run to run
    #[arg(long, conflicts_with = "icount")]
    pub parallel: bool,
    /// On one pCPU under icount, lives of partitions that end in all ways, and orders of one who manages them
    #[arg(long, conflicts_with_all = ["icount", "parallel"])]
    pub lives: bool,
    /// The GIC's version [default: 3]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(2..=3))]
    pub gic: Option<u8>,
    /// Print all of the console
    #[arg(long)]
    pub verbose: bool,
    /// The QEMU to use [default: qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}

/// `debug`
#[derive(Args, Debug)]
pub struct Debug {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// Port of `run --gdb`
    #[arg(long, value_name = "PORT", default_value_t = 1234)]
    pub port: u16,
    /// Further arguments for gdb
    #[arg(last = true, value_name = "GDB ARGUMENTS")]
    pub extra: Vec<String>,
}

/// `image`
#[derive(Args, Debug)]
pub struct Image {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Folder for the files [default: target/bulkhead/PLATFORM/medium/TABLE]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `new-platform`
#[derive(Args, Debug)]
pub struct NewPlatform {
    /// Name of the board: a-z, 0-9 and -
    pub name: String,
    /// Its device tree: a flattened one, source, or debian:PATH for one of Debian's kernel package
    #[arg(long, value_name = "FILE|debian:PATH")]
    pub tree: String,
    /// Memory, where the tree leaves it to the firmware (repeatable)
    #[arg(long, value_name = "START+SIZE")]
    pub memory: Vec<String>,
    /// Folder to make [default: platforms/NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}

/// `flash`
#[derive(Args, Debug)]
pub struct Flash {
    /// Which system.
    #[command(flatten)]
    pub target: Target,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Whole disk to overwrite, never a mounted one or the system's; or a file that stands for one; or a folder of a TFTP
    /// server
    #[arg(long, value_name = "DEVICE|FILE|tftp:DIR")]
    pub to: String,
}

/// `setup`
#[derive(Args, Debug)]
pub struct Setup {
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}

/// Reads the process's arguments. Help and version are printed here and end the process.
pub fn parse() -> Outcome<Cli> {
    parse_from(std::env::args_os().collect())
}

/// Reads arguments, the program's name first.
pub fn parse_from(arguments: Vec<std::ffi::OsString>) -> Outcome<Cli> {
    let matches = Cli::command()
        .try_get_matches_from(arguments)
        .map_err(explain)?;
    for name in ["run", "trace"] {
        if let Some(run) = matches.subcommand_matches(name) {
            pairs_in_order(run)?;
        }
    }
    Cli::from_arg_matches(&matches).map_err(explain)
}

/// Turns clap's error into ours and names what would have been right.
fn explain(error: clap::Error) -> Failure {
    if !error.use_stderr() {
        error.exit();
    }
    let mut message = error.to_string();
    if matches!(
        error.kind(),
        ErrorKind::InvalidSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) && let Some(ContextValue::String(_)) = error.get(ContextKind::InvalidSubcommand)
    {
        let root = Cli::command();
        let names: Vec<&str> = root.get_subcommands().map(|c| c.get_name()).collect();
        message += &format!("\nCommands: {}", names.join(", "));
    }
    if error.kind() == ErrorKind::UnknownArgument {
        message += &known_options();
    }
    Failure::new(Code::Usage, message)
}

/// Lists the options of the command that the process was asked for.
fn known_options() -> String {
    let root = Cli::command();
    let asked = std::env::args().nth(1).unwrap_or_default();
    let Some(command) = root.find_subcommand(&asked) else {
        return String::new();
    };
    let names: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(|name| format!("--{name}")))
        .collect();
    format!("\nOptions of {asked}: {}", names.join(" "))
}

/// Checks that every `--when` is followed by its own `--send`.
fn pairs_in_order(run: &clap::ArgMatches) -> Outcome {
    let places = |name: &str| -> Vec<usize> {
        run.indices_of(name)
            .map(Iterator::collect)
            .unwrap_or_default()
    };
    let (when, send) = (places("when"), places("send"));
    let paired = when.len() == send.len() && when.iter().zip(&send).all(|(w, s)| w < s);
    let apart = send.iter().zip(when.iter().skip(1)).all(|(s, w)| s < w);
    if paired && apart {
        return Ok(());
    }
    Err(Failure::usage(
        "every --when REGEX is followed by one --send TEXT, in the order in which they happen",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Outcome<Cli> {
        parse_from(line.split(' ').map(Into::into).collect())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pairs_must_alternate() {
        assert!(parsed("x run --when a --send b --when c --send d").is_ok());
        for line in [
            "x run --send b",
            "x run --when a",
            "x run --send b --when a",
            "x run --when a --when c --send b --send d",
        ] {
            assert_eq!(parsed(line).unwrap_err().code, Code::Usage, "{line}");
        }
    }

    #[test]
    fn gdb_takes_an_optional_port() {
        let port = |line: &str| match parsed(line).unwrap().command {
            Action::Run(run) => run.gdb,
            _ => None,
        };
        assert_eq!(port("x run"), None);
        assert_eq!(port("x run --gdb"), Some(1234));
        assert_eq!(port("x run --gdb=99 -- -d int"), Some(99));
    }

    #[test]
    fn trace_takes_the_options_of_run_and_a_window() {
        let line = "x trace --partitions a --icount --trace 64K --window 2ms+30us --until b";
        let Action::Trace(trace) = parsed(line).unwrap().command else {
            panic!("no trace");
        };
        assert_eq!(trace.run.target.trace, Some(65_536));
        let window = trace.window.unwrap();
        assert_eq!((window.from_ns, window.length_ns), (2_000_000, 30_000));
        for line in [
            "x trace --window 2ms",
            "x trace --window 2ms+0ms",
            "x trace --send b",
            "x run --trace 64",
        ] {
            assert_eq!(parsed(line).unwrap_err().code, Code::Usage, "{line}");
        }
    }

    #[test]
    fn an_unknown_command_lists_the_right_ones() {
        let failure = parsed("x rnu").unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.message.contains("run, build, check, test, bench"));
    }
}
