//! Sleeps, and wakes up for a moment every [`PERIOD_NS`]: one of many that stand in a scheduler's and a timer's way while
//! others are measured.
#![no_std]
#![no_main]

use guest_runtime::{entry, gic, layout, mmu, sysreg, timer};

/// How long it sleeps.
const PERIOD_NS: u64 = 5_000_000_000;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    loop {
        let end = timer::now() + timer::ns_to_ticks(PERIOD_NS);
        timer::set_virtual(end);
        // Masked interrupts end a wait too.
        while timer::now() < end {
            sysreg::wfi();
        }
    }
}
