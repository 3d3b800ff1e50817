//! A witness beside hostile neighbours: it keeps time, guards memory and registers, counts instructions, and says whether
//! anybody changed any of it.
//!
//! It beats a thousand times a second, by its virtual timer and WFI. In each beat it looks whether the interrupt was its
//! own, whether all registers came back as they went into the wait, whether a piece of its memory still is as it was
//! written, and whether its EL0 is kept from the performance monitors, and runs [`round::INSTRUCTIONS`] instructions that ask nothing of EL2. Every [`SPAN`] beats it prints
//!
//! ```text
//! span N beats N missed N worst_ns N ticks MIN MAX entries N
//! ```
//!
//! `worst_ns` is how late the first instruction of a beat was at most, `ticks` how long a round took, `entries` the rounds that EL2 broke into. Under
//! icount, above its neighbours, the ticks are the same in every span, whatever they do: to the instruction.
//!
//! A byte typed ends it: a line for each thing that it guards, and `DONE`.
#![no_std]
#![no_main]

mod memory;
mod monitors;
mod registers;

use guest_runtime::stats::Summary;
use guest_runtime::suite::{self, Outcome};
use guest_runtime::{
    console, entry, expect, expect_eq, gic, layout, mmu, println, round, sysreg, tests, timer,
};

use core::sync::atomic::{AtomicU64, Ordering};

/// Time between two beats.
const PERIOD_NS: u64 = 1_000_000;
/// Beats between two lines.
const SPAN: u64 = 50;

/// Interrupts that were not the timer's, or came before its deadline.
static FOREIGN: AtomicU64 = AtomicU64::new(0);
/// Beats that were waited for, and periods that passed unseen since the host, or a more urgent neighbour, had the pCPU.
static BEATS: AtomicU64 = AtomicU64::new(0);
static MISSED: AtomicU64 = AtomicU64::new(0);
/// Periods from the first deadline to the last.
static PERIODS: AtomicU64 = AtomicU64::new(0);

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    sysreg::unmask_serrors();
    memory::fill();
    let period = timer::ns_to_ticks(PERIOD_NS);
    let first = timer::now() + 2 * period;
    let mut deadline = first;
    for span in 1.. {
        let (mut late, mut ticks, mut entries) = (Summary::new(), Summary::new(), 0_u64);
        for _ in 0..SPAN {
            late.add(timer::ticks_to_ns(beat(deadline)));
            let (spent, entered) = round::run();
            ticks.add(spent);
            entries += u64::from(entered);
            deadline = next(deadline, period);
            PERIODS.store((deadline - first) / period, Ordering::Relaxed);
        }
        println!(
            "span {span} beats {} missed {} worst_ns {} ticks {} {} entries {entries}",
            BEATS.load(Ordering::Relaxed),
            MISSED.load(Ordering::Relaxed),
            late.max(),
            ticks.min(),
            ticks.max()
        );
        if console::try_get().is_some() {
            break;
        }
    }
    suite::run(&[tests![
        witness_memory_is_as_it_was,
        witness_registers_are_as_they_were,
        witness_el0_traps_to_el1_from_monitors,
        witness_interrupts_are_its_own,
        witness_beats_all_came,
    ]])
}

/// Waits for a deadline, with all registers guarded; returns by how many ticks it was late.
fn beat(deadline: u64) -> u64 {
    timer::set_virtual(deadline);
    let late = loop {
        let now = registers::wait();
        match gic::acknowledge() {
            gic::SPURIOUS => {}
            // A wait may end early, and the deadline come before the acknowledgement.
            layout::VIRTUAL_TIMER_INTID if now >= deadline || timer::now() >= deadline => {
                break now.saturating_sub(deadline);
            }
            intid => {
                FOREIGN.fetch_add(1, Ordering::Relaxed);
                gic::end(intid);
            }
        }
    };
    timer::stop_virtual();
    gic::end(layout::VIRTUAL_TIMER_INTID);
    sysreg::isb();
    BEATS.fetch_add(1, Ordering::Relaxed);
    memory::check_piece();
    monitors::check();
    late
}

/// Returns the next deadline that is not over yet.
fn next(deadline: u64, period: u64) -> u64 {
    let mut next = deadline + period;
    while next <= timer::now() {
        next += period;
        MISSED.fetch_add(1, Ordering::Relaxed);
    }
    next
}

fn witness_memory_is_as_it_was() -> Outcome {
    memory::check_all();
    let changed = memory::changed();
    expect!(changed == 0, "{changed} words changed");
    Ok(())
}

fn witness_registers_are_as_they_were() -> Outcome {
    expect_eq!(registers::changed(), 0, "bits that changed over waits");
    Ok(())
}

fn witness_el0_traps_to_el1_from_monitors() -> Outcome {
    let served = monitors::served();
    expect!(
        served == 0,
        "{served} times EL0 was not refused the cycle counter, which nobody opened to it"
    );
    Ok(())
}

fn witness_interrupts_are_its_own() -> Outcome {
    let foreign = FOREIGN.load(Ordering::Relaxed);
    expect!(foreign == 0, "{foreign} interrupts of others, or early");
    Ok(())
}

fn witness_beats_all_came() -> Outcome {
    let counted = BEATS.load(Ordering::Relaxed) + MISSED.load(Ordering::Relaxed);
    let passed = PERIODS.load(Ordering::Relaxed);
    expect!(counted == passed, "{counted} beats in {passed} periods");
    Ok(())
}
