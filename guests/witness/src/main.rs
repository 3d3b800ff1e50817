//! A CPU-bound guest that says how much of the time the others left to it, at the least.
//!
//! It counts, and looks at the clock once in [`TURNS`] turns; two readings that lie more than [`GAP_NS`] apart mean that
//! somebody else ran. After each [`SPAN_NS`] of the count it prints
//!
//! ```text
//! span N least N ns pauses N
//! ```
//!
//! `least` is the least that it ran in any [`FRAME_NS`] that ended in that span: the period of the others' budgets, so that
//! what is missing of it is what they had. The frames that end with a pause are enough to look at: any other has as much as
//! one of them at least.
#![no_std]
#![no_main]

use guest_runtime::{entry, println, timer};

/// Turns of two instructions between two looks at the clock.
const TURNS: u64 = 50;
/// Time between two lines.
const SPAN_NS: u64 = 250_000_000;
/// Time between two readings in which it cannot have run itself, nor EL2 for it.
const GAP_NS: u64 = 2_000;
/// The frame.
const FRAME_NS: u64 = 10_000_000;
/// Runs that are remembered: more than there are pauses in a frame.
const RUNS: usize = 4096;

/// The runs of the last frame, in ticks, the last one still going on.
struct Seen {
    runs: [(u64, u64); RUNS],
    /// Numbers of the first remembered run, and of the one behind the last.
    first: usize,
    end: usize,
    /// Time in them all.
    sum: u64,
    frame: u64,
}

impl Seen {
    /// Notes a run that is over, and returns what it ran in the frame that ends now, with the pause behind that run; 0 when
    /// not all of it was seen.
    fn note(&mut self, run: (u64, u64), now: u64) -> u64 {
        self.runs[self.end % RUNS] = run;
        self.end += 1;
        self.sum += run.1 - run.0;
        let since = now.saturating_sub(self.frame);
        while self.first != self.end {
            let (begin, end) = self.runs[self.first % RUNS];
            if end > since && self.end - self.first < RUNS {
                return self.sum - since.saturating_sub(begin);
            }
            self.sum -= end - begin;
            self.first += 1;
        }
        0
    }
}

static SEEN: Shared = Shared(core::cell::UnsafeCell::new(Seen {
    runs: [(0, 0); RUNS],
    first: 0,
    end: 0,
    sum: 0,
    frame: 0,
}));

struct Shared(core::cell::UnsafeCell<Seen>);

// SAFETY: one vCPU runs here, and it has no interrupt handler.
unsafe impl Sync for Shared {}

entry!(main);

fn main() -> ! {
    // SAFETY: the only reference there is.
    let seen = unsafe { &mut *SEEN.0.get() };
    seen.frame = timer::ns_to_ticks(FRAME_NS);
    let (span, gap) = (timer::ns_to_ticks(SPAN_NS), timer::ns_to_ticks(GAP_NS));
    let mut begin = timer::now();
    let mut last = begin;
    // Until it has been here for a frame, and a span has begun.
    let mut next = ((begin + seen.frame) / span + 2) * span;
    let (mut least, mut pauses) = (u64::MAX, 0_u64);
    loop {
        timer::spend(TURNS);
        let now = timer::now();
        if now - last > gap {
            let ran = seen.note((begin, last), now);
            if now + span >= next {
                least = least.min(ran);
                pauses += 1;
            }
            begin = now;
        }
        last = now;
        if now >= next {
            let least_ns = timer::ticks_to_ns(least.min(seen.frame));
            println!(
                "span {} least {least_ns} ns pauses {pauses}",
                next / span - 1
            );
            (least, pauses) = (u64::MAX, 0);
            next += span;
            // What it said itself is no pause.
            last = timer::now();
        }
    }
}
