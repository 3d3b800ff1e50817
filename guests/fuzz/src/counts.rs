//! How often each row came up, by vCPU.

use crate::access::REGIONS;
use crate::answers;
use crate::step::GROUPS;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest_runtime::{esr, println, smp};

/// Most rows of all groups together.
const ROWS: usize = 640;
/// Exception classes.
const CLASSES: usize = 64;

/// Those that this guest takes itself; what EL2 takes of it are its rows: waits, calls, registers, accesses.
const TAKEN: [u64; 6] = [
    esr::EC_UNKNOWN,
    esr::EC_SVC,
    esr::EC_INSTRUCTION_ABORT,
    esr::EC_DATA_ABORT_LOWER,
    esr::EC_DATA_ABORT,
    esr::EC_BRK,
];

/// The counts of one vCPU, which alone writes them.
struct Counts {
    rows: [AtomicU64; ROWS],
    regions: [AtomicU64; REGIONS.len()],
    answers: [AtomicU64; answers::ROWS.len()],
    classes: [AtomicU64; CLASSES],
}

static COUNTS: [Counts; smp::MAX_VCPUS] = [const {
    Counts {
        rows: [const { AtomicU64::new(0) }; ROWS],
        regions: [const { AtomicU64::new(0) }; REGIONS.len()],
        answers: [const { AtomicU64::new(0) }; answers::ROWS.len()],
        classes: [const { AtomicU64::new(0) }; CLASSES],
    }
}; smp::MAX_VCPUS];

fn increment(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

/// Counts a row, by its number among those of all groups.
pub fn add_row(index: usize, row: usize) {
    increment(&COUNTS[index].rows[row]);
}

/// Counts an access to a region.
pub fn add_region(index: usize, region: usize) {
    increment(&COUNTS[index].regions[region]);
}

/// Counts an answer of EL2, by its row.
pub fn add_answer(index: usize, answer: usize) {
    increment(&COUNTS[index].answers[answer]);
}

/// Counts an exception at EL1.
pub fn add_class(index: usize, class: u64) {
    increment(&COUNTS[index].classes[class as usize % CLASSES]);
}

/// Adds up over vCPUs.
fn sum(counter: impl Fn(&Counts) -> &AtomicU64) -> u64 {
    COUNTS.iter().map(|one| counter(one).load(Relaxed)).sum()
}

/// Returns how many steps faulted.
pub fn faults() -> u64 {
    (0..CLASSES)
        .map(|class| sum(|one| &one.classes[class]))
        .sum()
}

/// Prints of each group how many rows it has, how often the one came up that came up least, and which that is; then the
/// exceptions, which follow from the rows; and each row when `all` says so.
pub fn print(all: bool) {
    let mut first = 0;
    for group in &GROUPS {
        let rows = group.rows.iter().zip(first..);
        first += group.rows.len();
        print_group(
            group.name,
            rows.map(|(name, row)| (*name, sum(|one| &one.rows[row]))),
            all,
        );
    }
    let regions = REGIONS.iter().enumerate();
    print_group(
        "region",
        regions.map(|(region, name)| (*name, sum(|one| &one.regions[region]))),
        all,
    );
    let answers = answers::ROWS.iter().enumerate();
    print_group(
        "answer",
        answers.map(|(answer, name)| (*name, sum(|one| &one.answers[answer]))),
        all,
    );
    let name = |class: u64| esr::class_name(class << 26);
    print_group(
        "class",
        TAKEN
            .map(|class| (name(class), sum(|one| &one.classes[class as usize])))
            .into_iter(),
        all,
    );
    for class in 0..CLASSES {
        let count = sum(|one| &one.classes[class]);
        if count != 0 {
            println!("class {class:#04x} {count}: {}", name(class as u64));
        }
    }
}

/// Prints of a group how many rows it has and which came up least; and each row when `all` says so.
pub fn print_group(name: &str, rows: impl Iterator<Item = (&'static str, u64)>, all: bool) {
    let (mut count, mut least) = (0, ("", u64::MAX));
    for (row, hits) in rows {
        if all {
            println!("row {hits} {name}: {row}");
        }
        count += 1;
        if hits < least.1 {
            least = (row, hits);
        }
    }
    println!("rows {count} {name} least {}: {}", least.1, least.0);
}
