//! What the host says about its disks, and so which must not be overwritten.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of what the kernel counts a disk's size in, whatever its own sectors are.
const SECTOR: u64 = 512;

/// The host, as the kernel shows it under a folder: `/`, or a picture of one in tests.
pub struct Host {
    root: PathBuf,
}

/// A disk or a partition of one.
struct Part {
    /// Its name in `/dev`.
    name: String,
    /// Its device number as text, `8:17`.
    number: String,
}

impl Part {
    fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Does a name that the kernel keeps, of a mount or of a swap area, stand for it? Links such as
    /// `/dev/disk/by-uuid/...` do.
    fn is(&self, source: &str) -> bool {
        let path = self.path();
        source == path || fs::canonicalize(source).is_ok_and(|real| real == Path::new(&path))
    }
}

impl Host {
    /// Returns this host.
    pub fn here() -> Self {
        Self { root: "/".into() }
    }

    /// Says why the disk of a device number must not be overwritten with so many bytes, and what to do; `None` when nothing
    /// speaks against it.
    pub fn disk_refusal(&self, number: u64, bytes: u64) -> Option<String> {
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let number = format!("{major}:{minor}");
        let Some(disk) = self.blocks().into_iter().find(|part| part.number == number) else {
            return Some(format!(
                "is no disk that the kernel knows (number {number}): `lsblk` lists disks"
            ));
        };
        if self.block(&disk.name).join("partition").exists() {
            return Some(self.is_partition(&disk));
        }
        let parts = self.parts(&disk);
        self.mounted(&parts)
            .or_else(|| parts.iter().find_map(|part| self.swapped(part)))
            .or_else(|| parts.iter().find_map(|part| self.held(part)))
            .or_else(|| self.unfit(&disk, bytes))
    }

    /// Says why a file must not be overwritten with so many bytes, and what to do.
    pub fn file_refusal(&self, file: &Path, bytes: u64) -> Option<String> {
        let text = file.display().to_string();
        let attached = |part: &Part| {
            let backing = self.text(&format!("sys/class/block/{}/loop/backing_file", part.name));
            backing.trim_end() == text
        };
        if let Some(part) = self.blocks().iter().find(|part| attached(part)) {
            let path = part.path();
            return Some(format!(
                "is in use as {path}: name that, or let go of it first: losetup -d {path}"
            ));
        }
        let room = fs::metadata(file).map_or(0, |about| about.len());
        (room < bytes).then(|| {
            format!("holds {room} bytes, and the system needs {bytes}: truncate -s {bytes} {text}")
        })
    }

    /// Reads a file of the kernel's.
    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// Returns a disk's or partition's folder.
    fn block(&self, name: &str) -> PathBuf {
        self.root.join("sys/class/block").join(name)
    }

    /// Returns a disk or partition.
    fn part(&self, name: String) -> Part {
        let number = self.text(&format!("sys/class/block/{name}/dev"));
        Part {
            number: number.trim().to_owned(),
            name,
        }
    }

    /// Returns all disks and partitions.
    fn blocks(&self) -> Vec<Part> {
        let names = names(&self.root.join("sys/class/block"));
        names.into_iter().map(|name| self.part(name)).collect()
    }

    /// Returns a disk with its partitions.
    fn parts(&self, disk: &Part) -> Vec<Part> {
        let folder = self.block(&disk.name);
        let inside = names(&folder).into_iter();
        let inside = inside.filter(|name| folder.join(name).join("partition").exists());
        let all = [disk.name.clone()].into_iter().chain(inside);
        all.map(|name| self.part(name)).collect()
    }

    /// Says which disk a partition is of.
    fn is_partition(&self, part: &Part) -> String {
        let owns = |disk: &Part| {
            self.block(&disk.name)
                .join(&part.name)
                .join("partition")
                .exists()
        };
        match self.blocks().iter().find(|disk| owns(disk)) {
            Some(disk) => format!("is a partition: name the whole disk, {}", disk.path()),
            None => "is a partition: name the whole disk".to_owned(),
        }
    }

    /// Says where one of these is mounted.
    ///
    /// Source: Linux, `Documentation/filesystems/proc.rst`, "/proc/<pid>/mountinfo".
    fn mounted(&self, parts: &[Part]) -> Option<String> {
        let mounts = self.text("proc/self/mountinfo");
        let of = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            let mut before = before.split(' ').skip(2);
            let (number, place) = (before.next()?, before.nth(1)?);
            let source = after.split(' ').nth(1)?;
            let part = parts
                .iter()
                .find(|part| part.number == number || part.is(source))?;
            Some((part.path(), place.to_owned()))
        };
        let found: Vec<(String, String)> = mounts.lines().filter_map(of).collect();
        if let Some((path, _)) = found.iter().find(|(_, place)| place == "/") {
            return Some(format!(
                "holds the system that runs here ({path} is mounted at /): name another disk, `lsblk` lists them"
            ));
        }
        let (path, place) = found.first()?;
        let places: Vec<&str> = found.iter().map(|(_, place)| place.as_str()).collect();
        Some(format!(
            "is in use: {path} is mounted at {place}. If it is not the system's: umount {}",
            places.join(" ")
        ))
    }

    /// Says that the system swaps to it.
    fn swapped(&self, part: &Part) -> Option<String> {
        let swaps = self.text("proc/swaps");
        let mut sources = swaps
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let path = part.path();
        sources.any(|source| part.is(source)).then(|| {
            format!("is in use: the system swaps to {path}. If it may do without: swapoff {path}")
        })
    }

    /// Says which other disk it is a part of.
    fn held(&self, part: &Part) -> Option<String> {
        let holders = names(&self.block(&part.name).join("holders"));
        let holder = holders.first()?;
        Some(format!(
            "is in use: {} is part of /dev/{holder} (LVM, RAID or encryption). If that is not the system's, end it first: \
             vgchange -an, mdadm --stop or cryptsetup close",
            part.path()
        ))
    }

    /// Says that it cannot hold the system.
    fn unfit(&self, disk: &Part, bytes: u64) -> Option<String> {
        let of = |what: &str| self.text(&format!("sys/class/block/{}/{what}", disk.name));
        if of("ro").trim() == "1" {
            return Some("is read-only: look at the card's switch".to_owned());
        }
        let room = of("size").trim().parse().unwrap_or(0_u64) * SECTOR;
        match room {
            0 => Some("has no medium: put the card in".to_owned()),
            _ if room < bytes => Some(format!(
                "holds {room} bytes, and the system needs {bytes}: take a larger one"
            )),
            _ => None,
        }
    }
}

/// Returns the names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.flatten().map(name).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
