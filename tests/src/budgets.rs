//! What the bench holds EL2 to, for bounds that follow from it.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Name of the budget of the longest stay at EL2, which is no row.
const STAYS: &str = "stays";
/// Name of the budget of what comes behind a look for interrupts, which is none either.
const BEHIND: &str = "behind";

/// The numbers of `tests/bench-budgets.toml` that bounds are made of; the bench reads all of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Budgets {
    row: Vec<Row>,
    stays: Budget,
    behind: Budget,
}

/// A measured operation.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    name: String,
    budget: u64,
}

/// What something may cost.
#[derive(Clone, Debug, Deserialize)]
struct Budget {
    budget: u64,
}

impl Budgets {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| bad(&error))?;
        Self::parse(&text).map_err(|error| bad(&error))
    }

    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Returns the sum of budgets: of rows by their names, and `stays` for the longest stay at EL2, `behind` for what comes
    /// behind a look for interrupts.
    ///
    /// # Errors
    /// There is no budget of that name.
    pub fn sum(&self, names: &[String]) -> Result<u64, String> {
        let one = |name: &String| {
            let row = || self.row.iter().find(|row| row.name == *name);
            match name.as_str() {
                STAYS => Ok(self.stays.budget),
                BEHIND => Ok(self.behind.budget),
                _ => row()
                    .map(|row| row.budget)
                    .ok_or_else(|| format!("there is no budget `{name}`")),
            }
        };
        names.iter().map(one).sum()
    }
}
