//! Partition tables of any size, for rows that ask how something grows.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::failure::Outcome;
use crate::workspace::{self, products};

/// What stands before the partitions.
fn head(focus: &str) -> String {
    format!(
        "[system]\nversion = 1\nplatform = \"qemu-virt\"\nfocus = \"{focus}\"\nconsole_priority = 200\n"
    )
}

/// Appends a partition.
fn partition(text: &mut String, name: &str, guest: &str, pcpu: u32, priority: u8, more: &str) {
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "\n[[partition]]\nname = \"{name}\"\nimage = {{ guest = \"{guest}\" }}\nmemory = \"2M\"\n\
         vcpus = [{{ pcpu = {pcpu}, priority = {priority} }}]\n{more}"
    );
}

/// The guest that measures, a busy one below it when there are more than one, and sleepers; all on pCPU 0, one more sleeper
/// on each further pCPU.
pub fn shared(partitions: u32, pcpus: u32) -> String {
    let mut text = head("bench");
    let device = "devices = [\"/pl031@9010000\"]\n";
    partition(&mut text, "bench", "bench", 0, 200, device);
    if partitions > 1 {
        partition(&mut text, "load", "load", 0, 10, "");
    }
    sleepers(&mut text, partitions.saturating_sub(2), pcpus);
    text
}

/// Two that give way to each other, and sleepers.
pub fn yields(partitions: u32) -> String {
    let mut text = head("one");
    for name in ["one", "other"] {
        partition(&mut text, name, "bench-yield", 0, 100, "");
    }
    sleepers(&mut text, partitions.saturating_sub(2), 1);
    text
}

/// Partitions that sleep: for EL2's footprint.
pub fn asleep(partitions: u32, pcpus: u32) -> String {
    let mut text = head("first");
    partition(&mut text, "first", "bench-sleeper", 0, 10, "");
    sleepers(&mut text, partitions.saturating_sub(1), pcpus);
    text
}

/// Appends sleepers of several priorities on pCPU 0, and names the pCPUs.
fn sleepers(text: &mut String, count: u32, pcpus: u32) {
    for number in 0..count {
        let priority = 20 + (number % 60) as u8;
        let name = format!("sleeper-{number}");
        partition(text, &name, "bench-sleeper", 0, priority, "");
    }
    for pcpu in 1..pcpus {
        let name = format!("apart-{pcpu}");
        partition(text, &name, "bench-sleeper", pcpu, 10, "");
    }
}

/// Writes a table to a file of that name.
///
/// # Errors
/// The file cannot be written.
pub fn file(name: &str, text: &str) -> Outcome<PathBuf> {
    let file = products(&["bench", &format!("{name}.toml")]);
    workspace::write(&file, text.as_bytes())?;
    Ok(file)
}
