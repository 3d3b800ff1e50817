//! Packages of Debian, fetched with apt's own tools but without root and without a change to the system: lists, cache
//! and architecture are private.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::{alone, find};
use crate::failure::{Failure, Outcome};
use crate::workspace::{self, capture, make_folder, products};

/// apt's private state, and the folder that packages are fetched into, serve one test at a time.
static APT: Mutex<()> = Mutex::new(());

/// Fetches packages.
#[derive(Debug)]
pub struct Mirror {
    /// What it serves, for people.
    serves: String,
    state: PathBuf,
    /// Further options of apt.
    options: Vec<String>,
}

impl Mirror {
    /// Prepares packages for arm64, from the system's own sources.
    ///
    /// # Errors
    /// There is no apt here; the message of the caller says what to get by hand.
    pub fn arm64() -> Outcome<Self> {
        let options = ["APT::Architecture=arm64", "APT::Architectures=arm64"];
        Self::open("arm64", "apt", options.map(str::to_owned).to_vec())
    }

    /// Prepares packages for this machine from another suite of `release`, which the system's sources must name.
    ///
    /// # Errors
    /// There is no apt here, or its sources do not name the release.
    pub fn suite(release: &str, suite: &str) -> Outcome<Self> {
        let folder = format!("apt-{suite}");
        let mut mirror = Self::open(suite, &folder, Vec::new())?;
        let mut command = Command::new("apt-get");
        command.args([
            "indextargets",
            "--format",
            "$(RELEASE) $(COMPONENT) $(SITE)",
        ]);
        let targets = capture(&mut command, "apt-get indextargets")?;
        let site = targets
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{release} main ")))
            .ok_or_else(|| Failure::failed(format!("apt's sources do not name {release}")))?;
        let list = mirror.state.join("sources.list");
        workspace::write(&list, format!("deb {site} {suite} main\n").as_bytes())?;
        mirror.options = vec![
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=-".to_owned(),
        ];
        Ok(mirror)
    }

    /// Prepares the private state.
    fn open(serves: &str, folder: &str, options: Vec<String>) -> Outcome<Self> {
        let missing = ["apt-get", "apt-cache", "dpkg-deb", "tar"]
            .into_iter()
            .find(|p| find(p).is_none());
        if let Some(program) = missing {
            return Err(Failure::failed(format!("this machine has no {program}")));
        }
        let state = products(&["cache", folder]);
        for part in ["lists/partial", "cache/archives/partial"] {
            make_folder(&state.join(part))?;
        }
        Ok(Self {
            serves: serves.to_owned(),
            state,
            options,
        })
    }

    /// Reads the lists of packages anew.
    ///
    /// # Errors
    /// The mirror cannot be reached.
    pub fn update(&self) -> Outcome {
        let _alone = alone(&APT);
        eprintln!("xtask: reading Debian's package lists: {}", self.serves);
        // A foreign source that knows no such architecture makes this fail though Debian's own lists arrived: what counts is
        // whether the package is found then.
        let result = capture(self.apt("apt-get").arg("update"), "apt-get update");
        if self.known() {
            Ok(())
        } else {
            result.map(|_| ())
        }
    }

    /// Have lists been read?
    fn known(&self) -> bool {
        let entries = fs::read_dir(self.state.join("lists"));
        entries.is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().contains("Packages"))
        })
    }

    /// Returns the first package that a metapackage depends on.
    ///
    /// # Errors
    /// The metapackage is not known.
    pub fn dependency(&self, metapackage: &str) -> Outcome<String> {
        let _alone = alone(&APT);
        let mut command = self.apt("apt-cache");
        let text = capture(
            command.args(["depends", "--important", metapackage]),
            "apt-cache",
        )?;
        let found = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: "));
        found.map(str::to_owned).ok_or_else(|| {
            Failure::failed(format!(
                "apt knows no package {metapackage} for {}",
                self.serves
            ))
        })
    }

    /// Fetches a package and unpacks the files that match one of `patterns` (tar's wildcards) into `folder`.
    ///
    /// # Errors
    /// The package cannot be fetched, or holds no file for one of them.
    pub fn unpack(&self, package: &str, patterns: &[&str], folder: &Path) -> Outcome {
        let _alone = alone(&APT);
        let downloads = self.state.join("downloads");
        // Whatever an interrupted run left there.
        let _ = fs::remove_dir_all(&downloads);
        make_folder(&downloads)?;
        make_folder(folder)?;
        eprintln!("xtask: fetching {package}: {}", self.serves);
        let mut command = self.apt("apt-get");
        command.args(["download", package]).current_dir(&downloads);
        capture(&mut command, "apt-get download")?;
        let file = only_file(&downloads)?;
        extract(&file, patterns, folder)?;
        fs::remove_dir_all(&downloads).map_err(|error| Failure::file(&downloads, error))
    }

    /// Returns a call of one of apt's tools with the private state.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let options = [
            format!("Dir::State::Lists={}", self.state.join("lists").display()),
            format!("Dir::Cache={}", self.state.join("cache").display()),
            // As root apt would drop to a user that may not write here.
            "APT::Sandbox::User=root".to_owned(),
        ];
        for option in options.iter().chain(&self.options) {
            command.args(["-o", option]);
        }
        command
    }
}

/// Returns the one file in a folder.
fn only_file(folder: &Path) -> Outcome<PathBuf> {
    let mut entries = fs::read_dir(folder).map_err(|error| Failure::file(folder, error))?;
    match entries.next() {
        Some(Ok(entry)) => Ok(entry.path()),
        _ => Err(Failure::failed(format!(
            "{}: nothing was fetched",
            folder.display()
        ))),
    }
}

/// Unpacks files of a package.
fn extract(package: &Path, patterns: &[&str], folder: &Path) -> Outcome {
    let mut unpacker = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::failed(format!("dpkg-deb: {error}")))?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--no-same-owner", "--wildcards", "-C"])
        .arg(folder)
        .args(patterns);
    if let Some(output) = unpacker.stdout.take() {
        tar.stdin(output);
    }
    let result = workspace::call(&mut tar, &format!("unpacking {}", package.display()));
    // It fails only with tar, whose failure is told.
    let _ = unpacker.wait();
    result
}
