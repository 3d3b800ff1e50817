//! `cargo xtask flash`: a system onto a card, or where a boot loader fetches it over the network.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::args::Flash;
use crate::failure::{Failure, Outcome};
use crate::medium::{self, card};
use crate::system::build;
use crate::workspace::write;

/// Runs the command.
pub fn run(args: &Flash) -> Outcome {
    if let Some(folder) = args.to.strip_prefix("tftp:") {
        return to_folder(args, Path::new(folder));
    }
    let device = fs::canonicalize(&args.to)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.to)))?;
    let kind = fs::metadata(&device).map_err(|error| Failure::file(&device, error))?;
    if !kind.file_type().is_block_device() {
        let what =
            "is no block device: --to /dev/DEVICE, or tftp:DIR; `cargo xtask image` writes files";
        return Err(Failure::usage(format!("{} {what}", device.display())));
    }
    if let Some(reason) = refusal(&device, &System::here()) {
        return Err(Failure::usage(format!("{}: {reason}", device.display())));
    }
    let built = build(&args.target, &args.machine)?;
    let medium = medium::of(&built)?;
    let card = card::image(&medium.files)?;
    if !args.target.consent.yes && !agreed(&device, card.len())? {
        return Err(Failure::usage("nothing was written"));
    }
    // It may have been mounted meanwhile.
    if let Some(reason) = refusal(&device, &System::here()) {
        return Err(Failure::usage(format!("{}: {reason}", device.display())));
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&device)
        .map_err(|error| Failure::file(&device, error))?;
    file.write_all(&card)
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::file(&device, error))?;
    println!("{}: {} bytes written", device.display(), card.len());
    println!("{}", medium.steps.join("\n"));
    Ok(())
}

/// Copies the files to where a server for TFTP takes them from.
fn to_folder(args: &Flash, folder: &Path) -> Outcome {
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "{}: there is no such folder",
            folder.display()
        )));
    }
    let built = build(&args.target, &args.machine)?;
    let medium = medium::of(&built)?;
    for (name, bytes) in &medium.files {
        let file = folder.join(name);
        write(&file, bytes)?;
        println!("{}  {} bytes", file.display(), bytes.len());
    }
    println!("{}", medium.steps.join("\n"));
    Ok(())
}

/// Asks the person at the terminal.
fn agreed(device: &Path, bytes: usize) -> Outcome<bool> {
    eprint!(
        "All that is on {} will be lost; {bytes} bytes are written. Type yes: ",
        device.display()
    );
    io::stderr().flush().ok();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(error.to_string()))?;
    Ok(answer.trim() == "yes")
}

/// What the host says about its disks.
struct System {
    /// `/proc/mounts`
    mounts: String,
    /// `/proc/swaps`
    swaps: String,
    /// `/sys/class/block`
    blocks: PathBuf,
}

impl System {
    fn here() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            mounts: text("/proc/mounts"),
            swaps: text("/proc/swaps"),
            blocks: "/sys/class/block".into(),
        }
    }
}

/// Says why a disk must not be written to; `None` when nothing speaks against it.
fn refusal(device: &Path, system: &System) -> Option<String> {
    let name = device.file_name()?.to_string_lossy().into_owned();
    let folder = system.blocks.join(&name);
    if !folder.is_dir() {
        return Some("the kernel knows no such disk".to_owned());
    }
    if folder.join("partition").exists() {
        return Some("is a partition: name the whole disk".to_owned());
    }
    let mut parts = vec![name.clone()];
    let entries = fs::read_dir(&folder).ok()?;
    parts.extend(
        entries
            .flatten()
            .filter(|entry| entry.path().join("partition").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned()),
    );
    for part in &parts {
        let path = format!("/dev/{part}");
        let first = |line: &str| {
            let source = line
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            // Links such as /dev/disk/by-uuid and /dev/root stand for a device.
            let real = fs::canonicalize(&source).map(|real| real.to_string_lossy().into_owned());
            source == path || real.is_ok_and(|real| real == path)
        };
        if let Some(line) = system.mounts.lines().find(|line| first(line)) {
            let place = line.split_whitespace().nth(1).unwrap_or("?");
            return Some(format!(
                "{path} is mounted at {place}: unmount it first, if it is not the system's"
            ));
        }
        if system.swaps.lines().any(first) {
            return Some(format!("the system swaps to {path}"));
        }
        let holders = fs::read_dir(system.blocks.join(part).join("holders"));
        if holders.is_ok_and(|mut holders| holders.next().is_some()) {
            return Some(format!(
                "{path} is part of another disk (LVM, RAID or encryption)"
            ));
        }
    }
    let read_only = fs::read_to_string(folder.join("ro")).unwrap_or_default();
    (read_only.trim() == "1").then(|| "is read-only: look at the card's switch".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a picture of a system with a disk `sdz`, its partition `sdz1`, and what `mounts` and `swaps` say.
    fn with_system<T>(name: &str, mounts: &str, swaps: &str, then: impl FnOnce(&System) -> T) -> T {
        let folder = format!("bulkhead-flash-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        for part in ["sdz/sdz1/holders", "sdz/holders", "sdz1/holders"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        for file in ["sdz/sdz1/partition", "sdz1/partition"] {
            fs::write(folder.join(file), "1\n").unwrap();
        }
        let system = System {
            mounts: mounts.to_owned(),
            swaps: swaps.to_owned(),
            blocks: folder.clone(),
        };
        let result = then(&system);
        fs::remove_dir_all(&folder).unwrap();
        result
    }

    #[test]
    fn disks_in_use_are_refused() {
        let disk = Path::new("/dev/sdz");
        let says = |mounts, swaps, then: &dyn Fn(&System)| {
            with_system("use", mounts, swaps, |system| {
                then(system);
                refusal(disk, system)
            })
        };
        let nothing = |_: &System| {};
        let other = "/dev/sda1 / ext4 rw 0 0\n/dev/sdzz1 /x vfat rw 0 0\n";
        assert_eq!(says(other, "", &nothing), None);
        let mounted = says("/dev/sdz1 /boot vfat rw 0 0\n", "", &nothing).unwrap();
        assert!(
            mounted.contains("/dev/sdz1 is mounted at /boot"),
            "{mounted}"
        );
        assert!(says("/dev/sdz / ext4 rw 0 0\n", "", &nothing).is_some());
        assert!(says("", "Filename Type\n/dev/sdz1 partition 1 0 -2\n", &nothing).is_some());
        let held = says("", "", &|system| {
            fs::write(system.blocks.join("sdz1/holders/dm-0"), "").unwrap();
        });
        assert!(held.unwrap().contains("part of another disk"));
        let locked = says("", "", &|system| {
            fs::write(system.blocks.join("sdz/ro"), "1\n").unwrap()
        });
        assert!(locked.unwrap().contains("read-only"));
    }

    #[test]
    fn partitions_and_strangers_are_refused() {
        with_system("kind", "", "", |system| {
            let partition = refusal(Path::new("/dev/sdz1"), system).unwrap();
            assert!(partition.contains("whole disk"), "{partition}");
            assert!(refusal(Path::new("/dev/sdy"), system).is_some());
        });
    }
}
