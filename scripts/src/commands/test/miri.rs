//! Miri on all `unsafe` that the host can run: in EL2's library, and the shared memory of channels.
//!
//! A test lists each file with `unsafe` among those that the host builds, and what runs it, and holds the list. All other
//! `unsafe` is the bare-metal binary's and the guests': registers, tables, memory by its address. None of it is built for the
//! host, and Miri knows no such machine.

use std::process::Command;

use super::Found;
use super::gates::{sum, tested};
use crate::args::Test;
use crate::setup;
use crate::workspace::root;

/// What Miri looks at in EL2's library: the lock and the rings between pCPUs, and raw views of payloads. The rest forbids
/// `unsafe`, and all of it would take an hour.
const LIBRARY: [&str; 5] = [
    "sync",
    "device::ring",
    "config::record",
    "config::payload::tests::shows",
    "config::payload::tests::refuses_spans",
];
/// What it looks at of channels: both kinds of rings between two threads, and memory that is too small.
const CHANNEL: [&str; 3] = ["two_threads", "one_way", "memory_too_small"];

/// Runs Miri, where there is one.
pub fn miri(args: &Test) -> Found {
    if !setup::miri(args.consent) {
        return Found::skip("miri");
    }
    sum([
        under_miri("bulkhead", &LIBRARY),
        under_miri("guest-channel", &CHANNEL),
    ])
}

/// Miri on the unit tests of a package whose names hold one of these texts.
fn under_miri(package: &str, tests: &[&str]) -> Found {
    let mut command = Command::new("cargo");
    command.args([
        "+nightly",
        "miri",
        "test",
        "--package",
        package,
        "--lib",
        "--",
        // One after the other: what order Miri gives their threads is then the same each time.
        "--test-threads=1",
    ]);
    command.args(tests);
    // Few cases for each property: Miri takes a thousand times longer.
    command.env("PROPTEST_CASES", "2").env(
        "MIRIFLAGS",
        "-Zmiri-disable-isolation -Zmiri-strict-provenance",
    );
    // Cargo's own variables name the stable toolchain.
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC");
    tested(command.current_dir(root()), "Miri")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Files that the host builds and that have `unsafe`, and what runs it.
    const UNSAFE: [(&str, &str); 5] = [
        ("src/sync.rs", "Miri: sync"),
        (
            "src/sync/orders.rs",
            "loom, whose cells need it: sync::orders",
        ),
        (
            "guests/channel/src/window.rs",
            "Miri: two_threads, one_way, memory_too_small",
        ),
        ("guests/channel/src/tests.rs", "Miri: the same"),
        (
            "scripts/src/session/peer.rs",
            "no Miri: it runs between fork and exec, which Miri has not",
        ),
    ];
    /// Folders of what the host builds, but for EL2's.
    const FOLDERS: [&str; 6] = [
        "platforms/src",
        "scripts/src",
        "tests/src",
        "tests/fuzz/src",
        "guests/channel/src",
        "guests/pendulum/src",
    ];

    /// Says whether a line of source has `unsafe` code.
    fn has_unsafe(line: &str) -> bool {
        let code = line.split("//").next().unwrap_or("");
        let mut behind = code.split("unsafe").skip(1);
        behind.any(|rest| {
            [" {", " impl ", " fn ", " extern "]
                .iter()
                .any(|form| rest.starts_with(form))
        })
    }

    /// Finds the files with `unsafe` code at a path.
    fn look(path: &Path, found: &mut BTreeSet<String>) {
        if let Ok(entries) = fs::read_dir(path) {
            entries
                .flatten()
                .for_each(|entry| look(&entry.path(), found));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(path).expect("a source");
            if text.lines().any(has_unsafe) {
                let name = path.strip_prefix(root()).expect("a file of ours");
                found.insert(name.display().to_string());
            }
        }
    }

    #[test]
    fn unsafe_that_the_host_builds_is_listed_with_what_runs_it() {
        let mut found = BTreeSet::new();
        let library = fs::read_to_string(root().join("src/lib.rs")).expect("the library");
        let modules = library
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod "));
        for module in modules.filter_map(|module| module.strip_suffix(';')) {
            look(&root().join(format!("src/{module}.rs")), &mut found);
            look(&root().join("src").join(module), &mut found);
        }
        for folder in FOLDERS {
            look(&root().join(folder), &mut found);
        }
        let listed = UNSAFE.iter().map(|(file, _)| (*file).to_owned()).collect();
        assert_eq!(found, listed);
    }
}
