//! Sleeps that a sibling's SGI ends and nothing else does in time: whatever brings it there has to reach the right pCPU.

use crate::team::{self, SECOND};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, smp, sysreg, tests, timer};

/// The tests of this module.
pub const TESTS: &[Test] = tests![b6_a_call_ends_a_sleep_of_no_other_end];

/// The SGI that ends a sleep.
const CALL: u32 = 11;
/// The end of a sleep that nobody ends, and how soon a call has to end it, in nanoseconds.
const LONGEST: u64 = 8 * SECOND;
const SOON: u64 = 4 * SECOND;
/// How long a caller waits after the sleeper said that it goes to sleep, in nanoseconds.
const ASLEEP_NS: u64 = 2_000_000;
/// Nobody, in place of an index.
const NOBODY: usize = usize::MAX;

/// Who sleeps, or is about to.
static SLEEPER: AtomicUsize = AtomicUsize::new(NOBODY);
/// When it was called.
static CALLED_AT: AtomicU64 = AtomicU64::new(0);
/// Sleeps that a call did not end soon.
static LATE: AtomicU32 = AtomicU32::new(0);

fn calls_of(index: usize) -> u32 {
    team::RECEIVED[index][CALL as usize].load(Ordering::Acquire)
}

/// Job: sleeps until it is called.
fn sleep() {
    let own = smp::index();
    let before = calls_of(own);
    let end = timer::now() + timer::ns_to_ticks(LONGEST);
    sysreg::mask_irqs();
    timer::set_virtual(end);
    SLEEPER.store(own, Ordering::Release);
    while calls_of(own) == before && timer::now() < end {
        sysreg::wfi();
        sysreg::unmask_irqs();
        sysreg::isb();
        sysreg::mask_irqs();
    }
    timer::stop_virtual();
    sysreg::unmask_irqs();
    let slept_on = timer::now().saturating_sub(CALLED_AT.load(Ordering::Acquire));
    if slept_on > timer::ns_to_ticks(SOON) {
        LATE.fetch_add(1, Ordering::AcqRel);
    }
    SLEEPER.store(NOBODY, Ordering::Release);
}

/// Calls a vCPU as soon as it sleeps, and waits until it is awake; says whether both came to be.
fn call(target: usize) -> bool {
    let asleep = || SLEEPER.load(Ordering::Acquire) == target;
    if !team::wait(asleep) {
        return false;
    }
    timer::spin(ASLEEP_NS);
    CALLED_AT.store(timer::now(), Ordering::Release);
    gic::send_sgi(CALL, team::affinity(target));
    team::wait(|| !asleep())
}

/// Job: calls the first vCPU.
fn call_the_first() {
    call(0);
}

fn b6_a_call_ends_a_sleep_of_no_other_end() -> Outcome {
    team::needs(2)?;
    for index in 1..team::size() {
        LATE.store(0, Ordering::Release);
        team::give(index, sleep);
        expect!(call(index), "vCPU {index} did not sleep and wake");
        expect_eq!(
            LATE.load(Ordering::Acquire),
            0,
            "calls by vCPU 0 that came late"
        );
        team::finish()?;
        team::give(index, call_the_first);
        sleep();
        expect_eq!(
            LATE.load(Ordering::Acquire),
            0,
            "calls of vCPU 0 that came late"
        );
        team::finish()?;
    }
    Ok(())
}
