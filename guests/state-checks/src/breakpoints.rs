//! Breakpoints: mine stop me and nobody else's do.

use crate::ROUNDS;
use core::arch::global_asm;
use guest_runtime::exception::catch;
use guest_runtime::random::random;
use guest_runtime::suite::Outcome;
use guest_runtime::{esr, expect, expect_eq, sysreg, write_sysreg};

global_asm!(
    ".balign 4",
    "breakpoint_spots:",
    ".rept 4",
    "nop",
    "ret",
    ".endr"
);

unsafe extern "C" {
    static breakpoint_spots: [u64; SPOTS];
}

/// Places that a breakpoint may be at; both partitions have them at the same addresses.
const SPOTS: usize = 4;
/// `DBGBCR<n>_EL1`: one instruction, at EL1, on.
const AT_EL1: u64 = 0xf << 5 | 0b01 << 1 | 1;
/// `MDSCR_EL1`: breakpoints are on, for the kernel too.
const MONITOR: u64 = 1 << 15 | 1 << 13;

/// Sets a breakpoint at a place drawn by lot, lets time pass, and goes to every place.
pub fn survive(pass: fn()) -> Outcome {
    let outcome = rounds(pass);
    // SAFETY: turns off what `rounds` turned on.
    unsafe {
        write_sysreg!("dbgbcr0_el1", 0u64);
        write_sysreg!("mdscr_el1", 0u64);
    }
    sysreg::isb();
    outcome
}

fn rounds(pass: fn()) -> Outcome {
    // SAFETY: nothing but the places below can match a breakpoint, and each exception there is caught.
    unsafe {
        write_sysreg!("oslar_el1", 0u64);
        write_sysreg!("mdscr_el1", MONITOR);
    }
    for round in 0..ROUNDS / 10 {
        let mine = random() as usize % SPOTS;
        // SAFETY: as above.
        unsafe {
            write_sysreg!("dbgbvr0_el1", spot(mine) as u64);
            write_sysreg!("dbgbcr0_el1", AT_EL1);
        }
        sysreg::isb();
        pass();
        for place in 0..SPOTS {
            let fault = visit(place);
            expect!(
                fault.is_some() == (place == mine),
                "round {round}: place {place} stopped: {}, the breakpoint is at {mine}",
                fault.is_some()
            );
            if let Some(fault) = fault {
                expect_eq!(esr::class(fault.esr), 0x31, "exception class");
            }
        }
    }
    Ok(())
}

fn spot(place: usize) -> usize {
    (&raw const breakpoint_spots) as usize + place * 8
}

/// Goes to a place with debug exceptions let through, and returns the one that came.
fn visit(place: usize) -> Option<guest_runtime::exception::Fault> {
    let at = spot(place);
    catch(|| {
        // SAFETY: a place is `nop` and `ret`; `catch` steps over the first when a breakpoint stops there.
        unsafe {
            core::arch::asm!("msr daifclr, #8", "isb", "blr {at}", "msr daifset, #8", at = in(reg) at, out("x30") _,
                options(nostack));
        }
    })
    .1
}
