//! `cargo xtask flash`: a system onto a card, into a file that stands for one, or where a boot loader fetches it over the
//! network.

mod host;
mod overwrite;

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::args::Flash;
use crate::failure::{Failure, Outcome};
use crate::medium::{self, Medium, card};
use crate::system::build;
use crate::workspace::write;

use host::Host;

/// Runs the command.
pub fn run(args: &Flash) -> Outcome {
    match args.to.strip_prefix("tftp:") {
        Some(folder) => to_folder(args, Path::new(folder)),
        None => to_card(args),
    }
}

/// What is overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A whole disk, with its device number.
    Disk(PathBuf, u64),
    /// A file that stands for one.
    File(PathBuf),
}

impl Place {
    /// Finds out what a name stands for.
    fn of(name: &str) -> Outcome<Self> {
        let path = fs::canonicalize(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::usage(format!(
                "{name}: there is no such disk or file; `lsblk` lists disks, `cargo xtask image` makes a card as a file"
            )),
            _ => Failure::usage(format!("{name}: {error}")),
        })?;
        let about = fs::metadata(&path).map_err(|error| Failure::file(&path, error))?;
        if about.file_type().is_block_device() {
            return Ok(Self::Disk(path, about.rdev()));
        }
        if about.is_file() {
            return Ok(Self::File(path));
        }
        Err(Failure::usage(format!(
            "{name} is neither a disk nor a file: --to /dev/DEVICE, --to FILE, or --to tftp:DIR"
        )))
    }

    /// Returns where it is.
    fn path(&self) -> &Path {
        match self {
            Self::Disk(path, _) | Self::File(path) => path,
        }
    }

    /// Fails with what speaks against writing `bytes` there; with 0, against writing there at all.
    fn check(&self, bytes: u64) -> Outcome {
        let host = Host::here();
        let reason = match self {
            Self::Disk(_, number) => host.disk_refusal(*number, bytes),
            Self::File(path) => host.file_refusal(path, bytes),
        };
        match reason {
            Some(reason) => Err(Failure::usage(format!(
                "{} {reason}",
                self.path().display()
            ))),
            None => Ok(()),
        }
    }
}

/// Overwrites a disk, or a file that stands for one.
fn to_card(args: &Flash) -> Outcome {
    let place = Place::of(&args.to)?;
    place.check(0)?;
    let medium = made(args)?;
    let card = card::image(&medium.files)?;
    place.check(card.len() as u64)?;
    let path = place.path();
    if !args.target.consent.yes {
        agreed(path, card.len())?;
        // It may have been mounted meanwhile.
        place.check(card.len() as u64)?;
    }
    overwrite::card(&place, &card)?;
    println!(
        "{}: {} bytes written, read back and compared",
        path.display(),
        card.len()
    );
    println!("{}", medium.steps.join("\n"));
    Ok(())
}

/// Copies the files to where a server for TFTP takes them from. Each is written beside and renamed: who fetches one gets all
/// of the old or all of the new.
fn to_folder(args: &Flash, folder: &Path) -> Outcome {
    let name = folder.display();
    if folder.exists() && !folder.is_dir() {
        return Err(Failure::usage(format!(
            "{name} is no folder: name the one that the TFTP server serves"
        )));
    }
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "`{name}`: there is no such folder: name the one that the TFTP server serves (often /srv/tftp), or make it: \
             mkdir -p {name}"
        )));
    }
    let medium = made(args)?;
    for (name, bytes) in &medium.files {
        let file = folder.join(name);
        write(&file, bytes)?;
        println!("{}  {} bytes", file.display(), bytes.len());
    }
    println!("{}", medium.steps.join("\n"));
    Ok(())
}

/// Builds the system and its files.
fn made(args: &Flash) -> Outcome<Medium> {
    medium::of(&build(&args.target, &args.machine)?)
}

/// Asks the person at the terminal; anything but `yes` is a failure.
fn agreed(place: &Path, bytes: usize) -> Outcome {
    eprint!(
        "All that is on {} will be lost; {bytes} bytes are written. Type yes: ",
        place.display()
    );
    io::stderr().flush().ok();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(error.to_string()))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::usage(
            "nothing was written: type `yes`, or pass --yes",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_disk_nor_file_is_refused_with_what_to_name() {
        let says = |name| Place::of(name).unwrap_err().message;
        assert!(says("/dev/null").contains("neither a disk nor a file"));
        assert!(says("/").contains("--to tftp:DIR"));
        assert!(says("/dev/bulkhead-none").contains("`lsblk` lists disks"));
    }
}
