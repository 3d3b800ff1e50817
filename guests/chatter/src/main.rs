//! Prints a thousand lines, more than its UART's ring holds, then powers its partition off.
//!
//! Where nobody takes the ring's bytes out it comes to its end only if the UART drops what finds no room.
#![no_std]
#![no_main]

use guest_runtime::{entry, println, smccc};

/// How many lines it prints.
const LINES: u32 = 1000;

entry!(main);

fn main() -> ! {
    for line in 1..=LINES {
        println!("line {line} of {LINES}");
    }
    smccc::system_off()
}
