//! A guest that EL2 has more to tell of than it shows: accesses to nothing, as soon as it has started. Then it is silent for good,
//! and nobody calls for the console any more.
#![no_std]
#![no_main]

use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::{entry, layout, mmu, sysreg};

/// More than EL2 shows of a partition in a second.
const ACCESSES: usize = 20;

entry!(main);

fn main() -> ! {
    mmu::enable();
    // SAFETY: nothing is there.
    let hole = unsafe { Mmio::new(layout::DEVICE_HOLE) };
    for _ in 0..ACCESSES {
        catch(|| hole.read32(0));
    }
    loop {
        sysreg::wfi();
    }
}
