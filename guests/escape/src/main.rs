//! Tries to get more time than its budget, in each [`SPAN_NS`] by another trick, for which a fresh life, a fresh vCPU or a wait
//! would have to come with a fresh budget.
//!
//! The physical count is what lasts over restarts: it says which trick is next. A life that begins early in a trick's span
//! prints `trick N`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{entry, gic, layout, mmu, println, smp, sysreg, timer};

/// Our own call: to the tail of one's priority.
const YIELD: u32 = 0x8600_0001;
/// How long it computes between two tries, in nanoseconds: less than a budget, so that something is left to gain.
const BURN_NS: u64 = 700_000;
/// How long each trick is tried.
const SPAN_NS: u64 = 250_000_000;

/// The tricks, one a span.
const TRICKS: [fn(); 8] = [
    reset,
    burn_and_reset,
    reset_by_another,
    suspend,
    suspend_in_vain,
    wait_in_vain,
    off_and_on,
    give_way,
];

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    loop {
        let number = span() as usize % TRICKS.len();
        if timer::physical_now() % timer::ns_to_ticks(SPAN_NS) < timer::ns_to_ticks(10_000_000) {
            println!("trick {number}");
        }
        if let Some(trick) = TRICKS.get(number) {
            trick();
        }
    }
}

/// Returns the span of the physical count.
fn span() -> u64 {
    timer::physical_now() / timer::ns_to_ticks(SPAN_NS)
}

/// Runs an action over and over until the span is over.
fn for_a_span(action: impl Fn()) {
    let begun = span();
    while span() == begun {
        action();
    }
}

/// Computes.
fn burn() {
    let end = timer::physical_now() + timer::ns_to_ticks(BURN_NS);
    while timer::physical_now() < end {}
}

/// Restarts at once.
fn reset() {
    smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
}

/// Restarts when most of the budget is gone.
fn burn_and_reset() {
    burn();
    reset();
}

/// Computes while the other vCPU restarts the partition.
fn reset_by_another() {
    start_another(|| {
        burn_and_reset();
        stop()
    });
    for_a_span(burn);
}

/// Suspends itself for a moment, again and again.
fn suspend() {
    for_a_span(|| {
        timer::set_virtual(timer::now() + timer::ns_to_ticks(50_000));
        smccc::psci(smccc::CPU_SUSPEND, [0; 3]);
        timer::spin(200_000);
    });
}

/// Suspends itself though an interrupt is pending, which ends that at once.
fn suspend_in_vain() {
    timer::set_virtual(timer::now());
    for_a_span(|| {
        smccc::psci(smccc::CPU_SUSPEND, [0; 3]);
    });
}

/// Waits though an interrupt is pending.
fn wait_in_vain() {
    timer::set_virtual(timer::now());
    for_a_span(sysreg::wfi);
}

/// Lets the other vCPU compute, turn itself off, and be turned on again.
fn off_and_on() {
    for_a_span(|| {
        start_another(|| {
            burn();
            stop()
        });
        burn();
    });
}

/// Gives way to nobody.
fn give_way() {
    for_a_span(|| {
        smccc::call(Conduit::Hvc, YIELD, [0; 3]);
    });
}

/// Turns the other vCPU on, if it is off.
fn start_another(entry: fn() -> !) {
    static ANOTHER: AtomicU64 = AtomicU64::new(0);
    if ANOTHER.load(Ordering::Relaxed) == 0 {
        let mut affinities = [0; smp::MAX_VCPUS];
        smp::affinities(&mut affinities);
        ANOTHER.store(affinities[1], Ordering::Relaxed);
    }
    smp::start(1, ANOTHER.load(Ordering::Relaxed), entry);
}

/// Turns this vCPU off.
fn stop() -> ! {
    loop {
        smp::stop_self();
    }
}
