//! Time: to wait, and to know how late it is.

use core::arch::asm;

use crate::call;

const NANOSLEEP: usize = 101;
const CLOCK_GETTIME: usize = 113;

/// Returns a `struct timespec` of so many milliseconds.
pub(crate) const fn timespec(ms: u64) -> [u64; 2] {
    [ms / 1000, ms % 1000 * 1_000_000]
}

/// Waits.
pub fn sleep_ms(ms: u64) {
    let time = timespec(ms);
    // SAFETY: the kernel reads the time. A signal that ends the wait early does no harm.
    let _ = unsafe { call(NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0, 0, 0]) };
}

/// Returns the time since the kernel's clock began, in nanoseconds.
pub fn now_ns() -> u64 {
    const MONOTONIC: usize = 1;
    let mut time = [0_u64; 2];
    let at = time.as_mut_ptr() as usize;
    // SAFETY: `struct timespec` has two words. This clock is always there.
    let _ = unsafe { call(CLOCK_GETTIME, [MONOTONIC, at, 0, 0, 0, 0]) };
    time[0] * 1_000_000_000 + time[1]
}

/// Returns the same in milliseconds.
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Returns the count that all partitions see alike, and its frequency in Hz. Linux lets programs read both.
pub fn count() -> (u64, u64) {
    let (count, frequency);
    // SAFETY: reads of the counter change nothing.
    unsafe {
        asm!("isb", "mrs {c}, cntvct_el0", "mrs {f}, cntfrq_el0", c = out(reg) count, f = out(reg) frequency,
            options(nomem, nostack))
    };
    (count, frequency)
}
