//! Checks that nobody changes this guest's registers while it waits or is put off the CPU.
//!
//! Two partitions with this guest on one pCPU check one another: each fills all that it can write at EL1 and EL0 with values
//! of its own (drawn from a generator that starts from the counts at its first instruction), waits, and compares. New
//! values are drawn for every round, so that a value that is merely old shows too.
//!
//! Names and lines are those of the guest `checks`. A partition with several vCPUs runs them on its last one.
#![no_std]
#![no_main]

mod breakpoints;
mod interrupts;
mod live;
mod registers;

use guest_runtime::random::seed;
use guest_runtime::suite::{self, Outcome, Test};
use guest_runtime::{entry, gic, layout, mmu, smp, sysreg, tests, timer, write_sysreg};

/// Rounds of each test.
const ROUNDS: u64 = 2_000;
/// How long a round waits with WFI, in nanoseconds.
const WAIT_NS: u64 = 50_000;
/// How many turns of a loop a round runs when it does not wait.
const SPINS: u64 = 100_000;

/// Priority of the timer's interrupt: more urgent than every mask that is tried.
const PRIORITY: u8 = 0x40;

const TESTS: &[Test] = tests![
    b14_gic_settings_survive_waits,
    b12_an_active_timer_interrupt_stays_this_vcpus_own,
    b3_pending_and_active_interrupts_stay_this_vcpus_own,
    b8_deadlines_that_pass_while_others_run_come_once,
    a25_general_and_fp_registers_survive_waits,
    a25_general_and_fp_registers_survive_running,
    a9_system_registers_survive_waits,
    a9_system_registers_survive_running,
    // Whoever has used the performance monitors or breakpoints is switched the long way from then on.
    a9_monitors_too_survive_waits,
    a9_monitors_too_survive_running,
    a3_breakpoints_and_watchpoints_survive_waits,
    a3_breakpoints_and_watchpoints_survive_running,
];

entry!(main);

fn main() -> ! {
    // Both counts: the virtual one may begin at zero with each partition.
    seed(timer::now().rotate_left(32) ^ timer::physical_now() | 1);
    mmu::enable();
    let mut vcpus = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut vcpus);
    if count > 1 && smp::start(1, vcpus[count - 1], check) == 0 {
        loop {
            sysreg::wfi();
        }
    }
    check()
}

/// Runs the tests: on the last vCPU, so that two partitions can be told apart by its affinity too.
fn check() -> ! {
    gic::init();
    // What MDSCR_EL1 holds is live; while the lock is taken it is not.
    // SAFETY: a lock that is open locks nothing.
    unsafe { write_sysreg!("oslar_el1", 0u64) };
    // Its level ends a WFI; the interrupt itself stays masked for good.
    gic::enable(layout::VIRTUAL_TIMER_INTID, PRIORITY);
    suite::run(&[TESTS])
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
    end_alarm();
}

/// Ends the alarm and its interrupt. One that is not acknowledged stays pending after its line has fallen, and no WFI would
/// wait any more.
fn end_alarm() {
    timer::stop_virtual();
    let intid = gic::acknowledge();
    if intid != gic::SPURIOUS {
        gic::end(intid);
        if gic::ends_are_split() {
            gic::deactivate(intid);
        }
    }
}

/// Runs without waiting.
fn spin() {
    for turn in 0..SPINS {
        core::hint::black_box(turn);
    }
}

/// What the names of the performance monitors' registers begin with.
const MONITORS: &str = "pm";
/// Likewise the virtual timer's, which ends a wait.
const VIRTUAL_TIMER: &str = "cntv";

fn a9_system_registers_survive_waits() -> Outcome {
    registers::survive(wait, &[MONITORS, VIRTUAL_TIMER])
}

fn a9_system_registers_survive_running() -> Outcome {
    registers::survive(spin, &[MONITORS])
}

fn a9_monitors_too_survive_waits() -> Outcome {
    registers::survive(wait, &[VIRTUAL_TIMER])
}

fn a9_monitors_too_survive_running() -> Outcome {
    registers::survive(spin, &[])
}

fn a25_general_and_fp_registers_survive_waits() -> Outcome {
    live::survive(0)
}

fn a25_general_and_fp_registers_survive_running() -> Outcome {
    live::survive(SPINS)
}

fn a3_breakpoints_and_watchpoints_survive_waits() -> Outcome {
    breakpoints::survive(wait)
}

fn a3_breakpoints_and_watchpoints_survive_running() -> Outcome {
    breakpoints::survive(spin)
}

fn b14_gic_settings_survive_waits() -> Outcome {
    interrupts::settings_survive()
}

fn b12_an_active_timer_interrupt_stays_this_vcpus_own() -> Outcome {
    interrupts::active_state_is_own()
}

fn b3_pending_and_active_interrupts_stay_this_vcpus_own() -> Outcome {
    interrupts::pending_and_active_are_own()
}

fn b8_deadlines_that_pass_while_others_run_come_once() -> Outcome {
    interrupts::deadlines_come_once()
}
