//! Tables as a whole: every rule has a bad table and the message that it gets, every table that ships is good.

mod bad;
mod board;
mod images;
mod nodes;
mod random;
mod shipped;
mod system;
mod time;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_platforms::{Diagnostics, Platform, Request, System, compile, platforms};

use crate::board::Board;
use crate::images::Folder;

/// Bytes of EL2 in the tests.
const EL2_BYTES: u64 = 0x4_0000;

/// Returns the project's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the project's folder")
}

/// Returns the board `qemu-virt` as it ships.
fn qemu_virt() -> Platform {
    let boards = platforms(root()).expect("boards that can be read");
    let found = boards.into_iter().find(|board| board.name == "qemu-virt");
    found.expect("qemu-virt")
}

/// A folder of images that goes away with the test.
struct Bench {
    folder: Folder,
}

impl Bench {
    /// Makes a folder; `name` is unique among the tests.
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bulkhead-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self {
            folder: Folder::fill(&path),
        }
    }

    /// Puts a table into the folder and returns its path.
    fn put(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.folder.path.join(name);
        fs::write(&path, text).expect("a table");
        path
    }

    /// Compiles a table for a board.
    fn compile(
        &mut self,
        table: &Path,
        platform: &Platform,
        board: &Board,
    ) -> Result<System, Diagnostics> {
        compile(Request {
            table,
            platform,
            dtb: &board::tree(board),
            hypervisor_bytes: EL2_BYTES,
            images: &mut self.folder,
            trace: None,
            letters: false,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is left over in the temporary folder hurts nobody.
        drop(fs::remove_dir_all(&self.folder.path));
    }
}
