//! Numbers that look random and are the same in every run.

/// A generator of numbers (xorshift, 64 bits).
#[derive(Clone, Copy, Debug)]
pub struct Noise(u64);

impl Noise {
    /// Starts a sequence: one for each seed but 0, which counts as 1.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// Returns the next number, at least -1 and less than 1.
    pub fn draw(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half as a signed number: it fits a float exactly.
        let upper = (self.0 >> 32) as u32;
        f64::from(upper.cast_signed()) / 2_147_483_648.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_over_its_range_and_repeats_for_a_seed() {
        let mut noise = Noise::new(7);
        let mut again = Noise::new(7);
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let number = noise.draw();
            assert!((-1.0..1.0).contains(&number));
            assert_eq!(number.to_bits(), again.draw().to_bits());
            quarters[((number + 1.0) * 2.0) as usize] += 1;
        }
        assert!(
            quarters.iter().all(|count| (900..1100).contains(count)),
            "{quarters:?}"
        );
    }

    #[test]
    fn a_seed_of_zero_does_not_stand_still() {
        let mut noise = Noise::new(0);
        assert!(noise.draw() != noise.draw());
    }
}
