//! A control loop at 1 kHz that balances a simulated pendulum and reports how punctual it was.
//!
//! Deadlines are absolute: one period after the other from the start, by the virtual timer's compare register. Between
//! them the vCPU waits with WFI. The interrupt handler takes the count in its first instruction; the lateness of a wake-up
//! is that count less the deadline. A period is missed when the wake-up came more than half a period late, or when its
//! deadline had passed before it could be set.
//!
//! Once a second the loop prints `period N missed M worst_ns W`: the periods so far, the missed ones among them, and the
//! worst lateness in nanoseconds. The first [`WARM_UP`] wake-ups after the start are not counted: the guest's own code and
//! tables come into the caches then. The character `h` on the console asks for a histogram of the lateness.
//!
//! Each period balances the [`pendulum`], whose physics follows the time that really passed: without control for long, it
//! falls. Its line each second is `pendulum angle_mdeg A position_mm P`; `pendulum FELL after N ms` comes when it falls.
//! The character `p` starts a plot of it in text, and stops it. Where the table has a channel named `pendulum`, a
//! [`pendulum::Sample`] goes there a hundred times a second.
//!
//! Printing cannot make it late: text is queued, and each period sends no more than [`BYTES_PER_PERIOD`] bytes and only
//! what the UART has room for.
#![no_std]
#![no_main]

mod demo;
mod jitter;

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use demo::Demo;
use guest_runtime::exception::{self, Frame};
use guest_runtime::queue::Queue;
use guest_runtime::{console, entry, gic, layout, mmu, sysreg, timer};
use jitter::Jitter;

/// Periods a second.
const RATE: u64 = 1000;
/// Wake-ups that are not counted at the start.
const WARM_UP: u64 = 10;
/// Bytes sent to the console in one period at most.
const BYTES_PER_PERIOD: usize = 16;

static JITTER: Jitter = Jitter::new();
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static WARM_UPS_LEFT: AtomicU64 = AtomicU64::new(WARM_UP);

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    exception::set_irq_handler(on_interrupt);
    let first = timer::now() + 2 * period();
    DEADLINE.store(first, Ordering::Relaxed);
    timer::set_virtual(first);
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    sysreg::unmask_irqs();
    let mut output = Queue::new();
    let mut demo = Demo::new();
    let mut done = 0;
    loop {
        wait_for_period(&mut done);
        demo.balance(&mut output);
        step(done, &mut demo, &mut output);
        output.drain(BYTES_PER_PERIOD);
    }
}

/// Returns the ticks of one period.
fn period() -> u64 {
    timer::frequency() / RATE
}

/// Waits until a period is counted that the caller has not seen; `done` is the number of those that it has.
fn wait_for_period(done: &mut u64) {
    loop {
        // Masked, so that no interrupt comes between the look and the wait: WFI wakes for a masked one too.
        sysreg::mask_irqs();
        let woken = JITTER.periods() != *done;
        if !woken {
            sysreg::wfi();
        }
        sysreg::unmask_irqs();
        if woken {
            *done += 1;
            return;
        }
    }
}

/// Says what a period has to say and hears what is typed: `period` is its number, from 1.
fn step(period: u64, demo: &mut Demo, output: &mut Queue) {
    if period.is_multiple_of(RATE) {
        let (missed, worst_ns) = (JITTER.missed(), JITTER.worst_ns());
        // A queue takes all text or drops it; it never fails.
        let _ = writeln!(
            output,
            "period {period} missed {missed} worst_ns {worst_ns}"
        );
        demo.report(output);
    }
    match console::try_get() {
        Some(b'h') => JITTER.print(output),
        Some(b'p') => demo.toggle_plot(),
        _ => {}
    }
}

fn on_interrupt(frame: &mut Frame) {
    let intid = gic::acknowledge();
    if intid == layout::VIRTUAL_TIMER_INTID {
        on_deadline(frame.entered);
    }
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
}

/// Counts the wake-up that was entered at `entered` and sets the next deadline.
fn on_deadline(entered: u64) {
    let deadline = DEADLINE.load(Ordering::Relaxed);
    let late = entered.wrapping_sub(deadline);
    let mut next = deadline + period();
    let mut skipped = 0;
    while next <= timer::now() {
        next += period();
        skipped += 1;
    }
    DEADLINE.store(next, Ordering::Relaxed);
    timer::set_virtual(next);
    let warm_ups = WARM_UPS_LEFT.load(Ordering::Relaxed);
    if warm_ups > 0 {
        WARM_UPS_LEFT.store(warm_ups - 1, Ordering::Relaxed);
    } else {
        JITTER.count(late, late > period() / 2, skipped);
    }
}
