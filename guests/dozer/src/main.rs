//! A guest with SErrors masked that computes for a second and then suspends itself, again and again, with no interrupt to come: it
//! comes back only where an SError is pending, and then each time. It prints `awake N` behind the Nth.
//!
//! CPU_SUSPEND to standby is WFI by a call. QEMU traps no WFI while a virtual SError is pending.
#![no_std]
#![no_main]

use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{entry, println, timer};

/// How long it computes.
const COMPUTES_NS: u64 = 1_000_000_000;
/// Waits that it tells of.
const TOLD: u32 = 4;

entry!(main);

fn main() -> ! {
    timer::spin(COMPUTES_NS);
    for wait in 1..=TOLD {
        smccc::call(Conduit::Hvc, smccc::CPU_SUSPEND, [0; 3]);
        println!("awake {wait}");
    }
    smccc::system_off()
}
