//! Removes terminal control sequences.

/// Where in a sequence the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [`: ends with a byte 0x40..=0x7e.
    Control,
    /// `ESC ]` and other strings: end with BEL or `ESC \`.
    String,
    /// An intermediate byte was seen: one more follows.
    OneMore,
}

/// Removes control sequences from a stream that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Stripper {
    state: State,
}

impl Stripper {
    /// Returns `bytes` without the sequences; one that is cut by the end goes on with the next piece.
    pub fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().copied().filter(|&b| self.keeps(b)).collect()
    }

    /// Is this byte text?
    fn keeps(&mut self, byte: u8) -> bool {
        let before = self.state;
        self.state = match (before, byte) {
            (State::Text, 0x1b) | (State::String, 0x1b) => State::Escape,
            (State::Text, _) => State::Text,
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => State::String,
            (State::Escape, 0x20..=0x2f) => State::OneMore,
            (State::Escape | State::OneMore, _) => State::Text,
            (State::Control, 0x40..=0x7e) => State::Text,
            (State::Control, _) => State::Control,
            (State::String, 0x07) => State::Text,
            (State::String, _) => State::String,
        };
        before == State::Text && byte != 0x1b
    }
}

/// Removes the sequences that a terminal answers (where is the cursor, who are you): a prompt that is shown again would
/// make it type the answer into the guest again.
#[derive(Clone, Debug, Default)]
pub struct Unasked {
    /// The sequence so far, empty outside of one.
    sequence: Vec<u8>,
}

impl Unasked {
    /// Returns `bytes` without the questions; a sequence that is cut by the end goes on with the next piece.
    pub fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut kept = Vec::new();
        for &byte in bytes {
            let inside = !self.sequence.is_empty();
            if !inside && byte != 0x1b {
                kept.push(byte);
                continue;
            }
            self.sequence.push(byte);
            let done = match self.sequence.len() {
                1 => false,
                2 => byte != b'[',
                _ => (0x40..=0x7e).contains(&byte),
            };
            if done {
                let question = matches!(self.sequence.as_slice(), [_, b'[', .., b'n' | b'c']);
                let sequence = std::mem::take(&mut self.sequence);
                kept.extend(sequence.into_iter().filter(|_| !question));
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_to_the_terminal_are_removed_and_the_rest_is_kept() {
        let mut unasked = Unasked::default();
        assert_eq!(
            unasked.strip(b"\x1b[1mb\x1b[m # \x1b[6n"),
            b"\x1b[1mb\x1b[m # "
        );
        assert_eq!(unasked.strip(b"a\x1b[c\x1b[J\x1bMz"), b"a\x1b[J\x1bMz");
        assert_eq!(unasked.strip(b"a\x1b[6"), b"a");
        assert_eq!(unasked.strip(b"nb"), b"b");
    }

    #[test]
    fn removes_colours_queries_and_titles() {
        let strip = |text: &str| {
            let text = Stripper::default().strip(text.as_bytes());
            String::from_utf8(text).unwrap()
        };
        assert_eq!(strip("\x1b[1;34mbin\x1b[m etc"), "bin etc");
        assert_eq!(strip("/ # \x1b[6n"), "/ # ");
        assert_eq!(strip("\x1b]0;title\x07$ "), "$ ");
        assert_eq!(strip("a\x1b(Bb"), "ab");
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        let mut stripper = Stripper::default();
        assert_eq!(stripper.strip(b"a\x1b[1"), b"a");
        assert_eq!(stripper.strip(b";3mb"), b"b");
    }
}
