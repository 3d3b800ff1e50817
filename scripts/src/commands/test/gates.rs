//! Tests that need no QEMU: format, lints, host tests, documentation, layering, Miri.

use std::process::Command;
use std::time::{Duration, Instant};

use bulkhead_platforms::Platform;

use super::{Case, Found, miri, target};
use crate::args::{Machine, Target, Test};
use crate::failure::{Code, Failure, Outcome};
use crate::guests::folders;
use crate::image::HEADER_BYTES;
use crate::system::{self, build_hypervisor};
use crate::workspace::{GUEST_TARGET, HYPERVISOR_TARGET, cargo, products, root};
use crate::{layering, workspace};

/// Packages that build for the host.
const HOST: [&str; 7] = [
    "bulkhead",
    "bulkhead-fuzz",
    "bulkhead-platforms",
    "bulkhead-tests",
    "guest-channel",
    "xtask",
    "pendulum",
];
/// Longest build after an edit of a kernel command line.
const EDIT_TO_BUILT: Duration = Duration::from_secs(10);

/// Returns all gates in the order in which they run: the quickest first.
pub fn all() -> Vec<Case> {
    let case = |name: &str, about: &str, run: fn(&Test) -> Found| Case {
        name: name.to_owned(),
        about: about.to_owned(),
        long: false,
        alone: false,
        run: Box::new(run),
    };
    vec![
        case("format", "rustfmt leaves every file as it is", format),
        case("layering", "modules use only what lies below them", |_| {
            layers()
        }),
        case(
            "lints",
            "clippy finds nothing, for the host and for bare metal",
            |_| lints(),
        ),
        case(
            "host",
            "unit, property and model tests, and the bad tables, on the host",
            |_| host(),
        ),
        case("docs", "the documentation builds without a warning", |_| {
            docs()
        }),
        case(
            "miri",
            "unsafe code that runs on the host, under Miri",
            miri::miri,
        ),
        case(
            "loom",
            "what pCPUs share, in every order of accesses that the memory model allows",
            |_| loom(),
        ),
        case(
            "same-bytes",
            "two tables leave EL2's own bytes identical",
            same_bytes,
        ),
        case(
            "same-bytes-on-boards",
            "the images of all boards hold the same EL2",
            same_on_boards,
        ),
        case(
            "same-anywhere",
            "an image does not say in which folders it was built",
            same_anywhere,
        ),
        case(
            "same-image",
            "the image does not depend on the board's RAM size",
            same_image,
        ),
        Case {
            alone: true,
            ..case(
                "edit",
                "an edited kernel command line is built within ten seconds",
                edit,
            )
        },
    ]
}

/// Runs a command and makes a failure of its messages.
fn gate(command: &mut Command, what: &str) -> Found {
    match command.output() {
        Ok(output) if output.status.success() => Found::pass(),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            let mut found = Found::fail(what);
            found.details = said.lines().map(str::to_owned).collect();
            found
        }
        Err(error) => Found::fail(format!("{what}: {error}")),
    }
}

/// Adds up.
pub(super) fn sum(parts: impl IntoIterator<Item = Found>) -> Found {
    let mut all = Found::default();
    for part in parts {
        all.passed += part.passed;
        all.failures.extend(part.failures);
        all.skipped.extend(part.skipped);
        all.details.extend(part.details);
    }
    all
}

/// `cargo fmt --check`
fn format(_: &Test) -> Found {
    gate(
        cargo().args(["fmt", "--all", "--check"]),
        "run `cargo fmt --all`",
    )
}

/// The layering check.
fn layers() -> Found {
    match layering::check(&root()) {
        Ok(broken) if broken.is_empty() => Found::pass(),
        Ok(broken) => Found {
            failures: broken,
            ..Found::default()
        },
        Err(failure) => Found::fail(failure.message),
    }
}

/// `-p NAME` for each name.
fn packages(names: &[impl AsRef<str>]) -> Vec<String> {
    let pair = |name: &dyn AsRef<str>| ["--package".to_owned(), name.as_ref().to_owned()];
    names.iter().flat_map(|name| pair(&name.as_ref())).collect()
}

/// Returns the crates that guests are made of.
fn guest_packages() -> Vec<String> {
    let mut names = folders("guests", "src/main.rs");
    let others = [
        "guest-runtime",
        "linux-program",
        "bulkhead-channel",
        "bulkhead-manager",
        "pendulum-view",
    ];
    names.extend(others.map(str::to_owned));
    names
}

/// Clippy on all targets.
fn lints() -> Found {
    let clippy = |arguments: &[String], target: Option<&str>, what: &str| {
        let mut command = cargo();
        command.args(["clippy", "--quiet"]).args(arguments);
        if let Some(target) = target {
            command.args(["--target", target]);
        }
        gate(command.args(["--", "-D", "warnings"]), what)
    };
    let mut host = packages(&HOST);
    host.push("--all-targets".to_owned());
    let mut bare = packages(&["bulkhead"]);
    bare.extend(["--bin", "bulkhead"].map(str::to_owned));
    sum([
        clippy(&host, None, "clippy, host"),
        clippy(&bare, Some(HYPERVISOR_TARGET), "clippy, EL2"),
        clippy(
            &packages(&guest_packages()),
            Some(GUEST_TARGET),
            "clippy, guests",
        ),
    ])
}

/// `cargo test`, each of its tests counted.
fn host() -> Found {
    let mut command = cargo();
    command
        .args(["test", "--no-fail-fast"])
        .args(packages(&HOST));
    tested(&mut command, "cargo test")
}

/// Runs Rust's test harness and counts its tests.
pub(super) fn tested(command: &mut Command, what: &str) -> Found {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Found::fail(format!("{what}: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = counted(&text);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        found.details = text
            .lines()
            .chain(errors.lines())
            .map(str::to_owned)
            .collect();
        if found.failures.is_empty() {
            found.failures.push(format!("{what} failed"));
        }
    }
    found
}

/// Reads the output of Rust's test harness.
fn counted(text: &str) -> Found {
    let mut found = Found::default();
    for line in text.lines() {
        let Some(test) = line.strip_prefix("test ") else {
            continue;
        };
        match test.rsplit_once(" ... ") {
            Some((_, "ok")) => found.passed += 1,
            Some((name, "FAILED")) => found.failures.push(name.to_owned()),
            Some((name, result)) if result.starts_with("ignored") => {
                found.skipped.push(name.to_owned())
            }
            _ => {}
        }
    }
    found
}

/// `cargo doc` with warnings as errors.
fn docs() -> Found {
    let doc = |names: &[String], target: Option<&str>, what: &str| {
        let mut command = cargo();
        command
            .args(["doc", "--quiet", "--no-deps"])
            .args(packages(names));
        if let Some(target) = target {
            command.args(["--target", target]);
        }
        gate(command.env("RUSTDOCFLAGS", "-D warnings"), what)
    };
    let host: Vec<String> = HOST.map(str::to_owned).to_vec();
    let mut bare = cargo();
    // For another target: the library of this name and its binary would overwrite each other's pages.
    bare.args(["doc", "--quiet", "--no-deps", "--package", "bulkhead"]);
    bare.args(["--bin", "bulkhead", "--document-private-items"]);
    bare.args(["--target", HYPERVISOR_TARGET]);
    bare.env("RUSTDOCFLAGS", "-D warnings");
    sum([
        doc(&host, None, "documentation, host"),
        gate(&mut bare, "documentation, EL2"),
        doc(
            &guest_packages(),
            Some(GUEST_TARGET),
            "documentation, guests",
        ),
    ])
}

/// What pCPUs and partners of a channel share, by loom: the modules `orders`.
fn loom() -> Found {
    let mut command = cargo();
    command.args(["test", "--lib", "--profile", "fuzz"]);
    command.args(packages(&["bulkhead", "guest-channel"]));
    // Its own folder: with other flags all is built anew.
    command.arg("--target-dir").arg(products(&["loom"]));
    command.args(["--", "orders::"]);
    command.env("RUSTFLAGS", "--cfg loom");
    command.env("LOOM_MAX_PREEMPTIONS", "3");
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    tested(&mut command, "loom")
}

/// Returns a machine with this RAM.
fn with_memory(args: &Test, memory: Option<&str>) -> Machine {
    Machine {
        memory: memory.map(str::to_owned),
        qemu: args.qemu.clone(),
        ..Machine::default()
    }
}

/// Builds two tables and compares EL2's bytes in the images.
fn same_bytes(args: &Test) -> Found {
    let bytes = |table: &str| {
        let built = system::build(&target(args, table), &with_memory(args, None))?;
        let image = workspace::read(&built.image)?;
        let end = built.hypervisor.bytes.len();
        let own = image
            .get(crate::image::HEADER_BYTES..end)
            .unwrap_or_default();
        Ok((own.to_vec(), image.len()))
    };
    let both = bytes("hello").and_then(|one| Ok((one, bytes("two-on-one")?)));
    match both {
        Ok(((one, _), (other, _))) if one != other => {
            Found::fail("EL2's bytes depend on the table")
        }
        Ok(((_, one), (_, other))) if one == other => {
            Found::fail("both images have the same size: is there a payload?")
        }
        Ok(_) => Found::pass(),
        Err::<_, Failure>(failure) => Found::fail(failure.message),
    }
}

/// Looks for the folders of the build in an image.
fn same_anywhere(args: &Test) -> Found {
    let built = system::build(&target(args, "checks"), &with_memory(args, None));
    let image = built.and_then(|built| workspace::read(&built.image));
    let image = match image {
        Ok(image) => image,
        Err(failure) => return Found::fail(failure.message),
    };
    sum([workspace::root(), workspace::cargo_home()].map(|folder| {
        let name = folder.as_os_str().as_encoded_bytes();
        match image.windows(name.len()).any(|bytes| bytes == name) {
            true => Found::fail(format!("the image says {}", folder.display())),
            false => Found::pass(),
        }
    }))
}

/// Builds the default table for little and for much RAM and compares the images and what describes the boards.
fn same_image(args: &Test) -> Found {
    let image = |memory: &str| {
        let built = system::build(&target(args, "default"), &with_memory(args, Some(memory)))?;
        let tree = built.qemu_board()?.device_tree()?;
        Ok((workspace::read(&built.image)?, tree))
    };
    match image("512M").and_then(|little| Ok((little, image("8G")?))) {
        Ok(((_, one), (_, other))) if one == other => {
            Found::fail("both boards have the same device tree: is their RAM different?")
        }
        Ok(((little, _), (much, _))) if little == much => Found::pass(),
        Ok(_) => Found::fail("the images for 512M and for 8G differ"),
        Err::<_, Failure>(failure) => Found::fail(failure.message),
    }
}

/// Builds the table `hello` of every board that has one: behind the header, up to the payload, all are the same EL2.
fn same_on_boards(args: &Test) -> Found {
    let mut found = Found::default();
    let boards = match crate::selection::boards() {
        Ok(boards) => boards,
        Err(failure) => return Found::fail(failure.message),
    };
    let named = |board: &Platform| board.table("hello").is_file();
    for board in boards.into_iter().filter(named) {
        let of_board = Target {
            platform: Some(board.name.clone()),
            ..target(args, "hello")
        };
        let built = match system::build(&of_board, &Machine::default()) {
            Ok(built) => built,
            Err(failure) if failure.code == Code::ToolMissing => {
                println!("{}", failure.message);
                found.skipped.push(format!("board-{}", board.name));
                continue;
            }
            Err(failure) => return Found::fail(format!("{}: {failure}", board.name)),
        };
        let own = &built.hypervisor.bytes;
        let body = HEADER_BYTES..own.len();
        match workspace::read(&built.image) {
            Ok(image) if image.get(body.clone()) == own.get(body) => found.passed += 1,
            Ok(_) => found
                .failures
                .push(format!("{} has another EL2", board.name)),
            Err(failure) => found.failures.push(failure.message),
        }
        println!("     {} has EL2 {}", board.name, built.hypervisor.digest());
    }
    if found.passed < 2 {
        found
            .failures
            .push("fewer than two boards were compared".to_owned());
    }
    found
}

/// Edits a kernel command line and builds.
fn edit(args: &Test) -> Found {
    match timed_edit(args) {
        Ok(time) if time < EDIT_TO_BUILT => Found::pass(),
        Ok(time) => Found::fail(format!("it took {} s", time.as_secs())),
        Err(failure) => Found::fail(failure.message),
    }
}

/// Returns how long the build after an edit takes.
fn timed_edit(args: &Test) -> Outcome<Duration> {
    let machine = with_memory(args, None);
    // All but the edit is built already.
    build_hypervisor()?;
    let built = system::build(&target(args, "default"), &machine)?;
    let text = String::from_utf8_lossy(&workspace::read(&built.selection.table)?).into_owned();
    let edited = text.replace("cmdline = \"", "cmdline = \"loglevel=5 ");
    if edited == text {
        return Err(Failure::failed(
            "the default table has no kernel command line",
        ));
    }
    let file = products(&["test", "edited.toml"]);
    workspace::write(&file, edited.as_bytes())?;
    let started = Instant::now();
    system::build(&target(args, &file.to_string_lossy()), &machine)?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_tests_are_counted_one_by_one() {
        let text =
            "running 3 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored, slow\n";
        let found = counted(text);
        assert_eq!(
            (found.passed, found.failures, found.skipped),
            (1, vec!["b::c".to_owned()], vec!["d".to_owned()])
        );
    }
}
