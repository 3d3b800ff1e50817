//! Waits for texts, types answers, and says when a run is over.
//!
//! Pairs of a pattern and an answer are strictly in order; the last pattern counts only when all pairs are done;
//! a pattern is looked for only behind the previous match.

use regex::bytes::Regex;

use super::transcript::{Speaker, Transcript};
use super::wire::{Event, HYPERVISOR};
use crate::failure::{Failure, Outcome};

/// A text to wait for, of one partition or of any.
#[derive(Clone, Debug)]
pub struct Pattern {
    speaker: Speaker,
    regex: Regex,
    /// As it was written.
    pub source: String,
}

impl Pattern {
    /// Reads `REGEX` or `PARTITION:REGEX`; what stands before a colon is a partition only if it is one of `names`.
    ///
    /// # Errors
    /// The regular expression is wrong.
    pub fn new(source: &str, names: &[String]) -> Outcome<Self> {
        let (speaker, regex) = split(source, names, true);
        let regex = Regex::new(regex).map_err(|error| {
            Failure::usage(format!("`{source}` is no regular expression: {error}"))
        })?;
        Ok(Self {
            speaker: speaker.map(str::to_owned),
            regex,
            source: source.to_owned(),
        })
    }

    /// Returns where the match in `text` ends, looking from `from`.
    fn find(&self, speaker: &Speaker, text: &[u8], from: usize) -> Option<usize> {
        if self.speaker.is_some() && self.speaker != *speaker {
            return None;
        }
        let found = self.regex.find_at(text, from.min(text.len()))?;
        Some(found.end())
    }
}

/// Splits `PARTITION:REST` where PARTITION is known.
fn split<'a>(source: &'a str, names: &[String], own: bool) -> (Option<&'a str>, &'a str) {
    match source.split_once(':') {
        Some((name, rest)) if names.iter().any(|n| n == name) || own && name == HYPERVISOR => {
            (Some(name), rest)
        }
        _ => (None, source),
    }
}

/// Reads `TEXT` or `PARTITION:TEXT` into the bytes to type: the change of the keyboard's owner, the text with its
/// escapes resolved, and Enter unless the text ends in a line end or `\c`.
///
/// # Errors
/// An escape is unknown.
pub fn keystrokes(source: &str, names: &[String]) -> Outcome<Vec<u8>> {
    let (name, text) = split(source, names, false);
    let mut bytes = Vec::new();
    if let Some(name) = name {
        bytes.extend(format!("\x07={name}\r").bytes());
    }
    let typed = unescape(text).ok_or_else(|| {
        Failure::usage(format!(
            "`{source}`: the escapes are \\n, \\r, \\t, \\\\, \\xNN, and \\c at the end"
        ))
    })?;
    bytes.extend(typed);
    Ok(bytes)
}

/// Resolves escapes and adds Enter. `None`: an escape is unknown.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        match rest.next()? {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                let digits = Some(digits).filter(|digits| digits.len() == 2)?;
                bytes.push(u8::from_str_radix(&digits, 16).ok()?);
            }
            'c' if rest.as_str().is_empty() => return Some(bytes),
            _ => return None,
        }
    }
    if !matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.push(b'\r');
    }
    Some(bytes)
}

/// A pattern and what to type when it is seen.
#[derive(Clone, Debug)]
pub struct Step {
    /// What to wait for.
    pub when: Pattern,
    /// What to type, see [`keystrokes`].
    pub send: Vec<u8>,
}

/// What a run waits for.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Pairs, in order.
    pub steps: Vec<Step>,
    /// The text that ends the run with success.
    pub until: Option<Pattern>,
    /// Texts that end it with failure.
    pub fail_on: Vec<Pattern>,
}

impl Script {
    /// Reads a script from the texts of the command line.
    ///
    /// # Errors
    /// A regular expression or an escape is wrong.
    pub fn new(
        pairs: &[(String, String)],
        until: Option<&str>,
        fail_on: &[String],
        names: &[String],
    ) -> Outcome<Self> {
        let step = |(when, send): &(String, String)| {
            Ok(Step {
                when: Pattern::new(when, names)?,
                send: keystrokes(send, names)?,
            })
        };
        Ok(Self {
            steps: pairs.iter().map(step).collect::<Outcome<_>>()?,
            until: until.map(|text| Pattern::new(text, names)).transpose()?,
            fail_on: fail_on
                .iter()
                .map(|text| Pattern::new(text, names))
                .collect::<Outcome<_>>()?,
        })
    }
}

/// What the console asks the run to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Type these bytes.
    Send(Vec<u8>),
    /// The awaited text was seen.
    Matched,
    /// A forbidden text was seen: the pattern.
    Forbidden(String),
    /// EL2 panicked.
    Panic,
    /// EL2 refused to start.
    NotStarted,
}

/// Plays a script against the console.
#[derive(Clone, Debug)]
pub struct Player {
    script: Script,
    done: usize,
    /// What came so far.
    pub transcript: Transcript,
}

impl Player {
    /// Makes a player at the script's start.
    pub fn new(script: Script) -> Self {
        Self {
            script,
            done: 0,
            transcript: Transcript::default(),
        }
    }

    /// Takes an event; a complete or a cut line is matched at once.
    pub fn take(&mut self, event: &Event) -> Vec<Reaction> {
        self.transcript.take(event);
        match event {
            Event::End => {
                let reactions = self.look(true);
                self.transcript.end_line();
                reactions
            }
            Event::Cut => self.look(false),
            _ => Vec::new(),
        }
    }

    /// Matches the unfinished line: for a moment of quiet.
    pub fn quiet(&mut self) -> Vec<Reaction> {
        self.look(false)
    }

    /// Says what the run still waits for.
    pub fn awaited(&self) -> Option<&str> {
        let step = self.script.steps.get(self.done).map(|step| &step.when);
        step.or(self.script.until.as_ref())
            .map(|pattern| pattern.source.as_str())
    }

    /// Matches the current line.
    fn look(&mut self, complete: bool) -> Vec<Reaction> {
        let mut reactions = Vec::new();
        if let Some(end) = self.ending(complete) {
            return vec![end];
        }
        while let Some(pattern) = self.expected() {
            let pattern = pattern.clone();
            let speaker = self.transcript.speaker().clone();
            let line = self.transcript.open_line();
            let Some(end) = pattern.find(&speaker, &line.text, line.consumed) else {
                break;
            };
            line.consumed = end;
            self.transcript.consume_others();
            let step = self.script.steps.get(self.done);
            self.done += 1;
            match step {
                Some(step) => reactions.push(Reaction::Send(step.send.clone())),
                None => {
                    reactions.push(Reaction::Matched);
                    break;
                }
            }
        }
        reactions
    }

    /// Returns the pattern that comes next.
    fn expected(&self) -> Option<&Pattern> {
        match self.script.steps.get(self.done) {
            Some(step) => Some(&step.when),
            None if self.done == self.script.steps.len() => self.script.until.as_ref(),
            None => None,
        }
    }

    /// Does this line end the run, whatever the script waits for?
    fn ending(&mut self, complete: bool) -> Option<Reaction> {
        let speaker = self.transcript.speaker().clone();
        let text = self.transcript.open_line().text.clone();
        if complete && speaker.as_deref() == Some(HYPERVISOR) {
            if text.starts_with(b"PANIC") {
                return Some(Reaction::Panic);
            }
            if text.starts_with(b"not started") {
                return Some(Reaction::NotStarted);
            }
        }
        let mut forbidden = self.script.fail_on.iter();
        let seen = forbidden.find(|pattern| pattern.find(&speaker, &text, 0).is_some());
        seen.map(|pattern| Reaction::Forbidden(pattern.source.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Wire;
    use super::*;

    fn names() -> Vec<String> {
        vec!["loop".to_owned(), "linux".to_owned()]
    }

    /// Plays a script against a stream, quiet at its end.
    fn play(pairs: &[(&str, &str)], until: &str, stream: &str) -> Vec<Reaction> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(w, s)| (w.to_string(), s.to_string()))
            .collect();
        let script = Script::new(&pairs, Some(until), &["forbidden".to_owned()], &names()).unwrap();
        let mut player = Player::new(script);
        let events = Wire::new(&names()).feed(stream.as_bytes());
        let mut reactions: Vec<_> = events.iter().flat_map(|event| player.take(event)).collect();
        reactions.extend(player.quiet());
        reactions
    }

    fn sent(text: &str) -> Reaction {
        Reaction::Send(text.as_bytes().to_vec())
    }

    #[test]
    fn a_prefix_selects_the_partition_and_is_not_matched() {
        assert_eq!(play(&[], "linux:^up", "loop| up\r\n"), []);
        assert_eq!(play(&[], "linux:^up", "linux| up\r\n"), [Reaction::Matched]);
        assert_eq!(play(&[], "linux", "linux| up\r\n"), []);
        assert_eq!(
            play(&[], "time: 5", "loop| time: 5\r\n"),
            [Reaction::Matched]
        );
        assert_eq!(
            play(&[], "bulkhead:on", "bulkhead| on\r\n"),
            [Reaction::Matched]
        );
    }

    #[test]
    fn unfinished_lines_match() {
        assert_eq!(
            play(&[("# $", "nproc")], "x", "linux| / # "),
            [sent("nproc\r")]
        );
    }

    #[test]
    fn pairs_come_in_order_and_before_until() {
        let pairs = [("a", "1"), ("b", "2")];
        let all = [sent("1\r"), sent("2\r"), Reaction::Matched];
        assert_eq!(
            play(
                &pairs,
                "c",
                "loop| c b\r\nloop| a\r\nloop| b\r\nloop| c\r\n"
            ),
            all
        );
        assert_eq!(play(&pairs, "c", "loop| abc\r\n"), all);
        assert_eq!(play(&pairs, "c", "loop| cba\r\n"), [sent("1\r")]);
    }

    #[test]
    fn a_prompt_that_was_cut_and_shown_again_counts_once() {
        let pairs = [("# ", "one"), ("# ", "two")];
        let stream = "linux| / # \0\r\nloop| x\r\nlinux| / # ";
        assert_eq!(play(&pairs, "z", stream), [sent("one\r")]);
        let stream = "linux| / # \0\r\nloop| x\r\nlinux| / # one\r\nlinux| / # ";
        assert_eq!(play(&pairs, "z", stream), [sent("one\r"), sent("two\r")]);
    }

    #[test]
    fn a_match_closes_what_others_had_printed_before() {
        let pairs = [("loop:go", "x")];
        let stream = "linux| ready\0\r\nloop| go\r\nlinux| ready";
        assert_eq!(play(&pairs, "linux:ready", stream), [sent("x\r")]);
    }

    #[test]
    fn fixed_texts_of_the_hypervisor_end_the_run() {
        assert_eq!(play(&[], "z", "bulkhead| PANIC: x\r\n"), [Reaction::Panic]);
        assert_eq!(play(&[], "z", "loop| PANIC: x\r\n"), []);
        let refused = "bulkhead| not started: 2 violations\r\n";
        assert_eq!(play(&[], "z", refused), [Reaction::NotStarted]);
        assert_eq!(
            play(&[], "z", "loop| forbidden\r\n"),
            [Reaction::Forbidden("forbidden".to_owned())]
        );
    }

    #[test]
    fn enter_is_added_and_escapes_are_resolved() {
        let keys = |text: &str| keystrokes(text, &names()).unwrap();
        assert_eq!(keys("ls"), b"ls\r");
        assert_eq!(keys("ls\\n"), b"ls\n");
        assert_eq!(keys("y\\c"), b"y");
        assert_eq!(keys("\\x03\\c"), b"\x03");
        assert_eq!(keys("a\\\\b\\t\\r"), b"a\\b\t\r");
        assert_eq!(keys("linux:ls"), b"\x07=linux\rls\r");
        assert_eq!(keys("other:ls"), b"other:ls\r");
        for wrong in ["\\q", "\\x1", "\\", "a\\cb"] {
            assert!(keystrokes(wrong, &names()).is_err(), "{wrong}");
        }
    }
}
