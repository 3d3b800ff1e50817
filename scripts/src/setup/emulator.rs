//! QEMU in versions other than the system's, unpacked into our own cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::debian::Mirror;
use super::{QEMU, alone, find, tool_missing};
use crate::failure::{Failure, Outcome};
use crate::workspace::{self, capture, products};

/// The release of Debian whose packages are taken.
const RELEASE: &str = "bookworm";
/// The suites that hold the versions.
const SUITES: [(&str, &str); 2] = [("7.2", "bookworm"), ("10.0", "bookworm-backports")];
/// QEMU, and its modules: those that it does not find beside itself it takes from the system, and ends because they
/// are of another build.
const PACKAGES: [&str; 6] = [
    "qemu-system-arm",
    "qemu-system-common",
    "qemu-system-data",
    "qemu-system-gui",
    "qemu-system-modules-opengl",
    "qemu-system-modules-spice",
];
/// Starts the unpacked QEMU with its own modules and data.
const STARTER: &str = r#"#!/bin/sh
here=$(dirname "$0")
for modules in "$here"/usr/lib/*/qemu; do :; done
QEMU_MODULE_DIR=$modules exec "$here/usr/bin/qemu-system-aarch64" -L "$here/usr/share/qemu" "$@"
"#;

/// Returns a QEMU of a version, `7.2` or `10.0`: the system's if it is one, else one from Debian.
///
/// # Errors
/// It cannot be had here: why.
pub fn of_version(version: &str) -> Outcome<PathBuf> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _alone = alone(&FETCHING);
    let system = find(QEMU.program).filter(|program| is_version(program, version));
    if let Some(program) = system {
        return Ok(program);
    }
    let folder = products(&["cache", &format!("qemu-{version}")]);
    let program = folder.join(QEMU.program);
    if !is_version(&program, version) {
        fetch(version, &folder)
            .map_err(|failure| tool_missing(&format!("no QEMU {version} here: {failure}")))?;
    }
    Ok(program)
}

/// Returns a QEMU that has a board since a version: the system's when it is new enough, else that version from Debian.
///
/// # Errors
/// It cannot be had here: why.
pub fn with_board(since: &str) -> Outcome<PathBuf> {
    let new_enough = |program: &PathBuf| {
        let said = capture(Command::new(program).arg("--version"), "QEMU");
        said.is_ok_and(|said| numbers(&said, "QEMU emulator version ") >= numbers(since, ""))
    };
    match find(QEMU.program).filter(new_enough) {
        Some(program) => Ok(program),
        None => of_version(since),
    }
}

/// Returns the major and minor number of a version behind some words; zeros when there is none.
fn numbers(said: &str, words: &str) -> (u32, u32) {
    let version = said.strip_prefix(words).unwrap_or_default();
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// Says whether a program is QEMU of this version.
fn is_version(program: &Path, version: &str) -> bool {
    let said = capture(Command::new(program).arg("--version"), "QEMU");
    said.is_ok_and(|said| names_version(&said, version))
}

/// Says whether QEMU's answer names this version.
fn names_version(said: &str, version: &str) -> bool {
    let rest = said
        .strip_prefix("QEMU emulator version ")
        .and_then(|rest| rest.strip_prefix(version));
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// Fetches and unpacks a version.
fn fetch(version: &str, folder: &Path) -> Outcome {
    let suite = SUITES.iter().find(|(held, _)| *held == version);
    let Some((_, suite)) = suite else {
        return Err(Failure::failed("it is not known where to get it"));
    };
    let mirror = Mirror::suite(RELEASE, suite)?;
    mirror.update()?;
    // What an interrupted run left there; usually there is nothing.
    let _ = fs::remove_dir_all(folder);
    // Version 7.2 has no packages of modules of their own: only the first three must be there.
    for (index, package) in PACKAGES.iter().enumerate() {
        match mirror.unpack(package, &["./usr/*"], folder) {
            Err(failure) if index < 3 => return Err(failure),
            _ => {}
        }
    }
    let starter = folder.join(QEMU.program);
    workspace::write(&starter, STARTER.as_bytes())?;
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))
        .map_err(|error| Failure::file(&starter, error))?;
    if is_version(&starter, version) {
        return Ok(());
    }
    let said = capture(Command::new(&starter).arg("--version"), "it");
    Err(said
        .err()
        .unwrap_or_else(|| Failure::failed(format!("{suite} holds another version"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)";
        assert_eq!(numbers(said, "QEMU emulator version "), (10, 0));
        assert!(numbers("9.2", "") < numbers("10.0", ""));
        assert_eq!(numbers("QEMU", "no "), (0, 0));
    }

    #[test]
    fn a_version_is_not_taken_for_a_longer_one() {
        let said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)";
        assert!(names_version(said, "10.0"));
        assert!(!names_version(said, "1"));
        assert!(!names_version(said, "7.2"));
        assert!(!names_version("QEMU emulator version 7.21", "7.2"));
    }
}
