//! What the bench guests printed, and the guest `steady`.

use std::collections::BTreeMap;

use crate::failure::{Failure, Outcome};
use crate::session::{Ending, Finished};

/// What the entries to EL2 on the pCPU of the guest `steady` are called.
const ENTRIES: &str = "entries";

/// Numbers of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The least count.
    pub min: u64,
    /// Their mean.
    pub mean: u64,
    /// The greatest count.
    pub max: u64,
    /// How many there are.
    pub count: u64,
}

/// By what the guest calls the operation.
pub type Results = BTreeMap<String, Measured>;

/// One call of a guest that gives way: its row, and the counts before and after.
struct Stamp<'a> {
    row: &'a str,
    speaker: Option<&'a str>,
    before: u64,
    after: u64,
}

/// Collects the lines `BENCH name min mean max n`, and what the lines `STAMP row before after` of two guests come to.
///
/// # Errors
/// The guests did not finish, or printed none.
pub fn read(finished: &Finished) -> Outcome<Results> {
    let lines = &finished.transcript.lines;
    let texts = || {
        lines
            .iter()
            .map(|line| (line.speaker.as_deref(), line.text.as_str()))
    };
    let mut found: Results = texts().filter_map(|(_, text)| parse(text)).collect();
    let overhead = texts()
        .filter_map(|(_, text)| text.strip_prefix("OVERHEAD ")?.parse().ok())
        .max()
        .unwrap_or(0);
    found.extend(entries(texts().filter_map(|(_, text)| phase(text))));
    let stamps: Vec<Stamp<'_>> = texts().filter_map(|(who, text)| stamp(who, text)).collect();
    found.extend(pair(stamps, overhead));
    if finished.ending == Ending::Matched && !found.is_empty() {
        return Ok(found);
    }
    let tail = finished.transcript.tail(10).join("\n  ");
    Err(Failure::failed(format!(
        "the bench guests did not finish ({:?}):\n  {tail}",
        finished.ending
    )))
}

/// Reads `BENCH name min mean max n`.
fn parse(line: &str) -> Option<(String, Measured)> {
    let mut words = line.strip_prefix("BENCH ")?.split(' ');
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let measured = Measured {
        min: number()?,
        mean: number()?,
        max: number()?,
        count: number()?,
    };
    Some((name, measured))
}

/// Reads `phase N rounds R ticks MIN MAX entries E`: how many rounds, and into how many EL2 broke.
fn phase(line: &str) -> Option<(u64, u64)> {
    let words: Vec<&str> = line.strip_prefix("phase ")?.split(' ').collect();
    let ["rounds", rounds, "ticks", _, _, "entries", entries] = words.get(1..)? else {
        return None;
    };
    Some((rounds.parse().ok()?, entries.parse().ok()?))
}

/// Sums phases up, if there are any.
fn entries(phases: impl Iterator<Item = (u64, u64)>) -> Option<(String, Measured)> {
    let (rounds, entries): (Vec<u64>, Vec<u64>) = phases.unzip();
    let count = rounds.iter().sum();
    let measured = Measured {
        count,
        ..summary(&entries)
    };
    (count > 0).then(|| (ENTRIES.to_owned(), measured))
}

/// Reads `STAMP row before after`.
fn stamp<'a>(speaker: Option<&'a str>, line: &'a str) -> Option<Stamp<'a>> {
    let mut words = line.strip_prefix("STAMP ")?.split(' ');
    Some(Stamp {
        row: words.next()?,
        speaker,
        before: words.next()?.parse().ok()?,
        after: words.next()?.parse().ok()?,
    })
}

/// Finds for each count after a call the last one before a call: where that was the other guest's, in the same row, it is
/// what giving way took.
fn pair(stamps: Vec<Stamp<'_>>, overhead: u64) -> Results {
    let mut before: Vec<_> = stamps
        .iter()
        .map(|s| (s.before, s.speaker, s.row))
        .collect();
    before.sort_unstable();
    let mut distances: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for stamp in &stamps {
        let behind = before.partition_point(|(count, ..)| *count < stamp.after);
        let Some((count, speaker, row)) = behind.checked_sub(1).and_then(|at| before.get(at))
        else {
            continue;
        };
        if *speaker != stamp.speaker && *row == stamp.row {
            let distance = (stamp.after - count).saturating_sub(overhead);
            distances
                .entry((*row).to_owned())
                .or_default()
                .push(distance);
        }
    }
    distances
        .into_iter()
        .map(|(row, all)| (row, summary(&all)))
        .collect()
}

/// Sums up.
fn summary(all: &[u64]) -> Measured {
    let count = all.len() as u64;
    Measured {
        min: all.iter().copied().min().unwrap_or(0),
        mean: all.iter().sum::<u64>() / count.max(1),
        max: all.iter().copied().max().unwrap_or(0),
        count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_guest_is_read() {
        let expected = Measured {
            min: 6,
            mean: 7,
            max: 9,
            count: 1000,
        };
        assert_eq!(
            parse("BENCH hypercall_hvc 6 7 9 1000"),
            Some(("hypercall_hvc".to_owned(), expected))
        );
        assert_eq!(parse("BENCH hypercall_hvc 6 7"), None);
        assert_eq!(parse("bench x 1 2 3 4"), None);
    }

    #[test]
    fn phases_of_the_steady_guest_are_summed_up() {
        let lines = [
            "phase 1 rounds 60 ticks 16384 16384 entries 0",
            "phase 2 rounds 40 ticks 16384 17000 entries 2",
            "phase of another kind",
        ];
        let (name, measured) = entries(lines.iter().filter_map(|line| phase(line))).unwrap();
        let expected = Measured {
            min: 0,
            mean: 1,
            max: 2,
            count: 100,
        };
        assert_eq!((name.as_str(), measured), ("entries", expected));
        assert_eq!(entries(std::iter::empty()), None);
    }

    #[test]
    fn a_call_of_one_is_paired_with_the_return_of_the_other() {
        let lines = [
            (Some("one"), "STAMP y 100 2000"), // alone: nobody else is there yet
            (Some("one"), "STAMP y 2010 3010"),
            (Some("other"), "STAMP y 2530 3530"),
            (Some("one"), "STAMP y 3020 4000"),
            (Some("other"), "STAMP z 3540 5000"), // another row
        ];
        let stamps = lines
            .iter()
            .filter_map(|(who, text)| stamp(*who, text))
            .collect();
        let results = pair(stamps, 1);
        let expected = Measured {
            min: 459,
            mean: 479,
            max: 509,
            count: 3,
        };
        // 2530 -> 3010, 3020 -> 3530, 3540 -> 4000 belongs to two rows and does not count.
        let expected = Measured {
            min: 479,
            mean: 494,
            count: 2,
            ..expected
        };
        assert_eq!(results, Results::from([("y".to_owned(), expected)]));
    }
}
