//! Mutant schemata: a source file with many mutants in it, of which a program chooses one as it starts. So thousands need one
//! build.
//!
//! The body of a function that has mutants becomes a `match` on the mutant that was chosen: an arm with a changed copy of the
//! body for each, and the body as it was for all others. What decides is in `switch.rs`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use syn::visit::{self, Visit};

use super::draw::{Mutant, Place};

/// A file with mutants in it.
#[derive(Debug, Default)]
pub struct Woven {
    /// Its text.
    pub text: String,
    /// Where they are.
    pub arms: Vec<Arm>,
}

/// A part of such a file, and the mutants that fall when it does not compile.
#[derive(Debug, PartialEq, Eq)]
pub struct Arm {
    /// Its lines, from 1.
    pub lines: RangeInclusive<usize>,
    /// A mutant, or all of a function for the body as it was.
    pub mutants: Vec<u32>,
    /// Is it the body as it was?
    pub is_original: bool,
}

/// The body of a function, without its braces: offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Body {
    start: usize,
    end: usize,
    /// May constants call the function?
    is_const: bool,
}

/// Where a mutant can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In one build with others.
    Function,
    /// The same; but what the compiler computes of constants does not see it.
    ConstFunction,
    /// In a build of its own: it is in no function, or in one that hides what type it returns, which may differ from arm to
    /// arm.
    Outside,
}

/// Says of each mutant of a file where it can be tried.
///
/// # Errors
/// The file does not parse.
pub fn reaches(text: &str, mutants: &[&Mutant]) -> syn::Result<Vec<Reach>> {
    let bodies = bodies(text)?;
    let reaches = mutants
        .iter()
        .map(|mutant| match body(text, &bodies, mutant) {
            None => Reach::Outside,
            Some(body) if body.is_const => Reach::ConstFunction,
            Some(_) => Reach::Function,
        });
    Ok(reaches.collect())
}

/// Puts mutants into their file, each with the number that chooses it. A function goes by the number of its first.
///
/// # Errors
/// The file does not parse.
pub fn weave(text: &str, mutants: &[(u32, &Mutant)]) -> syn::Result<Woven> {
    let bodies = bodies(text)?;
    let mut of_body: BTreeMap<Body, Vec<(u32, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants {
        if let Some(body) = body(text, &bodies, mutant) {
            of_body.entry(body).or_default().push((*number, mutant));
        }
    }
    let mut woven = Woven::default();
    let mut done = 0;
    for (body, mutants) in of_body {
        woven.text.push_str(&text[done..body.start]);
        woven.branch(text, body, &mutants);
        done = body.end;
    }
    woven.text.push_str(&text[done..]);
    Ok(woven)
}

impl Woven {
    /// Adds the body of a function.
    fn branch(&mut self, text: &str, body: Body, mutants: &[(u32, &Mutant)]) {
        let numbers: Vec<u32> = mutants.iter().map(|(number, _)| *number).collect();
        let function = numbers.first().copied().unwrap_or(0);
        let path = "crate::mutant_switch::chosen";
        self.text
            .push_str(&format!("match {path}({function}) {{\n"));
        for (number, mutant) in mutants {
            let changed = changed(text, body, mutant);
            self.arm(Some(*number), &changed, vec![*number]);
        }
        self.arm(None, &text[body.start..body.end], numbers);
        self.text.push('}');
    }

    /// Adds an arm: for a mutant, or for all that are not there.
    fn arm(&mut self, number: Option<u32>, body: &str, mutants: Vec<u32>) {
        let first = self.line();
        let pattern = number.map_or("_".to_owned(), |number| number.to_string());
        self.text
            .push_str(&format!("{pattern} => {{\n{body}\n}}\n"));
        self.arms.push(Arm {
            lines: first..=self.line() - 1,
            mutants,
            is_original: number.is_none(),
        });
    }

    /// Returns the number of the line that is written.
    fn line(&self) -> usize {
        self.text.matches('\n').count() + 1
    }
}

/// Returns a function's body with a mutant in it.
fn changed(text: &str, body: Body, mutant: &Mutant) -> String {
    let (start, end) = (
        offset(text, mutant.span.start),
        offset(text, mutant.span.end),
    );
    let (before, after) = (&text[body.start..start], &text[end..body.end]);
    format!("{before} {} {after}", mutant.replacement)
}

/// Returns the body that holds a mutant whole.
fn body(text: &str, bodies: &[Body], mutant: &Mutant) -> Option<Body> {
    let (start, end) = (
        offset(text, mutant.span.start),
        offset(text, mutant.span.end),
    );
    let holds = |body: &&Body| body.start <= start && end <= body.end;
    bodies.iter().find(holds).copied()
}

/// Returns the offset of a place in bytes.
fn offset(text: &str, place: Place) -> usize {
    let before = text.split_inclusive('\n').take(place.line - 1);
    let start: usize = before.map(str::len).sum();
    let rest = &text[start..];
    let byte = rest.char_indices().nth(place.column - 1);
    start + byte.map_or(rest.len(), |(byte, _)| byte)
}

/// Returns the bodies of a file's functions; those of functions within functions belong to the outer ones. Functions that hide
/// what type they return are left out.
fn bodies(text: &str) -> syn::Result<Vec<Body>> {
    let mut found = Bodies {
        text,
        bodies: Vec::new(),
    };
    found.visit_file(&syn::parse_file(text)?);
    Ok(found.bodies)
}

/// Finds them.
struct Bodies<'a> {
    text: &'a str,
    bodies: Vec<Body>,
}

impl Bodies<'_> {
    /// Notes a function.
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let mut hidden = Hidden(false);
        hidden.visit_return_type(&signature.output);
        if hidden.0 {
            return;
        }
        let at = |place: proc_macro2::LineColumn| {
            let place = Place {
                line: place.line,
                column: place.column + 1,
            };
            offset(self.text, place)
        };
        let braces = block.brace_token.span;
        let (start, end) = (at(braces.open().end()), at(braces.close().start()));
        let is_const = signature.constness.is_some();
        self.bodies.push(Body {
            start,
            end,
            is_const,
        });
    }
}

impl<'ast> Visit<'ast> for Bodies<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        match &function.default {
            Some(block) => self.add(&function.sig, block),
            None => visit::visit_trait_item_fn(self, function),
        }
    }
}

/// Does a return type hide another (`impl Trait`)?
struct Hidden(bool);

impl<'ast> Visit<'ast> for Hidden {
    fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
        self.0 = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Span, tests::named};
    use super::*;

    const TEXT: &str = "const ONE: u32 = 0 + 1;\n\
                        /// Sums \u{fc}p.\n\
                        pub const fn sum(a: u32, b: u32) -> u32 {\n    a + b\n}\n\
                        fn is_less(a: u32) -> bool { a < 2 } // so\n\
                        fn all(a: u32) -> impl Iterator<Item = u32> { 3..a }\n";

    /// Returns mutants that replace parts of [`TEXT`].
    fn replacing(parts: &[(&str, &str)]) -> Vec<Mutant> {
        let place = |offset: usize| Place {
            line: TEXT[..offset].matches('\n').count() + 1,
            column: TEXT[..offset]
                .lines()
                .last()
                .map_or(0, |line| line.chars().count())
                + 1,
        };
        let with = |(part, replacement): &(&str, &str), mut mutant: Mutant| {
            let start = TEXT.find(part).expect("a part of the text");
            mutant.span = Span {
                start: place(start),
                end: place(start + part.len()),
            };
            mutant.replacement = (*replacement).to_owned();
            mutant
        };
        let mutants = named(&vec!["src/a.rs:1:1: it"; parts.len()]);
        parts
            .iter()
            .zip(mutants)
            .map(|(part, one)| with(part, one))
            .collect()
    }

    #[test]
    fn a_function_chooses_among_its_mutants_and_goes_by_the_first() {
        let mutants = replacing(&[
            ("+ b", "- b"),
            ("a + b", "0"),
            ("<", "<="),
            ("0 + 1", "0"),
            ("3..a", "0..0"),
        ]);
        let numbered: Vec<_> = (7..).zip(&mutants).collect();
        let woven = weave(TEXT, &numbered).expect("it parses");
        let lines: Vec<&str> = woven.text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines[2..],
            [
                "pub const fn sum(a: u32, b: u32) -> u32 {match crate::mutant_switch::chosen(7) {",
                "7 => {",
                "",
                "    a  - b",
                "",
                "}",
                "8 => {",
                "",
                "     0",
                "",
                "}",
                "_ => {",
                "",
                "    a + b",
                "",
                "}",
                "}}",
                "fn is_less(a: u32) -> bool {match crate::mutant_switch::chosen(9) {",
                "9 => {",
                " a  <=  2",
                "}",
                "_ => {",
                " a < 2",
                "}",
                "}} // so",
                "fn all(a: u32) -> impl Iterator<Item = u32> { 3..a }",
            ]
        );
        let arms: Vec<_> = woven
            .arms
            .iter()
            .map(|arm| (arm.lines.clone(), arm.mutants.clone()))
            .collect();
        assert_eq!(
            arms,
            [
                (4..=8, vec![7]),
                (9..=13, vec![8]),
                (14..=18, vec![7, 8]),
                (21..=23, vec![9]),
                (24..=26, vec![9]),
            ]
        );
        let all: Vec<&Mutant> = mutants.iter().collect();
        let (constant, function) = (Reach::ConstFunction, Reach::Function);
        assert_eq!(
            reaches(TEXT, &all).expect("it parses"),
            [constant, constant, function, Reach::Outside, Reach::Outside]
        );
    }
}
