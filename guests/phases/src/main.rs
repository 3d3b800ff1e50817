//! Wakes at all times around something that a less urgent partition does, to find the longest wake-up by trying, not by luck.
//!
//! Side 0 of the channel does one thing at a time that is long at EL2, at a count that it tells side 1 before, together with a
//! deadline that is [`BEFORE_NS`] earlier at first and [`STEP_NS`] later each time. It does each thing [`STEPS`] times: they all
//! end its life, so which one it is and which time the number of its life says. Side 1, more urgent, wakes at the deadline and
//! takes the count in its first instruction. Neither begins before the other one awaits it, and both have slept before for
//! [`PAUSE_NS`]: where they have budgets, one that is exhausted would miss what the other one does. Side 1 prints a line for
//! each thing,
//!
//! ```text
//! act N worst_ns N behind_ns N
//! ```
//!
//! and `DONE`. `worst_ns` is how late it woke at most. Where EL2 looks for interrupts, a deadline just before the look is served
//! much sooner than one just behind it: `behind_ns` is the most that was seen just before, a look and all that follows it.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::channel::{self, Channel, Memory};
use guest_runtime::exception::{self, Frame};
use guest_runtime::{
    console, entry, gic, layout, mmu, println, smccc, sysreg, timer, write_sysreg,
};

/// How often each thing is done.
const STEPS: u64 = 144;
/// From one deadline to the next, in nanoseconds: two ticks of QEMU's counter.
const STEP_NS: u64 = 32;
/// How far before its thing the first deadline is, in nanoseconds.
const BEFORE_NS: u64 = 500;
/// From the ring to the thing, in nanoseconds.
const LEAD_NS: u64 = 30_000;
/// How long each side sleeps to have all of its budget, in nanoseconds: two periods of the tables that have budgets.
const PAUSE_NS: u64 = 2_000_000;
/// How long the console is left alone before most of them.
const QUIET_NS: u64 = 200_000;

/// What is done, in order.
const ACTS: [Act; 4] = [
    Act {
        ready: rest,
        end: reset,
    },
    Act {
        ready: say_half,
        end: reset,
    },
    Act {
        ready: rest,
        end: perish,
    },
    Act {
        ready: say,
        end: perish,
    },
];

/// A way to end a life, and what comes before it.
struct Act {
    ready: fn(),
    end: fn() -> !,
}

/// Words of the channel's memory: the deadline, as a virtual count; the number of side 0's life that told it; the one that
/// side 1 awaits.
const DEADLINE: usize = 0;
const LIFE: usize = 8;
const READY: usize = 16;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    let Some(bell) = channel::number(0) else {
        println!("FAIL phases: the table gives this partition no channel");
        smccc::system_off()
    };
    exception::set_irq_handler(on_interrupt);
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    match bell.side {
        0 => act(&bell),
        _ => wake(&bell),
    }
}

/// Does what it is the turn of.
fn act(bell: &Channel) -> ! {
    let life = u64::from(bell.own().generation);
    let (number, step) = ((life - 1) / STEPS, (life - 1) % STEPS);
    let Some(act) = ACTS.get(number as usize) else {
        smccc::system_off()
    };
    pause();
    while bell.memory.read(READY) != life {
        pause();
    }
    (act.ready)();
    let then = timer::now() + timer::ns_to_ticks(LEAD_NS);
    let first = then - timer::ns_to_ticks(BEFORE_NS);
    bell.memory
        .write(DEADLINE, first + timer::ns_to_ticks(step * STEP_NS));
    bell.memory.write(LIFE, life);
    bell.ring();
    while timer::now() < then {}
    (act.end)()
}

/// Sleeps for [`PAUSE_NS`].
fn pause() {
    let end = timer::now() + timer::ns_to_ticks(PAUSE_NS);
    timer::set_virtual(end);
    wait_until(|| timer::now() >= end);
    timer::stop_virtual();
}

/// Lets the console have its time.
fn rest() {
    timer::spin(QUIET_NS);
}

/// Begins a line and leaves it.
fn say_half() {
    rest();
    console::print(format_args!("x"));
}

/// Says a line just before.
fn say() {
    rest();
    println!("I go");
}

/// Asks for a new life.
fn reset() -> ! {
    loop {
        smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
    }
}

/// Faults with vectors where nothing is.
fn perish() -> ! {
    // SAFETY: nothing runs here any more.
    unsafe {
        write_sysreg!("vbar_el1", layout::MEMORY_HOLE as u64);
        sysreg::isb();
        asm!("udf #0", options(noreturn))
    }
}

/// The deadline that is awaited, 0 for none.
static AWAITED: AtomicU64 = AtomicU64::new(0);
/// How late the first instruction behind it was, in ticks, 0 for not yet.
static LATE: AtomicU64 = AtomicU64::new(0);

/// Wakes at each deadline, and says how late.
fn wake(bell: &Channel) -> ! {
    for number in 0..ACTS.len() as u64 {
        let mut seen = Seen::default();
        pause(); // what was printed took its time
        for step in 0..STEPS {
            seen.add(timer::ticks_to_ns(wake_once(
                bell,
                number * STEPS + step + 1,
            )));
        }
        let Seen { worst, behind, .. } = seen;
        println!("act {number} worst_ns {worst} behind_ns {behind}");
    }
    println!("DONE");
    console::flush();
    smccc::system_off()
}

/// Waits for what side 0 tells in one of its lives, and for that deadline; returns how late it was.
fn wake_once(bell: &Channel, life: u64) -> u64 {
    gic::enable(bell.intid, 0x80);
    bell.memory.write(READY, life);
    wait_until(|| bell.memory.read(LIFE) == life);
    // The bell rings for other reasons too, which are not to wake this side just when the deadline is over.
    gic::disable(bell.intid);
    let deadline = bell.memory.read(DEADLINE);
    LATE.store(0, Ordering::Relaxed);
    AWAITED.store(deadline, Ordering::Relaxed);
    timer::set_virtual(deadline);
    wait_until(|| LATE.load(Ordering::Relaxed) != 0);
    LATE.load(Ordering::Relaxed)
}

/// Sleeps until something is so, looking at each interrupt.
fn wait_until(so: impl Fn() -> bool) {
    loop {
        // Masked, so that no interrupt comes between the look and the wait.
        sysreg::mask_irqs();
        let is_so = so();
        if !is_so {
            sysreg::wfi();
        }
        sysreg::unmask_irqs();
        if is_so {
            return;
        }
    }
}

fn on_interrupt(frame: &mut Frame) {
    let intid = gic::acknowledge();
    if intid == layout::VIRTUAL_TIMER_INTID {
        timer::stop_virtual();
        let late = frame.entered.wrapping_sub(AWAITED.load(Ordering::Relaxed));
        LATE.store(late.max(1), Ordering::Relaxed);
    }
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
}

/// What was seen of one thing, in nanoseconds.
#[derive(Default)]
struct Seen {
    last: u64,
    worst: u64,
    behind: u64,
}

impl Seen {
    /// Adds how late the next deadline was.
    fn add(&mut self, late: u64) {
        if late > self.last {
            self.behind = self.behind.max(self.last);
        }
        self.worst = self.worst.max(late);
        self.last = late;
    }
}
