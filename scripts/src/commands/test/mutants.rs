//! Mutants of EL2's pure modules, with `--long`: another sample each day.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Case, Found};
use crate::args::Test;
use crate::commands::mutants::{MODULES, Sample, measure};

/// Mutants that are tried.
const COUNT: usize = 80;
/// Least of a hundred that are caught.
const LEAST: usize = 90;
/// Seconds of a day.
const DAY: u64 = 86_400;

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "mutants".to_owned(),
        about: "at least 90 % of a sample of changes to pure modules are seen by their tests"
            .to_owned(),
        long: true,
        alone: false,
        run: Box::new(sample),
    }
}

/// Tries today's sample.
fn sample(args: &Test) -> Found {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = since.map_or(0, |since| since.as_secs() / DAY);
    println!("     cargo xtask mutants --sample {COUNT} --seed {seed}");
    let sample = Sample {
        count: Some(COUNT),
        seed,
    };
    match measure(&MODULES, sample, false, args.consent) {
        Ok(tally) if tally.percent() < LEAST => Found {
            failures: vec![format!(
                "{} % are caught, {LEAST} % are wanted",
                tally.percent()
            )],
            details: tally.missed,
            ..Found::default()
        },
        Ok(tally) => Found {
            passed: tally.caught,
            ..Found::default()
        },
        Err(failure) => Found::fail(failure.message),
    }
}
