//! Prints a hundred numbered lines, then powers its partition off.
//!
//! The smallest guest there is: no MMU, no interrupts, a UART and one PSCI call.
#![no_std]
#![no_main]

use guest_runtime::{entry, println, smccc};

/// How many lines it prints.
const LINES: u32 = 100;

entry!(main);

fn main() -> ! {
    for line in 1..=LINES {
        println!("line {line} of {LINES}");
    }
    smccc::system_off()
}
