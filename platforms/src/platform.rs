//! Boards: what `platforms/<board>/board.toml` says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A board that systems are built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name, that of its folder.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Its folder, which holds `board.toml` and the partition tables.
    pub directory: PathBuf,
    /// How QEMU runs it, when it does.
    pub qemu: Option<QemuBoard>,
}

/// How to run a board under QEMU. `--cpu`, `--cpus`, `--memory` and `--gic` override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuBoard {
    /// Value of `-machine`.
    pub machine: String,
    /// Value of `-cpu`.
    pub cpu: String,
    /// CPUs when neither the command line nor the table asks for another number.
    pub cpus: u32,
    /// Value of `-m`.
    pub memory: String,
    /// Bytes from the start of RAM to where QEMU's loader puts a flat image.
    pub load_offset: u64,
    /// Further options, always given.
    pub options: Vec<String>,
}

/// Why the boards could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for PlatformError {}

impl Platform {
    /// Returns the partition tables in the board's folder by name (`default` for `default.toml`), sorted.
    pub fn tables(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_suffix(".toml").map(str::to_owned)
            })
            .filter(|name| name != "board")
            .collect();
        names.sort();
        names
    }

    /// Returns the file of a table in the board's folder, which need not exist.
    pub fn table(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.toml"))
    }
}

/// Reads all boards under `root`/platforms, sorted by name; `root` is the project's folder.
///
/// # Errors
/// The folder or a `board.toml` in it cannot be read or lacks a key.
pub fn platforms(root: &Path) -> Result<Vec<Platform>, PlatformError> {
    let folder = root.join("platforms");
    let entries = fs::read_dir(&folder).map_err(|error| refusal(&folder, error))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let directory = entry.path();
        let file = directory.join("board.toml");
        if file.is_file() {
            found.push(read_board(&directory, &file)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Makes an error about a file.
fn refusal(path: &Path, reason: impl fmt::Display) -> PlatformError {
    PlatformError {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Reads one board.
fn read_board(directory: &Path, file: &Path) -> Result<Platform, PlatformError> {
    let text = fs::read_to_string(file).map_err(|error| refusal(file, error))?;
    let table = DeTable::parse(&text).map_err(|error| refusal(file, error))?;
    let table = table.get_ref();
    let name = directory
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let qemu = match table.get("qemu").map(|v| v.get_ref()) {
        Some(DeValue::Table(qemu)) => Some(read_qemu(qemu, file)?),
        Some(_) => return Err(refusal(file, "`qemu` must be a table")),
        None => None,
    };
    Ok(Platform {
        name,
        description: text_key(table, "description", file)?,
        directory: directory.to_owned(),
        qemu,
    })
}

/// Reads the `[qemu]` table of a board.
fn read_qemu(table: &DeTable<'_>, file: &Path) -> Result<QemuBoard, PlatformError> {
    let options = match table.get("options").map(|v| v.get_ref()) {
        Some(DeValue::Array(list)) => list
            .iter()
            .filter_map(|v| v.get_ref().as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let cpus = number_key(table, "cpus", file)?;
    Ok(QemuBoard {
        machine: text_key(table, "machine", file)?,
        cpu: text_key(table, "cpu", file)?,
        cpus: u32::try_from(cpus).map_err(|error| refusal(file, error))?,
        memory: text_key(table, "memory", file)?,
        load_offset: number_key(table, "load_offset", file)?,
        options,
    })
}

/// Reads a text that must be there.
fn text_key(table: &DeTable<'_>, key: &str, file: &Path) -> Result<String, PlatformError> {
    let value = table.get(key).and_then(|v| v.get_ref().as_str());
    value
        .map(str::to_owned)
        .ok_or_else(|| refusal(file, format!("`{key}` must be there and be a text")))
}

/// Reads a number that must be there.
fn number_key(table: &DeTable<'_>, key: &str, file: &Path) -> Result<u64, PlatformError> {
    let value = table.get(key).and_then(|v| v.get_ref().as_integer());
    value
        .and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok())
        .ok_or_else(|| refusal(file, format!("`{key}` must be there and be a number")))
}

/// Returns the platform that a table names, read leniently: `None` when the file, the key or the syntax fails.
pub fn platform_named_in(table: &Path) -> Option<String> {
    let text = fs::read_to_string(table).ok()?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let system = table.get_ref().get("system")?.get_ref().as_table()?;
    let platform = system.get("platform")?.get_ref().as_str()?;
    Some(platform.to_owned())
}

/// Returns the number of CPUs that a table needs: the highest pCPU position that it names plus one. Read leniently:
/// `None` when it names none.
pub fn cpus_needed(table: &Path) -> Option<u32> {
    let text = fs::read_to_string(table).ok()?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let partitions = table.get_ref().get("partition")?.get_ref().as_array()?;
    let vcpus = partitions.iter().filter_map(|partition| {
        let vcpus = partition.get_ref().as_table()?.get("vcpus")?;
        vcpus.get_ref().as_array()
    });
    let positions = vcpus.flat_map(|list| list.iter()).filter_map(|vcpu| {
        let pcpu = vcpu.get_ref().as_table()?.get("pcpu")?;
        let pcpu = pcpu.get_ref().as_integer()?;
        u32::from_str_radix(pcpu.as_str(), pcpu.radix()).ok()
    });
    positions.max()?.checked_add(1)
}
