//! The bytes of a half's ring.

use crate::{Memory, field};

/// Bytes of a message's length.
const LENGTH: u64 = 8;

/// Where a half lies, and how large its ring is.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    start: usize,
    ring: usize,
}

impl Half {
    /// Returns a half of `memory`: `side` is 0 or 1. `None`: the memory is too small for a ring.
    pub fn new(memory: &impl Memory, side: u8) -> Option<Self> {
        let bytes = memory.size() / 16 * 8;
        let ring = bytes.checked_sub(field::RING)?;
        (ring >= 64).then_some(Self {
            start: if side == 0 { 0 } else { bytes },
            ring,
        })
    }

    /// Returns where a field lies.
    pub fn field(&self, field: usize) -> usize {
        self.start + field
    }

    /// Returns the ring's size.
    pub fn ring(&self) -> u64 {
        self.ring as u64
    }

    /// Returns the longest message.
    pub fn longest(&self) -> usize {
        self.ring - LENGTH as usize
    }

    /// Returns where a byte of the stream lies; inside the half whatever `position` is.
    fn place(&self, position: u64) -> usize {
        self.start + field::RING + (position % self.ring as u64) as usize / 8 * 8
    }

    /// Writes a message at a position of the stream and returns the position behind it.
    pub fn put(&self, memory: &impl Memory, position: u64, message: &[u8]) -> u64 {
        memory.write(self.place(position), message.len() as u64);
        let mut position = position.wrapping_add(LENGTH);
        for chunk in message.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            memory.write(self.place(position), u64::from_le_bytes(word));
            position = position.wrapping_add(8);
        }
        position
    }

    /// Reads the length of the message at a position, which has to fit into the bytes that are there.
    pub fn length(&self, memory: &impl Memory, position: u64, available: u64) -> Option<usize> {
        let length = memory.read(self.place(position));
        let fits = length <= self.ring() && space(length as usize) <= available;
        fits.then_some(length as usize)
    }

    /// Copies a message, whose length was checked, and returns the position behind it.
    pub fn get(&self, memory: &impl Memory, position: u64, message: &mut [u8]) -> u64 {
        let mut position = position.wrapping_add(LENGTH);
        for chunk in message.chunks_mut(8) {
            let word = memory.read(self.place(position)).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
            position = position.wrapping_add(8);
        }
        position
    }
}

/// Returns the bytes that a message takes in a ring.
pub fn space(length: usize) -> u64 {
    LENGTH + (length as u64).next_multiple_of(8)
}
