//! The format on the UART: lines `NAME| text\r\n`, unfinished lines, and lines that give way to another's.
//!
//! EL2 shows an unfinished line (a prompt) without a line end. When it must give way, EL2 sends NUL, CR, LF: the
//! line was cut and will be shown again from its beginning. NULs are never text.

/// A piece of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line of this partition begins; `None` when no known prefix stood there.
    Begin(Option<String>),
    /// Text of the current line.
    Text(Vec<u8>),
    /// The line is complete.
    End,
    /// The line was cut and will be shown again.
    Cut,
}

/// EL2's own name on the console.
pub const HYPERVISOR: &str = "bulkhead";

/// Splits the stream into events.
#[derive(Clone, Debug)]
pub struct Wire {
    names: Vec<String>,
    /// Bytes at a line's start that may become a prefix; `None` inside a line.
    start: Option<Vec<u8>>,
    cut: bool,
    returns: usize,
}

impl Wire {
    /// Makes a splitter that takes `NAME| ` for a prefix where NAME is one of `names` or EL2's own.
    pub fn new(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.push(HYPERVISOR.to_owned());
        Self {
            names,
            start: Some(Vec::new()),
            cut: false,
            returns: 0,
        }
    }

    /// Takes bytes and returns what they say.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            self.take(byte, &mut events);
        }
        events
    }

    /// Gives out what stands at a line's start and has not become a prefix; for the end of the stream.
    pub fn flush(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.start.as_ref().is_some_and(|start| !start.is_empty()) {
            self.begin(None, &mut events);
        }
        events
    }

    /// Takes one byte.
    fn take(&mut self, byte: u8, events: &mut Vec<Event>) {
        match byte {
            0 => self.cut = true,
            b'\r' => self.returns += 1,
            b'\n' => {
                if self.start.is_some() {
                    self.begin(None, events);
                }
                events.push(if self.cut { Event::Cut } else { Event::End });
                self.start = Some(Vec::new());
                (self.cut, self.returns) = (false, 0);
            }
            _ => {
                let returns = std::mem::take(&mut self.returns);
                self.cut = false;
                for _ in 0..returns {
                    self.text(b'\r', events);
                }
                self.text(byte, events);
            }
        }
    }

    /// Takes a byte of text.
    fn text(&mut self, byte: u8, events: &mut Vec<Event>) {
        let Some(start) = &mut self.start else {
            match events.last_mut() {
                Some(Event::Text(text)) => text.push(byte),
                _ => events.push(Event::Text(vec![byte])),
            }
            return;
        };
        start.push(byte);
        let matches = |name: &&String| {
            let prefix = format!("{name}| ");
            prefix.as_bytes().starts_with(start)
        };
        match self.names.iter().find(matches) {
            Some(name) if start.len() == name.len() + 2 => {
                let name = name.clone();
                self.start = Some(Vec::new());
                self.begin(Some(name), events);
            }
            Some(_) => {}
            None => self.begin(None, events),
        }
    }

    /// Begins a line with what stood at its start.
    fn begin(&mut self, name: Option<String>, events: &mut Vec<Event>) {
        events.push(Event::Begin(name));
        if let Some(start) = self.start.take().filter(|start| !start.is_empty()) {
            events.push(Event::Text(start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(name: &str) -> Event {
        Event::Begin(Some(name.to_owned()))
    }

    fn text(text: &str) -> Event {
        Event::Text(text.as_bytes().to_vec())
    }

    fn wire() -> Wire {
        Wire::new(&["loop".to_owned(), "linux".to_owned()])
    }

    #[test]
    fn splits_lines_by_partition() {
        let events = wire().feed(b"loop| one\r\nbulkhead| up\r\n");
        assert_eq!(
            events,
            [
                begin("loop"),
                text("one"),
                Event::End,
                begin("bulkhead"),
                text("up"),
                Event::End
            ]
        );
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let mut wire = wire();
        let events: Vec<Event> = b"linux| a\r\n"
            .iter()
            .flat_map(|&b| wire.feed(&[b]))
            .collect();
        assert_eq!(events, [begin("linux"), text("a"), Event::End]);
    }

    #[test]
    fn nul_before_the_line_end_means_cut() {
        let events = wire().feed(b"linux| / # \0\r\nloop| x\r\nlinux| / # ");
        assert_eq!(
            events,
            [
                begin("linux"),
                text("/ # "),
                Event::Cut,
                begin("loop"),
                text("x"),
                Event::End,
                begin("linux"),
                text("/ # ")
            ]
        );
    }

    #[test]
    fn text_without_a_known_prefix_belongs_to_nobody() {
        let mut wire = wire();
        let lines = |events: Vec<Event>| {
            let text = events.iter().filter_map(|event| match event {
                Event::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                Event::End => Some("\n".to_owned()),
                _ => None,
            });
            text.collect::<String>()
        };
        let events = wire.feed(b"U-Boot| 2024\r\nlog\r\n");
        assert!(!events.iter().any(|e| matches!(e, Event::Begin(Some(_)))));
        assert_eq!(lines(events), "U-Boot| 2024\nlog\n");
    }

    #[test]
    fn returns_inside_a_line_are_text_and_before_its_end_are_not() {
        let events = wire().feed(b"loop| 10%\r20%\r\r\n");
        assert_eq!(events, [begin("loop"), text("10%\r20%"), Event::End]);
    }

    #[test]
    fn the_end_gives_out_a_half_prefix() {
        let mut wire = wire();
        assert_eq!(wire.feed(b"loo"), []);
        assert_eq!(wire.flush(), [Event::Begin(None), text("loo")]);
    }
}
