//! `cargo xtask bench --scaling`: the latency rows with more partitions, and with more pCPUs.
//!
//! What a row costs may not depend on how many others there are: with 64 partitions none is more than 5 % above the row with
//! one. Rows about a shared pCPU begin with two.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::budgets::{Bench, Budgets, Row};
use super::results::{self, Results};
use super::tables;
use crate::args::{self, Machine, Target};
use crate::failure::{Failure, Outcome};
use crate::system::build;

/// Numbers of partitions.
const PARTITIONS: [u32; 5] = [1, 2, 8, 32, 64];
/// Numbers of pCPUs.
const PCPUS: [u32; 4] = [1, 2, 4, 8];
/// Longest growth, in percent.
const GROWTH: u64 = 5;

/// A series of numbers of one row.
struct Series<'a> {
    row: &'a Row,
    /// By number of partitions or pCPUs.
    counts: BTreeMap<u32, u64>,
}

impl Series<'_> {
    /// Says whether the last number is too far above the first.
    fn grows(&self) -> bool {
        let ends = self
            .counts
            .first_key_value()
            .zip(self.counts.last_key_value());
        ends.is_some_and(|((_, first), (_, last))| last * 100 > first * (100 + GROWTH))
    }
}

/// All series.
struct Scaling<'a> {
    partitions: Vec<Series<'a>>,
    pcpus: Vec<Series<'a>>,
}

impl Scaling<'_> {
    /// Names the rows that are too far above the first, and says by how much.
    fn failures(&self) -> Vec<String> {
        let all = self.partitions.iter().chain(&self.pcpus);
        let over = all.filter(|series| series.grows());
        let why = |series: &Series<'_>| {
            let name = &series.row.name;
            format!(
                "{name}: more than {GROWTH} % above the first: {:?}",
                series.counts
            )
        };
        over.map(why).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// A system does not run, or a row grows beyond its budget.
pub fn run(args: &args::Bench, budgets: &Budgets) -> Outcome {
    let Scaling { partitions, pcpus } = &see(args, budgets)?;
    if args.target.json {
        println!(
            "{:#}",
            json!({ "partitions": as_json(partitions), "pcpus": as_json(pcpus) })
        );
    } else {
        print!(
            "{}\n{}",
            as_text("partitions", partitions),
            as_text("pCPUs", pcpus)
        );
    }
    let over = |series: &&Series<'_>| series.grows();
    let names: Vec<&str> = partitions
        .iter()
        .chain(pcpus)
        .filter(over)
        .map(|series| series.row.name.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "more than {GROWTH} % above the first: {}",
        names.join(", ")
    )))
}

/// Measures and returns how many rows stay what they are, and those that do not.
///
/// # Errors
/// A system does not run.
pub fn judge(args: &args::Bench, budgets: &Budgets) -> Outcome<(usize, Vec<String>)> {
    let scaling = see(args, budgets)?;
    let failures = scaling.failures();
    let rows = scaling.partitions.len() + scaling.pcpus.len();
    Ok((rows - failures.len(), failures))
}

/// Measures.
fn see<'a>(args: &args::Bench, budgets: &'a Budgets) -> Outcome<Scaling<'a>> {
    let mut by_partitions = BTreeMap::new();
    for count in PARTITIONS {
        let name = format!("scale-{count}-partitions");
        let mut found = measured(args, &name, &tables::shared(count, 1), 1)?;
        if count > 1 {
            let name = format!("scale-{count}-yields");
            found.extend(measured(args, &name, &tables::yields(count), 1)?);
        }
        by_partitions.insert(count, found);
    }
    let mut by_pcpus = BTreeMap::new();
    for count in PCPUS {
        let name = format!("scale-{count}-pcpus");
        let table = tables::shared(1, count);
        by_pcpus.insert(count, measured(args, &name, &table, count)?);
    }
    Ok(Scaling {
        partitions: series(budgets, &by_partitions),
        pcpus: series(budgets, &by_pcpus),
    })
}

/// Builds and runs a table.
fn measured(args: &args::Bench, name: &str, text: &str, pcpus: u32) -> Outcome<Results> {
    let target = Target {
        partitions: Some(tables::file(name, text)?.display().to_string()),
        json: true, // no remarks about generated tables
        ..args.target.clone()
    };
    let machine = Machine {
        cpus: Some(pcpus),
        ..super::machine(args)
    };
    let built = build(&target, &machine)?;
    results::read(&super::console(&built, args)?)
}

/// Sorts what was measured by rows: those of a guest alone from the first system on, those of a shared pCPU where there are
/// two partitions or more.
fn series<'a>(budgets: &'a Budgets, found: &BTreeMap<u32, Results>) -> Vec<Series<'a>> {
    let sleeps = |row: &Row| row.measure() == "timer_wfi";
    let shares = found
        .values()
        .any(|results| results.contains_key("yield_fp_live"));
    let mut all = Vec::new();
    for row in &budgets.row {
        let counts = found.iter().filter(|(count, _)| match row.system {
            // Beside a busy partition to sleep is to give way: that is another row.
            Bench::Alone => !shares || !sleeps(row),
            Bench::Shared | Bench::Yield => shares && **count > 1,
            Bench::Traced | Bench::TracedYield | Bench::Channel | Bench::Storm => false,
        });
        let counts: BTreeMap<u32, u64> = counts
            .filter_map(|(count, results)| Some((*count, row.bounded(results.get(row.measure())?))))
            .collect();
        if counts.len() > 1 && row.name != "reset_to_guest" {
            all.push(Series { row, counts });
        }
    }
    all
}

/// Shows series to people.
fn as_text(what: &str, all: &[Series<'_>]) -> String {
    let heads: Vec<u32> = all.iter().flat_map(|s| s.counts.keys().copied()).collect();
    let mut heads = heads;
    heads.sort_unstable();
    heads.dedup();
    let mut text = format!("{:<48}", format!("instructions, by number of {what}"));
    text += &heads.iter().map(|n| format!(" {n:>6}")).collect::<String>();
    text.push('\n');
    for series in all {
        text += &format!("{:<48}", series.row.about);
        for head in &heads {
            let count = series
                .counts
                .get(head)
                .map_or_else(|| "-".to_owned(), u64::to_string);
            text += &format!(" {count:>6}");
        }
        text += if series.grows() { "  GROWS\n" } else { "\n" };
    }
    text
}

/// Shows series to programs.
fn as_json(all: &[Series<'_>]) -> Value {
    let rows = all
        .iter()
        .map(|s| json!({ "name": s.row.name, "counts": s.counts, "ok": !s.grows() }));
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_may_grow_by_five_percent() {
        let row: Row = toml::from_str("name = 'r'\nabout = ''\nbudget = 1").unwrap();
        let grows = |last| {
            let counts = BTreeMap::from([(1, 200), (64, last)]);
            Series { row: &row, counts }.grows()
        };
        assert_eq!((grows(210), grows(211)), (false, true));
    }
}
