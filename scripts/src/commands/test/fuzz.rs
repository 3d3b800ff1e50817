//! The fuzzing guest: a million steps from a seed that is always the same; with `--long`, as many as ten minutes allow from
//! fresh ones too.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::{Case, Found};
use crate::args::Test;
use crate::commands::fuzz::{self, Mode, add, play, seed_of_now};
use crate::failure::{Failure, Outcome};

/// The runs of a test: how, and how many steps; and how often each row comes up at least, in all of them together.
#[derive(Clone, Copy)]
struct Work {
    runs: &'static [(Mode, u64)],
    least: u64,
}

const STEPS: Work = Work {
    runs: &[(Mode::Exact, 700_000), (Mode::Parallel, 300_000)],
    least: 1000,
};
/// With a GICv2: most of what they do is the same.
const STEPS_GICV2: Work = Work {
    runs: &[(Mode::Exact, 150_000), (Mode::Parallel, 50_000)],
    least: 200,
};
/// Lives that end in each way.
const LIVES: Work = Work {
    runs: &[(Mode::Lives, 11_000)],
    least: 1000,
};
/// How long `--long` goes on.
const LONG: Duration = Duration::from_secs(600);

/// Returns the tests.
pub fn all() -> Vec<Case> {
    vec![
        Case {
            name: "fuzz".to_owned(),
            about: "a million random steps of a guest harm neither EL2 nor a neighbour".to_owned(),
            long: false,
            alone: false,
            run: Box::new(|args| judged(steps(args, STEPS, 1, None))),
        },
        Case {
            name: "gicv2-fuzz".to_owned(),
            about: "random steps of a guest harm neither EL2 nor a neighbour on a GICv2".to_owned(),
            long: false,
            alone: false,
            run: Box::new(|args| judged(steps(args, STEPS_GICV2, 1, Some(2)))),
        },
        Case {
            name: "fuzz-lives".to_owned(),
            about: "a partition's life ends a thousand times in each way, by itself and by orders, and harms nobody"
                .to_owned(),
            long: false,
            alone: false,
            run: Box::new(|args| judged(steps(args, LIVES, 1, None))),
        },
        Case {
            name: "fresh-seeds".to_owned(),
            about: "random steps from fresh seeds, for ten minutes".to_owned(),
            long: true,
            alone: false,
            run: Box::new(|args| judged(for_long(args, None))),
        },
        Case {
            name: "gicv2-fresh-seeds".to_owned(),
            about: "random steps from fresh seeds on a GICv2, for ten minutes".to_owned(),
            long: true,
            alone: false,
            run: Box::new(|args| judged(for_long(args, Some(2)))),
        },
    ]
}

/// Makes a failure of an error.
fn judged(found: Outcome<Found>) -> Found {
    found.unwrap_or_else(|failure| Found::fail(failure.message))
}

/// Does all runs from a seed, side by side.
fn steps(args: &Test, work: Work, seed: u64, gic: Option<u8>) -> Outcome<Found> {
    let mut rows = BTreeMap::new();
    let mut found = Found::default();
    let (qemu, consent, verbose) = (args.qemu.as_deref(), args.consent, args.verbose);
    let runs = thread::scope(|scope| {
        let begin = |(mode, steps): &(Mode, u64)| {
            let case = fuzz::Case {
                mode: *mode,
                seed,
                steps: *steps,
                all: false,
                gic,
            };
            scope.spawn(move || play(&case, qemu, consent, verbose))
        };
        let runs: Vec<_> = work.runs.iter().map(begin).collect();
        let ends = runs.into_iter().map(|run| run.join());
        ends.collect::<Vec<_>>()
    });
    for run in runs {
        let seen = run.map_err(|_| Failure::failed("a run panicked"))??;
        add(&mut rows, &seen.rows);
        match seen.failures.is_empty() {
            true => found.passed += 1,
            false => found.failures.extend(seen.failures),
        }
    }
    let seldom = rows.iter().filter(|(_, count)| **count < work.least);
    let seldom =
        seldom.map(|(group, count)| format!("a row of {group} came up only {count} times"));
    found.failures.extend(seldom);
    if rows.is_empty() {
        found.failures.push("the guest counted nothing".to_owned());
    }
    Ok(found)
}

/// Does runs from one seed after the other.
fn for_long(args: &Test, gic: Option<u8>) -> Outcome<Found> {
    let end = Instant::now() + LONG;
    let mut found = Found::default();
    let mut seed = seed_of_now();
    while Instant::now() < end && found.failures.is_empty() {
        println!("     seed {seed}");
        for work in [STEPS, LIVES] {
            found = super::gates::sum([found, steps(args, work, seed, gic)?]);
        }
        seed += 1;
    }
    Ok(found)
}
