//! What became of mutants: `target/bulkhead/mutants/results.txt`, a line `FATE<tab>MUTANT` each, the last one counts. It is
//! written after each, so that a run that was ended can go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::draw::Mutant;
use crate::failure::Outcome;
use crate::workspace::write;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A test failed.
    Caught,
    /// The tests did not end: caught too.
    Timeout,
    /// No test saw it.
    Missed,
    /// It does not compile.
    Unviable,
}

impl Fate {
    /// All, by the name that cargo-mutants gives its lists.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Caught, "caught"),
        (Self::Timeout, "timeout"),
        (Self::Missed, "missed"),
        (Self::Unviable, "unviable"),
    ];

    /// Returns its name.
    fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(fate, _)| *fate == self);
        named.map_or("", |(_, name)| name)
    }
}

/// The file.
#[derive(Debug)]
pub struct Ledger {
    file: PathBuf,
    fates: BTreeMap<String, Fate>,
}

impl Ledger {
    /// Opens it: empty, or with what is known when a run goes on.
    pub fn open(file: &Path, goes_on: bool) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let fates = if goes_on {
            parse(&text)
        } else {
            BTreeMap::new()
        };
        Self {
            file: file.to_owned(),
            fates,
        }
    }

    /// Returns what became of a mutant.
    pub fn fate(&self, key: &str) -> Option<Fate> {
        self.fates.get(key).copied()
    }

    /// Says whether a mutant need not be tried: one that survived may have met a test since.
    pub fn is_settled(&self, key: &str) -> bool {
        self.fate(key).is_some_and(|fate| fate != Fate::Missed)
    }

    /// Notes what became of one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&mut self, mutant: &Mutant, fate: Fate) -> Outcome {
        self.fates.insert(mutant.key.clone(), fate);
        let lines = self.fates.iter();
        let lines = lines.map(|(key, fate)| format!("{}\t{key}\n", fate.name()));
        write(&self.file, lines.collect::<String>().as_bytes())
    }
}

/// Reads the file's lines.
fn parse(text: &str) -> BTreeMap<String, Fate> {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let fates = lines.filter_map(|(name, key)| {
        let (fate, _) = Fate::ALL.iter().find(|(_, known)| *known == name)?;
        Some((key.to_owned(), *fate))
    });
    fates.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_tries_survivors_again_and_nothing_else() {
        let fates = parse("caught\ta\nmissed\tb\nunviable\tc\ntimeout\td\nwhat\te\nmissed\ta\n");
        let ledger = Ledger {
            file: PathBuf::new(),
            fates,
        };
        let settled = ["a", "b", "c", "d", "e"].map(|key| ledger.is_settled(key));
        assert_eq!(settled, [false, false, true, true, false]);
    }
}
