//! Guest images on demand: crates under `guests/`, and recipes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_platforms::{Images, RecipeImage};

use crate::args::Consent;
use crate::recipe::{self, Sources};
use crate::setup::{DTC, ensure};
use crate::workspace::{GUEST_TARGET, bare_metal_build, root, target};

/// Builds and fetches guest images, each once.
#[derive(Debug, Default)]
pub struct Workshop {
    sources: Sources,
    consent: Consent,
    built: BTreeMap<String, PathBuf>,
}

impl Workshop {
    /// Makes a workshop that takes what the recipes need from `sources`, and installs what it lacks with `consent`.
    pub fn new(sources: Sources, consent: Consent) -> Self {
        Self {
            sources,
            consent,
            built: BTreeMap::new(),
        }
    }

    /// Returns the ELF files of the guest crates that were built so far.
    pub fn built(&self) -> impl Iterator<Item = &PathBuf> {
        self.built.values()
    }
}

impl Images for Workshop {
    fn guest(&mut self, name: &str) -> Result<PathBuf, String> {
        if let Some(path) = self.built.get(name) {
            return Ok(path.clone());
        }
        let names = self.guests();
        if !names.iter().any(|n| n == name) {
            return Err(format!(
                "there is no guest crate `{name}`; there are: {}",
                names.join(", ")
            ));
        }
        let path = program(name)?;
        self.built.insert(name.to_owned(), path.clone());
        Ok(path)
    }

    fn recipe(&mut self, name: &str) -> Result<RecipeImage, String> {
        recipe::make(name, &self.sources).map_err(|failure| failure.message)
    }

    fn overlay(&mut self, source: &Path) -> Result<Vec<u8>, String> {
        if let Err(failure) = ensure(&[DTC], self.consent) {
            let why = failure.message;
            return Err(format!("{why}\nor give the flattened overlay (`.dtbo`)"));
        }
        let output = Command::new(DTC.program)
            .args(["-q", "-@", "-I", "dts", "-O", "dtb"])
            .arg(source)
            .output()
            .map_err(|error| format!("dtc: {error}"))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!(
                "dtc says: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    fn guests(&self) -> Vec<String> {
        folders("guests", "src/main.rs")
    }

    fn recipes(&self) -> Vec<String> {
        recipe::names()
    }
}

/// Builds the program of a package for guests' CPUs and returns it.
///
/// # Errors
/// It does not build.
pub fn program(package: &str) -> Result<PathBuf, String> {
    let status = bare_metal_build(GUEST_TARGET)
        .args(["--package", package])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the guest crate `{package}` does not build"));
    }
    Ok(target().join(GUEST_TARGET).join("release").join(package))
}

/// Returns the folders in `parent` that hold the file `mark`, sorted.
pub fn folders(parent: &str, mark: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(parent)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join(mark).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
