//! Recipes: real guests that are fetched and put together on demand, never kept in git.
//!
//! A recipe is a folder under `guests/recipes/` with a `recipe.toml`: which packages of Debian to fetch, and which
//! of its own files go into the initial RAM disk. What was fetched stays in `target/bulkhead/cache`, so later runs
//! need no network. A recipe that names a `base` has what that one has, its kernel included, and adds to it.

pub mod initramfs;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bulkhead_platforms::RecipeImage;
use serde::Deserialize;

use crate::failure::{Code, Failure, Outcome};
use crate::guests::{folders, program};
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
    /// Another recipe, whose kernel, busybox and files this one takes.
    base: Option<String>,
    /// Needed without `base`.
    debian: Option<Packages>,
    /// Further modules of the base's kernel; a module comes behind those that it needs.
    #[serde(default)]
    modules: Vec<String>,
    /// Further programs.
    #[serde(default)]
    fetched: Vec<Fetched>,
    #[serde(default)]
    initramfs: Initramfs,
}

/// What is fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packages {
    /// A metapackage of a kernel.
    kernel: String,
    /// Modules of that kernel, by their names; init loads them in this order.
    #[serde(default)]
    modules: Vec<String>,
    busybox: String,
}

/// Files out of a package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fetched {
    package: String,
    /// `from` is the name of a file in it, wherever it lies.
    files: Vec<Placed>,
}

/// What the initial RAM disk holds beside busybox.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Initramfs {
    files: Vec<Placed>,
    #[serde(default)]
    programs: Vec<Program>,
}

/// A program of this project's packages and where it goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    package: String,
    to: String,
}

/// A file of the initial RAM disk and its content.
type Content = (String, Vec<u8>);

/// A file and where it goes.
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

/// Returns a recipe's folder and what its file says.
fn open(name: &str) -> Outcome<(PathBuf, Recipe)> {
    let folder = root().join("guests/recipes").join(name);
    let file = folder.join("recipe.toml");
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    let recipe = toml::from_str(&text).map_err(|error| Failure::file(&file, error))?;
    Ok((folder, recipe))
}

/// Makes the files of a recipe.
///
/// # Errors
/// The name is wrong, or something cannot be fetched: the message says what to get and where to put it.
pub fn make(name: &str, sources: &Sources) -> Outcome<RecipeImage> {
    let (folder, recipe) = open(name)?;
    let base = recipe.base.as_deref().unwrap_or(name);
    let (base_folder, base_recipe) = open(base)?;
    let mut packages = base_recipe.debian.clone().ok_or_else(|| {
        Failure::file(
            &base_folder,
            "`recipe.toml` has neither `base` nor `[debian]`",
        )
    })?;
    packages.modules.extend(recipe.modules.iter().cloned());
    let kernel = kernel(base, &packages, sources)?;
    let busybox = read(&busybox(base, &packages, sources)?)?;
    let mut files = vec![("bin/busybox".to_owned(), busybox)];
    files.extend(kernel.files()?);
    files.extend(own_files(&base_folder, &base_recipe)?);
    files.extend(programs(&base_recipe)?);
    if recipe.base.is_some() {
        files.extend(own_files(&folder, &recipe)?);
        files.extend(programs(&recipe)?);
    }
    for fetched in &recipe.fetched {
        files.extend(fetched_files(name, fetched)?);
    }
    let initrd = products(&["recipes", name, "initramfs.cpio"]);
    workspace::write(&initrd, &archive(&files))?;
    Ok(RecipeImage {
        kernel: kernel.image,
        initrd: Some(initrd),
        cmdline: Some(recipe.cmdline),
    })
}

/// Reads the files of a recipe's folder; returns where each goes.
fn own_files(folder: &Path, recipe: &Recipe) -> Outcome<Vec<Content>> {
    let files = recipe.initramfs.files.iter();
    let read = |file: &Placed| Ok((file.to.clone(), read(&folder.join(&file.from))?));
    files.map(read).collect()
}

/// Returns files out of a package, and where each goes.
fn fetched_files(name: &str, fetched: &Fetched) -> Outcome<Vec<Content>> {
    let package = &fetched.package;
    let kept = products(&["cache", name, package]);
    let names: Vec<&str> = fetched
        .files
        .iter()
        .map(|file| file.from.as_str())
        .collect();
    if names.iter().any(|name| !kept.join(name).is_file()) {
        fetch_files(name, package, &names, &kept).map_err(|failure| {
            let (files, place) = (names.join(", "), shown(&kept));
            Failure::new(
                Code::ToolMissing,
                format!(
                    "{failure}\nGet {files} out of Debian's package {package} for arm64 \
                     and put it at {place}"
                ),
            )
        })?;
    }
    let files = fetched.files.iter();
    let read = |file: &Placed| Ok((file.to.clone(), read(&kept.join(&file.from))?));
    files.map(read).collect()
}

/// Fetches a package and keeps some of its files.
fn fetch_files(name: &str, package: &str, names: &[&str], kept: &Path) -> Outcome {
    let unpacked = products(&["cache", name, "unpacked"]);
    let mirror = Mirror::arm64()?;
    if mirror.unpack(package, &["./*"], &unpacked).is_err() {
        mirror.update()?;
        mirror.unpack(package, &["./*"], &unpacked)?;
    }
    for name in names {
        let file = file_named(&unpacked, name)
            .ok_or_else(|| Failure::failed(format!("{package} holds no file {name}")))?;
        workspace::write(&kept.join(name), &read(&file)?)?;
    }
    fs::remove_dir_all(&unpacked).map_err(|error| Failure::file(&unpacked, error))
}

/// Finds a file by its name below a folder; a link counts as what it leads to.
fn file_named(folder: &Path, name: &str) -> Option<PathBuf> {
    let here = folder.join(name);
    if here.is_file() {
        return Some(here);
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    folders.sort();
    folders.iter().find_map(|inner| file_named(inner, name))
}

/// A kernel and what belongs to it.
struct Kernel {
    /// A plain `Image`.
    image: PathBuf,
    /// Its modules: none for a kernel of the person's own, to which Debian's would not fit.
    modules: Vec<PathBuf>,
}

impl Kernel {
    /// Returns the modules' files and where they go: names sort as they are to be loaded.
    fn files(&self) -> Outcome<Vec<Content>> {
        let content = |(index, file): (usize, &PathBuf)| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Ok((format!("lib/modules/{index:02}-{name}"), read(file)?))
        };
        self.modules.iter().enumerate().map(content).collect()
    }
}

/// Returns the kernel.
fn kernel(name: &str, packages: &Packages, sources: &Sources) -> Outcome<Kernel> {
    if let Some(given) = &sources.kernel {
        let image = products(&["recipes", name, "kernel"]);
        workspace::write(&image, &inflated(read(given)?, given)?)?;
        let modules = Vec::new();
        return Ok(Kernel { image, modules });
    }
    let image = products(&["cache", name, "kernel"]);
    let folder = products(&["cache", name, "modules"]);
    if image.is_file()
        && let Some(modules) = modules(&folder, packages)
    {
        return Ok(Kernel { image, modules });
    }
    match fetch_kernel(name, packages, &image, &folder) {
        Err(failure) if image.is_file() => {
            eprintln!("xtask: going on without the modules of the kernel: {failure}");
            let modules = Vec::new();
            Ok(Kernel { image, modules })
        }
        Err(failure) => {
            let (package, file) = (&packages.kernel, "boot/vmlinuz-*");
            Err(by_hand(&failure, package, file, &image, "--kernel"))
        }
        Ok(()) => {
            let modules = modules(&folder, packages)
                .ok_or_else(|| Failure::file(&folder, "the kernel's package lacks a module"))?;
            Ok(Kernel { image, modules })
        }
    }
}

/// Returns the files of a kernel's modules, if all are there.
fn modules(folder: &Path, packages: &Packages) -> Option<Vec<PathBuf>> {
    // Newer kernels' are compressed.
    let file = |name: &String| {
        let endings = ["ko", "ko.xz"].into_iter();
        let mut files = endings.map(|ending| folder.join(format!("{name}.{ending}")));
        files.find(|file| file.is_file())
    };
    packages.modules.iter().map(file).collect()
}

/// Fetches a kernel and its modules.
fn fetch_kernel(name: &str, packages: &Packages, image: &Path, modules: &Path) -> Outcome {
    let unpacked = products(&["cache", name, "unpacked-kernel"]);
    let mirror = Mirror::arm64()?;
    // A list of yesterday may name a kernel that has left the mirrors.
    mirror.update()?;
    let package = mirror.dependency(&packages.kernel)?;
    let wanted = packages.modules.iter().map(|name| format!("*/{name}.ko*"));
    let patterns: Vec<String> = std::iter::once("./boot/vmlinuz-*".to_owned())
        .chain(wanted)
        .collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    mirror.unpack(&package, &patterns, &unpacked)?;
    let file = first_file(&unpacked.join("boot"))?;
    for name in &packages.modules {
        for name in ["ko", "ko.xz"].map(|ending| format!("{name}.{ending}")) {
            if let Some(module) = file_named(&unpacked, &name) {
                workspace::write(&modules.join(name), &read(&module)?)?;
            }
        }
    }
    workspace::write(image, &inflated(read(&file)?, &file)?)?;
    fs::remove_dir_all(&unpacked).map_err(|error| Failure::file(&unpacked, error))
}

/// Builds a recipe's programs.
fn programs(recipe: &Recipe) -> Outcome<Vec<Content>> {
    let programs = recipe.initramfs.programs.iter();
    let content = |of: &Program| {
        let file = program(&of.package).map_err(Failure::failed)?;
        Ok((of.to.clone(), read(&file)?))
    };
    programs.map(content).collect()
}

/// Returns busybox.
fn busybox(name: &str, packages: &Packages, sources: &Sources) -> Outcome<PathBuf> {
    if let Some(given) = &sources.busybox {
        return Ok(given.clone());
    }
    let kept = products(&["cache", name, "busybox"]);
    if kept.is_file() {
        return Ok(kept);
    }
    let package = &packages.busybox;
    let unpacked = products(&["cache", name, "unpacked-busybox"]);
    let fetch = || -> Outcome {
        let mirror = Mirror::arm64()?;
        if mirror
            .unpack(package, &["./*bin/busybox"], &unpacked)
            .is_ok()
        {
            return Ok(());
        }
        mirror.update()?;
        mirror.unpack(package, &["./*bin/busybox"], &unpacked)
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

/// Puts the initial RAM disk together, of files and where each goes.
fn archive(files: &[Content]) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in directories(files.iter().map(|(to, _)| to.as_str())) {
        archive.directory(&directory);
    }
    // The kernel opens it before init has mounted /dev.
    archive.device("dev/console", 5, 1);
    archive.link("bin/sh", "busybox");
    for (to, content) in files {
        archive.program(to, content);
    }
    archive.finish()
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
            let (folder, recipe) = open(&name).unwrap();
            let mut files = own_files(&folder, &recipe).unwrap();
            files.push(("opt/more/a".to_owned(), b"program".to_vec()));
            let archive = archive(&files);
            let has = |name: &[u8]| archive.windows(name.len()).any(|part| part == name);
            assert!(has(b"opt/more\0") && has(b"opt/more/a\0"), "{name}");
            let base = recipe.base.as_deref().unwrap_or(&name);
            assert!(open(base).unwrap().1.debian.is_some(), "{name}");
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
