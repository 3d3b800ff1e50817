//! Start-up under QEMU: where the image lies, which device tree it is given, and how EL2 ends when it fails itself.
//!
//! The scenarios boot by `-kernel` alone. Here QEMU's loader device puts image and tree anywhere, and a CPU starts
//! wherever the test wants.

mod absent;
mod boards;
mod clusters;
mod console_mail;
mod crash;
mod deaf;
mod letters;
mod other_uart;
mod own_map;
mod patient;
mod payloads;
mod places;
mod serror;
mod silent;
mod spurious;
mod trees;
mod uboot;
mod uboot_guest;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Case, Found, machine, target};
use crate::args::Test;
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::console::wire::HYPERVISOR;
use crate::failure::Outcome;
use crate::session::{self, Ending, Finished, Plan};
use crate::system::{Built, build};
use crate::workspace::{products, shown};

/// Lines of the console shown with a failure.
const TAIL: usize = 25;
/// Longest time of a start that needs no more than a second.
const SECONDS: u64 = 30;

/// Returns all tests of start-up.
pub fn all() -> Vec<Case> {
    let case = |name: &str, about: &str, run: fn(&Test) -> Outcome<Found>| Case {
        name: name.to_owned(),
        about: about.to_owned(),
        long: false,
        alone: false,
        run: Box::new(move |args| run(args).unwrap_or_else(|failure| Found::fail(failure.message))),
    };
    vec![
        case(
            "start-anywhere",
            "one image starts at several addresses, with and without a tree in x0",
            places::anywhere,
        ),
        case(
            "start-bad-tree",
            "a damaged or foreign device tree is refused in words",
            trees::refused,
        ),
        case(
            "start-flipped-bits",
            "a tree with flipped bits is refused or starts, and never panics",
            trees::flipped,
        ),
        case(
            "start-bad-payload",
            "a damaged payload is refused in words, whatever of it was hit",
            payloads::refused,
        ),
        case(
            "start-flipped-payload",
            "a payload with a flipped bit and the right checksum never makes EL2 panic",
            payloads::flipped,
        ),
        case(
            "start-deaf-console",
            "a UART that never drains holds up nobody but who waits for it",
            deaf::goes_on,
        ),
        case(
            "start-silent",
            "a board whose UART nobody drives starts, and says so in a log in memory",
            silent::logs,
        ),
        case(
            "start-silent-flood",
            "partitions that flood a board's silent console hold up nobody more urgent",
            deaf::drains,
        ),
        case(
            "start-letters",
            "each step of start-up sends its letter, from the first instruction on",
            letters::shown,
        ),
        case(
            "start-other-uart",
            "a board with two UARTs talks over the one that its tree names",
            other_uart::talks,
        ),
        case(
            "start-spurious-storm",
            "interrupts that nobody owns, a level that never falls among them, are turned off and hold up nobody",
            spurious::borne,
        ),
        case(
            "start-missing-cpu",
            "a CPU that does not come up is told of, and the others go on",
            absent::told,
        ),
        case(
            "start-two-clusters",
            "four CPUs in two clusters are brought up and told apart by all of their affinity",
            clusters::two,
        ),
        case(
            "start-other-board",
            "a board that the table was not written for is refused in words",
            boards::refused,
        ),
        case(
            "start-crash",
            "an exception at EL2 prints its last words and stops every CPU",
            crash::exception,
        ),
        case(
            "start-stack-overflow",
            "a stack that overflows at EL2 stops at its guard page",
            crash::stack_overflow,
        ),
        case(
            "start-own-map",
            "a map of EL2's own that is writable and executable, or shows a guest, is refused",
            own_map::spoiled,
        ),
        case(
            "a13-serror-over-a-switch",
            "an SError that is pending when its vCPU leaves reaches that one, and nobody else",
            serror::over_a_switch,
        ),
        case(
            "a13-serror-ends-a-wait",
            "a vCPU does not sleep over an SError of its own that is pending, masked or not",
            serror::ends_a_wait,
        ),
        case(
            "console-mail-latency",
            "a loop wakes in time while other pCPUs call for the console in the middle of its server's turns",
            console_mail::bounded,
        ),
        case(
            "start-u-boot",
            "U-Boot's booti starts the image",
            uboot::booti,
        ),
        case(
            "start-u-boot-disk",
            "U-Boot boots a flashed disk by itself, and Linux comes up: nothing is typed, nothing is preloaded",
            uboot::disk,
        ),
        case(
            "u-boot-guest",
            "Debian's U-Boot for QEMU's board runs as a guest: its own EFI self-test, a restart, a power-off",
            uboot_guest::tested,
        ),
    ]
}

/// Builds a table for the machine that its platform describes.
fn system(args: &Test, table: &str) -> Outcome<Built> {
    build(&target(args, table), &machine(args))
}

/// Lets QEMU put a file's bytes into memory before the start.
fn load(command: &mut Command, file: &Path, at: u64) {
    // A comma in an option's value is written twice.
    let file = file.to_string_lossy().replace(',', ",,");
    command.arg("-device");
    command.arg(format!("loader,file={file},addr={at:#x},force-raw=on"));
}

/// Lets the first CPU start at an address.
fn enter(command: &mut Command, at: u64) {
    command.arg("-device");
    command.arg(format!("loader,addr={at:#x},cpu-num=0"));
}

/// One run of QEMU.
struct Boot<'a> {
    /// What it shows, for messages and the log's name.
    name: &'a str,
    /// QEMU without its console.
    command: Command,
    /// The partitions' names.
    partitions: &'a [String],
    /// What to wait for and to type, in order.
    steps: &'a [(String, String)],
    /// What ends the run.
    until: Option<&'a str>,
    /// Longest time.
    seconds: u64,
    /// Go on after a panic.
    survive_panic: bool,
}

impl<'a> Boot<'a> {
    /// Prepares a run that ends by itself or after a fixed time.
    fn new(name: &'a str, command: Command, partitions: &'a [String]) -> Self {
        Self {
            name,
            command,
            partitions,
            steps: &[],
            until: None,
            seconds: SECONDS,
            survive_panic: false,
        }
    }

    /// Runs it.
    fn run(mut self, args: &Test) -> Outcome<Finished> {
        self.command.args(["-serial", "stdio"]);
        session::run(Plan {
            peer: self.command.into(),
            names: self.partitions.to_vec(),
            script: Script::new(self.steps, self.until, &[], self.partitions)?,
            timeout: Some(Duration::from_secs(self.seconds)),
            style: Style {
                hidden: !args.verbose,
                ..Style::default()
            },
            attached: false,
            log: Some(products(&["test", &format!("{}.log", self.name)])),
            survive_panic: self.survive_panic,
        })
    }
}

/// Makes a test's result of what is wrong with a run: nothing, or one line each.
fn found(name: &str, finished: &Finished, wrong: Vec<String>) -> Found {
    if wrong.is_empty() {
        return Found::pass();
    }
    let log = shown(&products(&["test", &format!("{name}.log")]));
    Found {
        details: finished.transcript.tail(TAIL),
        failures: wrong
            .into_iter()
            .map(|why| format!("{name}: {why} ({log})"))
            .collect(),
        ..Found::default()
    }
}

/// Returns EL2's own lines.
fn own_lines(finished: &Finished) -> Vec<&str> {
    let lines = finished.transcript.lines.iter();
    lines
        .filter(|line| line.speaker.as_deref() == Some(HYPERVISOR))
        .map(|line| line.text.as_str())
        .collect()
}

/// Says what is wrong with a start that is to be refused: each of `reasons` must stand in a line of its own, and the
/// last line must count them.
fn check_refusal(finished: &Finished, reasons: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    if finished.ending != Ending::NotStarted {
        wrong.push(format!("it was not refused: {:?}", finished.ending));
    }
    let lines = own_lines(finished);
    let refusals: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("refused: "))
        .collect();
    for reason in reasons {
        if !refusals.iter().any(|line| line.contains(reason)) {
            wrong.push(format!("no refusal says `{reason}`"));
        }
    }
    let plural = if refusals.len() == 1 { "" } else { "s" };
    let last = format!("not started: {} violation{plural}", refusals.len());
    if refusals.is_empty() || lines.last() != Some(&last.as_str()) {
        wrong.push(format!(
            "the last of {} refusals is not followed by `{last}`",
            refusals.len()
        ));
    }
    wrong
}

/// Says what is wrong with a start of the table `hello`, whose partition prints a hundred lines and powers off.
fn check_hello(finished: &Finished) -> Vec<String> {
    let mut wrong = Vec::new();
    if !matches!(finished.ending, Ending::Ended(status) if status.success()) {
        wrong.push(format!("it did not power off: {:?}", finished.ending));
    }
    let said = |number: u32| {
        let text = format!("line {number} of 100");
        let mut lines = finished.transcript.lines.iter();
        lines.any(|line| line.speaker.as_deref() == Some("hello") && line.text == text)
    };
    let missing = (1..=100).filter(|number| !said(*number)).count();
    if missing > 0 {
        wrong.push(format!("{missing} of the guest's 100 lines are missing"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell script in QEMU's place.
    fn finished(shell: &str) -> Finished {
        let names = ["hello".to_owned()];
        let mut command = Command::new("sh");
        command.args(["-c", shell]);
        session::run(Plan {
            peer: command.into(),
            script: Script::new(&[], None, &[], &names).unwrap(),
            names: names.to_vec(),
            timeout: Some(Duration::from_secs(5)),
            style: Style {
                hidden: true,
                ..Style::default()
            },
            attached: false,
            log: None,
            survive_panic: false,
        })
        .unwrap()
    }

    #[test]
    fn a_refusal_needs_its_reasons_and_their_count() {
        let refused =
            "printf 'bulkhead| refused: no GIC\\r\\nbulkhead| not started: 1 violation\\r\\n'";
        assert!(check_refusal(&finished(refused), &["GIC"]).is_empty());
        assert_eq!(check_refusal(&finished(refused), &["CPU"]).len(), 1);
        let miscounted = refused.replace("1 violation", "2 violations");
        assert_eq!(check_refusal(&finished(&miscounted), &["GIC"]).len(), 1);
        assert!(!check_refusal(&finished("true"), &[]).is_empty());
    }

    #[test]
    fn a_start_needs_every_line_and_the_power_off() {
        let all = "for n in $(seq 100); do printf \"hello| line $n of 100\\r\\n\"; done";
        assert!(check_hello(&finished(all)).is_empty());
        assert_eq!(
            check_hello(&finished(&all.replace("seq 100", "seq 99"))).len(),
            1
        );
        assert_eq!(check_hello(&finished(&format!("{all}; exit 1"))).len(), 1);
    }
}
