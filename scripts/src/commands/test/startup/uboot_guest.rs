//! U-Boot as a guest: Debian's build for QEMU's `virt` machine, unmodified, beside a control loop. It says itself what is
//! wrong: `bootefi selftest` tries memory, timers, events, variables, images, the console and the clock.

use std::collections::BTreeSet;
use std::path::Path;

use super::uboot::firmware;
use super::{Boot, found, own_lines, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::qemu::ICOUNT;
use crate::session::{Ending, Finished};
use crate::setup::source;
use crate::workspace::{products, root, write};

const NAME: &str = "u-boot-guest";
/// What it is told of the machine.
const TREE: &str = "tests/systems/u-boot.dts";
/// What fails on every machine without a network and a source of random numbers, and has to.
const WITHOUT_DEVICE: [&str; 2] = ["random number generator", "simple network protocol"];
/// Longest time in seconds.
const SECONDS: u64 = 400;

/// Lets U-Boot test itself, restart and turn itself off.
pub fn tested(args: &Test) -> Outcome<Found> {
    let Some(firmware) = firmware()? else {
        return Ok(Found::skip("start-u-boot"));
    };
    let tree = products(&["test", "u-boot.dtb"]);
    write(&tree, &source::tree(&root().join(TREE), args.consent)?)?;
    let table = products(&["test", "u-boot.toml"]);
    write(&table, table_of(&firmware, &tree).as_bytes())?;
    let built = system(args, &table.to_string_lossy())?;
    let names = built.names();
    let mut command = built.qemu_board()?.command();
    command.arg("-kernel").arg(&built.image);
    // Its timers are to come in time however busy the host is.
    command.args(ICOUNT);
    let steps = [
        ("u-boot:stop autoboot", "u-boot:\\r"),
        ("u-boot:^=> $", "u-boot:bootefi selftest"),
        ("u-boot:Preparing for reset", "u-boot:\\r"),
        ("u-boot:stop autoboot", "u-boot:\\r"),
        ("u-boot:^=> $", "u-boot:poweroff"),
    ]
    .map(|(when, send)| (when.to_owned(), send.to_owned()));
    let mut boot = Boot::new(NAME, command, &names);
    (boot.steps, boot.seconds) = (&steps, SECONDS);
    boot.until = Some("bulkhead:^u-boot: stopped$");
    let finished = boot.run(args)?;
    Ok(found(NAME, &finished, check(&finished)))
}

/// Writes the table: where QEMU has flash there is memory, the program in the first and an empty environment in the second.
fn table_of(firmware: &Path, tree: &Path) -> String {
    format!(
        r#"[system]
version  = 1
platform = "qemu-virt"
focus    = "u-boot"

[[partition]]
name    = "loop"
image   = {{ guest = "control-loop" }}
memory  = "2M"
vcpus   = [{{ pcpu = 0, priority = 200 }}]

[[partition]]
name    = "u-boot"
image   = {{ raw = {firmware:?}, load = 0, entry = 0 }}
memory  = [{{ gpa = 0x4000_0000, size = "128M" }}, {{ gpa = 0, size = "2M" }}, {{ gpa = 0x400_0000, size = "2M" }}]
vcpus   = [{{ pcpu = 0, priority = 10 }}]
devices = ["/pl031@9010000"]
dtb     = {{ file = {tree:?}, at = 0x4000_0000 }}
"#
    )
}

/// Says what is wrong with a run.
fn check(finished: &Finished) -> Vec<String> {
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("it did not turn itself off: {:?}", finished.ending));
    }
    let lines = finished.transcript.lines.iter();
    let said: Vec<&str> = lines
        .filter(|line| line.speaker.as_deref() == Some("u-boot"))
        .map(|line| line.text.as_str())
        .collect();
    let failed: BTreeSet<&str> = said.iter().filter_map(|line| failed(line)).collect();
    if failed != WITHOUT_DEVICE.into() {
        wrong.push(format!("of its self-test these fail: {failed:?}"));
    }
    let summary = format!("Summary: {} failures", WITHOUT_DEVICE.len());
    if !said.contains(&summary.as_str()) {
        wrong.push(format!("it does not say `{summary}`"));
    }
    let late = |line: &&str| line.starts_with("period ") && !line.contains(" missed 0 ");
    let mut beside = finished.transcript.lines.iter();
    if beside.any(|line| line.speaker.as_deref() == Some("loop") && late(&line.text.as_str())) {
        wrong.push("the loop beside it was late".to_owned());
    }
    let own = own_lines(finished);
    if !own.contains(&"u-boot: restarting: it asked for a reset") {
        wrong.push("EL2 does not say that it restarted".to_owned());
    }
    wrong
}

/// Returns the test that a line says has failed.
fn failed(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("ERROR: ")?.strip_suffix("' failed")?;
    Some(rest.split_once('\'')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_named() {
        assert_eq!(
            failed("ERROR: Executing 'real time clock' failed"),
            Some("real time clock")
        );
        assert_eq!(failed("ERROR: Setting up 'crc32' failed"), Some("crc32"));
        assert_eq!(failed("ERROR: Could not read real time clock"), None);
        assert_eq!(failed("Executing 'crc32' succeeded"), None);
    }
}
