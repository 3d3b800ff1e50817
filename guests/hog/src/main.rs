//! A CPU-bound guest that says how much of the time it got, and when.
//!
//! It counts, and looks at the clock once in [`TURNS`] turns. Two readings that lie more than [`GAP_NS`] apart mean that it
//! was off the pCPU in between, or that EL2 worked for others. Once a second, on the second, it prints what it saw since
//! the first one:
//!
//! ```text
//! second S ppm P runs R most N ns
//! second S begins A to B ns ends C to D ns
//! ```
//!
//! `ppm` is its share of the time; `most` is the most that it ran in any [`FRAME_NS`]. Runs with more than [`PAUSE_NS`]
//! before and behind begin and end at these phases, counted from multiples of [`FRAME_NS`] in the counter. So it sees a
//! budget with that period, and windows in a major frame of that length.
#![no_std]
#![no_main]

use core::fmt::Write;
use guest_runtime::queue::Queue;
use guest_runtime::{entry, timer};

/// Turns of two instructions between two looks at the clock.
const TURNS: u64 = 50;
/// Time between two readings in which it cannot have run itself, nor EL2 for it.
const GAP_NS: u64 = 2_000;
/// Time for which it was off the pCPU, rather than interrupted.
const PAUSE_NS: u64 = 50_000;
/// Period and major frame of the tables that it is for.
const FRAME_NS: u64 = 10_000_000;
/// It speaks only so long after a pause: what is in a window then does not end while it looks away.
const SPEAKS_NS: u64 = 1_000_000;
/// Runs that are looked back at.
const RUNS: usize = 128;

/// A stretch of time, in ticks.
#[derive(Clone, Copy)]
struct Run {
    begin: u64,
    end: u64,
}

/// What was seen so far.
struct Seen {
    frame: u64,
    runs: [Run; RUNS],
    count: u64,
    ran: u64,
    most: u64,
    begins: (u64, u64),
    ends: (u64, u64),
}

impl Seen {
    fn new(frame: u64) -> Self {
        Self {
            frame,
            runs: [Run { begin: 0, end: 0 }; RUNS],
            count: 0,
            ran: 0,
            most: 0,
            begins: (u64::MAX, 0),
            ends: (u64::MAX, 0),
        }
    }

    /// Counts a run that EL2 ended.
    fn count(&mut self, run: Run) {
        self.runs[self.count as usize % RUNS] = run;
        self.count += 1;
        self.ran += run.end - run.begin;
        let since = run.end.saturating_sub(self.frame);
        let inside = |run: &Run| run.end.saturating_sub(run.begin.max(since));
        self.most = self.most.max(self.runs.iter().map(inside).sum());
    }

    /// Counts a pause between two runs.
    fn pause(&mut self, end: u64, begin: u64) {
        widen(&mut self.begins, begin % self.frame);
        // A run that fills its window ends at the frame's end rather than at its start.
        widen(&mut self.ends, (end - 1) % self.frame + 1);
    }

    /// Writes a report. `run` is still going on.
    fn report(&self, second: u64, run: Run, output: &mut Queue) {
        let ns = timer::ticks_to_ns;
        let ran = self.ran + run.end - run.begin;
        let ppm = ran * 1_000_000 / (second * timer::frequency());
        let (count, most) = (self.count, ns(self.most));
        let (begins, ends) = (self.begins, self.ends);
        // A queue takes all text or drops it; it never fails.
        let _ = writeln!(
            output,
            "second {second} ppm {ppm} runs {count} most {most} ns"
        );
        let _ = writeln!(
            output,
            "second {second} begins {} to {} ns ends {} to {} ns",
            ns(begins.0),
            ns(begins.1),
            ns(ends.0),
            ns(ends.1)
        );
    }
}

fn widen(range: &mut (u64, u64), value: u64) {
    *range = (range.0.min(value), range.1.max(value));
}

entry!(main);

fn main() -> ! {
    let second = timer::frequency();
    let (gap, pause) = (timer::ns_to_ticks(GAP_NS), timer::ns_to_ticks(PAUSE_NS));
    let mut seen = Seen::new(timer::ns_to_ticks(FRAME_NS));
    let start = (timer::now() / second + 1) * second;
    while timer::now() < start {
        timer::spend(TURNS);
    }
    let mut output = Queue::new();
    let mut seconds = 0;
    let mut run = Run {
        begin: timer::now(),
        end: timer::now(),
    };
    let mut resumed = run.begin;
    loop {
        timer::spend(TURNS);
        let now = timer::now();
        if now - run.end > gap {
            if run.begin != run.end {
                seen.count(run);
            }
            if now - run.end > pause {
                seen.pause(run.end, now);
                resumed = now;
            }
            run.begin = now;
        }
        run.end = now;
        if now >= start + (seconds + 1) * second {
            seconds = (now - start) / second;
            seen.report(seconds, run, &mut output);
            run.end = timer::now();
        }
        if timer::ticks_to_ns(now - resumed) < SPEAKS_NS {
            output.drain(1);
        }
    }
}
