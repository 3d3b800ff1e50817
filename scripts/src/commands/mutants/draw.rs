//! Which mutants are tried: all of the modules named, or some of them, drawn from a seed.
//!
//! Each mutant has a number that follows from the seed and its own name, and the smallest ones are drawn. So a larger sample
//! from the same seed has all of a smaller one's mutants, and a change elsewhere in the sources moves few.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How many mutants are tried, and from what they are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many; all without it.
    pub count: Option<usize>,
    /// From what.
    pub seed: u64,
}

/// A place in a text: the order is the text's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Span {
    /// Its first character.
    pub start: Place,
    /// What comes behind its last.
    pub end: Place,
}

/// A mutant as cargo-mutants lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    span: Span,
    replacement: String,
}

/// A mutant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mutant {
    /// Its name here: file, what is changed, and the number of the place where that could be done, counted from 1. It stays
    /// when lines come and go elsewhere.
    pub key: String,
    /// Its name for cargo-mutants: file, line, column, what is changed.
    pub name: String,
    /// Its place among the mutants of its file, from 0, and how many those are.
    pub place: (usize, usize),
    /// What it replaces.
    pub span: Span,
    /// By what.
    pub replacement: String,
}

impl Mutant {
    /// Returns its file.
    pub fn file(&self) -> &str {
        file(&self.key)
    }

    /// Returns the top-level module that it is in.
    pub fn module(&self) -> &str {
        module(&self.key)
    }
}

/// Returns the mutants of a list, as `cargo mutants --list --json` prints it.
///
/// # Errors
/// It is no such list.
pub fn mutants(list: &str) -> Result<Vec<Mutant>, serde_json::Error> {
    let listed: Vec<Listed> = serde_json::from_str(list)?;
    let mut of_file: BTreeMap<&str, usize> = BTreeMap::new();
    let files = listed.iter().map(|one| file(&one.name));
    files.for_each(|file| *of_file.entry(file).or_default() += 1);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut next = |text: String| {
        let number = seen.entry(text).or_default();
        *number += 1;
        *number
    };
    let named = listed.iter().map(|one| {
        let (unplaced, file) = (unplaced(&one.name), file(&one.name));
        let all = of_file.get(file).copied().unwrap_or(0);
        Mutant {
            key: format!("{unplaced} #{}", next(unplaced.clone())),
            name: one.name.clone(),
            place: (next(file.to_owned()) - 1, all),
            span: one.span,
            replacement: one.replacement.clone(),
        }
    });
    Ok(named.collect())
}

/// Returns the top-level module in a mutant's name.
pub fn module(name: &str) -> &str {
    let path = file(name);
    let path = path.strip_prefix("src/").unwrap_or(path);
    path.split(['/', '.']).next().unwrap_or("")
}

/// Returns the file in a mutant's name.
fn file(name: &str) -> &str {
    name.split(':').next().unwrap_or("")
}

/// Draws a sample.
pub fn draw(mut mutants: Vec<Mutant>, sample: Sample) -> Vec<Mutant> {
    if let Some(count) = sample.count {
        mutants.sort_by_cached_key(|mutant| (number(sample.seed, &mutant.key), mutant.key.clone()));
        mutants.truncate(count);
    }
    mutants.sort();
    mutants
}

/// Takes line and column out of a mutant's name: `src/a.rs:1:2: replace ...`.
fn unplaced(mutant: &str) -> String {
    let (place, what) = mutant.split_once(": ").unwrap_or((mutant, ""));
    let file = place.split(':').next().unwrap_or(place);
    format!("{file}: {what}")
}

/// Returns a number that looks random: FNV-1a over seed and text, and SplitMix64's last steps.
fn number(seed: u64, text: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(text.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns the mutants with these names; they replace nothing.
    pub fn named(names: &[&str]) -> Vec<Mutant> {
        let place = serde_json::json!({"line": 1, "column": 1});
        let list = names.iter().map(|name| {
            let span = serde_json::json!({"start": place, "end": place});
            serde_json::json!({"name": name, "span": span, "replacement": ""})
        });
        let list = serde_json::Value::Array(list.collect());
        mutants(&list.to_string()).expect("a list")
    }

    const LIST: [&str; 4] = [
        "src/sched/mail.rs:12:34: replace < with <= in Heard::new",
        "src/sched/mail.rs:14:5: replace < with <= in Heard::new",
        "src/sched.rs:1:1: replace + with - in next",
        "src/ids.rs:7:9: replace + with * in next",
    ];

    #[test]
    fn mutants_are_known_wherever_they_stand() {
        let all = named(&LIST);
        assert_eq!(
            all[1].key,
            "src/sched/mail.rs: replace < with <= in Heard::new #2"
        );
        let modules: Vec<&str> = all.iter().map(Mutant::module).collect();
        assert_eq!(modules, ["sched", "sched", "sched", "ids"]);
        assert_eq!(
            all.iter().map(|mutant| mutant.place).collect::<Vec<_>>(),
            [(0, 2), (1, 2), (0, 1), (0, 1)]
        );
        let moved = named(
            &LIST
                .map(|name| name.replace("12:34", "112:34"))
                .each_ref()
                .map(String::as_str),
        );
        assert_eq!(moved[0].key, all[0].key);
    }

    #[test]
    fn a_larger_sample_has_all_of_a_smaller_one() {
        let sample = |seed, count| {
            let count = Some(count);
            draw(named(&LIST), Sample { count, seed })
        };
        for seed in 0..20 {
            let (two, three) = (sample(seed, 2), sample(seed, 3));
            assert_eq!((two.len(), three.len()), (2, 3));
            assert!(two.iter().all(|mutant| three.contains(mutant)));
        }
        assert!((0..20).any(|seed| sample(seed, 2) != sample(0, 2)));
        let all = Sample {
            count: None,
            seed: 1,
        };
        assert_eq!(draw(named(&LIST), all).len(), 4);
    }
}
