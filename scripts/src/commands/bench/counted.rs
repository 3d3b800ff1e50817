//! The second opinion of `cargo xtask bench --longest`: EL2 in a build that counts its stays itself, by the counter (feature
//! `stay-counter`, `src/run/stay_counter.rs`).
//!
//! The adversary runs to its end under that EL2, and no stay may be longer than its budget and what counting costs. On the
//! first [`SAMPLE`] stays of another run QEMU's log is the judge: for each kind of trap the number of stays, their sum, the longest
//! and how they spread must be the same by the counter and by the instructions in the log between its reads; and what lies
//! outside of the reads must be as little as the vectors and the return.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::budgets::Stays;
use super::execution::{Event, Stay, Watch, watch};
use super::longest::{GUEST, system};
use super::symbols::Symbols;
use crate::args;
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::session::{self, Plan};
use crate::system::{Built, build_counting};
use crate::trace::qmp::{self, Monitor};
use crate::workspace::{make_folder, own};

/// Stays that are compared one by one.
const SAMPLE: usize = 8_000;
/// Longest run.
const TIMEOUT: Duration = Duration::from_secs(300);
/// EL2's variable with the counts, and the sections that name the reads of the counter.
const SYMBOL: &str = "STAYS";
const BEGIN: &str = ".stay_begin";
const END: &str = ".stay_end";
/// Words of a kind: number, sum, longest, and 29 powers of two; of a pCPU: two, and all kinds.
const KIND_WORDS: usize = 32;
const KINDS: usize = 67;
const WORDS: usize = 2 + KINDS * KIND_WORDS;
/// Kinds that are no exception class.
const INTERRUPT: u64 = 64;
const SERROR: u64 = 65;
const PIECE: u64 = 66;
/// Instructions of a stay, or of a piece of one, that no two reads enclose: the vector's first, and from the last read to the
/// return.
const OUTSIDE: usize = 128;
/// Instructions that counting adds between two reads, at most: its own, and registers that its calls cost their callers.
const COST: u64 = 200;

/// What is known of a kind of trap.
type Kind = [u64; KIND_WORDS];

/// By kind.
pub type Counts = BTreeMap<u64, Kind>;

/// What both runs showed.
pub struct Counted {
    /// All stays of the adversary, by the counter.
    pub counts: Counts,
    /// What is wrong.
    pub failures: Vec<String>,
}

/// Makes both runs.
///
/// # Errors
/// The system does not run.
pub fn see(args: &args::Bench, stays: &Stays) -> Outcome<Counted> {
    let (target, machine) = system(args)?;
    let built = build_counting(&target, &machine)?;
    let mut failures = compare(&built)?;
    let counts = count(&built)?;
    for (kind, [_, _, longest, ..]) in &counts {
        if *longest > stays.budget + COST {
            let name = name(*kind);
            failures.push(format!(
                "by the counter a stay of {longest} instructions: {name}"
            ));
        }
    }
    if counts.is_empty() {
        failures.push("the counter saw no stay".to_owned());
    }
    Ok(Counted { counts, failures })
}

/// Watches some stays from outside, and compares; returns what differs.
fn compare(built: &Built) -> Outcome<Vec<String>> {
    let marks = |section| {
        let symbols = Symbols::read(&built.hypervisor_elf, section)?;
        Ok(symbols.marks().iter().map(|(at, _)| *at).collect())
    };
    let (begins, ends): (BTreeSet<u64>, BTreeSet<u64>) = (marks(BEGIN)?, marks(END)?);
    let plan = Watch {
        built,
        console: own(&["bench", "counted.log"]),
        marks: Vec::new(),
        timeout: TIMEOUT,
        memory: Some((built.address_of(SYMBOL)?, WORDS as u64 * 8)),
    };
    let mut seen = Vec::new();
    let mut open = Vec::new();
    let mut outside = 0;
    let watched = watch(&plan, |event| {
        match event {
            Event::Stay(stay) => {
                let pieces = pieces(&stay, &begins, &ends);
                let inside: u64 = pieces.iter().map(|(_, instructions)| instructions).sum();
                let rest = stay.trace.len().saturating_sub(inside as usize);
                outside = outside.max(rest / pieces.len().max(1));
                seen.push(pieces);
            }
            Event::Open(stay) => open.push(pieces(&stay, &begins, &ends)),
            Event::Mark(_) => {}
        }
        seen.len() < SAMPLE
    })?;
    let pieces: Vec<(u64, u64)> = seen.iter().chain(&open).flatten().copied().collect();
    let mut failures = unlike(&pieces, &read_counts(&watched.memory));
    if outside > OUTSIDE {
        failures.push(format!(
            "{outside} instructions of a stay lie outside of the counter's reads"
        ));
    }
    if seen.len() < SAMPLE {
        failures.push(format!("only {} stays were compared", seen.len()));
    }
    Ok(failures)
}

/// Returns the pieces of a stay between the reads of the counter: kind and instructions.
fn pieces(stay: &Stay, begins: &BTreeSet<u64>, ends: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut kind = match stay.cause.exception.as_str() {
        "IRQ" => INTERRUPT,
        name if name.contains("SE") => SERROR,
        _ => stay.cause.esr >> 26 & 0x3f,
    };
    let mut begun = None;
    let mut pieces = Vec::new();
    for (number, address) in (0..).zip(&stay.trace) {
        if begins.contains(address) {
            begun = Some(number);
        } else if ends.contains(address)
            && let Some(begun) = begun.take()
        {
            pieces.push((kind, number - begun));
            kind = PIECE;
        }
    }
    pieces
}

/// Adds stays up as EL2 does.
fn add_up(pieces: &[(u64, u64)]) -> Counts {
    let mut counts = Counts::new();
    for (kind, instructions) in pieces {
        let [number, sum, longest, powers @ ..] = counts.entry(*kind).or_default();
        *number += 1;
        *sum += instructions;
        *longest = (*longest).max(*instructions);
        let power = instructions.checked_ilog2().unwrap_or(0) as usize;
        if let Some(power) = powers.get_mut(power) {
            *power += 1;
        }
    }
    counts
}

/// Reads the first pCPU's counts.
fn read_counts(memory: &[u8]) -> Counts {
    let (words, _) = memory.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (kinds, _) = words.get(2..).unwrap_or_default().as_chunks::<KIND_WORDS>();
    let kinds = (0..).zip(kinds).take(KINDS);
    kinds
        .filter(|(_, [number, ..])| *number != 0)
        .map(|(kind, words)| (kind, *words))
        .collect()
}

/// Lists in which kinds the pieces in the log are not what the counter says. The system stops anywhere: of the last piece's
/// words each may be in memory or not be there yet.
fn unlike(pieces: &[(u64, u64)], counter: &Counts) -> Vec<String> {
    let later = add_up(pieces);
    let Some(((kind, _), before)) = pieces.split_last() else {
        return differences(&later, counter);
    };
    let nothing = [0; KIND_WORDS];
    let of = |counts: &Counts| counts.get(kind).copied().unwrap_or(nothing);
    let (earlier, with, seen) = (of(&add_up(before)), of(&later), of(counter));
    let mut words = seen.iter().zip(earlier.iter().zip(&with));
    let mut counter = counter.clone();
    if words.all(|(seen, (earlier, later))| seen == earlier || seen == later) {
        counter.insert(*kind, with);
    }
    differences(&later, &counter)
}

/// Lists in which kinds two counts differ.
fn differences(log: &Counts, counter: &Counts) -> Vec<String> {
    let kinds: BTreeSet<&u64> = log.keys().chain(counter.keys()).collect();
    let differ = kinds
        .into_iter()
        .filter(|kind| log.get(*kind) != counter.get(*kind));
    let words = |counts: &Counts, kind: &u64| {
        let [number, sum, longest, ..] = counts.get(kind).copied().unwrap_or_default();
        format!("{number} stays, {sum} instructions, the longest {longest}")
    };
    differ
        .map(|kind| {
            let (log, counter) = (words(log, kind), words(counter, kind));
            format!(
                "{}: by the log {log}; by the counter {counter}",
                name(*kind)
            )
        })
        .collect()
}

/// Runs the adversary to its end, with nobody watching, and returns EL2's counts.
fn count(built: &Built) -> Outcome<Counts> {
    let mut command = built.launch(true)?;
    let socket = own(&["bench", "counted.qmp"]);
    make_folder(&own(&["bench"]))?;
    qmp::open(&mut command, &socket)?;
    let at = built.address_of(SYMBOL)?;
    let begun = thread::spawn(move || {
        let mut monitor = Monitor::connect(&socket, || false)?;
        monitor.execute("cont", json!({}))?;
        Ok(monitor)
    });
    let mut memory = Err(Failure::failed("the counts were not read"));
    let names = built.names();
    // What it says last, and a second in which its life is torn down and the next one begins.
    let done = (format!("{GUEST}:all done"), "\\c".to_owned());
    let after = "loop:^period ";
    let plan = Plan {
        peer: command.into(),
        script: Script::new(&[done], Some(after), &[], &names)?,
        names,
        timeout: Some(TIMEOUT),
        style: Style {
            hidden: true,
            ..Style::default()
        },
        attached: false,
        log: Some(own(&["bench", "counting.log"])),
        survive_panic: false,
    };
    let finished = session::run_then(plan, || {
        let monitor: Outcome<Monitor> = begun
            .join()
            .unwrap_or_else(|_| Err(Failure::failed("QEMU's monitor")));
        memory = monitor.and_then(|mut monitor| {
            monitor.execute("stop", json!({}))?;
            monitor.memory(at, WORDS as u64 * 8)
        });
    })?;
    crate::commands::run::verdict(&finished, true)?;
    Ok(read_counts(&memory?))
}

/// Names a kind of trap.
fn name(kind: u64) -> String {
    let name = match kind {
        0x01 => "WFI or WFE",
        0x07 => "FP or SIMD",
        0x16 => "HVC",
        0x17 => "SMC",
        0x18 => "system register",
        0x20 => "instruction abort",
        0x24 => "data abort",
        INTERRUPT => "interrupt",
        SERROR => "SError",
        PIECE => "work in pieces, after a look at interrupts",
        class => return format!("exception class {class:#x}"),
    };
    name.to_owned()
}

/// Shows the counts to people.
pub fn as_text(counted: &Counted) -> String {
    let mut text = String::from(
        "\n longest     stays  by EL2's own counter, in a build for that: 2^5, 2^6 ... 2^11 instructions\n",
    );
    for (kind, [number, _, longest, powers @ ..]) in &counted.counts {
        let spread: Vec<String> = powers.iter().skip(5).take(7).map(u64::to_string).collect();
        let (name, spread) = (name(*kind), spread.join(" "));
        // Writing to a String does not fail.
        let _ = writeln!(text, "{longest:>8} {number:>9}  {name}: {spread}");
    }
    let agreed = if counted.failures.is_empty() {
        "as the log says"
    } else {
        "not as the log says"
    };
    // Writing to a String does not fail.
    let _ = writeln!(text, "compared on {SAMPLE} stays: {agreed}");
    text
}

/// Shows the counts to programs.
pub fn as_json(counted: &Counted) -> Value {
    let kinds = counted.counts.iter().map(|(kind, [number, sum, longest, powers @ ..])| {
        json!({ "kind": name(*kind), "count": number, "sum": sum, "longest": longest, "powers": powers.to_vec() })
    });
    kinds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::execution::Cause;

    #[test]
    fn a_stay_is_cut_at_the_reads_of_the_counter() {
        let stay = Stay {
            cause: Cause {
                exception: "IRQ".to_owned(),
                ..Cause::default()
            },
            trace: vec![1, 2, 3, 4, 5, 6, 7, 8, 9],
            back: 0,
        };
        let cut = pieces(&stay, &[2, 6].into(), &[5, 8].into());
        assert_eq!(cut, [(INTERRUPT, 3), (PIECE, 2)]);
        let counts = add_up(&cut);
        assert_eq!(counts[&INTERRUPT][..5], [1, 3, 3, 0, 1]);
        assert_eq!(differences(&counts, &counts), Vec::<String>::new());
        assert_eq!(differences(&counts, &Counts::new()).len(), 2);
    }

    #[test]
    fn the_last_piece_may_be_in_memory_in_part() {
        let pieces = [(PIECE, 100), (INTERRUPT, 40), (INTERRUPT, 70)];
        let whole = add_up(&pieces);
        let before = add_up(&pieces[..2]);
        // EL2 writes the number, the sum, the power's and the longest, in any order.
        let mut coming = before.clone();
        for word in [0, 1, 3 + 6, 2] {
            assert_eq!(unlike(&pieces, &coming), Vec::<String>::new(), "{word}");
            let of_kind = coming.get_mut(&INTERRUPT).unwrap();
            of_kind[word] = whole[&INTERRUPT][word];
        }
        assert_eq!(coming, whole);
        assert_eq!(unlike(&pieces, &whole), Vec::<String>::new());
        assert_eq!(unlike(&pieces[2..], &Counts::new()), Vec::<String>::new());
        assert_eq!(unlike(&[], &Counts::new()), Vec::<String>::new());

        // Whatever else is missing or too much is told.
        assert_eq!(unlike(&pieces, &add_up(&pieces[..1])).len(), 1);
        assert_eq!(unlike(&pieces, &add_up(&pieces[1..])).len(), 1);
        assert_eq!(unlike(&pieces[..2], &whole).len(), 1);
        coming.get_mut(&INTERRUPT).unwrap()[1] -= 1;
        assert_eq!(unlike(&pieces, &coming).len(), 1);
        assert_eq!(unlike(&[], &whole).len(), 2);
    }

    #[test]
    fn counts_are_read_from_memory() {
        let mut words = [0_u64; WORDS];
        words[2 + KIND_WORDS * 64] = 7;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let counts = read_counts(&bytes);
        assert_eq!(counts.keys().collect::<Vec<_>>(), [&INTERRUPT]);
        assert_eq!(counts[&INTERRUPT][0], 7);
    }
}
