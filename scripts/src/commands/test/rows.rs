//! The list of isolation faults, each answered by tests.

use bulkhead_tests::figures::Figures;
use bulkhead_tests::rows::{Evidence, collect};
use bulkhead_tests::scenario::read_all;

use super::{Case, Found};
use crate::failure::{Failure, Outcome};
use crate::workspace::{read, root};

/// Returns the gate; `gates` are the names of all others, and `long` says how many of them run with `--long` alone.
pub fn case(gates: Vec<String>, long: usize) -> Case {
    Case {
        name: "rows".to_owned(),
        about: "every row of the list of isolation faults has its tests, and the README counts them right".to_owned(),
        long: false,
        alone: false,
        run: Box::new(move |_| match judged(&gates, long) {
            Ok(found) => found,
            Err(failure) => Found::fail(failure.message),
        }),
    }
}

/// Holds the rows against their tests, and the README against their number.
fn judged(gates: &[String], long: usize) -> Outcome<Found> {
    let evidence = evidence(gates)?;
    let figures = Figures {
        rows: evidence.rows.len(),
        answers: evidence.answers(),
        // This one too.
        entries: gates.len() + 1,
        long,
    };
    let readme = read(&root().join("README.md"))?;
    let mut failures = evidence.failures;
    failures.extend(figures.failures(&String::from_utf8_lossy(&readme)));
    Ok(Found {
        passed: figures.rows - failures.len().min(figures.rows),
        failures,
        ..Found::default()
    })
}

/// Collects which tests answer which row.
///
/// # Errors
/// A file is wrong.
pub fn evidence(gates: &[String]) -> Outcome<Evidence> {
    let scenarios = read_all(&root().join("tests/scenarios")).map_err(Failure::failed)?;
    collect(&root(), &scenarios, gates).map_err(Failure::failed)
}
