//! What is known about the wake-ups so far.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::queue::Queue;
use guest_runtime::{stats, timer};

/// Counters that the interrupt handler alone writes and everyone reads.
pub struct Jitter {
    periods: AtomicU64,
    missed: AtomicU64,
    worst_ns: AtomicU64,
    by_power: [AtomicU64; stats::BUCKETS],
}

/// Adds to a counter that has one writer.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Jitter {
    /// Returns counters at zero.
    pub const fn new() -> Self {
        Self {
            periods: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            worst_ns: AtomicU64::new(0),
            by_power: [const { AtomicU64::new(0) }; stats::BUCKETS],
        }
    }

    /// Counts a wake-up that came `late` ticks after its deadline, and `skipped` periods after it that passed unserved.
    pub fn count(&self, late: u64, missed: bool, skipped: u64) {
        let late_ns = timer::ticks_to_ns(late);
        self.worst_ns
            .store(late_ns.max(self.worst_ns()), Ordering::Relaxed);
        add(&self.by_power[stats::bucket(late_ns)], 1);
        add(&self.missed, u64::from(missed) + skipped);
        add(&self.periods, 1 + skipped);
    }

    /// Returns the periods so far, missed ones included.
    pub fn periods(&self) -> u64 {
        self.periods.load(Ordering::Relaxed)
    }

    /// Returns the missed periods so far.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Returns the worst lateness so far in nanoseconds.
    pub fn worst_ns(&self) -> u64 {
        self.worst_ns.load(Ordering::Relaxed)
    }

    /// Queues a histogram of the lateness: one line for each power of two of nanoseconds that occurred.
    pub fn print(&self, output: &mut Queue) {
        // A queue takes all text or drops it; it never fails.
        let _ = writeln!(output, "wake-up latency of {} periods:", self.periods());
        for (bucket, counter) in self.by_power.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                let (from, to) = stats::bucket_range(bucket);
                let _ = writeln!(output, "  {from} to {to} ns: {count}");
            }
        }
    }
}
