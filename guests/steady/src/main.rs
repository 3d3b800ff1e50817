//! Counts what others cost an urgent vCPU: between two pauses it runs [`round`]s of instructions that ask nothing of EL2.
//!
//! After each phase it prints `phase N rounds N ticks MIN MAX entries N`, the rounds that EL2 broke into, and sleeps. At
//! the end it prints `woken N times for nothing` of those sleeps, says `DONE`, and begins anew when anything is typed.
#![no_std]
#![no_main]

use guest_runtime::stats::Summary;
use guest_runtime::{console, entry, gic, layout, mmu, println, round, sysreg, timer};

/// Phases.
const PHASES: u64 = 3;
/// Length of a phase: in each a clock's second begins.
const PHASE_NS: u64 = 1_050_000_000;
/// Length of a pause, in which others run.
const PAUSE_NS: u64 = 60_000_000;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    loop {
        run_phases();
        println!("DONE 0 passed 0 failed 0 skipped");
        while console::try_get().is_none() {
            sleep(PAUSE_NS);
        }
    }
}

/// Runs all phases.
fn run_phases() {
    let mut woken = 0;
    for phase in 1..=PHASES {
        woken += sleep(PAUSE_NS);
        let end = timer::now() + timer::ns_to_ticks(PHASE_NS);
        let (mut ticks, mut entries) = (Summary::new(), 0);
        while timer::now() < end {
            let (spent, entered) = round::run();
            ticks.add(spent);
            entries += u64::from(entered);
        }
        println!(
            "phase {phase} rounds {} ticks {} {} entries {entries}",
            ticks.count(),
            ticks.min(),
            ticks.max()
        );
    }
    println!("woken {woken} times for nothing");
}

/// Sleeps until the virtual timer's interrupt is pending, which is taken while it stays masked. Returns how often it woke
/// before.
fn sleep(ns: u64) -> u64 {
    timer::set_virtual(timer::now() + timer::ns_to_ticks(ns));
    for woken in 0.. {
        sysreg::wfi();
        let intid = gic::acknowledge();
        if intid == layout::VIRTUAL_TIMER_INTID {
            timer::stop_virtual();
            gic::end(intid);
            return woken;
        }
    }
    unreachable!()
}
