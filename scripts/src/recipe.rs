//! Recipes: real guests that are fetched and put together on demand, never kept in git.
//!
//! A recipe is a folder under `guests/recipes/` with a `recipe.toml`: which packages of Debian to fetch, and which
//! of its own files go into the initial RAM disk. What was fetched stays in `target/bulkhead/cache`, so later runs
//! need no network.

pub mod initramfs;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bulkhead_platforms::RecipeImage;
use serde::Deserialize;

use crate::failure::{Code, Failure, Outcome};
use crate::guests::folders;
use crate::setup::debian::Mirror;
use crate::workspace::{self, products, read, root, shown};
use initramfs::Archive;

/// What the person gives instead of what a recipe would fetch.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--kernel`
    pub kernel: Option<PathBuf>,
    /// `--busybox`
    pub busybox: Option<PathBuf>,
}

/// `recipe.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// One line for people.
    #[allow(dead_code)]
    description: String,
    cmdline: String,
    debian: Packages,
    initramfs: Initramfs,
}

/// What is fetched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packages {
    /// A metapackage of a kernel.
    kernel: String,
    busybox: String,
}

/// What the initial RAM disk holds beside busybox.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Initramfs {
    files: Vec<Placed>,
}

/// A file of the recipe's folder and where it goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    from: String,
    to: String,
}

/// Returns the names of all recipes.
pub fn names() -> Vec<String> {
    folders("guests/recipes", "recipe.toml")
}

/// Makes the files of a recipe.
///
/// # Errors
/// The name is wrong, or something cannot be fetched: the message says what to get and where to put it.
pub fn make(name: &str, sources: &Sources) -> Outcome<RecipeImage> {
    let folder = root().join("guests/recipes").join(name);
    let file = folder.join("recipe.toml");
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    let recipe: Recipe = toml::from_str(&text).map_err(|error| Failure::file(&file, error))?;
    let kernel = kernel(name, &recipe, sources)?;
    let busybox = busybox(name, &recipe, sources)?;
    let archive = archive(&folder, &recipe, &read(&busybox)?)?;
    let initrd = products(&["recipes", name, "initramfs.cpio"]);
    workspace::write(&initrd, &archive)?;
    Ok(RecipeImage {
        kernel,
        initrd: Some(initrd),
        cmdline: Some(recipe.cmdline),
    })
}

/// Returns the kernel as a plain `Image`.
fn kernel(name: &str, recipe: &Recipe, sources: &Sources) -> Outcome<PathBuf> {
    let kept = products(&["cache", name, "kernel"]);
    if let Some(given) = &sources.kernel {
        let image = products(&["recipes", name, "kernel"]);
        workspace::write(&image, &inflated(read(given)?, given)?)?;
        return Ok(image);
    }
    if kept.is_file() {
        return Ok(kept);
    }
    let unpacked = products(&["cache", name, "unpacked-kernel"]);
    let fetch = || -> Outcome {
        let mirror = Mirror::arm64()?;
        // A list of yesterday may name a kernel that has left the mirrors.
        mirror.update()?;
        let package = mirror.dependency(&recipe.debian.kernel)?;
        mirror.unpack(&package, "./boot/vmlinuz-*", &unpacked)
    };
    fetch().map_err(|failure| {
        by_hand(
            &failure,
            &recipe.debian.kernel,
            "boot/vmlinuz-*",
            &kept,
            "--kernel",
        )
    })?;
    let file = first_file(&unpacked.join("boot"))?;
    workspace::write(&kept, &inflated(read(&file)?, &file)?)?;
    fs::remove_dir_all(&unpacked).map_err(|error| Failure::file(&unpacked, error))?;
    Ok(kept)
}

/// Returns busybox.
fn busybox(name: &str, recipe: &Recipe, sources: &Sources) -> Outcome<PathBuf> {
    if let Some(given) = &sources.busybox {
        return Ok(given.clone());
    }
    let kept = products(&["cache", name, "busybox"]);
    if kept.is_file() {
        return Ok(kept);
    }
    let package = &recipe.debian.busybox;
    let unpacked = products(&["cache", name, "unpacked-busybox"]);
    let fetch = || -> Outcome {
        let mirror = Mirror::arm64()?;
        if mirror.unpack(package, "./*bin/busybox", &unpacked).is_ok() {
            return Ok(());
        }
        mirror.update()?;
        mirror.unpack(package, "./*bin/busybox", &unpacked)
    };
    fetch().map_err(|failure| by_hand(&failure, package, "bin/busybox", &kept, "--busybox"))?;
    let folders = ["bin", "usr/bin"].map(|folder| unpacked.join(folder));
    let found = folders.iter().find(|folder| folder.is_dir());
    let file = first_file(found.unwrap_or(&unpacked))?;
    workspace::write(&kept, &read(&file)?)?;
    fs::remove_dir_all(&unpacked).map_err(|error| Failure::file(&unpacked, error))?;
    Ok(kept)
}

/// Says what to get and where to put it.
fn by_hand(failure: &Failure, package: &str, file: &str, kept: &Path, option: &str) -> Failure {
    Failure::new(
        Code::ToolMissing,
        format!(
            "{failure}\nGet {file} out of Debian's package {package} for arm64 \
             and pass {option} FILE, or put it at {}",
            shown(kept)
        ),
    )
}

/// Returns the first file in a folder.
fn first_file(folder: &Path) -> Outcome<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::file(folder, error))?;
    let files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    files
        .min()
        .ok_or_else(|| Failure::file(folder, "there is no file"))
}

/// Returns a kernel without its compression: gzip, alone or behind an EFI stub ("zboot").
fn inflated(bytes: Vec<u8>, path: &Path) -> Outcome<Vec<u8>> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    let packed = match bytes.get(4..8) {
        Some(b"zimg") => {
            let word = |at: usize| {
                let field = bytes.get(at..at + 4)?;
                usize::try_from(u32::from_le_bytes(field.try_into().ok()?)).ok()
            };
            word(8)
                .zip(word(12))
                .and_then(|(start, size)| bytes.get(start..start.checked_add(size)?))
        }
        _ => Some(bytes.as_slice()),
    };
    match packed {
        Some(packed) if packed.starts_with(GZIP) => {
            let mut image = Vec::new();
            flate2::read::GzDecoder::new(packed)
                .read_to_end(&mut image)
                .map_err(|error| Failure::file(path, error))?;
            Ok(image)
        }
        Some(packed) if packed.len() == bytes.len() => Ok(bytes),
        _ => Err(Failure::file(
            path,
            "this kernel is compressed in another way than gzip: unpack it first",
        )),
    }
}

/// Puts the initial RAM disk together.
fn archive(folder: &Path, recipe: &Recipe, busybox: &[u8]) -> Outcome<Vec<u8>> {
    let mut archive = Archive::default();
    let files = recipe.initramfs.files.iter().map(|file| file.to.as_str());
    for directory in directories(files) {
        archive.directory(&directory);
    }
    // The kernel opens it before init has mounted /dev.
    archive.device("dev/console", 5, 1);
    archive.program("bin/busybox", busybox);
    archive.link("bin/sh", "busybox");
    for file in &recipe.initramfs.files {
        archive.program(&file.to, &read(&folder.join(&file.from))?);
    }
    Ok(archive.finish())
}

/// Returns all folders that an archive needs, those above first.
fn directories<'a>(files: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let usual = [
        "bin/",
        "sbin/",
        "usr/bin/",
        "usr/sbin/",
        "dev/",
        "etc/",
        "proc/",
        "sys/",
        "run/",
        "tmp/",
        "root/",
    ];
    let mut all = BTreeSet::new();
    for file in usual.into_iter().chain(files) {
        for (at, _) in file.match_indices('/') {
            all.extend(file.get(..at).map(str::to_owned));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_can_be_read_and_names_files_that_are_there() {
        assert!(!names().is_empty());
        for name in names() {
            let folder = root().join("guests/recipes").join(&name);
            let text = fs::read_to_string(folder.join("recipe.toml")).unwrap();
            let recipe: Recipe = toml::from_str(&text).unwrap();
            assert!(archive(&folder, &recipe, b"busybox").is_ok(), "{name}");
        }
    }

    #[test]
    fn folders_come_before_what_lies_in_them() {
        let all: Vec<_> = directories(["a/b/c", "init"].into_iter())
            .into_iter()
            .collect();
        let place = |name: &str| all.iter().position(|n| n == name);
        assert!(place("a") < place("a/b"));
        assert!(place("usr") < place("usr/bin"));
        assert_eq!(place("a/b/c"), None);
    }

    #[test]
    fn other_compressions_are_refused_and_plain_kernels_kept() {
        let path = Path::new("kernel");
        assert_eq!(
            inflated(b"plain Image".to_vec(), path).unwrap(),
            b"plain Image"
        );
        let zboot = b"MZ\0\0zimg\x10\0\0\0\x04\0\0\0(\xb5/\xfd".to_vec();
        assert!(inflated(zboot, path).is_err());
    }
}
