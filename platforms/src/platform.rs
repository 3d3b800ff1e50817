//! Boards: what `platforms/<board>/board.toml` says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::nearest::suggestion;
use bulkhead::addr::Range;
use bulkhead::sched::Levels;

/// A board that systems are built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name, that of its folder.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Its folder, which holds `board.toml` and the partition tables.
    pub directory: PathBuf,
    /// The priority levels of its GIC that EL2 can use.
    pub levels: Levels,
    /// How QEMU runs it, when it does.
    pub qemu: Option<QemuBoard>,
    /// What EL2 costs on it, when that is known.
    pub el2: Option<El2Costs>,
    /// What starts it.
    pub medium: BootMedium,
    /// Where its device tree is, and what that lacks.
    pub tree: TreeFacts,
}

/// A board's device tree in a file, which is not the one that the firmware hands over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeFacts {
    /// Its path in Debian's kernel package, below the folder of trees.
    pub debian: Option<String>,
    /// Memory that the firmware fills in.
    pub memory: Vec<Range>,
}

impl TreeFacts {
    /// Returns a tree with what it lacks.
    ///
    /// # Errors
    /// It is no tree: a sentence for people.
    pub fn applied(&self, dtb: &[u8]) -> Result<Vec<u8>, String> {
        match self.memory.as_slice() {
            [] => Ok(dtb.to_vec()),
            memory => crate::board::with_memory(dtb, memory),
        }
    }
}

/// Reads a range as `START+SIZE`, such as `0x80000000+2G`.
pub fn memory_range(text: &str) -> Option<Range> {
    let (start, size) = text.split_once('+')?;
    let start = match start.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => start.parse().ok()?,
    };
    Range::new(start, crate::units::size(size).ok()?)
}

/// What starts a board, and so what its boot medium needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootMedium {
    /// U-Boot.
    #[default]
    UBoot,
    /// The Raspberry Pi's firmware.
    RaspberryPi,
}

/// What EL2 costs on a board, for the analysis of response times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct El2Costs {
    /// From the end of one vCPU's execution to another's first instruction, in nanoseconds.
    pub switch_ns: u64,
    /// The same where the GIC is a GICv2, if the board may have one and it is more.
    pub switch_gicv2_ns: Option<u64>,
    /// Longest time in which EL2 does not look for more urgent work, in nanoseconds.
    pub stay_ns: u64,
    /// Where the numbers come from, in a few words.
    pub basis: String,
}

impl El2Costs {
    /// Returns what it costs with the GIC that there is.
    pub fn with_gic(&self, gicv2: bool) -> Self {
        let switch_ns = match self.switch_gicv2_ns {
            Some(more) if gicv2 => more,
            _ => self.switch_ns,
        };
        Self {
            switch_ns,
            ..self.clone()
        }
    }
}

/// Levels that every GICv3 has, as its non-secure half sees it.
const LEAST_LEVELS: u8 = 15;

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
    /// The first version of QEMU that has the board, as `10.0`; any will do when nothing is said.
    pub version: Option<String>,
    /// The board's device tree in Debian's kernel package, below its folder of trees; without it QEMU makes one.
    pub dtb: Option<String>,
    /// Bytes from the start of RAM to where the board's own tree lies (`[tree]`), for a board that is started as by a boot
    /// loader that hands that over: QEMU would put memory into it that the board has not.
    pub tree_offset: Option<u64>,
    /// UARTs before the one with the console, as QEMU counts them.
    pub serial: u32,
    /// Option of the machine, as `name=value`, that makes its device tree the same at each run.
    pub repeatable: Option<String>,
    /// Option of the machine that leaves EL2 out, for native runs.
    pub native: Option<String>,
    /// Lines for QEMU's monitor before the CPUs start: what a model lacks that its board has.
    pub monitor: Vec<String>,
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
    let known = [
        "description",
        "interrupt_levels",
        "qemu",
        "el2",
        "boot",
        "tree",
    ];
    check_keys(table, &known, file)?;
    let name = directory
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let qemu = match table.get("qemu").map(|v| v.get_ref()) {
        Some(DeValue::Table(qemu)) => Some(read_qemu(qemu, file)?),
        Some(_) => return Err(refusal(file, "`qemu` must be a table")),
        None => None,
    };
    let el2 = match table.get("el2").map(|v| v.get_ref()) {
        Some(DeValue::Table(el2)) => Some(read_el2(el2, file)?),
        Some(_) => return Err(refusal(file, "`el2` must be a table")),
        None => None,
    };
    let tree = match table.get("tree").map(|v| v.get_ref()) {
        Some(DeValue::Table(tree)) => read_tree(tree, file)?,
        Some(_) => return Err(refusal(file, "`tree` must be a table")),
        None => TreeFacts::default(),
    };
    Ok(Platform {
        name,
        description: text_key(table, "description", file)?,
        directory: directory.to_owned(),
        levels: read_levels(table, file)?,
        qemu,
        el2,
        medium: read_medium(table, file)?,
        tree,
    })
}

/// Refuses keys that are not among the known ones.
fn check_keys(table: &DeTable<'_>, known: &[&str], file: &Path) -> Result<(), PlatformError> {
    let strange = table
        .keys()
        .find(|key| !known.contains(&key.get_ref().as_ref()));
    match strange {
        None => Ok(()),
        Some(key) => {
            let key: &str = key.get_ref();
            let help = suggestion(key, known.iter().copied(), "");
            Err(refusal(file, format!("there is no key `{key}`: {help}")))
        }
    }
}

/// Reads what starts the board.
fn read_medium(table: &DeTable<'_>, file: &Path) -> Result<BootMedium, PlatformError> {
    if table.get("boot").is_none() {
        return Ok(BootMedium::default());
    }
    match text_key(table, "boot", file)?.as_str() {
        "u-boot" => Ok(BootMedium::UBoot),
        "raspberry-pi" => Ok(BootMedium::RaspberryPi),
        _ => Err(refusal(
            file,
            "`boot` must be \"u-boot\" or \"raspberry-pi\"",
        )),
    }
}

/// Reads how many priority levels the board's GIC has for EL2.
fn read_levels(table: &DeTable<'_>, file: &Path) -> Result<Levels, PlatformError> {
    let usable = match table.get("interrupt_levels") {
        Some(_) => number_key(table, "interrupt_levels", file)?,
        None => LEAST_LEVELS.into(),
    };
    let levels = u8::try_from(usable).ok().and_then(Levels::from_usable);
    let wrong = "`interrupt_levels` must be 3, 7, 15, 31, 63, 127 or 255";
    levels.ok_or_else(|| refusal(file, wrong))
}

/// Reads the `[qemu]` table of a board.
fn read_qemu(table: &DeTable<'_>, file: &Path) -> Result<QemuBoard, PlatformError> {
    let keys = [
        "machine",
        "cpu",
        "cpus",
        "memory",
        "load_offset",
        "options",
        "version",
        "dtb",
        "tree_offset",
        "serial",
        "repeatable",
        "native",
        "monitor",
    ];
    check_keys(table, &keys, file)?;
    let optional = |key| match table.get(key) {
        Some(_) => text_key(table, key, file).map(Some),
        None => Ok(None),
    };
    let number = |key| match table.get(key) {
        Some(_) => number_key(table, key, file).map(Some),
        None => Ok(None),
    };
    let serial = number("serial")?.unwrap_or(0);
    let cpus = number_key(table, "cpus", file)?;
    Ok(QemuBoard {
        machine: text_key(table, "machine", file)?,
        cpu: text_key(table, "cpu", file)?,
        cpus: u32::try_from(cpus).map_err(|error| refusal(file, error))?,
        memory: text_key(table, "memory", file)?,
        load_offset: number_key(table, "load_offset", file)?,
        options: texts_key(table, "options"),
        version: optional("version")?,
        dtb: optional("dtb")?,
        tree_offset: number("tree_offset")?,
        serial: u32::try_from(serial).map_err(|error| refusal(file, error))?,
        repeatable: optional("repeatable")?,
        native: optional("native")?,
        monitor: texts_key(table, "monitor"),
    })
}

/// Reads the `[tree]` table of a board.
fn read_tree(table: &DeTable<'_>, file: &Path) -> Result<TreeFacts, PlatformError> {
    check_keys(table, &["debian", "memory"], file)?;
    let debian = match table.get("debian") {
        Some(_) => Some(text_key(table, "debian", file)?),
        None => None,
    };
    let wrong =
        |text: &str| format!("`memory`: {text:?} is not START+SIZE, such as \"0x80000000+2G\"");
    let ranges = texts_key(table, "memory");
    let ranges = ranges
        .iter()
        .map(|text| memory_range(text).ok_or_else(|| refusal(file, wrong(text))));
    Ok(TreeFacts {
        debian,
        memory: ranges.collect::<Result<_, _>>()?,
    })
}

/// Reads the `[el2]` table of a board.
fn read_el2(table: &DeTable<'_>, file: &Path) -> Result<El2Costs, PlatformError> {
    let more = "switch_gicv2_ns";
    check_keys(table, &["switch_ns", more, "stay_ns", "basis"], file)?;
    let with_gicv2 = table.contains_key(more);
    Ok(El2Costs {
        switch_ns: number_key(table, "switch_ns", file)?,
        switch_gicv2_ns: with_gicv2
            .then(|| number_key(table, more, file))
            .transpose()?,
        stay_ns: number_key(table, "stay_ns", file)?,
        basis: text_key(table, "basis", file)?,
    })
}

/// Reads a text that must be there.
fn text_key(table: &DeTable<'_>, key: &str, file: &Path) -> Result<String, PlatformError> {
    let value = table.get(key).and_then(|v| v.get_ref().as_str());
    value
        .map(str::to_owned)
        .ok_or_else(|| refusal(file, format!("`{key}` must be there and be a text")))
}

/// Reads a list of texts, empty when there is none.
fn texts_key(table: &DeTable<'_>, key: &str) -> Vec<String> {
    match table.get(key).map(|v| v.get_ref()) {
        Some(DeValue::Array(list)) => list
            .iter()
            .filter_map(|v| v.get_ref().as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
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

/// Returns the number of CPUs that a table asks of a board that can be made to measure: the highest `id` of its
/// `[[pcpu]]` plus one. A vCPU's `pcpu` asks for nothing, so a slip of the pen there is refused. Read leniently: `None`
/// when there is no such `id`.
pub fn cpus_needed(table: &Path) -> Option<u32> {
    let text = fs::read_to_string(table).ok()?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let table = table.get_ref();
    let described = tables(table, "pcpu").filter_map(|pcpu| position(pcpu, "id"));
    described.max()?.checked_add(1)
}

/// Returns the names of a table's partitions, by which their lines on the console begin. Read leniently: what has no name is
/// left out.
pub fn partition_names(table: &Path) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(&text);
    let named =
        |partition: &DeTable<'_>| Some(partition.get("name")?.get_ref().as_str()?.to_owned());
    tables(table.get_ref(), "partition")
        .filter_map(named)
        .collect()
}

/// Returns the tables of a list, none when there is no such list.
fn tables<'a>(table: &'a DeTable<'a>, key: &str) -> impl Iterator<Item = &'a DeTable<'a>> {
    let list = table.get(key).and_then(|value| value.get_ref().as_array());
    let values = list.into_iter().flat_map(|list| list.iter());
    values.filter_map(|value| value.get_ref().as_table())
}

/// Reads the position of a CPU.
fn position(table: &DeTable<'_>, key: &str) -> Option<u32> {
    let number = table.get(key)?.get_ref().as_integer()?;
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a file into a folder of its own and calls `then` with the folder.
    fn with_file<T>(name: &str, file: &str, text: &str, then: impl FnOnce(&Path) -> T) -> T {
        let folder = format!("bulkhead-platform-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let result = then(&folder);
        fs::remove_dir_all(&folder).unwrap();
        result
    }

    #[test]
    fn board_that_ships_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let boards = platforms(root).unwrap();
        let board = boards
            .iter()
            .find(|board| board.name == "qemu-virt")
            .unwrap();
        let qemu = board.qemu.as_ref().unwrap();
        assert_eq!((qemu.cpus, qemu.load_offset), (2, 0x20_0000));
        assert_eq!(board.levels.for_vcpus(), 30);
        assert_eq!(qemu.options, ["-nic", "none"]);
        let el2 = board.el2.as_ref().unwrap();
        assert!(el2.switch_ns > 0 && el2.switch_ns <= el2.stay_ns);
        assert_eq!(el2.with_gic(false).switch_ns, el2.switch_ns);
        assert_eq!(
            Some(el2.with_gic(true).switch_ns),
            el2.switch_gicv2_ns,
            "what the board says of a GICv2"
        );
        assert!(board.tables().contains(&"default".to_owned()));
        assert!(!board.tables().contains(&"board".to_owned()));
    }

    #[test]
    fn what_a_tree_lacks_is_added_and_what_it_reserves_stays() {
        use dtoolkit::memreserve::MemoryReservation;
        use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
        let mut tree = DeviceTree::new();
        tree.memory_reservations
            .push(MemoryReservation::new(0, 0x1000));
        let mut empty = DeviceTreeNode::new_unchecked("memory@0");
        let nothing = DeviceTreeProperty::new_unchecked("reg", [0_u8; 16].as_slice());
        empty.add_property(nothing);
        tree.root.add_child(empty);
        let facts = TreeFacts {
            debian: None,
            memory: vec![memory_range("0x0+1G").unwrap()],
        };
        let made = facts.applied(&tree.to_dtb()).unwrap();
        let made = bulkhead::board::Tree::new(&made).unwrap();
        assert!(made.reservations().eq([(0, 0x1000)]));
        let same = TreeFacts::default().applied(&tree.to_dtb()).unwrap();
        assert_eq!(same, tree.to_dtb());
    }

    #[test]
    fn wrong_board_names_the_file_and_the_key() {
        let says = |name, text| {
            with_file(name, "platforms/x/board.toml", text, |root| {
                platforms(root).unwrap_err().to_string()
            })
        };
        let error = says("missing", "[qemu]\nmachine = \"virt\"\n");
        assert!(
            error.contains("board.toml") && error.contains("`cpus`"),
            "{error}"
        );
        let error = says("levels", "description = \"x\"\ninterrupt_levels = 16\n");
        assert!(error.contains("15, 31"), "{error}");
        let error = says("unknown", "description = \"x\"\nqmeu = 1\n");
        assert!(error.contains("did you mean `qemu`?"), "{error}");
    }

    #[test]
    fn cpus_are_counted_by_the_highest_position() {
        let needed = |name, text| {
            with_file(name, "t.toml", text, |folder| {
                cpus_needed(&folder.join("t.toml"))
            })
        };
        let vcpus = "[[partition]]\nvcpus = [{ pcpu = 0 }, { pcpu = 3 }]\n";
        assert_eq!(needed("vcpus", vcpus), None);
        assert_eq!(
            needed("pcpus", "[[pcpu]]\nid = 3\n[[pcpu]]\nid = 1\n"),
            Some(4)
        );
        assert_eq!(
            needed(
                "mpidr",
                "[[partition]]\nvcpus = [{ pcpu = { mpidr = 1 } }]\n"
            ),
            None
        );
        assert_eq!(needed("broken", "[[partition]\nvcpus"), None);
    }
}
