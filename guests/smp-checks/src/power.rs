//! Starting and stopping vCPUs by PSCI.

use crate::team;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use guest_runtime::smccc::{self, psci};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, skip, smp, sysreg, tests, timer};

/// The tests of this module; they leave all vCPUs on.
pub const TESTS: &[Test] = tests![
    a22_all_but_the_first_are_off_at_the_start,
    a22_cpu_on_with_a_bad_entry_is_refused,
    c_a_started_vcpu_is_entered_as_psci_says,
    a22_cpu_on_starts_every_vcpu,
    a22_cpu_on_of_one_that_is_on_is_refused,
    a22_cpu_on_of_nobody_is_refused,
    a22_off_and_on_a_hundred_times,
    a22_on_races_with_off,
    a20_a_started_vcpu_finds_its_timer_off,
    a22_on_from_two_vcpus_at_once_starts_it_once,
    c_every_vcpu_has_its_own_affinity,
    c_counters_agree_between_vcpus,
];

/// What comes last: it stops all vCPUs but the first.
pub const LAST: &[Test] = tests![a22_all_but_the_first_stop];

fn a22_all_but_the_first_are_off_at_the_start() -> Outcome {
    team::needs(2)?;
    team::answered("AFFINITY_INFO of itself", smp::state(team::affinity(0)), 0)?;
    for index in 1..team::size() {
        team::answered(
            "AFFINITY_INFO of another",
            smp::state(team::affinity(index)),
            1,
        )?;
    }
    Ok(())
}

fn a22_cpu_on_with_a_bad_entry_is_refused() -> Outcome {
    team::needs(2)?;
    if !team::is_hypervised() {
        skip!("plain QEMU starts a CPU anywhere");
    }
    let target = team::affinity(1);
    for entry in [
        layout::DEVICE_HOLE as u64,
        layout::GICD as u64,
        layout::MEMORY_HOLE as u64,
        1 << 47,
        !3,
    ] {
        let answer = psci(smccc::CPU_ON, [target, entry, 0]);
        expect!(
            answer == smccc::INVALID_ADDRESS,
            "CPU_ON at {entry:#x} is {answer}"
        );
        team::answered("AFFINITY_INFO afterwards", smp::state(target), 1)?;
    }
    Ok(())
}

// Writes down how it was entered, where x0 says, and stops.
global_asm!(
    ".section .text.probe, \"ax\"",
    ".global smp_probe",
    "smp_probe:",
    "mrs x1, currentel",
    "mrs x2, daif",
    "mrs x3, sctlr_el1",
    "mrs x4, cntfrq_el0",
    "mrs x5, spsel",
    "stp x0, x1, [x0]",
    "stp x2, x3, [x0, #16]",
    "stp x4, x5, [x0, #32]",
    "dsb sy",
    "ldr x0, =0x84000002", // CPU_OFF
    "hvc #0",
    "b .",
    ".ltorg"
);

unsafe extern "C" {
    fn smp_probe();
}

/// What a vCPU that has no caches yet writes: a line of its own.
#[repr(align(256))]
struct Probed([AtomicU64; 6]);

static PROBED: Probed = Probed([const { AtomicU64::new(0) }; 6]);

/// Writes the lines back and drops them, so that memory is what is read next.
fn drop_probed() {
    for word in &PROBED.0 {
        // SAFETY: cache upkeep of a static.
        unsafe { asm!("dc civac, {a}", a = in(reg) word.as_ptr(), options(nostack)) };
    }
    sysreg::dsb();
}

fn c_a_started_vcpu_is_entered_as_psci_says() -> Outcome {
    team::needs(2)?;
    let target = team::affinity(1);
    let context = PROBED.0.as_ptr() as u64;
    drop_probed();
    team::answered(
        "CPU_ON",
        psci(
            smccc::CPU_ON,
            [target, smp_probe as *const () as u64, context],
        ),
        0,
    )?;
    expect!(
        team::wait(|| smp::state(target) == 1),
        "it does not stop again"
    );
    drop_probed();
    let [x0, level, masks, control, frequency, stack] =
        [0, 1, 2, 3, 4, 5].map(|word: usize| PROBED.0[word].load(Ordering::Acquire));
    expect_eq!(x0, context, "x0");
    expect_eq!(level, 1 << 2, "CurrentEL");
    expect_eq!(masks, 0x3c0, "exception masks");
    expect_eq!(
        control & (1 | 1 << 2 | 1 << 25),
        0,
        "M, C and EE in SCTLR_EL1"
    );
    expect_eq!(frequency, timer::frequency(), "CNTFRQ_EL0");
    expect_eq!(stack, 1, "SPSel");
    Ok(())
}

fn a22_cpu_on_starts_every_vcpu() -> Outcome {
    team::needs(2)?;
    for index in 1..team::size() {
        team::bring_up(index)?;
        team::answered(
            "AFFINITY_INFO of a started one",
            smp::state(team::affinity(index)),
            0,
        )?;
    }
    Ok(())
}

fn a22_cpu_on_of_one_that_is_on_is_refused() -> Outcome {
    team::needs(2)?;
    for index in 0..team::size() {
        let answer = smp::start(index, team::affinity(index), team::worker);
        team::answered("CPU_ON of one that is on", answer, smccc::ALREADY_ON)?;
    }
    Ok(())
}

fn a22_cpu_on_of_nobody_is_refused() -> Outcome {
    let highest = (0..team::size()).map(team::affinity).max().unwrap_or(0);
    for target in [
        highest + 1,
        highest | 0xff00,
        highest | 0xff << 32,
        u64::MAX,
    ] {
        let answer = psci(smccc::CPU_ON, [target, smp::secondary_entry(), 0]);
        expect!(
            answer == smccc::INVALID_PARAMETERS,
            "CPU_ON of {target:#x} is {answer}"
        );
    }
    Ok(())
}

fn a22_off_and_on_a_hundred_times() -> Outcome {
    team::needs(2)?;
    for _ in 0..100 {
        for index in 1..team::size() {
            team::take_down(index)?;
            team::bring_up(index)?;
        }
    }
    Ok(())
}

/// Whether the physical timer's interrupt is pending, as the vCPU that looked last found.
static PENDING: AtomicU64 = AtomicU64::new(0);

/// Job: lets the physical timer's interrupt be pending, which nobody takes.
fn raise_timer() {
    timer::set_physical(timer::physical_now());
    look_at_timer();
}

/// Job: looks whether it is.
fn look_at_timer() {
    let pending = gic::read_bit(gic::ISPENDR, layout::PHYSICAL_TIMER_INTID);
    PENDING.store(pending.into(), Ordering::Release);
}

fn a20_a_started_vcpu_finds_its_timer_off() -> Outcome {
    team::needs(2)?;
    team::give(1, raise_timer);
    team::finish()?;
    expect_eq!(PENDING.load(Ordering::Acquire), 1, "a timer that is due");
    team::take_down(1)?;
    team::bring_up(1)?;
    team::give(1, look_at_timer);
    team::finish()?;
    expect_eq!(
        PENDING.load(Ordering::Acquire),
        0,
        "the same, of a vCPU that was started again"
    );
    Ok(())
}

fn a22_on_races_with_off() -> Outcome {
    team::needs(2)?;
    let before = team::STARTS[1].load(Ordering::Acquire);
    for round in 1..=100 {
        team::give(1, team::switch_off);
        // Asks again and again while the other one goes off: ALREADY_ON until the moment that it is off.
        let mut answer = smccc::ALREADY_ON;
        let started = team::wait(|| {
            answer = smp::start(1, team::affinity(1), team::worker);
            answer != smccc::ALREADY_ON && answer != smccc::ON_PENDING
        });
        expect!(started && answer == 0, "round {round}: CPU_ON is {answer}");
        let up = team::wait(|| team::STARTS[1].load(Ordering::Acquire) >= before + round);
        expect!(up, "round {round}: it does not come up");
    }
    Ok(())
}

static TOGETHER: AtomicU64 = AtomicU64::new(0);
static ANSWERS: [AtomicI64; 2] = [const { AtomicI64::new(0) }; 2];

/// Asks for the start of the third vCPU at about the time that the other one does.
fn ask(slot: usize) {
    TOGETHER.fetch_add(1, Ordering::AcqRel);
    timer::wait_until(team::SECOND / 100, || {
        TOGETHER.load(Ordering::Acquire).is_multiple_of(2)
    });
    let answer = psci(
        smccc::CPU_ON,
        [team::affinity(2), smp::secondary_entry(), 2],
    );
    ANSWERS[slot].store(answer, Ordering::Release);
}

fn a22_on_from_two_vcpus_at_once_starts_it_once() -> Outcome {
    team::needs(3)?;
    if !team::is_hypervised() {
        skip!("plain QEMU says yes to both");
    }
    for round in 0..50 {
        team::take_down(2)?;
        let before = team::STARTS[2].load(Ordering::Acquire);
        team::give(1, || ask(1));
        ask(0);
        team::finish()?;
        let [first, second] = [0, 1].map(|slot: usize| ANSWERS[slot].load(Ordering::Acquire));
        let refused = |answer| answer == smccc::ALREADY_ON || answer == smccc::ON_PENDING;
        let once = first == 0 && refused(second) || second == 0 && refused(first);
        expect!(once, "round {round}: the answers are {first} and {second}");
        expect!(
            team::wait(|| team::STARTS[2].load(Ordering::Acquire) > before),
            "it does not come up"
        );
        expect_eq!(
            team::STARTS[2].load(Ordering::Acquire),
            before + 1,
            "starts"
        );
    }
    Ok(())
}

static SEEN: [AtomicU64; smp::MAX_VCPUS] = [const { AtomicU64::new(0) }; smp::MAX_VCPUS];

fn c_every_vcpu_has_its_own_affinity() -> Outcome {
    team::needs(2)?;
    team::together(|| SEEN[smp::index()].store(sysreg::affinity(), Ordering::Release))?;
    for index in 0..team::size() {
        expect_eq!(
            SEEN[index].load(Ordering::Acquire),
            team::affinity(index),
            "affinity in MPIDR_EL1"
        );
    }
    Ok(())
}

fn c_counters_agree_between_vcpus() -> Outcome {
    team::needs(2)?;
    for index in 1..team::size() {
        for _ in 0..50 {
            let before = timer::now();
            team::give(index, || {
                SEEN[smp::index()].store(timer::now(), Ordering::Release)
            });
            team::finish()?;
            let between = SEEN[index].load(Ordering::Acquire);
            let after = timer::now();
            expect!(
                before <= between && between <= after,
                "vCPU {index} read {between} between {before} and {after}"
            );
        }
    }
    Ok(())
}

fn a22_all_but_the_first_stop() -> Outcome {
    team::needs(2)?;
    for index in 1..team::size() {
        team::take_down(index)?;
    }
    Ok(())
}
