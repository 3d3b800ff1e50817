//! Which mutants are tried: all of the modules named, or some of them, drawn from a seed.
//!
//! Each mutant has a number that follows from the seed and its own name, and the smallest ones are drawn. So a larger sample
//! from the same seed has all of a smaller one's mutants, and a change elsewhere in the sources moves few.

use std::collections::BTreeMap;

/// How many mutants are tried, and from what they are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many; all without it.
    pub count: Option<usize>,
    /// From what.
    pub seed: u64,
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
}

impl Mutant {
    /// Returns its file.
    pub fn file(&self) -> &str {
        file(&self.key)
    }

    /// Returns the top-level module that it is in.
    pub fn module(&self) -> &str {
        let path = self.file();
        let path = path.strip_prefix("src/").unwrap_or(path);
        path.split(['/', '.']).next().unwrap_or("")
    }
}

/// Returns the mutants of a list, as cargo-mutants prints it.
pub fn mutants(list: &str) -> Vec<Mutant> {
    let lines = || list.lines().filter(|line| !line.is_empty());
    let mut of_file: BTreeMap<&str, usize> = BTreeMap::new();
    lines().for_each(|name| *of_file.entry(file(name)).or_default() += 1);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut next = |text: String| {
        let number = seen.entry(text).or_default();
        *number += 1;
        *number
    };
    let named = lines().map(|name| {
        let (unplaced, file) = (unplaced(name), file(name));
        let all = of_file.get(file).copied().unwrap_or(0);
        Mutant {
            key: format!("{unplaced} #{}", next(unplaced.clone())),
            name: name.to_owned(),
            place: (next(file.to_owned()) - 1, all),
        }
    });
    named.collect()
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
mod tests {
    use super::*;

    const LIST: &str = "src/sched/mail.rs:12:34: replace < with <= in Heard::new\n\
                        src/sched/mail.rs:14:5: replace < with <= in Heard::new\n\
                        src/sched.rs:1:1: replace + with - in next\n\
                        src/ids.rs:7:9: replace + with * in next\n";

    #[test]
    fn mutants_are_known_wherever_they_stand() {
        let all = mutants(LIST);
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
        let moved = mutants(&LIST.replace("12:34", "112:34"));
        assert_eq!(moved[0].key, all[0].key);
    }

    #[test]
    fn a_larger_sample_has_all_of_a_smaller_one() {
        let sample = |seed, count| {
            let count = Some(count);
            draw(mutants(LIST), Sample { count, seed })
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
        assert_eq!(draw(mutants(LIST), all).len(), 4);
    }
}
