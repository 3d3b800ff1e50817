//! Resets its partition at once, for ever: most of its time goes into loading.
#![no_std]
#![no_main]

use guest_runtime::{entry, smccc};

entry!(main);

fn main() -> ! {
    loop {
        smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
    }
}
