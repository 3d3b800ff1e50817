//! A partition table.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bulkhead_platforms::{Images, Platform, RecipeImage, Request, System, compile, platforms};

use super::{board, image};
use crate::root;

/// Bytes of EL2 in a fuzzed system.
const EL2_BYTES: u64 = 0x4_0000;

/// The board of all tables.
static PLATFORM: LazyLock<Platform> = LazyLock::new(|| {
    let all = platforms(root()).expect("boards that can be read");
    let found = all.into_iter().find(|board| board.name == "qemu-virt");
    found.expect("qemu-virt")
});
/// Its device tree.
pub static TREE: LazyLock<Vec<u8>> = LazyLock::new(|| board::tree(2, 1 << 30).to_dtb());

/// A table and images that lie nowhere.
struct Nowhere<'a> {
    table: &'a [u8],
}

impl Images for Nowhere<'_> {
    fn guest(&mut self, name: &str) -> Result<PathBuf, String> {
        match name {
            "broken" => Err("it does not build".to_owned()),
            _ => Ok(PathBuf::from("guest.elf")),
        }
    }

    fn recipe(&mut self, _name: &str) -> Result<RecipeImage, String> {
        Ok(RecipeImage {
            kernel: PathBuf::from("Image"),
            initrd: Some(PathBuf::from("initrd")),
            cmdline: Some("console=ttyAMA0".to_owned()),
        })
    }

    fn file(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.as_ref() {
            "table.toml" => Ok(self.table.to_vec()),
            "Image" => Ok(image::kernel(0, 0x3000, 0x1000)),
            name if name.ends_with(".elf") => Ok(image::program(0x4000_0000, 0x100, 0x2000)),
            name if name.ends_with(".dtb") => Ok(TREE.clone()),
            "missing" => Err(io::ErrorKind::NotFound.into()),
            "empty" => Ok(Vec::new()),
            _ => Ok(vec![0x5a; 0x400]),
        }
    }
}

/// Compiles a table for the board.
fn compiled(table: &[u8]) -> Option<System> {
    let result = compile(Request {
        table: Path::new("table.toml"),
        platform: &PLATFORM,
        dtb: &TREE,
        hypervisor_bytes: EL2_BYTES,
        images: &mut Nowhere { table },
        trace: None,
        letters: false,
    });
    match result {
        Ok(system) => Some(system),
        Err(list) => {
            assert!(list.has_errors());
            let shown = list.render(true);
            assert!(
                !shown.contains("EL2 would not start"),
                "no rule says so:\n{shown}"
            );
            assert!(list.to_json().contains("diagnostics"));
            None
        }
    }
}

/// Compiles a table: it is refused in words, by a rule of its own and not only because EL2 would refuse it, or gives a
/// payload.
pub fn run(bytes: &[u8]) {
    if let Some(system) = compiled(bytes) {
        assert!(!system.report().is_empty() && system.report_json().starts_with('{'));
        let names = system.partition_names();
        assert!((1..=bulkhead::ids::MAX_PARTITIONS).contains(&names.len()));
    }
}

/// Returns the payloads of the tables that ship.
pub fn payloads() -> Vec<Vec<u8>> {
    let systems = shipped().into_iter().filter_map(|table| compiled(&table));
    systems.map(|system| system.payload().to_vec()).collect()
}

/// Returns the tables in these folders.
fn tables(folders: &[&str]) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder of tables");
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    let read = |file: &PathBuf| std::fs::read(file).expect("a table");
    files.iter().map(read).collect()
}

/// Returns the tables that ship and those of the tests.
fn shipped() -> Vec<Vec<u8>> {
    tables(&["platforms/qemu-virt", "tests/systems"])
}

/// Returns these and the bad tables, one for each rule.
pub fn seeds() -> Vec<Vec<u8>> {
    tables(&["platforms/qemu-virt", "tests/systems", "tests/tables"])
}
