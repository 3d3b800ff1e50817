//! What a scenario file says.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::budgets::Budgets;

/// A system under QEMU and what is expected of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without its ending, and with the variant in brackets.
    #[serde(skip)]
    pub name: String,
    /// What the scenario shows, one line.
    pub about: String,
    /// Partition table: a name in the board's folder, or a file relative to the scenario's.
    pub table: String,
    /// Rows of the list of isolation faults (`tests/rows.toml`) that the scenario itself answers, beside those that its
    /// guests' tests name.
    #[serde(default)]
    pub rows: Vec<String>,
    /// Board, when the table does not say.
    pub platform: Option<String>,
    /// Runs with `test --long` only.
    #[serde(default)]
    pub long: bool,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
    /// A drive of the machine, which a guest copies one half of to the other.
    pub drive: Option<Drive>,
    /// Machines that the scenario runs on too, with `test --long`.
    #[serde(default)]
    pub matrix: Matrix,
    /// Longest time in seconds.
    pub timeout: u64,
    /// What to wait for and what to type, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// How often to play `steps`.
    #[serde(default = "once")]
    pub repeat: u32,
    /// Text that ends the run. Without it QEMU must end by itself.
    pub until: Option<String>,
    /// Texts that fail the run.
    #[serde(default)]
    pub fail_on: Vec<String>,
    /// Exit code that `run` must end with.
    #[serde(default)]
    pub exit: u8,
    /// Partitions that run a test suite and must reach its `DONE` line.
    #[serde(default)]
    pub suites: Vec<String>,
    /// What must stand on the console at the end.
    #[serde(default)]
    pub expect: Vec<Expectation>,
}

/// How the machine differs from the platform's description.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// `--cpu`
    pub cpu: Option<String>,
    /// `--cpus`
    pub cpus: Option<u32>,
    /// `--memory`
    pub memory: Option<String>,
    /// Version of QEMU, as `7.2`; the system's if nothing is said.
    pub qemu: Option<String>,
    /// As many CPUs as the table names, though the board usually has more.
    #[serde(default)]
    pub exact: bool,
    /// `--gic`
    pub gic: Option<u8>,
    /// `--icount`
    #[serde(default)]
    pub icount: bool,
}

/// A drive: its first half is full of made-up bytes at the start and its second half of zeros; at the end both must be
/// the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// Size of a half in KiB.
    pub half_kib: u32,
    /// What QEMU's option `-drive` gets besides the file.
    pub drive: String,
    /// What QEMU's option `-device` gets, if the board does not have the device anyway.
    pub device: Option<String>,
}

/// Values to combine; an empty list means the scenario's own value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Tables.
    #[serde(default)]
    pub table: Vec<String>,
    /// CPU models.
    #[serde(default)]
    pub cpu: Vec<String>,
    /// RAM sizes.
    #[serde(default)]
    pub memory: Vec<String>,
    /// Versions of QEMU.
    #[serde(default)]
    pub qemu: Vec<String>,
}

/// A text to wait for and a text to type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `--when`
    pub when: String,
    /// `--send`; nothing is typed without it.
    pub send: Option<String>,
}

/// What must stand on the console.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// `REGEX` or `PARTITION:REGEX`, matched against each complete line without its prefix.
    pub line: String,
    /// Exact number of lines.
    pub count: Option<usize>,
    /// Least number of lines; 1 when nothing else is said.
    pub at_least: Option<usize>,
    /// Largest number of lines.
    pub at_most: Option<usize>,
    /// Bound on the number that the first group holds, in every line.
    pub value_at_least: Option<u64>,
    /// Bound on the number that the first group holds, in every line.
    pub value_at_most: Option<u64>,
    /// The same bound as a sum of budgets that the bench holds, by their names in `tests/bench-budgets.toml`: a number that
    /// follows from what is measured elsewhere has no margin of its own.
    #[serde(default)]
    pub value_at_most_of: Vec<String>,
    /// The first group holds the same text in every line.
    #[serde(default)]
    pub same: bool,
}

impl Expectation {
    /// Turns names of budgets into the bound that they come to.
    fn resolve(&mut self, budgets: &Budgets) -> Result<(), String> {
        if self.value_at_most_of.is_empty() {
            return Ok(());
        }
        if self.value_at_most.is_some() {
            let what = "value_at_most and value_at_most_of exclude each other";
            return Err(format!("`{}`: {what}", self.line));
        }
        self.value_at_most = Some(budgets.sum(&self.value_at_most_of)?);
        Ok(())
    }
}

/// The default of `repeat`.
fn once() -> u32 {
    1
}

impl Scenario {
    /// Returns all machines of the matrix as scenarios of their own, `test --long`.
    pub fn variants(&self) -> Vec<Self> {
        let Matrix {
            table,
            cpu,
            memory,
            qemu,
        } = &self.matrix;
        let mut all = vec![(self.clone(), Vec::new())];
        all = with_each(all, table, |scenario, name| scenario.table = name);
        all = with_each(all, cpu, |scenario, model| {
            scenario.machine.cpu = Some(model)
        });
        all = with_each(all, memory, |scenario, size| {
            scenario.machine.memory = Some(size)
        });
        all = with_each(all, qemu, |scenario, version| {
            scenario.machine.qemu = Some(version)
        });
        let named = |(scenario, parts): (Self, Vec<String>)| Self {
            name: format!("{}[{}]", self.name, parts.join(",")),
            ..scenario
        };
        all.into_iter().map(named).collect()
    }

    /// Has it a matrix?
    pub fn has_matrix(&self) -> bool {
        let Matrix {
            table,
            cpu,
            memory,
            qemu,
        } = &self.matrix;
        [table, cpu, memory, qemu]
            .iter()
            .any(|list| !list.is_empty())
    }
}

/// Returns each scenario once with each of the values, which join its name's parts; an empty list changes nothing.
fn with_each(
    scenarios: Vec<(Scenario, Vec<String>)>,
    values: &[String],
    change: impl Fn(&mut Scenario, String),
) -> Vec<(Scenario, Vec<String>)> {
    if values.is_empty() {
        return scenarios;
    }
    let mut all = Vec::new();
    for (scenario, parts) in &scenarios {
        for value in values {
            let (mut scenario, mut parts) = (scenario.clone(), parts.clone());
            change(&mut scenario, value.clone());
            parts.push(value.clone());
            all.push((scenario, parts));
        }
    }
    all
}

/// Reads all scenarios in a folder, sorted by name.
///
/// # Errors
/// A file cannot be read, or says something unknown: the file and what is wrong.
pub fn read_all(folder: &Path) -> Result<Vec<Scenario>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    let budgets = Budgets::read(&folder.join("../bench-budgets.toml"))?;
    files.iter().map(|file| read(file, &budgets)).collect()
}

/// Reads one scenario.
fn read(file: &Path, budgets: &Budgets) -> Result<Scenario, String> {
    let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| bad(&error))?;
    let mut scenario: Scenario = toml::from_str(&text).map_err(|error| bad(&error))?;
    scenario.name = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = file.with_file_name(&scenario.table);
    if scenario.table.contains('/') {
        scenario.table = beside.display().to_string();
    }
    for expectation in &mut scenario.expect {
        expectation.resolve(budgets).map_err(|error| bad(&error))?;
    }
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        let mut scenario: Scenario = toml::from_str(text).unwrap();
        scenario.name = "s".to_owned();
        scenario
    }

    #[test]
    fn every_scenario_of_the_project_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        assert!(!read_all(&folder).unwrap().is_empty());
    }

    #[test]
    fn the_matrix_combines_every_value() {
        let scenario = scenario(
            "about = ''\ntable = 't'\ntimeout = 1\n[matrix]\ncpu = ['a', 'b']\nmemory = ['1G', '2G', '3G']",
        );
        let variants = scenario.variants();
        let names: Vec<&str> = variants.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "s[a,1G]", "s[a,2G]", "s[a,3G]", "s[b,1G]", "s[b,2G]", "s[b,3G]"
            ]
        );
        assert_eq!(variants[4].machine.memory.as_deref(), Some("2G"));
    }

    #[test]
    fn a_bound_is_the_sum_of_the_budgets_it_names() {
        let budgets =
            Budgets::parse("[[row]]\nname = 'wake'\nbudget = 700\n[stays]\nbudget = 3000\n[behind]\nbudget = 1400\n")
                .unwrap();
        let bound = |rest: &str| {
            let head = "about = ''\ntable = 't'\ntimeout = 1\n";
            let text = format!("{head}expect = [{{ line = 'w', {rest} }}]");
            let mut expectation: Expectation =
                toml::from_str::<Scenario>(&text).unwrap().expect.remove(0);
            expectation.resolve(&budgets)?;
            Ok::<_, String>(expectation.value_at_most)
        };
        assert_eq!(
            bound("value_at_most_of = ['stays', 'wake']"),
            Ok(Some(3700))
        );
        assert_eq!(
            bound("value_at_most_of = ['stays', 'behind']"),
            Ok(Some(4400))
        );
        assert_eq!(bound("value_at_most = 5"), Ok(Some(5)));
        assert!(bound("value_at_most_of = ['slumber']").is_err());
        assert!(bound("value_at_most = 5, value_at_most_of = ['wake']").is_err());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = "about = ''\ntable = 't'\ntimeout = 1\nuntill = 'x'";
        assert!(toml::from_str::<Scenario>(text).is_err());
    }
}
