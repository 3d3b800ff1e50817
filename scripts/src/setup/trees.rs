//! Boards' device trees, as Debian's kernel for arm64 carries them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::debian::Mirror;
use super::{alone, tool_missing};
use crate::failure::{Failure, Outcome};
use crate::workspace::{products, shown};

/// The metapackage of the kernel.
const KERNEL: &str = "linux-image-arm64";

/// Returns a tree by its path below the package's folder of trees, such as `freescale/imx8mp-evk.dtb`.
///
/// # Errors
/// The package cannot be fetched, or has no such tree.
pub fn file(path: &str) -> Outcome<PathBuf> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _alone = alone(&FETCHING);
    let kept = folder();
    if !kept.is_dir() {
        fetch(&kept).map_err(|failure| {
            tool_missing(&format!(
                "no device trees here: {failure}\nUnpack usr/lib/linux-image-*/ of Debian's package {KERNEL} for arm64 to {}",
                shown(&kept)
            ))
        })?;
    }
    let file = kept.join(path);
    match file.is_file() {
        true => Ok(file),
        false => Err(Failure::file(
            &file,
            "Debian's kernel package has no such device tree",
        )),
    }
}

/// Returns where the trees are kept.
fn folder() -> PathBuf {
    products(&["cache", "debian-trees"])
}

/// Fetches all of them.
fn fetch(kept: &Path) -> Outcome {
    let unpacked = products(&["cache", "unpacked-trees"]);
    // What an interrupted run left there; usually there is nothing.
    let _ = fs::remove_dir_all(&unpacked);
    let mirror = Mirror::arm64()?;
    mirror.update()?;
    let package = mirror.dependency(KERNEL)?;
    mirror.unpack(&package, &["./usr/lib/linux-image-*"], &unpacked)?;
    let lib = unpacked.join("usr/lib");
    let entries = fs::read_dir(&lib).map_err(|error| Failure::file(&lib, error))?;
    let found = entries.flatten().map(|entry| entry.path()).next();
    let found = found.ok_or_else(|| Failure::file(&lib, "there are no device trees"))?;
    fs::rename(&found, kept).map_err(|error| Failure::file(kept, error))?;
    fs::remove_dir_all(&unpacked).map_err(|error| Failure::file(&unpacked, error))
}
