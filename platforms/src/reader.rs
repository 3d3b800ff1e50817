//! TOML values with their places: every accessor either returns what was asked for or adds a diagnostic.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys::Group;
use crate::nearest::{nearest, suggestion};
use crate::rule::Rule;
use crate::units::{self, QuantityError};

/// Bytes of the table's text.
pub type Span = Range<usize>;
/// A TOML value and its place.
pub type Value<'a> = &'a Spanned<DeValue<'a>>;

/// Something and its place in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// What stands there.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> At<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A TOML table whose keys have been checked against a [`Group`].
pub struct Keys<'a> {
    table: &'a DeTable<'a>,
    group: &'static Group,
    /// Where the table stands; a `[header]` for tables that have one.
    pub span: Span,
}

impl<'a> Keys<'a> {
    /// Opens a value as a table of the given keys; unknown and reserved keys are refused.
    pub fn open(value: Value<'a>, group: &'static Group, out: &mut Diagnostics) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("{} is a table of keys", group.place);
            wrong_type(value, &what, group.keys[0].example, out);
            return None;
        };
        let keys = Self {
            table,
            group,
            span: value.span(),
        };
        keys.check(out);
        Some(keys)
    }

    /// Opens the whole file.
    pub fn root(table: &'a DeTable<'a>, group: &'static Group, out: &mut Diagnostics) -> Self {
        let keys = Self {
            table,
            group,
            span: 0..0,
        };
        keys.check(out);
        keys
    }

    /// Refuses keys that are unknown or reserved.
    fn check(&self, out: &mut Diagnostics) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            match self.group.key(name) {
                None => out.push(self.unknown(name, key.span())),
                Some(known) => {
                    if let Some(purpose) = known.later {
                        out.push(not_built(name, purpose, key.span()));
                    }
                }
            }
        }
    }

    /// Words an unknown key.
    fn unknown(&self, name: &str, span: Span) -> Diagnostic {
        let names = self.group.names();
        let place = self.group.place;
        let title = format!("{place} has no key `{name}`");
        let mut found = Diagnostic::new(Rule::UnknownKey, title, span, "unknown key");
        if nearest(name, names.iter().copied()).is_none()
            && let Some(other) = elsewhere(name)
        {
            found = found.help(format!("`{name}` is a key of {other}"));
        }
        found.help(suggestion(name, names.iter().copied(), "it has no keys"))
    }

    /// Returns the value of a key, if it is there.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.table.get(name)
    }

    /// Returns the place of a key, or that of its table.
    pub fn key_span(&self, name: &str) -> Span {
        let key = self.table.keys().find(|key| key.get_ref() == name);
        key.map_or(self.span.clone(), Spanned::span)
    }

    /// Returns the value of a key that must be there.
    pub fn require(&self, name: &str, out: &mut Diagnostics) -> Option<Value<'a>> {
        let value = self.get(name);
        if value.is_none() {
            let title = format!("{} needs the key `{name}`", self.group.place);
            let place = format!("`{name}` is missing here");
            let found = Diagnostic::new(Rule::MissingKey, title, self.span.clone(), place);
            out.push(found.help(format!("add `{}`", self.example(name))));
        }
        value
    }

    /// Returns what one writes for a key.
    pub fn example(&self, name: &str) -> &'static str {
        self.group.key(name).map_or("", |key| key.example)
    }

    /// Reads a text; `None` when the key is absent or wrong.
    pub fn text(&self, name: &str, out: &mut Diagnostics) -> Option<At<String>> {
        text(self.get(name)?, name, self.example(name), out)
    }

    /// Reads a text that must be there.
    pub fn need_text(&self, name: &str, out: &mut Diagnostics) -> Option<At<String>> {
        let value = self.require(name, out)?;
        text(value, name, self.example(name), out)
    }

    /// Reads a truth value.
    pub fn boolean(&self, name: &str, out: &mut Diagnostics) -> Option<At<bool>> {
        let value = self.get(name)?;
        let DeValue::Boolean(truth) = value.get_ref() else {
            let what = format!("`{name}` is true or false");
            wrong_type(value, &what, self.example(name), out);
            return None;
        };
        Some(At::new(*truth, value.span()))
    }

    /// Reads a whole number within `bounds`.
    pub fn number(&self, name: &str, bounds: Range<u64>, out: &mut Diagnostics) -> Option<At<u64>> {
        number(self.get(name)?, name, bounds, self.example(name), out)
    }

    /// Reads an address.
    pub fn address(&self, name: &str, out: &mut Diagnostics) -> Option<At<u64>> {
        self.number(name, 0..u64::MAX, out)
    }

    /// Reads a size.
    pub fn size(&self, name: &str, out: &mut Diagnostics) -> Option<At<u64>> {
        size(self.get(name)?, name, self.example(name), out)
    }

    /// Reads a point in time in nanoseconds; it may be zero.
    pub fn instant_ns(&self, name: &str, out: &mut Diagnostics) -> Option<At<u64>> {
        quantity(self.get(name)?, name, self.example(name), &TIME, out)
    }

    /// Reads a time in nanoseconds, at least one.
    pub fn time_ns(&self, name: &str, out: &mut Diagnostics) -> Option<At<u64>> {
        let ns = self.instant_ns(name, out)?;
        if ns.value == 0 {
            let title = format!("`{name}` is a time of at least 1 ns");
            out.push(Diagnostic::new(
                Rule::OutOfRange,
                title,
                ns.span,
                "no time at all",
            ));
            return None;
        }
        Some(ns)
    }

    /// Reads one of the given words.
    pub fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&'static str, T)],
        out: &mut Diagnostics,
    ) -> Option<At<T>> {
        let written = self.text(name, out)?;
        word(&written, name, words, out)
    }

    /// Reads a list.
    pub fn list(&self, name: &str, out: &mut Diagnostics) -> Option<Vec<Value<'a>>> {
        list(self.get(name)?, name, self.example(name), out)
    }
}

/// Names the place where a key is known that is unknown here.
fn elsewhere(name: &str) -> Option<&'static str> {
    let group = crate::keys::GROUPS.iter().find(|g| g.key(name).is_some())?;
    Some(group.place)
}

/// Words a key that is reserved.
pub fn not_built(name: &str, purpose: &str, span: Span) -> Diagnostic {
    let title = format!("`{name}` is known, not built yet: {purpose} come with a later version");
    let found = Diagnostic::new(Rule::NotBuiltYet, title, span, "not built yet");
    found.help(format!("take `{name}` out for now"))
}

/// Refuses a value of the wrong type.
pub fn wrong_type(value: Value<'_>, what: &str, example: &str, out: &mut Diagnostics) {
    let kind = kind(value.get_ref());
    let title = format!("{what}, not {kind}");
    let found = Diagnostic::new(Rule::WrongType, title, value.span(), kind);
    out.push(found.help(format!("write for example `{example}`")));
}

/// Names the type of a value.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads a text.
pub fn text(
    value: Value<'_>,
    name: &str,
    example: &str,
    out: &mut Diagnostics,
) -> Option<At<String>> {
    let DeValue::String(text) = value.get_ref() else {
        wrong_type(value, &format!("`{name}` is a text"), example, out);
        return None;
    };
    Some(At::new(text.clone().into_owned(), value.span()))
}

/// Reads a list.
pub fn list<'a>(
    value: Value<'a>,
    name: &str,
    example: &str,
    out: &mut Diagnostics,
) -> Option<Vec<Value<'a>>> {
    let DeValue::Array(list) = value.get_ref() else {
        wrong_type(value, &format!("`{name}` is a list"), example, out);
        return None;
    };
    Some(list.iter().collect())
}

/// Returns a whole number as written, without judging its size.
pub fn whole(value: Value<'_>) -> Option<i128> {
    let number = value.get_ref().as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Reads a whole number within `bounds`.
pub fn number(
    value: Value<'_>,
    name: &str,
    bounds: Range<u64>,
    example: &str,
    out: &mut Diagnostics,
) -> Option<At<u64>> {
    if value.get_ref().as_integer().is_none() {
        wrong_type(value, &format!("`{name}` is a whole number"), example, out);
        return None;
    }
    let number = whole(value).and_then(|n| u64::try_from(n).ok());
    match number.filter(|n| bounds.contains(n)) {
        Some(number) => Some(At::new(number, value.span())),
        None => {
            let title = match bounds.end {
                u64::MAX => format!("`{name}` is a whole number that is not negative"),
                end => format!("`{name}` is {} to {}", bounds.start, end - 1),
            };
            let text = whole(value).map_or("too large".into(), |n| format!("{n} is out of range"));
            out.push(Diagnostic::new(Rule::OutOfRange, title, value.span(), text));
            None
        }
    }
}

/// How a kind of quantity is read and talked about.
struct Quantity {
    noun: &'static str,
    units: &'static str,
    rule: Rule,
    read: fn(&str) -> Result<u64, QuantityError>,
    guess: &'static str,
}

/// Sizes.
const SIZE: Quantity = Quantity {
    noun: "a size",
    units: "the units are K, M and G, powers of 1024 (KiB, MiB and GiB are the same)",
    rule: Rule::BadSize,
    read: units::size,
    guess: "M",
};
/// Times.
const TIME: Quantity = Quantity {
    noun: "a time",
    units: "the units are ns, us, ms and s",
    rule: Rule::BadTime,
    read: units::time_ns,
    guess: "ms",
};

/// Reads a size.
pub fn size(value: Value<'_>, name: &str, example: &str, out: &mut Diagnostics) -> Option<At<u64>> {
    quantity(value, name, example, &SIZE, out)
}

/// Reads a size or a time.
fn quantity(
    value: Value<'_>,
    name: &str,
    example: &str,
    kind: &Quantity,
    out: &mut Diagnostics,
) -> Option<At<u64>> {
    if let Some(number) = whole(value) {
        out.push(missing_unit(name, &number.to_string(), value.span(), kind));
        return None;
    }
    let DeValue::String(text) = value.get_ref() else {
        let what = format!("`{name}` is {} such as `{example}`", kind.noun);
        wrong_type(value, &what, example, out);
        return None;
    };
    let error = match (kind.read)(text) {
        Ok(number) => return Some(At::new(number, value.span())),
        Err(QuantityError::NoUnit) => missing_unit(name, text.trim(), value.span(), kind),
        Err(QuantityError::NoNumber) => bad(name, "no whole number", value.span(), kind),
        Err(QuantityError::UnknownUnit) => bad(name, "unknown unit", value.span(), kind),
        Err(QuantityError::TooLarge) => bad(name, "more than 64 bits", value.span(), kind),
    };
    out.push(error);
    None
}

/// Words a quantity without a unit.
fn missing_unit(name: &str, number: &str, span: Span, kind: &Quantity) -> Diagnostic {
    let title = format!("`{name}` is {} and needs a unit", kind.noun);
    let found = Diagnostic::new(Rule::MissingUnit, title, span, "a bare number");
    let number = number.trim_start_matches('-');
    found
        .help(format!(
            "write `{name} = \"{number}{}\"` if you mean that",
            kind.guess
        ))
        .help(kind.units)
}

/// Words a quantity that cannot be read.
fn bad(name: &str, text: &str, span: Span, kind: &Quantity) -> Diagnostic {
    let title = format!("`{name}` is {}: a whole number and a unit", kind.noun);
    Diagnostic::new(kind.rule, title, span, text).help(kind.units)
}

/// Finds a written word among those that a key knows.
pub fn word<T: Copy>(
    written: &At<String>,
    name: &str,
    words: &[(&'static str, T)],
    out: &mut Diagnostics,
) -> Option<At<T>> {
    let found = words.iter().find(|(word, _)| *word == written.value);
    if let Some((_, meaning)) = found {
        return Some(At::new(*meaning, written.span.clone()));
    }
    let title = format!("`{name}` does not know the word \"{}\"", written.value);
    let found = Diagnostic::new(
        Rule::UnknownWord,
        title,
        written.span.clone(),
        "unknown word",
    );
    let all = words.iter().map(|(word, _)| *word);
    out.push(found.help(suggestion(&written.value, all, "")));
    None
}
