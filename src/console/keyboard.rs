//! What a byte from the person at the keyboard means.
//!
//! Everything goes to the partition with the focus, except what follows the escape key Ctrl-G: Ctrl-G again sends
//! one, `n` and `p` move the focus to the next and previous partition with a console, a digit to the partition at
//! that position of the table (the first is 0), `=NAME` and Enter to one by name, `l` lists partitions, anything
//! else asks for help.

use crate::config::record::NAME_BYTES;
use crate::ids::PartitionId;

/// The escape key, Ctrl-G.
pub const ESCAPE: u8 = 0x07;

/// The partitions that a person can type to.
pub trait Consoles {
    /// Returns the number of partitions.
    fn count(&self) -> u8;

    /// Says whether a partition has a console.
    fn has_console(&self, partition: PartitionId) -> bool;

    /// Returns a partition's name.
    fn name(&self, partition: PartitionId) -> &[u8];
}

/// What to do with a byte that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputAction {
    /// Nothing yet.
    None,
    /// Put the byte into the partition's UART.
    Deliver(PartitionId, u8),
    /// The focus is now on this partition: say so.
    Focus(PartitionId),
    /// No such partition, or it has no console: say so.
    Refused,
    /// List the partitions and their states.
    List,
    /// Say which keys there are.
    Help,
}

/// What came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    Escaped,
    /// Collecting a name of this length.
    Name(u8),
}

/// The state of the keyboard.
#[derive(Clone, Debug)]
pub struct Keyboard {
    focus: PartitionId,
    state: State,
    name: [u8; NAME_BYTES],
}

impl Keyboard {
    /// Returns the keyboard with its focus on a partition.
    pub const fn new(focus: PartitionId) -> Self {
        Self {
            focus,
            state: State::Plain,
            name: [0; NAME_BYTES],
        }
    }

    /// Returns the partition that has the focus.
    pub const fn focus(&self) -> PartitionId {
        self.focus
    }

    /// Takes a byte.
    pub fn input<C: Consoles>(&mut self, byte: u8, consoles: &C) -> InputAction {
        match self.state {
            State::Plain if byte == ESCAPE => {
                self.state = State::Escaped;
                InputAction::None
            }
            State::Plain => self.deliver(byte, consoles),
            State::Escaped => {
                self.state = State::Plain;
                self.command(byte, consoles)
            }
            State::Name(length) => self.collect(byte, length, consoles),
        }
    }

    /// Hands a byte to the partition with the focus.
    fn deliver<C: Consoles>(&self, byte: u8, consoles: &C) -> InputAction {
        if consoles.has_console(self.focus) {
            InputAction::Deliver(self.focus, byte)
        } else {
            InputAction::None
        }
    }

    /// Takes the key behind the escape key.
    fn command<C: Consoles>(&mut self, byte: u8, consoles: &C) -> InputAction {
        match byte {
            ESCAPE => self.deliver(ESCAPE, consoles),
            b'n' => self.step(1, consoles),
            b'p' => self.step(consoles.count().saturating_sub(1), consoles),
            b'0'..=b'9' => self.set_focus(PartitionId(byte - b'0'), consoles),
            b'=' => {
                self.state = State::Name(0);
                InputAction::None
            }
            b'l' => InputAction::List,
            _ => InputAction::Help,
        }
    }

    /// Moves the focus by `step` partitions, and on until one has a console.
    fn step<C: Consoles>(&mut self, step: u8, consoles: &C) -> InputAction {
        let count = u16::from(consoles.count());
        let mut at = u16::from(self.focus.0);
        for _ in 0..count {
            at = (at + u16::from(step)) % count;
            let partition = PartitionId(at as u8);
            if consoles.has_console(partition) {
                return self.set_focus(partition, consoles);
            }
        }
        InputAction::Refused
    }

    /// Sets the focus.
    fn set_focus<C: Consoles>(&mut self, partition: PartitionId, consoles: &C) -> InputAction {
        if partition.0 >= consoles.count() || !consoles.has_console(partition) {
            return InputAction::Refused;
        }
        self.focus = partition;
        InputAction::Focus(partition)
    }

    /// Takes a byte of a name.
    fn collect<C: Consoles>(&mut self, byte: u8, length: u8, consoles: &C) -> InputAction {
        match byte {
            b'\r' | b'\n' => {
                self.state = State::Plain;
                let typed = self.name.get(..usize::from(length)).unwrap_or_default();
                let found = (0..consoles.count())
                    .map(PartitionId)
                    .find(|partition| consoles.name(*partition) == typed);
                match found {
                    Some(partition) => self.set_focus(partition, consoles),
                    None => InputAction::Refused,
                }
            }
            // Backspace.
            0x08 | 0x7f => {
                self.state = State::Name(length.saturating_sub(1));
                InputAction::None
            }
            // A control character or a name that is too long gives up.
            _ => match self.name.get_mut(usize::from(length)) {
                Some(place) if byte >= b' ' => {
                    *place = byte;
                    self.state = State::Name(length + 1);
                    InputAction::None
                }
                _ => {
                    self.state = State::Plain;
                    InputAction::Refused
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partitions `loop`, `quiet` (without console), `linux`.
    struct Three;

    impl Consoles for Three {
        fn count(&self) -> u8 {
            3
        }

        fn has_console(&self, partition: PartitionId) -> bool {
            matches!(partition.0, 0 | 2)
        }

        fn name(&self, partition: PartitionId) -> &[u8] {
            [b"loop".as_slice(), b"quiet", b"linux"][usize::from(partition.0)]
        }
    }

    fn last(keyboard: &mut Keyboard, keys: &[u8]) -> InputAction {
        keys.iter()
            .map(|key| keyboard.input(*key, &Three))
            .last()
            .unwrap()
    }

    const LOOP: PartitionId = PartitionId(0);
    const LINUX: PartitionId = PartitionId(2);

    #[test]
    fn bytes_go_to_the_focus() {
        let mut keyboard = Keyboard::new(LINUX);
        for byte in (0..=255).filter(|byte| *byte != ESCAPE) {
            assert_eq!(
                keyboard.input(byte, &Three),
                InputAction::Deliver(LINUX, byte)
            );
        }
        assert_eq!(last(&mut keyboard, b"\x07"), InputAction::None);
        assert_eq!(
            last(&mut keyboard, b"\x07"),
            InputAction::Deliver(LINUX, 7),
            "twice sends one"
        );
        assert_eq!(last(&mut keyboard, b"n"), InputAction::Deliver(LINUX, b'n'));
    }

    #[test]
    fn focus_moves_among_those_with_a_console() {
        let mut keyboard = Keyboard::new(LOOP);
        assert_eq!(last(&mut keyboard, b"\x07n"), InputAction::Focus(LINUX));
        assert_eq!(last(&mut keyboard, b"\x07n"), InputAction::Focus(LOOP));
        assert_eq!(last(&mut keyboard, b"\x07p"), InputAction::Focus(LINUX));
        assert_eq!(last(&mut keyboard, b"\x07p"), InputAction::Focus(LOOP));
        assert_eq!(last(&mut keyboard, b"\x072"), InputAction::Focus(LINUX));
        assert_eq!(last(&mut keyboard, b"\x071"), InputAction::Refused);
        assert_eq!(last(&mut keyboard, b"\x079"), InputAction::Refused);
        assert_eq!(keyboard.focus(), LINUX);
    }

    #[test]
    fn names_set_the_focus() {
        let mut keyboard = Keyboard::new(LOOP);
        assert_eq!(
            last(&mut keyboard, b"\x07=linux\r"),
            InputAction::Focus(LINUX)
        );
        assert_eq!(
            last(&mut keyboard, b"\x07=x\x7floop\n"),
            InputAction::Focus(LOOP)
        );
        assert_eq!(last(&mut keyboard, b"\x07=quiet\r"), InputAction::Refused);
        assert_eq!(last(&mut keyboard, b"\x07=\r"), InputAction::Refused);
        assert_eq!(last(&mut keyboard, b"\x07=li\x1b"), InputAction::Refused);
        assert_eq!(last(&mut keyboard, b"a"), InputAction::Deliver(LOOP, b'a'));
        let long = [b"\x07=".as_slice(), &[b'a'; 33]].concat();
        assert_eq!(last(&mut keyboard, &long), InputAction::Refused);
        assert_eq!(last(&mut keyboard, b"a"), InputAction::Deliver(LOOP, b'a'));
    }

    #[test]
    fn list_and_help() {
        let mut keyboard = Keyboard::new(LOOP);
        assert_eq!(last(&mut keyboard, b"\x07l"), InputAction::List);
        assert_eq!(last(&mut keyboard, b"\x07?"), InputAction::Help);
        assert_eq!(last(&mut keyboard, b"\x07z"), InputAction::Help);
    }

    struct Nobody;

    impl Consoles for Nobody {
        fn count(&self) -> u8 {
            0
        }

        fn has_console(&self, _: PartitionId) -> bool {
            false
        }

        fn name(&self, _: PartitionId) -> &[u8] {
            b""
        }
    }

    #[test]
    fn without_consoles_nothing_is_delivered() {
        let mut keyboard = Keyboard::new(LOOP);
        for byte in 0..=255 {
            assert!(!matches!(
                keyboard.input(byte, &Nobody),
                InputAction::Deliver(..) | InputAction::Focus(_)
            ));
        }
    }
}
