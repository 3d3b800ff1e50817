//! `cargo xtask flash` writes for real: onto a disk that the kernel makes of a file, into a file, into a server's folder.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;

use super::{Case, Found, machine, target};
use crate::args::{Flash, Test};
use crate::commands::flash;
use crate::failure::{Code, Failure, Outcome};
use crate::medium::{self, Medium, card};
use crate::system::build;
use crate::workspace::{capture, make_folder, products, read, shown, write};

/// What a used medium holds.
const USED: u8 = 0xa5;
/// Room of the medium behind what is written, which has to stay as it is.
const BEHIND: usize = 3 << 20;
/// A medium that is too small for anything.
const SMALL: usize = 8 << 20;
const TABLE: &str = "hello";

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "flash".to_owned(),
        about: "disks, files and folders hold what was flashed; what is in use is refused with what to do".to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| written(args).unwrap_or_else(|failure| Found::fail(failure.message))),
    }
}

/// Returns the command line that flashes a table to a place.
pub fn onto(args: &Test, table: &str, to: &Path) -> Flash {
    let mut target = target(args, table);
    target.consent.yes = true;
    Flash {
        target,
        machine: machine(args),
        to: to.to_string_lossy().into_owned(),
    }
}

/// Makes a used medium.
///
/// # Errors
/// The file cannot be written.
pub fn used(file: &Path, bytes: usize) -> Outcome {
    write(file, &vec![USED; bytes])
}

/// A disk that the kernel makes of a file, for as long as this lives.
pub struct Loop(PathBuf);

impl Loop {
    /// Makes a disk. `None`: this machine does not.
    pub fn attach(file: &Path, options: &[&str]) -> Option<Self> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).args(options).arg(file);
        let name = capture(&mut losetup, "losetup").ok()?;
        Some(Self(name.trim().into()))
    }

    /// Returns its name.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = quiet("losetup", &[Path::new("--detach"), &self.0]);
    }
}

/// A mounted file system, for as long as this lives.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = quiet("umount", &[self.0]);
    }
}

/// Runs a program; says whether it is there and did what it was asked.
fn quiet(program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs all of it.
fn written(args: &Test) -> Outcome<Found> {
    let built = build(&target(args, TABLE), &machine(args))?;
    let medium = medium::of(&built)?;
    let trial = Trial {
        args,
        card: card::image(&medium.files)?,
        folder: products(&["test", "flash"]),
    };
    make_folder(&trial.folder)?;
    let mut found = Found::default();
    for (name, result) in [
        ("folder", trial.folder(&medium)),
        ("file", trial.file()),
        ("disk", trial.disk()),
        ("in use", trial.in_use()),
    ] {
        match result {
            Ok(None) => found.passed += 1,
            Ok(Some(skip)) => found.skipped.push(skip.to_owned()),
            Err(failure) => found.failures.push(format!("{name}: {failure}")),
        }
    }
    Ok(found)
}

/// Which skip it is, if it is one.
type Skipped = Option<&'static str>;

/// What all trials need.
struct Trial<'a> {
    args: &'a Test,
    /// What a medium has to hold.
    card: Vec<u8>,
    /// Where files lie.
    folder: PathBuf,
}

impl Trial<'_> {
    /// Flashes.
    fn flash(&self, to: &Path) -> Outcome {
        flash::run(&onto(self.args, TABLE, to))
    }

    /// Fails unless flashing is refused as a wrong command line, in these words.
    fn refused(&self, to: &Path, words: &[&str]) -> Outcome {
        let name = to.display();
        let said = match self.flash(to) {
            Ok(()) => return Err(Failure::failed(format!("{name} was written"))),
            Err(failure) => failure,
        };
        let lacks = |word: &&&str| !said.message.contains(**word);
        match words.iter().find(lacks) {
            None if said.code == Code::Usage => Ok(()),
            None => Err(Failure::failed(format!("{name}: code {:?}", said.code))),
            Some(word) => Err(Failure::failed(format!(
                "{name}: `{}` does not say `{word}`",
                said.message
            ))),
        }
    }

    /// Makes a used medium that is as large as need be, and somewhat larger.
    fn medium(&self, name: &str) -> Outcome<PathBuf> {
        let file = self.folder.join(name);
        used(&file, self.card.len() + BEHIND)?;
        Ok(file)
    }

    /// Fails unless a medium holds the card and behind it what it held before.
    fn holds(&self, file: &Path) -> Outcome {
        let bytes = read(file)?;
        let behind = bytes.strip_prefix(self.card.as_slice());
        match behind {
            Some(behind) if behind.len() == BEHIND && behind.iter().all(|byte| *byte == USED) => {
                Ok(())
            }
            Some(_) => Err(Failure::failed("what lies behind the card was written to")),
            None => Err(Failure::failed("it does not hold the card")),
        }
    }

    /// A server's folder: every file is whole, and an old one is replaced, not written into.
    fn folder(&self, medium: &Medium) -> Outcome<Skipped> {
        let folder = self.folder.join("tftp");
        let _ = fs::remove_dir_all(&folder);
        let to = PathBuf::from(format!("tftp:{}", folder.display()));
        self.refused(&to, &["no such folder", "mkdir -p"])?;
        make_folder(&folder)?;
        self.refused(Path::new("tftp:"), &["often /srv/tftp"])?;
        self.refused(Path::new("tftp:/dev/null"), &["is no folder"])?;
        let (name, content) = medium
            .files
            .first()
            .ok_or_else(|| Failure::failed("no files"))?;
        let old = folder.join(name);
        write(&old, b"an older system")?;
        let reading = fs::File::open(&old).map_err(|error| Failure::file(&old, error))?;
        self.flash(&to)?;
        for (name, content) in &medium.files {
            if read(&folder.join(name))? != *content {
                return Err(Failure::failed(format!("{name} is not whole")));
            }
        }
        // Who was fetching the old file goes on with that.
        let kept = std::io::read_to_string(reading);
        if kept.ok().as_deref() != Some("an older system") || content.len() < 100 {
            return Err(Failure::failed(format!("{name} was written into")));
        }
        let there = fs::read_dir(&folder).map_err(|error| Failure::file(&folder, error))?;
        match there.count() - medium.files.len() {
            0 => Ok(None),
            more => Err(Failure::failed(format!("{more} files too many are left"))),
        }
    }

    /// A file that stands for a disk.
    fn file(&self) -> Outcome<Skipped> {
        let file = self.medium("file.disk")?;
        self.flash(&file)?;
        self.holds(&file)?;
        used(&file, SMALL)?;
        self.refused(&file, &["holds 8388608 bytes", "truncate -s"])?;
        if read(&file)?.iter().any(|byte| *byte != USED) {
            return Err(Failure::failed("a file that was refused was written to"));
        }
        fs::remove_file(&file).map_err(|error| Failure::file(&file, error))?;
        self.refused(&file, &["there is no such disk or file"])?;
        self.refused(Path::new("/dev/null"), &["neither a disk nor a file"])?;
        Ok(None)
    }

    /// A disk, and disks that cannot hold the system.
    fn disk(&self) -> Outcome<Skipped> {
        let file = self.medium("disk.disk")?;
        let Some(disk) = Loop::attach(&file, &[]) else {
            return Ok(Some("flash-disk"));
        };
        self.refused(&file, &["is in use as /dev/loop", "losetup -d"])?;
        self.flash(disk.path())?;
        drop(disk);
        self.holds(&file)?;
        let small = self.folder.join("small.disk");
        used(&small, SMALL)?;
        for (options, words) in [
            (&[][..], &["holds 8388608 bytes", "take a larger one"][..]),
            (&["--read-only"], &["read-only"]),
        ] {
            let Some(disk) = Loop::attach(&small, options) else {
                return Ok(Some("flash-disk"));
            };
            self.refused(disk.path(), words)?;
        }
        Ok(None)
    }

    /// A disk with a mounted partition, and one that somebody keeps for himself.
    fn in_use(&self) -> Outcome<Skipped> {
        let file = self.medium("used.disk")?;
        // So it has a partition.
        self.flash(&file)?;
        let Some(disk) = Loop::attach(&file, &["--partscan"]) else {
            return Ok(Some("flash-disk"));
        };
        let name = shown(disk.path());
        {
            let mut alone = OpenOptions::new();
            alone.read(true).custom_flags(OFlags::EXCL.bits() as i32);
            let _kept = alone.open(&name);
            self.refused(disk.path(), &["is in use", "fuser"])?;
        }
        let partition = PathBuf::from(format!("{name}p1"));
        // A kernel that reads no tables of partitions by itself is told.
        let _ = quiet("partx", &[Path::new("--add"), disk.path()]);
        let place = self.folder.join("mounted");
        make_folder(&place)?;
        let made = quiet("mke2fs", &[Path::new("-qF"), &partition]);
        if !made || !quiet("mount", &[&partition, &place]) {
            return Ok(Some("flash-mounted"));
        }
        let _mount = Mount(&place);
        self.refused(
            &partition,
            &["is a partition", "name the whole disk", &name],
        )?;
        let whole = place.display().to_string();
        self.refused(disk.path(), &["is mounted at", "umount", &whole])?;
        Ok(None)
    }
}
