//! Mutants of EL2's pure modules, with `--long`.

use super::{Case, Found};
use crate::args::Test;
use crate::commands::mutants::{MODULES, Sample, Tally, measure};

/// Least of a hundred that are caught.
const LEAST: usize = 90;

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "mutants".to_owned(),
        about: "of all changes to pure modules unit tests see 90 %, and tests/mutants.toml explains the others"
            .to_owned(),
        long: true,
        alone: false,
        run: Box::new(all),
    }
}

/// Tries all mutants.
fn all(args: &Test) -> Found {
    let all = Sample {
        count: None,
        seed: 1,
    };
    match measure(&MODULES, all, false, args.consent) {
        Ok(tally) => found(tally),
        Err(failure) => Found::fail(failure.message),
    }
}

/// Judges what became of them.
fn found(tally: Tally) -> Found {
    let mut failures = Vec::new();
    let percent = tally.percent();
    if percent < LEAST {
        failures.push(format!("{percent} % are caught, {LEAST} % are wanted"));
    }
    let unexplained = tally.missed.iter();
    failures.extend(unexplained.map(|one| format!("no test sees it, and nothing says why: {one}")));
    let needless = tally.needless.iter();
    failures.extend(needless.map(|one| format!("explained, and not there or caught: {one}")));
    let passed = if failures.is_empty() { tally.caught } else { 0 };
    Found {
        passed,
        failures,
        ..Found::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_and_needless_reasons_fail() {
        let tally = |caught, explained, missed: &[&str], needless: &[&str]| Tally {
            caught,
            explained,
            missed: missed.iter().map(|one| (*one).to_owned()).collect(),
            needless: needless.iter().map(|one| (*one).to_owned()).collect(),
        };
        let failures = |tally| found(tally).failures.len();
        assert_eq!(failures(tally(90, 10, &[], &[])), 0);
        assert_eq!(failures(tally(89, 11, &[], &[])), 1);
        assert_eq!(failures(tally(98, 1, &["a"], &["b"])), 2);
    }
}
