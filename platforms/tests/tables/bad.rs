//! One bad table for each rule: `tests/tables/RULE.toml`, and what it gets: `tests/tables/RULE.txt`.
//!
//! A first line `#: WORD VALUE ...` of a table says what board it meets: `cpus N`, `memory BYTES`, `seed no`, `gic no` or `gic 2`, `conduit hvc`,
//! `qemu no`,
//! `platform NAME`. With the environment variable `BLESS` set, the messages are written instead of compared: read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bulkhead_platforms::{Diagnostics, Rule, Severity};

use crate::board::Board;
use crate::{Bench, qemu_virt, root};

/// Returns the folder of bad tables.
fn folder() -> PathBuf {
    root().join("tests/tables")
}

/// Compiles a bad table and returns what is found, with the folder's name as it stands in the repository.
fn found(bench: &mut Bench, name: &str) -> (Diagnostics, String) {
    let text = fs::read(folder().join(format!("{name}.toml"))).expect("a bad table");
    let mut board = Board::default();
    let mut platform = qemu_virt();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let first = String::from_utf8_lossy(first).into_owned();
    let mut words = first.strip_prefix("#:").unwrap_or("").split_whitespace();
    while let (Some(word), Some(value)) = (words.next(), words.next()) {
        match word {
            "cpus" => board.cpus = value.parse().expect("a number"),
            "memory" => board.memory = value.parse().expect("a number"),
            "seed" => board.seed = false,
            "gic" => (board.gic, board.gicv2) = (value != "no", value == "2"),
            "conduit" => board.conduit = "hvc",
            "qemu" => platform.qemu = None,
            "platform" => {
                platform.name = value.to_owned();
            }
            other => panic!("{name}: unknown word {other}"),
        }
    }
    let table = bench.put(&format!("{name}.toml"), &text);
    let list = match bench.compile(&table, &platform, &board) {
        Ok(system) => system.warnings().clone(),
        Err(list) => list,
    };
    let path = bench.folder.path.display().to_string();
    let shown = list.render(false).replace(&path, "tests/tables");
    (list, shown)
}

#[test]
fn every_rule_has_a_bad_table_and_every_bad_table_a_rule() {
    let files = fs::read_dir(folder()).expect("the folder").flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let names: BTreeSet<String> = names.filter(|n| !n.ends_with(".md")).collect();
    let wanted = Rule::ALL.iter().flat_map(|rule| {
        let name = rule.name();
        [format!("{name}.toml"), format!("{name}.txt")]
    });
    let wanted: BTreeSet<String> = wanted
        .chain(["several.toml".into(), "several.txt".into()])
        .collect();
    let missing: Vec<_> = wanted.difference(&names).collect();
    let strange: Vec<_> = names.difference(&wanted).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "missing {missing:?}, strange {strange:?}"
    );
}

#[test]
fn every_bad_table_breaks_its_rule_and_no_other() {
    let mut bench = Bench::new("bad");
    for rule in Rule::ALL {
        let (list, _) = found(&mut bench, rule.name());
        let rules: BTreeSet<Rule> = list.iter().map(|found| found.rule).collect();
        let errors = rules
            .iter()
            .filter(|found| found.severity() == Severity::Error);
        assert!(rules.contains(rule), "{} finds {rules:?}", rule.name());
        if rule.severity() == Severity::Error {
            assert_eq!(errors.count(), 1, "{} finds {rules:?}", rule.name());
        } else {
            assert_eq!(errors.count(), 0, "{} finds {rules:?}", rule.name());
        }
    }
}

#[test]
fn every_bad_table_gets_its_message() {
    let mut bench = Bench::new("messages");
    let names = Rule::ALL.iter().map(|rule| rule.name()).chain(["several"]);
    for name in names {
        let (_, shown) = found(&mut bench, name);
        let file = folder().join(format!("{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &shown).expect("the message");
        }
        let wanted = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            shown, wanted,
            "{name}: `BLESS=1 cargo test -p bulkhead-platforms` writes it anew"
        );
        assert!(
            !shown.contains("/tmp"),
            "{name} shows a path of this machine"
        );
    }
}

#[test]
fn every_error_says_what_to_do_or_what_is_there() {
    let mut bench = Bench::new("help");
    for rule in Rule::ALL {
        let (list, _) = found(&mut bench, rule.name());
        for found in list.iter().filter(|found| found.rule == *rule) {
            let labelled = found.labels.iter().all(|label| !label.text.is_empty());
            assert!(labelled, "{}: a place without words", rule.name());
            let helped =
                !found.help.is_empty() || !found.labels.is_empty() || found.title.len() > 40;
            assert!(helped, "{}: no help", rule.name());
        }
    }
}
