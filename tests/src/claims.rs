//! The claims of the threat model, held against the rows that test them.

/// The heading behind which the claims stand, in the documentation of `src/security.rs`.
const HEADING: &str = "# Claims";

/// Says what is wrong with a threat model: a claim with a row that is not there, a row that no claim has. `c` stands for all
/// rows of what a guest may rely on.
pub fn failures(model: &str, rows: &[&str]) -> Vec<String> {
    let named = named(model);
    if named.is_empty() {
        return vec!["the threat model has no claim with rows".to_owned()];
    }
    let is = |row: &str, name: &str| row == name || name == "c" && row.starts_with("c-");
    let unknown = named
        .iter()
        .filter(|name| !rows.iter().any(|row| is(row, name)))
        .map(|name| format!("the threat model names row {name}, which is not there"));
    let unclaimed = rows
        .iter()
        .filter(|row| !named.iter().any(|name| is(row, name)))
        .map(|row| format!("no claim of the threat model has row {row}"));
    unknown.chain(unclaimed).collect()
}

/// Returns the rows that the last column of the claims' table names.
fn named(model: &str) -> Vec<&str> {
    let lines = model.lines().skip_while(|line| !line.contains(HEADING));
    let cells = lines.filter_map(|line| {
        let inner = line.trim_start_matches("//!").trim().strip_suffix('|')?;
        Some(inner.rsplit('|').next()?.trim())
    });
    // The table's own head and its rule.
    cells.skip(2).flat_map(str::split_whitespace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "//! | x | y |\n//! # Claims\n//!\n//! | claim | how | rows |\n//! | --- | --- | --- |\n\
        //! | one | so | a1 a2 |\n//! | two | so | c |\n//!\n//! Text.\n";

    #[test]
    fn every_row_has_a_claim_and_every_claim_its_rows() {
        assert!(failures(MODEL, &["a1", "a2", "c-entry", "c-fp"]).is_empty());
        assert_eq!(
            failures(MODEL, &["a1", "a3", "c-fp"]),
            [
                "the threat model names row a2, which is not there",
                "no claim of the threat model has row a3"
            ]
        );
        assert_eq!(failures("//! | a1 |", &["a1"]).len(), 1);
    }
}
