//! A CPU-bound neighbour: integer, FP and memory work without a pause, no interrupt, no wait.
//!
//! Once in [`REPORT_S`] seconds it prints `load N turns`, N counting from the start, so that one sees it run.
#![no_std]
#![no_main]

use guest_runtime::{entry, mmu, println, timer};

/// Seconds between two lines.
const REPORT_S: u64 = 2;
/// Words of the memory that it works on: more than a first-level cache.
const WORDS: usize = 16 * 1024;

struct Work(core::cell::UnsafeCell<[u64; WORDS]>);

// SAFETY: one vCPU runs here, and it has no interrupt handler.
unsafe impl Sync for Work {}

static WORK: Work = Work(core::cell::UnsafeCell::new([0; WORDS]));

entry!(main);

fn main() -> ! {
    mmu::enable();
    // SAFETY: the only reference there is.
    let words = unsafe { &mut *WORK.0.get() };
    let mut next_report = timer::now() + REPORT_S * timer::frequency();
    let mut turns = 0_u64;
    let mut sum = 0.5_f64;
    loop {
        for (place, word) in words.iter_mut().enumerate() {
            *word = word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(place as u64);
            sum = sum * 0.999 + (*word >> 40) as f64;
        }
        core::hint::black_box(sum);
        turns += 1;
        if timer::now() >= next_report {
            next_report += REPORT_S * timer::frequency();
            println!("load {turns} turns");
        }
    }
}
