//! Numbers that look drawn, the same in every run with the same seed.

use core::sync::atomic::{AtomicU64, Ordering};

/// A generator.
pub struct Random(AtomicU64);

impl Random {
    /// Makes one that starts from a seed, which must not be 0.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Begins anew from a seed, which must not be 0.
    pub fn seed(&self, seed: u64) {
        self.0.store(seed, Ordering::Relaxed);
    }

    /// Draws the next value: xorshift64*. One vCPU at a time draws.
    pub fn draw(&self) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.store(state, Ordering::Relaxed);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Draws a number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        (self.draw() >> 32) % limit
    }
}

static COMMON: Random = Random::new(0x9e37_79b9_7f4a_7c15);

/// Begins anew from a seed, which must not be 0.
pub fn seed(seed: u64) {
    COMMON.seed(seed);
}

/// Draws the next value. One vCPU draws.
pub fn random() -> u64 {
    COMMON.draw()
}

/// Draws a number below `limit`.
pub fn below(limit: u64) -> u64 {
    COMMON.below(limit)
}
