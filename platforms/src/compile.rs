//! From a table to a payload.

use std::fs;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::platform::Platform;
use crate::rule::Rule;

/// Where guest images come from: the host tool builds and fetches them on demand.
pub trait Images {
    /// Returns the ELF file of a crate under `guests/`, built if need be.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    fn guest(&mut self, name: &str) -> Result<PathBuf, String>;

    /// Returns the files of a recipe under `guests/recipes/`, fetched or built if need be.
    ///
    /// # Errors
    /// A sentence that says why there are none.
    fn recipe(&mut self, name: &str) -> Result<RecipeImage, String>;

    /// Returns the names of all guest crates; a name that is not among them is refused without a build. An empty
    /// list means that they are not known.
    fn guests(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the names of all recipes, as [`Self::guests`] does.
    fn recipes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a recipe makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipeImage {
    /// An arm64 `Image`, plain or gzip.
    pub kernel: PathBuf,
    /// An initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel command line when the table gives none.
    pub cmdline: Option<String>,
}

/// What to compile, and for which board.
pub struct Request<'a> {
    /// The table's file; files that it names are relative to it.
    pub table: &'a Path,
    /// The board.
    pub platform: &'a Platform,
    /// The board's device tree, flattened.
    pub dtb: &'a [u8],
    /// Bytes of EL2's image in memory, a multiple of the page; the payload follows.
    pub hypervisor_bytes: u64,
    /// Where images come from.
    pub images: &'a mut dyn Images,
}

/// A compiled table.
#[derive(Clone, Debug)]
pub struct System {
    payload: Vec<u8>,
    warnings: Diagnostics,
}

impl System {
    /// Returns the payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the report for people.
    pub fn report(&self) -> String {
        String::new()
    }

    /// Returns the report as JSON.
    pub fn report_json(&self) -> String {
        String::from("{}")
    }

    /// Returns the partitions' names in table order.
    pub fn partition_names(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns the remarks about the table.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }
}

/// Compiles a table.
///
/// # Errors
/// Every violation of the table, at least one of them an error.
pub fn compile(request: Request<'_>) -> Result<System, Diagnostics> {
    let text = fs::read_to_string(request.table).map_err(|error| {
        let mut list = Diagnostics::new(request.table, "");
        list.push(Diagnostic::outside(
            Rule::UnreadableTable,
            format!("the table cannot be read: {error}"),
        ));
        list
    })?;
    Ok(System {
        payload: Vec::new(),
        warnings: Diagnostics::new(request.table, &text),
    })
}
