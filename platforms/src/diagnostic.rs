//! Messages about a table: where, who, and what to do.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use crate::rule::Rule;

/// Columns that messages keep to where they can.
const COLUMNS: usize = 110;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The table cannot be built.
    Error,
    /// The table is built; the author may have meant something else.
    Warning,
}

/// A place in the table and what it has to do with the matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the table's text.
    pub span: Range<usize>,
    /// What stands there, in a few words.
    pub text: String,
}

/// One violation of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The rule.
    pub rule: Rule,
    /// What is wrong, one sentence that names both parties.
    pub title: String,
    /// Places, the offending one first; empty when the matter lies outside the table's text.
    pub labels: Vec<Label>,
    /// What to do, one entry for each remedy.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// Starts a diagnostic that blames the place `span`, with the words `text` under it.
    pub fn new(
        rule: Rule,
        title: impl Into<String>,
        span: Range<usize>,
        text: impl Into<String>,
    ) -> Self {
        let text = text.into();
        let labels = vec![Label { span, text }];
        Self {
            rule,
            title: title.into(),
            labels,
            help: Vec::new(),
        }
    }

    /// Starts a diagnostic about something that has no place in the table's text.
    pub fn outside(rule: Rule, title: impl Into<String>) -> Self {
        Self {
            rule,
            title: title.into(),
            labels: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Adds the place of another party.
    #[must_use]
    pub fn and(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        let text = text.into();
        self.labels.push(Label { span, text });
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// Breaks a text into lines that fit behind the margin of a message.
fn wrapped(text: &str) -> String {
    const MARGIN: usize = 15;
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_inclusive([' ', '\n']) {
        let width = word.trim_end().chars().count();
        if column > 0 && column + width > COLUMNS - MARGIN {
            out.truncate(out.trim_end().len());
            out.push('\n');
            column = 0;
        }
        out.push_str(word);
        column = if word.ends_with('\n') {
            0
        } else {
            column + word.chars().count()
        };
    }
    out
}

/// Shows a path from the current folder, where it lies below that.
pub(crate) fn shown_path(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let inside = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    inside.as_deref().unwrap_or(path).display().to_string()
}

/// All that was found in one table, with the text that the places refer to.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    path: String,
    text: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Starts an empty list for the table at `path` with the given text.
    pub fn new(path: &Path, text: &str) -> Self {
        Self {
            path: shown_path(path),
            text: text.to_owned(),
            list: Vec::new(),
        }
    }

    /// Adds a diagnostic; the same one twice counts once.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.list.contains(&diagnostic) {
            self.list.push(diagnostic);
            self.sort();
        }
    }

    /// Adds a diagnostic that has one place and needs no help.
    pub(crate) fn refuse(
        &mut self,
        rule: Rule,
        title: impl Into<String>,
        span: &Range<usize>,
        text: impl Into<String>,
    ) {
        self.push(Diagnostic::new(rule, title, span.clone(), text));
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Says whether one of them stops the build.
    pub fn has_errors(&self) -> bool {
        self.iter().any(|d| d.rule.severity() == Severity::Error)
    }

    /// Returns the diagnostics, errors first, in the order of their places in the table.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Sorts errors before warnings, and each by place.
    fn sort(&mut self) {
        self.list.sort_by_key(|d| {
            let place = d.labels.first().map_or(usize::MAX, |l| l.span.start);
            (d.rule.severity(), place)
        });
    }

    /// Renders all as text for people, with carets under the places and a last line that counts; `color` adds
    /// terminal escapes.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.term_width(COLUMNS);
        let mut out = String::new();
        for diagnostic in &self.list {
            out.push_str(&renderer.render(&self.groups(diagnostic)));
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out
    }

    /// Lays one diagnostic out for the renderer.
    fn groups<'a>(&'a self, diagnostic: &'a Diagnostic) -> Vec<Group<'a>> {
        let level = match diagnostic.rule.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level
            .primary_title(&diagnostic.title)
            .id(diagnostic.rule.name());
        let mut group = if diagnostic.labels.is_empty() {
            title.element(Origin::path(&self.path))
        } else {
            let labels = diagnostic.labels.iter().enumerate();
            let annotations = labels.map(|(at, label)| {
                let kind = match at {
                    0 => AnnotationKind::Primary,
                    _ => AnnotationKind::Context,
                };
                kind.span(self.inside(&label.span)).label(&label.text)
            });
            title.element(
                Snippet::source(&self.text)
                    .path(&self.path)
                    .annotations(annotations),
            )
        };
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(wrapped(help)));
        }
        vec![group]
    }

    /// Keeps a span within the text and on character boundaries.
    fn inside(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end.max(start));
        start..end
    }

    /// Counts errors and warnings in words.
    fn summary(&self) -> String {
        let count = |severity| {
            self.iter()
                .filter(|d| d.rule.severity() == severity)
                .count()
        };
        let words = |n: usize, word: &str| match n {
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        let errors = words(count(Severity::Error), "error");
        let warnings = words(count(Severity::Warning), "warning");
        format!("{}: {errors}, {warnings}\n", self.path)
    }

    /// Renders all as one JSON document: `{ "file", "errors", "warnings", "diagnostics": [..] }`. Lines and columns
    /// count from 1, columns in characters.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.to_value())
    }

    /// Makes the JSON value of [`Self::to_json`].
    pub(crate) fn to_value(&self) -> Value {
        let list: Vec<Value> = self.iter().map(|d| self.diagnostic_value(d)).collect();
        let errors = self
            .iter()
            .filter(|d| d.rule.severity() == Severity::Error)
            .count();
        json!({
            "file": self.path,
            "errors": errors,
            "warnings": self.len() - errors,
            "diagnostics": list,
        })
    }

    /// Makes the JSON value of one diagnostic.
    fn diagnostic_value(&self, diagnostic: &Diagnostic) -> Value {
        let severity = match diagnostic.rule.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let labels: Vec<Value> = diagnostic
            .labels
            .iter()
            .map(|label| {
                let span = self.inside(&label.span);
                let (line, column) = self.line_column(span.start);
                json!({
                    "line": line, "column": column, "start": span.start, "end": span.end, "text": label.text,
                })
            })
            .collect();
        json!({
            "rule": diagnostic.rule.name(),
            "severity": severity,
            "message": diagnostic.title,
            "labels": labels,
            "help": diagnostic.help,
        })
    }

    /// Returns the line and the column of a byte, both from 1.
    fn line_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list with one warning and one error, pushed in this order.
    fn sample() -> Diagnostics {
        let mut list = Diagnostics::new(Path::new("t.toml"), "a = 1\n\u{e9} = [2, 3]\n");
        let warning = Diagnostic::outside(Rule::NoBoardSeed, "no seed");
        list.push(warning.clone());
        list.push(warning);
        let error = Diagnostic::new(Rule::OutOfRange, "bad", 12..13, "this");
        list.push(error.and(4..5, "and that").help("mend it"));
        list
    }

    #[test]
    fn shows_errors_first_and_each_once() {
        let wanted = "\
error[out-of-range]: bad
 --> t.toml:2:6
  |
1 | a = 1
  |     - and that
2 | \u{e9} = [2, 3]
  |      ^ this
  |
  = help: mend it

warning[no-board-seed]: no seed
--> t.toml

t.toml: 1 error, 1 warning
";
        assert_eq!(sample().render(false), wanted);
        assert_eq!(sample().len(), 2);
    }

    #[test]
    fn json_counts_lines_and_columns_from_one() {
        let json: Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!((&json["errors"], &json["warnings"]), (&json!(1), &json!(1)));
        let first = &json["diagnostics"][0];
        assert_eq!(first["rule"], "out-of-range");
        assert_eq!(first["labels"][0]["line"], 2);
        assert_eq!(first["labels"][0]["column"], 6);
        assert_eq!(first["help"], json!(["mend it"]));
    }

    #[test]
    fn place_outside_the_text_is_shown_at_its_end() {
        let mut list = Diagnostics::new(Path::new("t.toml"), "\u{e9}");
        list.push(Diagnostic::new(Rule::Syntax, "bad", 1..90, "this"));
        assert!(list.render(false).contains("t.toml:1:1"));
    }

    #[test]
    fn long_help_is_broken_between_words() {
        let lines = wrapped(&"word ".repeat(40));
        assert!(lines.lines().all(
            |line| line.len() <= 95 && line.ends_with("word") || line.trim().ends_with("word")
        ));
        assert_eq!(lines.split_whitespace().count(), 40);
        assert_eq!(wrapped("a\nb"), "a\nb");
    }
}
