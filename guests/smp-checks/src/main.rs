//! Checks what the vCPUs of one partition may rely on among themselves: 2 to 8 vCPUs, each on a pCPU of its own or several
//! sharing one.
//!
//! Names and lines are those of the guest `checks`. Nothing here assumes that two vCPUs run at the same time: whoever waits
//! does so with WFI, so that a sibling on the same pCPU goes on.
#![no_std]
#![no_main]
// An index names a vCPU here, not a place in one array.
#![allow(clippy::needless_range_loop)]

mod calls;
mod gic_v2;
mod interrupts;
mod memory;
mod power;
mod team;

use guest_runtime::{entry, gic, mmu, suite};

entry!(main);

fn main() -> ! {
    mmu::enable();
    team::init();
    let of_version = match gic::version() {
        2 => gic_v2::TESTS,
        _ => interrupts::V3_TESTS,
    };
    suite::run(&[
        power::TESTS,
        interrupts::TESTS,
        of_version,
        calls::TESTS,
        memory::TESTS,
        power::LAST,
    ])
}
