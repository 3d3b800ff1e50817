//! Fuzz targets: functions that take any bytes and must neither panic nor find a difference from a model. Each has seeds
//! (`seeds/NAME.txt`, a line of hexadecimal each, and what its module makes), which the tests of this crate run as they are.
//! `cargo xtask inputs` lets an engine, guided by coverage, change them.
//!
//! # To add a target
//! A module under `targets`, a line in [`TARGETS`], a file of seeds. An input that once broke something becomes a seed.

mod bytes;
mod hex;
mod targets;

pub use hex::{read_hex, write_hex};
pub use targets::TARGETS;

use std::fs;
use std::path::{Path, PathBuf};

/// Something to feed bytes to.
pub struct Target {
    /// Its name on the command line and of its seeds.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Takes one input; panics where something is wrong.
    pub run: fn(&[u8]),
    /// Makes the seeds that are not in the file.
    pub made: fn() -> Vec<Vec<u8>>,
    /// Most bytes of an input that the engine makes.
    pub longest: usize,
}

impl Target {
    /// Returns all seeds: those of the file, then those that are made.
    ///
    /// # Panics
    /// The file cannot be read or is no hexadecimal.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let file = self.file();
        let text = fs::read_to_string(&file).unwrap_or_else(|why| panic!("{file:?}: {why}"));
        let mut seeds = read_hex(&text).unwrap_or_else(|why| panic!("{file:?}: {why}"));
        seeds.extend((self.made)());
        seeds
    }

    /// Returns the file of its seeds.
    pub fn file(&self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        folder.join(format!("{}.txt", self.name))
    }
}

/// Returns the target with a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Returns the project's folder.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
