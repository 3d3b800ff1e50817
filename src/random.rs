//! Random bytes for guests, from a generator seeded by the board's own seed. Eight rounds of ChaCha: a refill of the
//! generator is one piece of work at EL2, and twenty would make it the longest of all.
#![forbid(unsafe_code)]

use chacha20::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// The generator.
pub struct Random {
    generator: ChaCha8Rng,
    seeded: bool,
}

impl Random {
    /// Makes the generator from what the firmware gave (`rng-seed`, `kaslr-seed`) and the time since reset. Without a
    /// seed of at least 16 bytes its output can be guessed, which [`Self::is_seeded`] tells.
    pub fn new(seeds: [&[u8]; 2], time: u64) -> Self {
        let mut key = [0u8; 32];
        let given = seeds.into_iter().flatten();
        for (byte, place) in given.zip((0..key.len()).cycle()) {
            if let Some(place) = key.get_mut(place) {
                *place = place.rotate_left(3) ^ byte;
            }
        }
        for (byte, place) in time.to_le_bytes().iter().zip(&mut key) {
            *place ^= byte;
        }
        let length: usize = seeds.iter().map(|seed| seed.len()).sum();
        Self {
            generator: ChaCha8Rng::from_seed(key),
            seeded: length >= 16,
        }
    }

    /// Says whether the board gave a seed worth the name.
    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// Returns 64 bits, or `None` when the output could be guessed.
    pub fn next_if_seeded(&mut self) -> Option<u64> {
        self.seeded.then(|| self.generator.next_u64())
    }

    /// Fills bytes, as good as the seed is.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }
}
