//! Exclusive accesses: those that EL2 comes between fail, and the next ones succeed.
//!
//! # Source
//! Arm DDI 0487, "Synchronization and semaphores", "Load-Exclusive and Store-Exclusive instruction usage restrictions".

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_runtime::exception::catch;
use guest_runtime::smccc::{self, is_hypervised};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, skip, tests, timer};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a14_a_trap_ends_an_exclusive_and_the_next_one_works,
    a14_exclusives_left_open_hold_nothing_up,
    a14_exclusive_loops_end_while_interrupts_come,
];

/// Tries that an addition needs at most, far more than any reason for a failure comes in a row.
const TRIES: u32 = 10_000;

static WORD: AtomicU32 = AtomicU32::new(0);

/// Runs an instruction between a load-exclusive and a store-exclusive; says whether the store was done.
macro_rules! across {
    ($($between:literal),*; $x0:expr) => {{
        let failed: u32;
        // SAFETY: the word is an atomic, which gets the value that it had; a call may change x0 to x17.
        unsafe {
            asm!("ldxr w20, [x22]", $($between,)* "stxr w21, w20, [x22]", in("x22") WORD.as_ptr(), out("x20") _,
                out("x21") failed, inout("x0") $x0 => _, clobber_abi("C"), options(nostack));
        }
        failed == 0
    }};
}

/// Adds one in a loop of exclusives; returns how many tries it took, at most [`TRIES`].
fn add() -> u32 {
    for tries in 1..=TRIES {
        let failed: u32;
        // SAFETY: the word is an atomic.
        unsafe {
            asm!("ldxr {v:w}, [{word}]", "add {v:w}, {v:w}, #1", "stxr {failed:w}, {v:w}, [{word}]",
                v = out(reg) _, word = in(reg) WORD.as_ptr(), failed = out(reg) failed, options(nostack));
        }
        if failed == 0 {
            return tries;
        }
    }
    TRIES
}

fn a14_a_trap_ends_an_exclusive_and_the_next_one_works() -> Outcome {
    if !is_hypervised() {
        skip!("nothing comes between without a hypervisor");
    }
    for round in 0..100 {
        expect!(
            !across!("hvc #0"; u64::from(smccc::PSCI_VERSION)),
            "round {round}: an exclusive store succeeded across a call"
        );
        expect!(
            !across!("ldr w1, [x0]"; layout::GICD as u64),
            "round {round}: an exclusive store succeeded across an access to the distributor"
        );
        expect!(add() < TRIES, "round {round}: no exclusive store succeeds");
    }
    Ok(())
}

fn a14_exclusives_left_open_hold_nothing_up() -> Outcome {
    crate::fresh_gic();
    gic::enable(4, 0x80);
    let before = WORD.load(Ordering::Relaxed);
    for round in 1..=1000 {
        // SAFETY: loads that are not followed by their stores, of a word and of a device's register.
        unsafe {
            asm!("ldxr {v:w}, [{word}]", v = out(reg) _, word = in(reg) WORD.as_ptr(), options(nostack));
            catch(
                || asm!("ldxr {v:w}, [{word}]", v = out(reg) _, word = in(reg) layout::GICD + 0x1000, options(nostack)),
            );
        }
        gic::write_bit(gic::ISPENDR, 4);
        expect!(
            guest_runtime::recorder::wait(round, timer::PATIENCE_NS),
            "no interrupt in round {round}"
        );
        expect!(add() < TRIES, "round {round}: no exclusive store succeeds");
    }
    expect_eq!(WORD.load(Ordering::Relaxed), before + 1000, "the sum");
    Ok(())
}

fn a14_exclusive_loops_end_while_interrupts_come() -> Outcome {
    crate::fresh_gic();
    guest_runtime::recorder::set_hook(|_| {
        timer::set_virtual(timer::now() + timer::ns_to_ticks(5_000));
    });
    timer::set_virtual(timer::now());
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    guest_runtime::sysreg::unmask_irqs();
    let before = WORD.load(Ordering::Relaxed);
    let worst = (0..100_000).map(|_| add()).max();
    guest_runtime::sysreg::mask_irqs();
    timer::stop_virtual();
    expect!(worst < Some(TRIES), "an addition took {worst:?} tries");
    expect_eq!(WORD.load(Ordering::Relaxed), before + 100_000, "the sum");
    Ok(())
}
