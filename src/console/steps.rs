//! The steps of start-up, each with a letter: what is left to see of a start that ends in silence.
//!
//! The last one stands in memory, at the symbol `START_STEP`. An image that was built with `--letters` sends each to the UART
//! of its table too, from the first instruction on: before the MMU is on, and without waiting for room.

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// EL2's first instruction ran.
    Entered = b'A',
    /// It is at EL2, and the tables of its own map are written.
    OwnMap = b'B',
    /// The MMU is on, the payload's header is mapped, and the table's UART answers if the payload names one.
    Mapped = b'C',
    /// The device tree is read.
    Tree = b'D',
    /// The payload is read and believed.
    Payload = b'E',
    /// The table fits the board, and memory is placed.
    Planned = b'F',
    /// Partitions and pCPUs are made, the interrupt controller answers.
    Built = b'G',
    /// EL2's own map was looked at.
    Audited = b'H',
    /// The other pCPUs were started; guests run from here on. In memory alone: others may be talking.
    Started = b'I',
}

impl Step {
    /// Returns its letter.
    pub const fn letter(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_follow_the_alphabet() {
        let steps = [Step::Entered, Step::OwnMap, Step::Mapped, Step::Tree];
        assert_eq!(steps.map(Step::letter), *b"ABCD");
        let steps = [Step::Payload, Step::Planned, Step::Built, Step::Audited];
        assert_eq!(steps.map(Step::letter), *b"EFGH");
        assert_eq!(Step::Started.letter(), b'I');
    }
}
