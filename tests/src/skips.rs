//! What may be skipped.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// A test that may be skipped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The test's name, as it prints it.
    pub name: String,
    /// Under which condition, for people.
    pub when: String,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    skip: Vec<Skip>,
}

/// Reads the list.
///
/// # Errors
/// The file cannot be read, or says something unknown.
pub fn read(file: &Path) -> Result<Vec<Skip>, String> {
    let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| bad(&error))?;
    let list: File = toml::from_str(&text).map_err(|error| bad(&error))?;
    Ok(list.skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_project_can_be_read() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("skips.toml");
        assert!(
            read(&file)
                .unwrap()
                .iter()
                .all(|skip| !skip.when.is_empty())
        );
    }
}
