//! Small statistics over counts: least, mean, greatest, and the buckets of a histogram by powers of two.

/// Number of buckets of a histogram: one for 0, one for each power of two below 2^30, the last for the rest.
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

    /// Returns the summary of `count` values, which was made elsewhere.
    pub const fn of(count: u64, sum: u64, min: u64, max: u64) -> Self {
        Self {
            count,
            sum,
            min,
            max,
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

    /// Returns the sum of all values; it stays at `u64::MAX` when it does not fit.
    pub const fn sum(&self) -> u64 {
        self.sum
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

/// Returns the bucket of a histogram by powers of two that a value belongs to.
pub const fn bucket(value: u64) -> usize {
    let bucket = (u64::BITS - value.leading_zeros()) as usize;
    if bucket < BUCKETS {
        bucket
    } else {
        BUCKETS - 1
    }
}

/// Returns the least and the greatest value of a bucket. The last one ends at `u64::MAX`.
pub const fn bucket_range(bucket: usize) -> (u64, u64) {
    match bucket {
        0 => (0, 0),
        _ if bucket + 1 >= BUCKETS => (1 << (BUCKETS - 2), u64::MAX),
        _ => (1 << (bucket - 1), (1 << bucket) - 1),
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
        let buckets = [0, 1, 2, 3, 4, 1 << 29, 1 << 30, u64::MAX].map(bucket);
        assert_eq!(buckets, [0, 1, 2, 2, 3, 30, 31, 31]);
    }

    #[test]
    fn says_what_a_bucket_holds() {
        assert_eq!(bucket_range(0), (0, 0));
        assert_eq!(bucket_range(1), (1, 1));
        assert_eq!(bucket_range(3), (4, 7));
        assert_eq!(bucket_range(30), (1 << 29, (1 << 30) - 1));
        assert_eq!(bucket_range(31), (1 << 30, u64::MAX));
    }
}
