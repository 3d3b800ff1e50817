//! Does everything that a guest can do, on all of its vCPUs at once, drawn from a seed, and counts it.
//!
//! A step is a ticket in a lottery of [`step::GROUPS`]: loads and stores of every form to every region, registers of the
//! interrupt controller, system registers, calls, cache and TLB upkeep, waits, power, faults. Tickets are given so that each
//! row of a group comes up alike, and most steps name something that is there: a guest of random bits would see nothing but
//! undefined instructions.
//!
//! The host writes seed and steps into [`FUZZ_PLAN`] (`cargo xtask fuzz --seed N`). Each vCPU draws from a generator of its own.
//! The guest keeps itself alive: what would only rewrite its own program is left out, and there is always one vCPU awake
//! that brings the others back. At the end it prints `rows N GROUP least M: ROW` for each group, and
//! `done seed S steps N faults M`.
//!
//! Where its partition manages others, it does none of this: it keeps those that end again and again ([`lives`]), and a step is
//! a life of theirs.
#![no_std]
#![no_main]

mod access;
mod actions;
mod answers;
mod calls;
mod controller;
mod counts;
mod lives;
mod power;
mod registers;
mod step;
mod upkeep;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest_runtime::exception::catch;
use guest_runtime::{
    console, entry, esr, gic, layout, manage, mmu, println, recorder, smccc, sysreg, timer,
};
use step::Fuzzer;

/// Seed, number of steps, and whether to print all rows; the host writes others here before it packs the image.
#[unsafe(no_mangle)]
static FUZZ_PLAN: [AtomicU64; 3] = [
    AtomicU64::new(1),
    AtomicU64::new(1_000_000),
    AtomicU64::new(0),
];

/// Steps of a vCPU between two times at which it sets its interrupts up afresh.
const FRESH: u64 = 1024;
/// Steps of a vCPU between two looks at the others.
const LOOK: u64 = 64;
/// Steps of the first vCPU between two lines.
const PROGRESS: u64 = 50_000;

entry!(main);

fn main() -> ! {
    mmu::enable();
    if manage::pages().is_some() {
        keep();
    }
    let vcpus = power::find_vcpus();
    registers::prepare();
    upkeep::prepare();
    access::prepare();
    recorder::start();
    recorder::set_hook(deafen);
    gic::init_distributor();
    let [seed, steps] = [0, 1].map(|word: usize| FUZZ_PLAN[word].load(Relaxed));
    println!("fuzz seed {seed} steps {steps} vCPUs {vcpus}");
    for index in 0..vcpus {
        let own = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        step::STATES[index].begin(seed ^ own, steps / vcpus as u64);
    }
    power::start_others();
    work();
    while !power::all_finished() {
        power::look_after_others();
        timer::spin(20_000);
    }
    report(seed, steps)
}

/// What one does who manages others.
fn keep() -> ! {
    let [seed, lives] = [0, 1].map(|word: usize| FUZZ_PLAN[word].load(Relaxed));
    println!("fuzz seed {seed} lives {lives}");
    step::STATES[0].begin(seed, lives);
    let ended = lives::keep(&Fuzzer::here(), lives);
    println!("done seed {seed} lives {ended}");
    console::flush();
    smccc::system_off()
}

/// What every vCPU does, from its start or where it was when it was turned off.
fn work() {
    let fuzzer = Fuzzer::here();
    fuzzer.fresh();
    while fuzzer.state.goes_on() {
        let done = fuzzer.state.done.load(Relaxed);
        if done.is_multiple_of(FRESH) {
            fuzzer.fresh();
        }
        if done.is_multiple_of(LOOK) {
            power::look_after_others();
        }
        let (_, fault) = catch(|| fuzzer.step());
        sysreg::mask_irqs();
        if let Some(fault) = fault {
            counts::add_class(fuzzer.index, esr::class(fault.esr));
            answers::add_fault(fault.esr);
        }
        fuzzer.state.done.store(done + 1, Relaxed);
        if fuzzer.index == 0 && (done + 1).is_multiple_of(PROGRESS) {
            println!("{} steps", done + 1);
        }
    }
}

/// What a vCPU other than the first does.
fn work_beside() -> ! {
    power::arrived();
    work();
    power::finish()
}

/// In the handler: lets level interrupts fall, and disables what others would pend again and again.
fn deafen(intid: u32) {
    recorder::quiet(intid);
    if intid >= 32 {
        gic::disable(intid);
    }
}

/// Prints what was done, and powers off.
fn report(seed: u64, steps: u64) -> ! {
    sysreg::mask_irqs();
    console::init();
    println!(""); // ends the line that steps were writing
    println!("starts of another partition {}", answers::starts());
    counts::print(FUZZ_PLAN[2].load(Relaxed) != 0);
    let wrong = actions::lost_increments();
    if wrong != 0 {
        println!("FAIL exclusive accesses: {wrong} increments are missing");
    }
    println!("done seed {seed} steps {steps} faults {}", counts::faults());
    console::flush();
    smccc::system_off()
}

/// The interrupts that are enabled: all SGIs, the timers, the UART's, and those that nothing drives.
fn interrupts() -> impl Iterator<Item = u32> {
    (0..16)
        .chain([
            layout::VIRTUAL_TIMER_INTID,
            layout::PHYSICAL_TIMER_INTID,
            layout::UART_INTID,
        ])
        .chain(96..128)
}
