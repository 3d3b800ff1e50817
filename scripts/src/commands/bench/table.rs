//! The bench's numbers beside targets and budgets.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Report;
use super::budgets::{Bound, Bytes, Ratio, Row};
use super::results::Measured;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It meets the target, or there is none.
    Met,
    /// It keeps its budget, but misses the target.
    Missed,
    /// It exceeds its budget, or was not measured.
    Over,
    /// Its system was not run.
    NotRun,
}

impl Verdict {
    /// Judges a number.
    fn of(value: u64, budget: u64, target: Option<u64>) -> Self {
        if value > budget {
            Self::Over
        } else if target.is_some_and(|target| value > target) {
            Self::Missed
        } else {
            Self::Met
        }
    }

    /// What is said in the table's last column.
    const fn word(self) -> &'static str {
        match self {
            Self::Met => "ok",
            Self::Missed => "target missed",
            Self::Over => "OVER BUDGET",
            Self::NotRun => "not run",
        }
    }
}

/// Returns what was measured of a row.
fn measured(report: &Report, row: &Row) -> Option<Measured> {
    let found = *report.ours.get(&row.system)?.get(row.measure())?;
    let Some(other) = &row.minus else {
        return Some(found);
    };
    let other = report.budgets.row.iter().find(|row| row.name == *other)?;
    // A row with `minus` of its own does not count: nothing is subtracted twice.
    let other = report.ours.get(&other.system)?.get(other.measure())?;
    Some(Measured {
        min: found.min.saturating_sub(other.min),
        mean: found.mean.saturating_sub(other.mean),
        max: found.max.saturating_sub(other.max),
        count: found.count.min(other.count),
    })
}

/// Judges a row.
fn verdict(report: &Report, row: &Row) -> Verdict {
    match measured(report, row) {
        Some(measured) => Verdict::of(row.bounded(&measured), row.budget, row.target),
        None if report.ours.contains_key(&row.system) => Verdict::Over,
        None => Verdict::NotRun,
    }
}

/// Judges the footprint, where it was measured: name, bytes, budget, verdict.
fn footprint(report: &Report) -> Vec<(&'static str, u64, &Bytes, Verdict)> {
    let budgets = &report.budgets.footprint;
    let Some(memory) = &report.memory else {
        return Vec::new();
    };
    let rows = [
        ("EL2: text", report.text, &budgets.text),
        (
            "EL2: text, rodata and data",
            report.text_and_data,
            &budgets.text_and_data,
        ),
        ("EL2: RAM with one pCPU", memory.one_pcpu, &budgets.one_pcpu),
        (
            "EL2: RAM for each further pCPU",
            memory.each_pcpu,
            &budgets.each_pcpu,
        ),
        (
            "EL2: RAM for each partition",
            memory.each_partition,
            &budgets.each_partition,
        ),
    ];
    rows.into_iter()
        .map(|(name, bytes, budget)| {
            let verdict = Verdict::of(bytes, budget.budget, Some(budget.target));
            (name, bytes, budget, verdict)
        })
        .collect()
}

/// Linux's way up by one clock.
struct Boot<'a> {
    about: &'static str,
    native_s: f64,
    ours_s: f64,
    ratio: f64,
    budget: &'a Ratio,
}

impl Boot<'_> {
    fn verdict(&self) -> Verdict {
        let (ratio, budget) = (self.ratio, self.budget);
        match (ratio > budget.budget, ratio > budget.target) {
            (true, _) => Verdict::Over,
            (false, true) => Verdict::Missed,
            (false, false) => Verdict::Met,
        }
    }
}

/// Returns Linux's way up, by kernel time and from reset, when it was measured.
fn linux(report: &Report) -> Vec<Boot<'_>> {
    let Some(times) = &report.linux else {
        return Vec::new();
    };
    let budgets = &report.budgets.linux;
    vec![
        Boot {
            about: "kernel time",
            native_s: times.native.kernel_s,
            ours_s: times.ours.kernel_s,
            ratio: times.ratio(),
            budget: &budgets.kernel,
        },
        Boot {
            about: "time since reset",
            native_s: times.native.reset_s,
            ours_s: times.ours.reset_s,
            ratio: times.ratio_from_reset(),
            budget: &budgets.reset,
        },
    ]
}

/// Returns all verdicts.
fn verdicts(report: &Report) -> impl Iterator<Item = Verdict> {
    let rows = report.budgets.row.iter().map(|row| verdict(report, row));
    let bytes = footprint(report).into_iter().map(|(.., verdict)| verdict);
    let boots = linux(report).into_iter().map(|boot| boot.verdict());
    rows.chain(bytes).chain(boots)
}

/// Counts what keeps its budget, and names what does not.
pub(super) fn judge(report: &Report) -> (usize, Vec<String>) {
    let rows = report.budgets.row.iter();
    let over = rows.filter(|row| verdict(report, row) == Verdict::Over);
    let mut failures: Vec<String> = over
        .map(|row| {
            let found = measured(report, row).map(|m| row.bounded(&m).to_string());
            let found = found.unwrap_or_else(|| "not measured".to_owned());
            format!("{}: {found}, budget {}", row.name, row.budget)
        })
        .collect();
    for (name, bytes, budget, verdict) in footprint(report) {
        if verdict == Verdict::Over {
            failures.push(format!("{name}: {bytes} bytes, budget {}", budget.budget));
        }
    }
    (verdicts(report).count() - failures.len(), failures)
}

/// Counts the exceeded budgets.
pub(super) fn exceeded(report: &Report) -> usize {
    verdicts(report).filter(|v| *v == Verdict::Over).count()
}

/// Shows the numbers to people.
pub(super) fn as_text(report: &Report) -> String {
    let mut text = String::new();
    line(
        &mut text,
        [
            "instructions",
            "native",
            "min",
            "mean",
            "max",
            "budget",
            "target",
            "Bao",
            "Xen",
            "least",
            "",
        ],
    );
    for row in &report.budgets.row {
        row_line(&mut text, report, row);
    }
    for (name, bytes, budget, verdict) in footprint(report) {
        let [bytes, most, target] = [bytes, budget.budget, budget.target].map(|n| n.to_string());
        let cells = [
            name,
            "-",
            "-",
            "-",
            &bytes,
            &most,
            &target,
            &budget.bao,
            &budget.xen,
            "-",
        ];
        line(&mut text, with_mark(cells, verdict));
    }
    for boot in linux(report) {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "Linux, {} at LINUX UP: native {:.6} s, ours {:.6} s, ratio {:.4}, budget {:.3}, target {:.3}, Xen {}: {}",
            boot.about,
            boot.native_s,
            boot.ours_s,
            boot.ratio,
            boot.budget.budget,
            boot.budget.target,
            boot.budget.xen,
            boot.verdict().word()
        );
    }
    let missed = verdicts(report).filter(|v| *v == Verdict::Missed).count();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{} budgets exceeded, {missed} targets missed",
        exceeded(report)
    );
    text
}

/// Writes a row's line.
fn row_line(text: &mut String, report: &Report, row: &Row) {
    let ours = measured(report, row);
    let number =
        |pick: fn(&Measured) -> u64| ours.map_or_else(|| "-".to_owned(), |m| pick(&m).to_string());
    let native = report.native.get(&row.name);
    let native = native.map_or_else(|| "-".to_owned(), |m| m.max.to_string());
    let target = row.target.map_or_else(|| "-".to_owned(), |t| t.to_string());
    let of = match row.of {
        Bound::Max => "",
        Bound::Mean => " (mean)",
    };
    let cells = [
        &row.about,
        native.as_str(),
        &number(|m| m.min),
        &number(|m| m.mean),
        &number(|m| m.max),
        &row.budget.to_string(),
        &format!("{target}{of}"),
        or_dash(&row.bao),
        or_dash(&row.xen),
        or_dash(&row.least),
    ];
    line(text, with_mark(cells, verdict(report, row)));
}

/// Appends the verdict.
fn with_mark(cells: [&str; 10], verdict: Verdict) -> [&str; 11] {
    let [a, b, c, d, e, f, g, h, i, j] = cells;
    [a, b, c, d, e, f, g, h, i, j, verdict.word()]
}

/// Shows that there is nothing.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Writes a line in columns.
fn line(text: &mut String, cells: [&str; 11]) {
    let [about, numbers @ .., mark] = cells;
    let mut row = format!("{about:<48}");
    for cell in numbers {
        row += &format!(" {cell:>9}");
    }
    row += &format!("  {mark}");
    text.push_str(row.trim_end());
    text.push('\n');
}

/// Shows the numbers to programs.
pub(super) fn as_json(report: &Report) -> Value {
    let numbers =
        |m: &Measured| json!({ "min": m.min, "mean": m.mean, "max": m.max, "count": m.count });
    let rows = report.budgets.row.iter().map(|row| {
        let verdict = verdict(report, row);
        json!({
            "name": row.name,
            "about": row.about,
            "system": row.system.table(),
            "native": report.native.get(&row.name).map(numbers),
            "ours": measured(report, row).as_ref().map(numbers),
            "budget": row.budget,
            "target": row.target,
            "bao": row.bao,
            "xen": row.xen,
            "ok": verdict != Verdict::Over,
            "target_met": verdict == Verdict::Met,
        })
    });
    let linux = linux(report).into_iter().map(|boot| {
        json!({
            "by": boot.about,
            "native_s": boot.native_s,
            "ours_s": boot.ours_s,
            "ratio": boot.ratio,
            "budget": boot.budget.budget,
            "target": boot.budget.target,
            "xen": boot.budget.xen,
        })
    });
    json!({
        "rows": rows.collect::<Vec<_>>(),
        "text_bytes": report.text,
        "text_and_data_bytes": report.text_and_data,
        "ram_one_pcpu_bytes": report.memory.as_ref().map(|it| it.one_pcpu),
        "ram_each_pcpu_bytes": report.memory.as_ref().map(|it| it.each_pcpu),
        "ram_each_partition_bytes": report.memory.as_ref().map(|it| it.each_partition),
        "linux": linux.collect::<Vec<_>>(),
        "exceeded": exceeded(report),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_fails_and_a_target_does_not() {
        assert_eq!(Verdict::of(100, 120, Some(110)), Verdict::Met);
        assert_eq!(Verdict::of(115, 120, Some(110)), Verdict::Missed);
        assert_eq!(Verdict::of(121, 120, Some(110)), Verdict::Over);
        assert_eq!(Verdict::of(121, 120, None), Verdict::Over);
        assert_eq!(Verdict::of(120, 120, None), Verdict::Met);
    }
}
