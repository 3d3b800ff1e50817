//! What the README says of the tests in figures, held against what there is.

use regex::Regex;

/// How many there are of what the README counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Rows of the list of isolation faults.
    pub rows: usize,
    /// Tests that answer them.
    pub answers: usize,
    /// Entries of `cargo xtask test --list`.
    pub entries: usize,
    /// Those among them that run with `--long` alone.
    pub long: usize,
}

/// The sentence, its words parted by any space.
const SENTENCE: &str = r"(\d+)\s+rows,\s+answered\s+by\s+(\d+)\s+tests\s+of\s+their\s+own;\s+(\d+)\s+entries\s+in\s+`--list`,\s+(\d+)\s+of\s+them\s+with\s+`--long`\s+alone";

impl Figures {
    /// Returns what a README says.
    fn of(readme: &str) -> Option<Self> {
        let found = Regex::new(SENTENCE).ok()?.captures(readme)?;
        let number = |group| found.get(group)?.as_str().parse().ok();
        Some(Self {
            rows: number(1)?,
            answers: number(2)?,
            entries: number(3)?,
            long: number(4)?,
        })
    }

    /// Says what is wrong with what a README says: it promises more than there is, or is out of date by a twentieth.
    pub fn failures(self, readme: &str) -> Vec<String> {
        let Some(said) = Self::of(readme) else {
            return vec!["the README does not count the rows and their tests".to_owned()];
        };
        let pairs = [
            ("rows", said.rows, self.rows),
            ("tests that answer them", said.answers, self.answers),
            ("entries of --list", said.entries, self.entries),
            ("entries with --long alone", said.long, self.long),
        ];
        let wrong = pairs
            .into_iter()
            .filter(|(_, said, are)| said > are || are - said > are / 20);
        wrong
            .map(|(what, said, are)| format!("the README says {said} {what}, there are {are}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "In figures: 60 rows, answered by 300 tests of\ntheir own; 175 entries in `--list`, 30 of them \
        with `--long` alone; more.";

    #[test]
    fn a_readme_promises_no_more_than_there_is_and_little_less() {
        let right = Figures {
            rows: 60,
            answers: 300,
            entries: 175,
            long: 30,
        };
        assert!(right.failures(README).is_empty());
        let (grown, far) = (15, 16);
        let more = |by| Figures {
            answers: right.answers + by,
            ..right
        };
        assert!(more(grown).failures(README).is_empty());
        assert_eq!(
            more(far).failures(README),
            ["the README says 300 tests that answer them, there are 316"]
        );
        let less = Figures { long: 29, ..right };
        assert_eq!(
            less.failures(README),
            ["the README says 30 entries with --long alone, there are 29"]
        );
        assert_eq!(right.failures("60 rows").len(), 1);
    }
}
