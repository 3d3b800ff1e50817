//! A guest that leaves a line unfinished and waits, for nothing: whatever wakes its pCPU afterwards is EL2's doing.
#![no_std]
#![no_main]

use guest_runtime::{console, entry, sysreg};

entry!(main);

fn main() -> ! {
    for byte in *b"waiting " {
        console::try_put(byte);
    }
    loop {
        sysreg::wfi();
    }
}
