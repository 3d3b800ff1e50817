//! Small statistics over counts: least, mean, greatest, and a histogram by powers of two.

/// Number of buckets of a [`Histogram`]: one for 0, one for each power of two below 2^31, the last for the rest.
pub const BUCKETS: usize = 32;

/// Least, mean and greatest of a series of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Summary {
    /// Returns the summary of no values.
    pub const fn new() -> Self {
        Self {
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }

    /// Takes one more value in.
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Returns how many values were taken in.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the least value, 0 when there is none.
    pub const fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// Returns the greatest value, 0 when there is none.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Returns the mean rounded to the nearest whole number, 0 when there is none.
    pub const fn mean(&self) -> u64 {
        match (self.sum + self.count / 2).checked_div(self.count) {
            Some(mean) => mean,
            None => 0,
        }
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts of values by powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
}

impl Histogram {
    /// Returns an empty histogram.
    pub const fn new() -> Self {
        Self {
            buckets: [0; BUCKETS],
        }
    }

    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }

    /// Lists the buckets that hold something as (least value of the bucket, first value beyond it, count).
    ///
    /// The last bucket's end is `u64::MAX`: it holds everything from 2^30 on.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.buckets
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| {
                let from = if bucket == 0 { 0 } else { 1 << (bucket - 1) };
                let to = if bucket == BUCKETS - 1 {
                    u64::MAX
                } else {
                    1 << bucket
                };
                (from, to, *count)
            })
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summarizes_nothing_as_zeros() {
        let summary = Summary::new();
        assert_eq!(
            (
                summary.min(),
                summary.mean(),
                summary.max(),
                summary.count()
            ),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn rounds_the_mean_to_the_nearest() {
        let mut summary = Summary::new();
        for value in [1, 2, 2] {
            summary.add(value);
        }
        assert_eq!(
            (
                summary.min(),
                summary.mean(),
                summary.max(),
                summary.count()
            ),
            (1, 2, 2, 3)
        );
    }

    #[test]
    fn puts_a_value_between_its_powers_of_two() {
        let mut histogram = Histogram::new();
        for value in [0, 1, 2, 3, 4, 1 << 40] {
            histogram.add(value);
        }
        let rows: Vec<_> = histogram.rows().collect();
        assert_eq!(
            rows,
            [
                (0, 1, 1),
                (1, 2, 1),
                (2, 4, 2),
                (4, 8, 1),
                (1 << 30, u64::MAX, 1)
            ]
        );
    }
}
