//! Which tests answer which kind of fault.
//!
//! `tests/rows.toml` lists the rows; the tests say by their names, scenarios by their `rows`, what they answer. So the list
//! of evidence is read off the sources and cannot go stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

use crate::claims;
use crate::scenario::Scenario;
use crate::witnesses;

/// A kind of fault, or a promise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its number: a letter and digits, or a word.
    pub id: String,
    /// What it is, one line.
    pub title: String,
    /// Kinds of tests that it must have.
    #[serde(default = "guest")]
    pub needs: Vec<Kind>,
    /// Beginnings of its tests' names, where they are not the number.
    #[serde(default)]
    names: Vec<String>,
}

/// Where a test runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In a guest, or a scenario as a whole.
    Guest,
    /// On the host.
    Model,
    /// A gate; as a need, any of the kinds.
    Check,
}

/// The default of `needs`.
fn guest() -> Vec<Kind> {
    vec![Kind::Guest]
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    row: Vec<Row>,
}

/// A test that answers a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// Where it runs.
    pub kind: Kind,
    /// The guest or the file that it stands in; for scenarios and gates their word.
    pub place: String,
    /// Its name.
    pub name: String,
}

/// All rows, and the tests of each.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The rows in their order, each with its tests.
    pub rows: Vec<(Row, Vec<Test>)>,
    /// What is wrong: a line each.
    pub failures: Vec<String>,
}

impl Row {
    /// Says whether a test's name is of this row.
    fn claims(&self, name: &str) -> bool {
        let own = format!("{}_", self.id);
        name.starts_with(&own) || self.names.iter().any(|begin| name.starts_with(begin))
    }

    /// Says what kind of test is missing.
    fn missing(&self, tests: &[Test]) -> Vec<String> {
        let has = |need: &Kind| match need {
            Kind::Check => !tests.is_empty(),
            need => tests.iter().any(|test| test.kind == *need),
        };
        let missing = self.needs.iter().filter(|need| !has(need));
        missing
            .map(|need| {
                format!(
                    "row {} has no test of kind {need:?}: {}",
                    self.id, self.title
                )
            })
            .collect()
    }

    /// Says whether it is about what a hostile guest may do, and has to be answered by one that witnesses watch.
    fn is_hostile(&self) -> bool {
        let (kind, number) = self.id.split_at(self.id.len().min(1));
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        matches!(kind, "a" | "b") && numbered && self.needs.contains(&Kind::Guest)
    }

    /// Says that none of its guests runs beside witnesses.
    fn unwatched(&self, tests: &[Test], watched: &BTreeSet<String>) -> Option<String> {
        let is_watched = |test: &Test| {
            let by = if test.place == SCENARIO {
                &test.name
            } else {
                &test.place
            };
            test.kind == Kind::Guest && watched.contains(by)
        };
        let wrong = self.is_hostile() && !tests.iter().any(is_watched);
        wrong.then(|| {
            format!(
                "row {} has no guest that runs beside witnesses, on its pCPU and on another: {}",
                self.id, self.title
            )
        })
    }
}

/// The place of a test that is a scenario as a whole.
const SCENARIO: &str = "scenario";

/// Collects the evidence of a source tree: `scenarios` are all that there are, `gates` the names of the other tests of
/// `cargo xtask test`.
///
/// # Errors
/// A file cannot be read, or is wrong.
pub fn collect(root: &Path, scenarios: &[Scenario], gates: &[String]) -> Result<Evidence, String> {
    let file = root.join("tests/rows.toml");
    let text = read(&file)?;
    let rows: File =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let played = played(root, scenarios)?;
    let watched = watched(root, scenarios)?;
    let mut tests = tests_of_guests(root, &played)?;
    tests.extend(tests_of_host(root)?);
    let mut failures = unknown_rows(&rows.row, scenarios);
    let ids: Vec<&str> = rows.row.iter().map(|row| row.id.as_str()).collect();
    failures.extend(claims::failures(
        &read(&root.join("src/security.rs"))?,
        &ids,
    ));
    let rows: Vec<_> = rows
        .row
        .into_iter()
        .map(|row| {
            let mut own: Vec<Test> = tests
                .iter()
                .filter(|test| row.claims(&test.name))
                .cloned()
                .collect();
            own.extend(whole_scenarios(&row, scenarios));
            own.extend(named_gates(&row, gates));
            failures.extend(row.missing(&own));
            failures.extend(row.unwatched(&own, &watched));
            (row, own)
        })
        .collect();
    Ok(Evidence { rows, failures })
}

/// Says which scenarios name a row that is not there.
fn unknown_rows(rows: &[Row], scenarios: &[Scenario]) -> Vec<String> {
    let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let named = scenarios
        .iter()
        .flat_map(|scenario| scenario.rows.iter().map(|id| (&scenario.name, id)));
    named
        .filter(|(_, id)| !known.contains(id.as_str()))
        .map(|(name, id)| format!("scenario {name}: there is no row {id}"))
        .collect()
}

/// Returns the scenarios that say that they answer a row. Those that run with `--long` alone do not count.
fn whole_scenarios(row: &Row, scenarios: &[Scenario]) -> Vec<Test> {
    let answers = |scenario: &&Scenario| !scenario.long && scenario.rows.contains(&row.id);
    let test = |scenario: &Scenario| Test {
        kind: Kind::Guest,
        place: SCENARIO.to_owned(),
        name: scenario.name.clone(),
    };
    scenarios.iter().filter(answers).map(test).collect()
}

/// Returns the gates whose name begins with a row's number.
fn named_gates(row: &Row, gates: &[String]) -> Vec<Test> {
    let begin = format!("{}-", row.id);
    let own = gates.iter().filter(|name| name.starts_with(&begin));
    own.map(|name| Test {
        kind: Kind::Check,
        place: "gate".to_owned(),
        name: name.clone(),
    })
    .collect()
}

/// Returns the guests that are played beside witnesses, and the scenarios in which one is.
fn watched(root: &Path, scenarios: &[Scenario]) -> Result<BTreeSet<String>, String> {
    let mut watched = BTreeSet::new();
    for scenario in scenarios.iter().filter(|scenario| !scenario.long) {
        let guests = witnesses::watched(&table_of(root, scenario)?);
        if !guests.is_empty() {
            watched.insert(scenario.name.clone());
        }
        watched.extend(guests);
    }
    Ok(watched)
}

/// Returns the guests that are played, and in which scenarios.
fn played(root: &Path, scenarios: &[Scenario]) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut played: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for scenario in scenarios.iter().filter(|scenario| !scenario.long) {
        for guest in guests_of(&table_of(root, scenario)?) {
            played.entry(guest).or_default().push(scenario.name.clone());
        }
    }
    Ok(played)
}

/// Reads the table of a scenario.
fn table_of(root: &Path, scenario: &Scenario) -> Result<toml::Table, String> {
    let platform = scenario.platform.as_deref().unwrap_or("qemu-virt");
    let table = match scenario.table.contains('/') {
        true => PathBuf::from(&scenario.table),
        false => root.join(format!("platforms/{platform}/{}.toml", scenario.table)),
    };
    toml::from_str(&read(&table)?).map_err(|error| format!("{}: {error}", table.display()))
}

/// Returns the guest crates of a table.
fn guests_of(table: &toml::Table) -> BTreeSet<String> {
    let partitions = table.get("partition").and_then(toml::Value::as_array);
    let guests = partitions.into_iter().flatten();
    let guests = guests.filter_map(witnesses::guest);
    guests.map(str::to_owned).collect()
}

/// Finds the tests inside guests that are played.
fn tests_of_guests(
    root: &Path,
    played: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<Test>, String> {
    let pattern = pattern(r"(?m)^fn (\w+)\(\) -> Outcome");
    let mut tests = Vec::new();
    for guest in played.keys() {
        for name in names(&root.join("guests").join(guest).join("src"), &pattern)? {
            tests.push(Test {
                kind: Kind::Guest,
                place: guest.clone(),
                name,
            });
        }
    }
    Ok(tests)
}

/// Finds the tests of EL2's pure half.
fn tests_of_host(root: &Path) -> Result<Vec<Test>, String> {
    let pattern = pattern(r"(?m)^\s*fn ((?:a|b)\d+_\w+)\(");
    let found = names(&root.join("src"), &pattern)?;
    let test = |name| Test {
        kind: Kind::Model,
        place: "src".to_owned(),
        name,
    };
    Ok(found.into_iter().map(test).collect())
}

/// Compiles a pattern of this file.
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are right")
}

/// Returns what a pattern's group holds in all Rust files below a folder, sorted.
fn names(folder: &Path, pattern: &Regex) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(names(&path, pattern)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = read(&path)?;
            let groups = pattern.captures_iter(&text);
            found.extend(groups.filter_map(|one| Some(one.get(1)?.as_str().to_owned())));
        }
    }
    Ok(found)
}

/// Reads a file.
fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

impl Evidence {
    /// Returns how many tests there are: one that answers several rows counts once.
    pub fn answers(&self) -> usize {
        let tests = self.rows.iter().flat_map(|(_, tests)| tests);
        tests.collect::<BTreeSet<_>>().len()
    }

    /// Returns the matrix as a table in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| row | what | tests |\n| --- | --- | --- |\n");
        for (row, tests) in &self.rows {
            let mut places: BTreeMap<(Kind, &str), Vec<String>> = BTreeMap::new();
            for test in tests {
                let names = places.entry((test.kind, &test.place)).or_default();
                names.push(format!("`{}`", test.name));
            }
            let places = places
                .iter()
                .map(|((_, place), names)| format!("{place}: {}", names.join(", ")));
            let places: Vec<String> = places.collect();
            let (id, title) = (row.id.to_uppercase(), &row.title);
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {id} | {title} | {} |", places.join("; "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_all;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn row(text: &str) -> Row {
        toml::from_str(text).unwrap()
    }

    fn test(kind: Kind, name: &str) -> Test {
        Test {
            kind,
            place: "p".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_row_claims_names_by_its_number_or_its_list() {
        let one = row("id = 'a1'\ntitle = ''");
        assert!(one.claims("a1_every_register") && !one.claims("a12_flood"));
        let other = row("id = 'c-x'\ntitle = ''\nnames = ['c_fp_']");
        assert!(other.claims("c_fp_is") && !other.claims("c_f"));
    }

    #[test]
    fn a_row_misses_what_it_needs() {
        let both = row("id = 'b1'\ntitle = ''\nneeds = ['guest', 'model']");
        let guest = test(Kind::Guest, "b1_x");
        let model = test(Kind::Model, "b1_y");
        assert_eq!(both.missing(&[]).len(), 2);
        assert_eq!(both.missing(std::slice::from_ref(&guest)).len(), 1);
        assert!(both.missing(&[guest.clone(), model]).is_empty());
        let any = row("id = 'a17'\ntitle = ''\nneeds = ['check']");
        assert_eq!(any.missing(&[]).len(), 1);
        assert!(any.missing(&[guest]).is_empty());
    }

    #[test]
    fn a_hostile_row_needs_a_guest_that_is_watched() {
        let watched = ["p".to_owned(), "whole".to_owned()].into();
        let hostile = row("id = 'a1'\ntitle = ''");
        let guest = [test(Kind::Guest, "a1_x")];
        assert_eq!(hostile.unwatched(&guest, &watched), None);
        assert!(hostile.unwatched(&guest, &BTreeSet::new()).is_some());
        assert!(
            hostile
                .unwatched(&[test(Kind::Model, "a1_x")], &watched)
                .is_some()
        );
        let scenario = |name: &str| Test {
            place: SCENARIO.to_owned(),
            ..test(Kind::Guest, name)
        };
        assert_eq!(hostile.unwatched(&[scenario("whole")], &watched), None);
        assert!(hostile.unwatched(&[scenario("other")], &watched).is_some());
        for other in [
            "id = 'c-x'\ntitle = ''",
            "id = 'a17'\ntitle = ''\nneeds = ['check']",
        ] {
            assert_eq!(row(other).unwatched(&[], &watched), None);
        }
    }

    #[test]
    fn evidence_is_found_in_this_project() {
        let scenarios = read_all(&root().join("tests/scenarios")).unwrap();
        let evidence = collect(&root(), &scenarios, &["a17-x".to_owned()]).unwrap();
        let of = |id: &str| {
            let found = evidence.rows.iter().find(|(row, _)| row.id == id);
            found.map(|(_, tests)| tests.clone()).unwrap_or_default()
        };
        let kinds: BTreeSet<Kind> = of("a8").iter().map(|test| test.kind).collect();
        assert_eq!(kinds, [Kind::Guest, Kind::Model].into());
        assert!(of("a17").contains(&Test {
            kind: Kind::Check,
            place: "gate".to_owned(),
            name: "a17-x".to_owned()
        }));
        let matrix = evidence.markdown();
        assert!(matrix.contains("| A23 | ") && matrix.contains("`a23_jump_to_a_hole"));
    }

    #[test]
    fn a_scenario_cannot_answer_an_unknown_row() {
        let mut scenarios = read_all(&root().join("tests/scenarios")).unwrap();
        scenarios[0].rows = vec!["a99".to_owned()];
        let evidence = collect(&root(), &scenarios, &[]).unwrap();
        assert!(evidence.failures.iter().any(|why| why.contains("a99")));
    }
}
