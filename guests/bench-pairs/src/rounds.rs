//! What is measured, and the other sides of it.

use super::{wait, wait_for_word};
use core::arch::asm;
use guest_runtime::channel::{Channel, Memory};
use guest_runtime::stats::Summary;
use guest_runtime::{gic, layout, timer};

/// Counted runs of each row.
const RUNS: u64 = 1000;
/// Runs of each row before.
const WARM_UPS: u64 = 8;

/// In a channel's memory: what the partner is to do, in the first half, which `pair` writes.
const ORDER: usize = 0;
/// Doorbells that are stamped.
const STAMP: u64 = 1;
/// Wake-ups that are summed up.
const WAKE: u64 = 2;
/// Nothing more.
const END: u64 = 3;
/// In the second half: the last stamp, or a sum; least, greatest; number of wake-ups, which says that they are over.
const ANSWER: usize = 2048;
const LEAST: usize = ANSWER + 8;
const GREATEST: usize = ANSWER + 16;
const NUMBER: usize = ANSWER + 24;

/// Pauses for another while each time.
fn pause(round: u64) {
    timer::spend(1 + round * 37 % 499);
}

/// Returns the counts before an instruction and after it.
macro_rules! around {
    ($($instruction:literal),*) => {{
        let (before, after): (u64, u64);
        // SAFETY: a call changes x0 to x17 alone.
        unsafe {
            asm!(
                "mov w0, #1", "movk w0, #0x8600, lsl #16", "isb", "mrs {before}, cntvct_el0", $($instruction,)*
                "mrs {after}, cntvct_el0", before = out(reg) before, after = out(reg) after,
                out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
                out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
                out("x15") _, out("x16") _, out("x17") _, options(nostack)
            )
        };
        (before, after)
    }};
}

/// Returns what two reads of the count cost.
pub fn overhead() -> Summary {
    let mut all = Summary::new();
    for round in 0..RUNS {
        pause(round);
        let (before, after) = around!();
        all.add(after - before);
    }
    all
}

/// Rings for the more urgent partner.
pub fn doorbells(bell: &Channel, ring: fn(&Channel) -> u64) -> Summary {
    bell.memory.write(ORDER, STAMP);
    let mut all = Summary::new();
    for round in 0..WARM_UPS + RUNS {
        pause(round);
        let before = ring(bell);
        // The more urgent side has had its turn.
        let stamp = bell.memory.read(ANSWER);
        if round >= WARM_UPS {
            all.add(stamp.saturating_sub(before));
        }
    }
    all
}

/// Is busy while the more urgent partner wakes up again and again.
pub fn wakes(bell: &Channel) -> Summary {
    bell.memory.write(ORDER, WAKE);
    bell.ring();
    timer::wait_until(timer::PATIENCE_NS, || bell.memory.read(NUMBER) != 0);
    let [sum, least, greatest, count] =
        [ANSWER, LEAST, GREATEST, NUMBER].map(|offset| bell.memory.read(offset));
    bell.memory.write(ORDER, END);
    bell.ring();
    Summary::of(count, sum, least, greatest)
}

/// The more urgent partner.
pub fn answer(bell: &Channel) {
    loop {
        let stamp = wait();
        match bell.memory.read(ORDER) {
            STAMP => bell.memory.write(ANSWER, stamp),
            WAKE => wake_up(bell),
            END => return,
            _ => {}
        }
    }
}

/// Wakes up at deadlines, and tells how late.
fn wake_up(bell: &Channel) {
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let mut all = Summary::new();
    for round in 0..WARM_UPS + RUNS {
        let deadline = timer::now() + timer::ns_to_ticks(50_000) + round * 37 % 101;
        timer::set_virtual(deadline);
        let late = wait().saturating_sub(deadline);
        if round >= WARM_UPS {
            all.add(late);
        }
    }
    bell.memory.write(ANSWER, all.sum());
    bell.memory.write(LEAST, all.min());
    bell.memory.write(GREATEST, all.max());
    bell.memory.write(NUMBER, all.count());
}

/// Takes turns with an equal: from the partner's yield to the instruction behind this side's.
///
/// The partner writes the count before a yield when it is back from that. So it is read a round later.
pub fn yields(turn: &Channel) -> Summary {
    turn.memory.write(ORDER, STAMP);
    turn.ring();
    let mut all = Summary::new();
    let mut last: u64 = 0;
    for round in 0..WARM_UPS + RUNS {
        pause(round);
        let (_, after) = around!("hvc #0");
        let before = turn.memory.read(ANSWER);
        if round >= WARM_UPS {
            all.add(last.saturating_sub(before));
        }
        last = after;
    }
    turn.memory.write(ORDER, END);
    all
}

/// The equal.
pub fn yield_back(turn: &Channel) {
    wait_for_word(turn, ORDER);
    let mut round = 0;
    while turn.memory.read(ORDER) != END {
        pause(round);
        let (before, _) = around!("hvc #0");
        turn.memory.write(ANSWER, before);
        round += 1;
    }
}
