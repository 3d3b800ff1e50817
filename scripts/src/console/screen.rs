//! What people see of the console.

use std::fs::File;
use std::io::{self, Write};

use super::ansi::{Stripper, Unasked};
use super::transcript::Speaker;
use super::wire::{Event, HYPERVISOR};

/// How to show the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Colour the prefixes, and let the guests' own control sequences through.
    pub colour: bool,
    /// The terminal is in raw mode: a line end needs a carriage return.
    pub raw: bool,
    /// Show nothing (the log file gets it all the same).
    pub hidden: bool,
}

/// Shows events as they come, and writes them to a log without colours.
#[derive(Debug)]
pub struct Screen {
    style: Style,
    log: Option<File>,
    stripper: Stripper,
    unasked: Unasked,
    known: Vec<String>,
    open: bool,
}

impl Screen {
    /// Makes a screen.
    pub fn new(style: Style, log: Option<File>) -> Self {
        Self {
            style,
            log,
            stripper: Stripper::default(),
            unasked: Unasked::default(),
            known: Vec::new(),
            open: false,
        }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// The output or the log is gone.
    pub fn show(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Begin(speaker) => {
                self.stripper = Stripper::default();
                self.unasked = Unasked::default();
                self.open = true;
                self.prefix(speaker)
            }
            Event::Text(text) => {
                let plain = self.stripper.strip(text);
                let shown = match self.style.colour {
                    true => &self.unasked.strip(text),
                    false => &plain,
                };
                self.put(shown, &plain)
            }
            Event::End | Event::Cut => self.close_line(),
        }
    }

    /// Ends an unfinished line, if there is one.
    ///
    /// # Errors
    /// The output or the log is gone.
    pub fn close_line(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let end: &[u8] = match (self.style.raw, self.style.colour) {
            (true, true) => b"\x1b[0m\r\n",
            (true, false) => b"\r\n",
            (false, true) => b"\x1b[0m\n",
            (false, false) => b"\n",
        };
        self.put(end, b"\n")
    }

    /// Shows all that was put so far.
    ///
    /// # Errors
    /// The output is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }

    /// Shows who speaks; everybody has a colour, given out in order of appearance.
    fn prefix(&mut self, speaker: &Speaker) -> io::Result<()> {
        let Some(name) = speaker else {
            return Ok(());
        };
        let plain = format!("{name}| ");
        if !self.style.colour {
            return self.put(plain.as_bytes(), plain.as_bytes());
        }
        let colour = self.colour(name);
        let shown = format!("\x1b[{colour}m{name}|\x1b[0m ");
        self.put(shown.as_bytes(), plain.as_bytes())
    }

    /// Returns the colour of a name: bold for EL2, the terminal's green, yellow, blue, magenta, cyan for partitions.
    fn colour(&mut self, name: &str) -> u8 {
        const BOLD: u8 = 1;
        const COLOURS: [u8; 5] = [32, 33, 34, 35, 36];
        if name == HYPERVISOR {
            return BOLD;
        }
        let known = self.known.iter().position(|n| n == name);
        let place = known.unwrap_or_else(|| {
            self.known.push(name.to_owned());
            self.known.len() - 1
        });
        COLOURS.get(place % COLOURS.len()).copied().unwrap_or(BOLD)
    }

    /// Puts bytes on the screen and into the log.
    fn put(&mut self, shown: &[u8], logged: &[u8]) -> io::Result<()> {
        if let Some(log) = &mut self.log {
            log.write_all(logged)?;
        }
        if self.style.hidden {
            return Ok(());
        }
        io::stdout().write_all(shown)
    }
}
