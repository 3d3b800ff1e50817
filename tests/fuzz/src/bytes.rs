//! Takes numbers from the front of an input; what is missing is zero.

/// An input that is read from the front.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Says whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Takes a number of this many bytes, at most 8, the lowest first.
    pub fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |sum, n| sum | u64::from(self.byte()) << (8 * n))
    }
}
