//! Which table, and which board.

use std::path::{Path, PathBuf};

use bulkhead_platforms::{Platform, platform_named_in, platforms};

use crate::args::Target;
use crate::failure::{Failure, Outcome};
use crate::workspace::root;

/// Board used when neither the command line nor the table names one.
const DEFAULT_PLATFORM: &str = "qemu-virt";

/// A table and its board.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The board.
    pub platform: Platform,
    /// The table's file.
    pub table: PathBuf,
    /// The table's name: that of its file without the ending.
    pub name: String,
}

/// Chooses by the command line.
///
/// # Errors
/// A name is wrong (the right ones are listed), or the platform disagrees with the table's.
pub fn select(target: &Target) -> Outcome<Selection> {
    let wanted = target.partitions.as_deref().unwrap_or("default");
    let all = boards()?;
    let file = is_file(wanted).then(|| PathBuf::from(wanted));
    let named = file.as_deref().and_then(platform_named_in);
    let asked = target.platform.clone();
    let name = asked
        .or(named)
        .unwrap_or_else(|| DEFAULT_PLATFORM.to_owned());
    let platform = find_board(&all, &name)?;
    let table = match file {
        Some(file) if file.is_file() => file,
        Some(file) => {
            return Err(Failure::usage(format!(
                "{}: there is no such partition table",
                file.display()
            )));
        }
        None => named_table(&platform, wanted)?,
    };
    if let Some(named) = platform_named_in(&table)
        && named != platform.name
    {
        return Err(Failure::usage(format!(
            "--platform {}: {} is for the platform {named}",
            platform.name,
            table.display()
        )));
    }
    let name = table
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Selection {
        platform,
        table,
        name,
    })
}

/// Is this a path and not a name of a table?
fn is_file(text: &str) -> bool {
    text.contains('/') || text.ends_with(".toml") || Path::new(text).is_file()
}

/// Returns all boards.
pub fn boards() -> Outcome<Vec<Platform>> {
    platforms(&root()).map_err(|error| Failure::failed(error.to_string()))
}

/// Finds a board by name.
fn find_board(all: &[Platform], name: &str) -> Outcome<Platform> {
    let found = all.iter().find(|platform| platform.name == name);
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        Failure::usage(format!(
            "there is no platform `{name}`; there are: {}",
            names.join(", ")
        ))
    })
}

/// Finds a table in the board's folder.
fn named_table(platform: &Platform, name: &str) -> Outcome<PathBuf> {
    let names = platform.tables();
    if names.iter().any(|n| n == name) {
        return Ok(platform.table(name));
    }
    Err(Failure::usage(format!(
        "the platform {} has no table `{name}`; it has: {} (or give a FILE)",
        platform.name,
        names.join(", ")
    )))
}
