//! Rules that look at more than one key.

pub mod cpus;
pub mod devices;
pub mod space;
pub mod time;
pub mod trace;
mod windows;

use std::collections::BTreeMap;

use bulkhead::config::record::NAME_BYTES;
use bulkhead::ids::MAX_PARTITIONS;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::nearest::suggestion;
use crate::platform::Platform;
use crate::reader::{At, Span};
use crate::rule::Rule;
use crate::table::Table;

/// Names that the console and the tools use for something else.
const RESERVED: [&str; 2] = ["bulkhead", "all"];

/// Checks the table's names: its board, its partitions, who has the keyboard.
pub fn names(table: &Table, platform: &Platform, out: &mut Diagnostics) {
    check_platform(table, platform, out);
    if let Some(extra) = table.partitions.get(MAX_PARTITIONS) {
        let title = format!("a table has at most {MAX_PARTITIONS} partitions");
        let text = format!("partition number {}", MAX_PARTITIONS + 1);
        out.refuse(Rule::TooManyPartitions, title, &extra.name.span, text);
    }
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for partition in &table.partitions {
        let At { value: name, span } = &partition.name;
        // A name that the table does not give has been refused already.
        if !name.starts_with('#') {
            check_name(&partition.name, "a partition", out);
        }
        if let Some(other) = first.get(name.as_str()) {
            let title = format!("the name `{name}` is used twice");
            let found = Diagnostic::new(Rule::DuplicateName, title, span.clone(), "again");
            out.push(
                found
                    .and(other.clone(), "first used here")
                    .help("rename one of the two"),
            );
        } else {
            first.insert(name, span.clone());
        }
    }
    check_focus(table, out);
    check_managed(table, out);
    check_started(table, out);
}

/// Remarks on partitions that nothing can start: none that runs manages them, nor one that could be started.
fn check_started(table: &Table, out: &mut Diagnostics) {
    let partitions = &table.partitions;
    let mut runs: Vec<bool> = partitions.iter().map(|p| p.stopped.is_none()).collect();
    // Each round but the last finds one more, so there are few.
    while let Some(next) =
        (0..partitions.len()).find(|at| !runs[*at] && is_managed(table, *at, &runs))
    {
        runs[next] = true;
    }
    for (at, partition) in partitions.iter().enumerate() {
        let Some(span) = partition.stopped.as_ref().filter(|_| !runs[at]) else {
            continue;
        };
        let name = &partition.name.value;
        let title = format!("nothing can start `{name}`");
        let mut found = Diagnostic::new(Rule::NeverStarted, title, span.clone(), "not at start");
        let all = vec![true; partitions.len()];
        for manager in partitions.iter().filter(|p| p.name.value != *name) {
            if let Some(managed) = manager.manages.iter().find(|m| m.value == *name) {
                let text = format!("`{}` cannot be started either", manager.name.value);
                found = found.and(managed.span.clone(), text);
            }
        }
        let help = match is_managed(table, at, &all) {
            true => "let one that manages it start with the system".to_owned(),
            false => format!("a partition with `manages = [\"{name}\"]` could"),
        };
        out.push(found.help(help));
    }
}

/// Says whether one of those that run, and not itself, manages a partition.
fn is_managed(table: &Table, at: usize, runs: &[bool]) -> bool {
    let name = &table.partitions[at].name.value;
    let others = table.partitions.iter().zip(runs).enumerate();
    let mut others = others.filter(|(other, (_, runs))| *other != at && **runs);
    others.any(|(_, (other, _))| other.manages.iter().any(|managed| managed.value == *name))
}

/// Refuses to manage whom there is not, and whom a partition manages already.
fn check_managed(table: &Table, out: &mut Diagnostics) {
    for partition in &table.partitions {
        let manager = &partition.name.value;
        for (index, At { value: name, span }) in partition.manages.iter().enumerate() {
            if !table.partitions.iter().any(|p| p.name.value == *name) {
                let title = format!("`{manager}` manages a partition `{name}` that there is not");
                let found = Diagnostic::new(Rule::UnknownManaged, title, span.clone(), "unknown");
                let names = table.partitions.iter().map(|p| p.name.value.as_str());
                out.push(found.help(suggestion(name, names, "the table has no partition")));
            } else if let Some(first) = partition.manages[..index]
                .iter()
                .find(|other| other.value == *name)
            {
                let title = format!("`{manager}` manages `{name}` twice");
                let found = Diagnostic::new(Rule::ManagedTwice, title, span.clone(), "again");
                out.push(
                    found
                        .and(first.span.clone(), "first named here")
                        .help("take one of them out"),
                );
            }
        }
    }
}

/// Refuses a board that there is not, or that is not the one the table is built for.
fn check_platform(table: &Table, platform: &Platform, out: &mut Diagnostics) {
    let Some(named) = &table.system.platform else {
        return;
    };
    if named.value == platform.name {
        return;
    }
    let known = siblings(platform);
    if known.contains(&named.value) {
        let (named_, built) = (&named.value, &platform.name);
        let title = format!("the table is for board `{named_}`, it is being built for `{built}`");
        let found = Diagnostic::new(Rule::OtherPlatform, title, named.span.clone(), "its board");
        out.push(found.help(format!(
            "build it with `--platform {named_}`, or without `--platform`"
        )));
        return;
    }
    let title = format!("there is no board `{}` under platforms/", named.value);
    let found = Diagnostic::new(
        Rule::UnknownPlatform,
        title,
        named.span.clone(),
        "unknown board",
    );
    let known = known.iter().map(String::as_str);
    out.push(found.help(suggestion(&named.value, known, "there is none")));
}

/// Returns the names of all boards beside one.
fn siblings(platform: &Platform) -> Vec<String> {
    let folder = platform.directory.parent();
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    let entries = entries.into_iter().flatten().flatten();
    let boards = entries.filter(|entry| entry.path().join("board.toml").is_file());
    let mut names: Vec<String> = boards
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    if names.is_empty() {
        names.push(platform.name.clone());
    }
    names
}

/// Refuses a name with other characters, a long one, and a reserved one.
pub fn check_name(name: &At<String>, whose: &str, out: &mut Diagnostics) {
    let text = &name.value;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let longest = NAME_BYTES - 1;
    if text.is_empty() || text.len() > longest || !text.chars().all(good) {
        let title = format!("{whose}'s name is 1 to {longest} letters a-z, digits and hyphens");
        let found = Diagnostic::new(Rule::BadName, title, name.span.clone(), "not such a name");
        let lower: String = text
            .to_lowercase()
            .chars()
            .map(|c| if good(c) { c } else { '-' })
            .collect();
        let lower: String = lower.chars().take(longest).collect();
        let found = if lower.is_empty() {
            found
        } else {
            found.help(format!("`{lower}` would do"))
        };
        out.push(found);
    }
    if RESERVED.contains(&text.as_str()) {
        let title = format!("the name `{text}` is reserved: the console uses it");
        let found = Diagnostic::new(Rule::ReservedName, title, name.span.clone(), "reserved");
        out.push(found.help("choose another name"));
    }
}

/// Refuses a keyboard that goes nowhere.
fn check_focus(table: &Table, out: &mut Diagnostics) {
    let Some(focus) = &table.system.focus else {
        return;
    };
    let names = table.partitions.iter().map(|p| p.name.value.as_str());
    let found = table
        .partitions
        .iter()
        .find(|p| p.name.value == focus.value);
    let Some(partition) = found else {
        let title = format!(
            "`focus` names a partition `{}` that there is not",
            focus.value
        );
        let found = Diagnostic::new(Rule::UnknownFocus, title, focus.span.clone(), "unknown");
        out.push(found.help(suggestion(
            &focus.value,
            names,
            "the table has no partition",
        )));
        return;
    };
    if partition.console.is_none() {
        let title = format!(
            "`{}` cannot have the keyboard: it has no console",
            focus.value
        );
        let found = Diagnostic::new(
            Rule::FocusWithoutConsole,
            title,
            focus.span.clone(),
            "focus",
        );
        out.push(
            found
                .and(partition.name.span.clone(), "has `console = \"none\"`")
                .help("name another partition, or give this one `console = \"pl011\"`"),
        );
    }
}

/// Returns the position of the partition that has the keyboard: the named one, else the first with a console.
pub fn focus(table: &Table) -> u32 {
    let named = table.system.focus.as_ref();
    let position = match named {
        Some(focus) => table
            .partitions
            .iter()
            .position(|p| p.name.value == focus.value),
        None => table.partitions.iter().position(|p| p.console.is_some()),
    };
    position.unwrap_or(0) as u32
}
