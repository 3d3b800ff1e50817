//! Checks that nobody changes this guest's registers while it waits or is put off the CPU.
//!
//! Two partitions with this guest on one pCPU check one another: each fills all that it can write at EL1 and EL0 with values
//! of its own (drawn from a generator that starts from the counts at its first instruction), waits, and compares. New
//! values are drawn for every round, so that a value that is merely old shows too.
//!
//! Names and lines are those of the guest `checks`.
#![no_std]
#![no_main]

mod breakpoints;
mod live;
mod registers;

use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::suite::{self, Outcome, Test};
use guest_runtime::{entry, gic, layout, mmu, tests, timer};

/// Rounds of each test.
const ROUNDS: u64 = 2_000;
/// How long a round waits with WFI, in nanoseconds.
const WAIT_NS: u64 = 50_000;
/// How many turns of a loop a round runs when it does not wait.
const SPINS: u64 = 100_000;

const TESTS: &[Test] = tests![
    a9_system_registers_survive_waits,
    a9_system_registers_survive_running,
    a25_general_and_fp_registers_survive_waits,
    a25_general_and_fp_registers_survive_running,
    a3_breakpoints_survive_waits,
    a3_breakpoints_survive_running,
    b14_gic_settings_survive_waits,
];

entry!(main);

fn main() -> ! {
    // Both counts: the virtual one may begin at zero with each partition.
    let seed = timer::now().rotate_left(32) ^ timer::physical_now() | 1;
    SEED.store(seed, Ordering::Relaxed);
    mmu::enable();
    gic::init();
    // Its level ends a WFI; the interrupt itself stays masked for good.
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x40);
    suite::run(&[TESTS])
}

static SEED: AtomicU64 = AtomicU64::new(1);

/// Draws the next value: xorshift64*.
fn random() -> u64 {
    let mut state = SEED.load(Ordering::Relaxed);
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    SEED.store(state, Ordering::Relaxed);
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Lets the timer end a WFI soon.
fn set_alarm() {
    timer::set_virtual(timer::now() + timer::ns_to_ticks(WAIT_NS));
}

/// Waits with WFI until the alarm.
fn wait() {
    set_alarm();
    while timer::virtual_control() & timer::CTL_ISTATUS == 0 {
        guest_runtime::sysreg::wfi();
    }
    timer::stop_virtual();
}

/// Runs without waiting.
fn spin() {
    for turn in 0..SPINS {
        core::hint::black_box(turn);
    }
}

fn a9_system_registers_survive_waits() -> Outcome {
    registers::survive(wait)
}

fn a9_system_registers_survive_running() -> Outcome {
    registers::survive(spin)
}

fn a25_general_and_fp_registers_survive_waits() -> Outcome {
    live::survive(0)
}

fn a25_general_and_fp_registers_survive_running() -> Outcome {
    live::survive(SPINS)
}

fn a3_breakpoints_survive_waits() -> Outcome {
    breakpoints::survive(wait)
}

fn a3_breakpoints_survive_running() -> Outcome {
    breakpoints::survive(spin)
}

fn b14_gic_settings_survive_waits() -> Outcome {
    let frame = gic::bank(0);
    for _ in 0..ROUNDS / 10 {
        let (enabled, priorities) = (random() as u32 & 0xffff, random() as u32 & 0xf8f8_f8f8);
        frame.write32(gic::ICENABLER, 0xffff);
        frame.write32(gic::ISENABLER, enabled);
        frame.write32(gic::IPRIORITYR + 4, priorities);
        wait();
        guest_runtime::expect_eq!(
            frame.read32(gic::ISENABLER) & 0xffff,
            enabled,
            "GICR_ISENABLER0"
        );
        guest_runtime::expect_eq!(
            frame.read32(gic::IPRIORITYR + 4),
            priorities,
            "GICR_IPRIORITYR1"
        );
    }
    Ok(())
}
