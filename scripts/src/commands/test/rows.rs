//! The list of isolation faults, each answered by tests.

use bulkhead_tests::rows::{Evidence, collect};
use bulkhead_tests::scenario::read_all;

use super::{Case, Found};
use crate::failure::{Failure, Outcome};
use crate::workspace::root;

/// Returns the gate; `gates` are the names of all others.
pub fn case(gates: Vec<String>) -> Case {
    Case {
        name: "rows".to_owned(),
        about: "every row of the list of isolation faults has its tests".to_owned(),
        long: false,
        alone: false,
        run: Box::new(move |_| match evidence(&gates) {
            Ok(evidence) => Found {
                passed: evidence.rows.len() - evidence.failures.len().min(evidence.rows.len()),
                failures: evidence.failures,
                ..Found::default()
            },
            Err(failure) => Found::fail(failure.message),
        }),
    }
}

/// Collects which tests answer which row.
///
/// # Errors
/// A file is wrong.
pub fn evidence(gates: &[String]) -> Outcome<Evidence> {
    let scenarios = read_all(&root().join("tests/scenarios")).map_err(Failure::failed)?;
    collect(&root(), &scenarios, gates).map_err(Failure::failed)
}
