//! The console as lines of partitions, without control sequences.

use std::collections::BTreeMap;

use super::ansi::Stripper;
use super::wire::Event;

/// Who prints: a partition, EL2, or `None` where a line has no prefix.
pub type Speaker = Option<String>;

/// A complete line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who printed it.
    pub speaker: Speaker,
    /// Its text without prefix, line end and control sequences.
    pub text: String,
}

/// A line that is not complete yet.
#[derive(Clone, Debug, Default)]
pub struct OpenLine {
    /// Its text so far.
    pub text: Vec<u8>,
    /// Bytes of `text` that a script has dealt with.
    pub consumed: usize,
    stripper: Stripper,
}

/// All complete lines, and the open line of each speaker. A line that was cut stays open: shown again, it is the
/// same line, so what a script has seen of it does not count twice.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Complete lines in the order of their ends.
    pub lines: Vec<Line>,
    open: BTreeMap<Speaker, OpenLine>,
    current: Speaker,
}

impl Transcript {
    /// Takes an event other than the end of a line.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Begin(speaker) => {
                self.current.clone_from(speaker);
                let open = self.open.entry(speaker.clone()).or_default();
                open.text.clear();
                open.stripper = Stripper::default();
            }
            Event::Text(text) => {
                let open = self.open.entry(self.current.clone()).or_default();
                let text = open.stripper.strip(text);
                open.text.extend(text);
            }
            Event::Cut | Event::End => {}
        }
    }

    /// Returns who prints at the moment.
    pub fn speaker(&self) -> &Speaker {
        &self.current
    }

    /// Returns the line that is being printed.
    pub fn open_line(&mut self) -> &mut OpenLine {
        self.open.entry(self.current.clone()).or_default()
    }

    /// Marks all that has come so far as dealt with: a script looks only behind its last match.
    pub fn consume_others(&mut self) {
        for (speaker, line) in &mut self.open {
            if *speaker != self.current {
                line.consumed = line.consumed.max(line.text.len());
            }
        }
    }

    /// Completes the current line.
    pub fn end_line(&mut self) {
        let open = self.open.remove(&self.current).unwrap_or_default();
        self.lines.push(Line {
            speaker: self.current.clone(),
            text: String::from_utf8_lossy(&open.text).into_owned(),
        });
    }

    /// Returns the last `count` lines for people, prefixes included.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let skip = self.lines.len().saturating_sub(count);
        let whole = self
            .lines
            .iter()
            .skip(skip)
            .map(|line| (&line.speaker, line.text.clone()));
        let open = self.open.iter().filter(|(_, line)| !line.text.is_empty());
        let open =
            open.map(|(speaker, line)| (speaker, String::from_utf8_lossy(&line.text).into_owned()));
        whole
            .chain(open)
            .map(|(speaker, text)| match speaker {
                Some(name) => format!("{name}| {text}"),
                None => text,
            })
            .collect()
    }
}
