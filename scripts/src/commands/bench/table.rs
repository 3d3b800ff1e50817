//! The bench's numbers beside the budgets.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Bound, Measured, Report, Row};

/// Is this row's budget exceeded? A row that was not measured is.
fn over(row: &Row, measured: Option<&Measured>) -> bool {
    let value = measured.map(|measured| match row.of {
        Bound::Max => measured.max,
        Bound::Mean => measured.mean,
    });
    value.is_none_or(|value| value > row.budget)
}

/// Counts the exceeded budgets.
pub(super) fn exceeded(report: &Report) -> usize {
    let rows = report.budgets.row.iter();
    let rows = rows
        .filter(|row| over(row, report.ours.get(&row.name)))
        .count();
    let footprint = &report.budgets.footprint;
    let bytes = usize::from(report.text > footprint.text)
        + usize::from(report.text_and_data > footprint.text_and_data);
    let linux = report.linux.as_ref();
    let linux = linux.is_some_and(|times| times.ratio() > report.budgets.linux.ratio);
    rows + bytes + usize::from(linux)
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
            "Bao",
            "Xen",
            "least",
            "",
        ],
    );
    for row in &report.budgets.row {
        let ours = report.ours.get(&row.name);
        let number = |pick: fn(&Measured) -> u64| {
            ours.map_or_else(|| "-".to_owned(), |m| pick(m).to_string())
        };
        let native = report
            .native
            .get(&row.name)
            .map_or_else(|| "-".to_owned(), |m| m.max.to_string());
        let mark = if over(row, ours) { "over" } else { "ok" };
        let of = match row.of {
            Bound::Max => "",
            Bound::Mean => " (mean)",
        };
        line(
            &mut text,
            [
                &row.about,
                &native,
                &number(|m| m.min),
                &number(|m| m.mean),
                &number(|m| m.max),
                &format!("{}{of}", row.budget),
                or_dash(&row.bao),
                or_dash(&row.xen),
                or_dash(&row.least),
                mark,
            ],
        );
    }
    footprint(&mut text, report);
    linux(&mut text, report);
    text
}

/// Writes the footprint's lines.
fn footprint(text: &mut String, report: &Report) {
    let budget = &report.budgets.footprint;
    let rows = [
        ("EL2 text", report.text, budget.text),
        (
            "EL2 text + rodata + data",
            report.text_and_data,
            budget.text_and_data,
        ),
    ];
    for (name, bytes, most) in rows {
        let mark = if bytes > most { "over" } else { "ok" };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{name}: {bytes} bytes, budget {most}, Bao {}, Xen {}: {mark}",
            budget.bao, budget.xen
        );
    }
}

/// Writes Linux's line.
fn linux(text: &mut String, report: &Report) {
    let Some(times) = &report.linux else {
        return;
    };
    let budget = &report.budgets.linux;
    let ratio = times.ratio();
    let mark = if ratio > budget.ratio { "over" } else { "ok" };
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "Linux, kernel time at LINUX UP: native {:.6} s, ours {:.6} s, ratio {ratio:.4}, budget {:.3}, Xen {}: {mark}",
        times.native_s, times.ours_s, budget.ratio, budget.xen
    );
}

/// Shows that there is nothing.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Writes a line in columns.
fn line(text: &mut String, cells: [&str; 10]) {
    let [about, numbers @ ..] = cells;
    let mut row = format!("{about:<44}");
    for cell in numbers {
        row += &format!(" {cell:>10}");
    }
    text.push_str(row.trim_end());
    text.push('\n');
}

/// Shows the numbers to programs.
pub(super) fn as_json(report: &Report) -> Value {
    let numbers =
        |m: &Measured| json!({ "min": m.min, "mean": m.mean, "max": m.max, "count": m.count });
    let rows: Vec<Value> = report
        .budgets
        .row
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "about": row.about,
                "budget": row.budget,
                "native": report.native.get(&row.name).map(numbers),
                "ours": report.ours.get(&row.name).map(numbers),
                "ok": !over(row, report.ours.get(&row.name)),
            })
        })
        .collect();
    let linux = report.linux.as_ref().map(|times| {
        json!({ "native_s": times.native_s, "ours_s": times.ours_s, "ratio": times.ratio(), "budget": report.budgets.linux.ratio })
    });
    json!({
        "rows": rows,
        "text_bytes": report.text,
        "text_and_data_bytes": report.text_and_data,
        "linux": linux,
        "exceeded": exceeded(report),
    })
}
