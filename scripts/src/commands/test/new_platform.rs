//! `new-platform` on boards that nobody prepared: their trees are those of Debian's kernel package, flattened and as source.

mod from_source;

use std::path::{Path, PathBuf};

use super::{Case, Found};
use crate::args::{Machine, Target, Test};
use crate::commands::new_platform::draft;
use crate::failure::{Code, Failure, Outcome};
use crate::selection::Selection;
use crate::system::check_selected;
use crate::workspace::{products, read};

/// A board and what its draft has to say.
struct Stranger {
    name: &'static str,
    tree: &'static str,
    /// What its tree leaves to the firmware.
    memory: &'static [&'static str],
    /// Texts of the folder's README.
    says: &'static [&'static str],
}

const STRANGERS: [Stranger; 4] = [
    Stranger {
        name: "am625-sk",
        tree: "debian:ti/k3-am625-sk.dtb",
        memory: &[],
        says: &[
            "2048 MiB",
            "GICv3",
            "ti,am64-uart: 16550",
            "nothing confines them",
        ],
    },
    // Two kinds of cores, and memory that the firmware knows.
    Stranger {
        name: "rock-pi-4b",
        tree: "debian:rockchip/rk3399-rock-pi-4b.dtb",
        memory: &["0x200000+2G"],
        says: &[
            "arm,cortex-a53 and arm,cortex-a72",
            "the memory is what you said",
        ],
    },
    // The firmware keeps the first 16 MiB, where an image would go.
    Stranger {
        name: "odroid-c2",
        tree: "debian:amlogic/meson-gxbb-odroidc2.dtb",
        memory: &[],
        says: &["reserved   0x0..=0xffffff", "GICv2"],
    },
    // A UART that has no driver here.
    Stranger {
        name: "db845c",
        tree: "debian:qcom/sdm845-db845c.dtb",
        memory: &["0x80000000+2G"],
        says: &["nothing that Bulkhead drives", "starts silent"],
    },
];

/// Returns the tests.
pub fn all() -> Vec<Case> {
    vec![case(), from_source::case()]
}

/// Returns the test of flattened trees.
fn case() -> Case {
    Case {
        name: "new-platform".to_owned(),
        about: "boards that nobody prepared get a folder whose table passes `check`, and are told what is open".to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| {
            let mut found = Found::default();
            for stranger in &STRANGERS {
                match try_out(stranger, args) {
                    Ok(wrong) if wrong.is_empty() => found.passed += 1,
                    Ok(wrong) => found.failures.extend(wrong),
                    Err(failure) if failure.code == Code::ToolMissing => {
                        println!("{}", failure.message);
                        return Found::skip("debian-trees");
                    }
                    Err(failure) => found.failures.push(format!("{}: {failure}", stranger.name)),
                }
            }
            found
        }),
    }
}

/// Makes a board's draft and checks its table; returns what is wrong.
fn try_out(stranger: &Stranger, args: &Test) -> Outcome<Vec<String>> {
    let folder = folder(stranger.name);
    draft(stranger.name, stranger.tree, stranger.memory, &folder)?;
    let readme = String::from_utf8_lossy(&read(&folder.join("README.md"))?).into_owned();
    let silent = |text: &&&str| !readme.contains(**text);
    let wrong = stranger.says.iter().filter(silent);
    let wrong = wrong.map(|text| format!("{}: its README does not say `{text}`", stranger.name));
    let wrong = wrong.collect();
    checked(stranger.name, None, args)?;
    Ok(wrong)
}

/// Returns where a draft goes.
fn folder(name: &str) -> PathBuf {
    root().join("platforms").join(name)
}

/// Returns the folder of all drafts.
fn root() -> PathBuf {
    products(&["test", "new-platform"])
}

/// Checks a draft's table, against the tree in a file if there is one.
fn checked(name: &str, dtb: Option<&Path>, args: &Test) -> Outcome {
    let boards = bulkhead_platforms::platforms(&root());
    let boards = boards.map_err(|error| Failure::failed(error.to_string()))?;
    let platform = boards.into_iter().find(|board| board.name == name);
    let platform = platform.ok_or_else(|| Failure::failed("the draft is not read as a board"))?;
    let target = Target {
        kernel: args.kernel.clone(),
        busybox: args.busybox.clone(),
        consent: args.consent,
        ..Target::default()
    };
    for name in ["default", "bench"] {
        let selection = Selection {
            table: platform.table(name),
            platform: platform.clone(),
            name: name.to_owned(),
        };
        check_selected(&selection, &target, &Machine::default(), dtb)?;
    }
    Ok(())
}
