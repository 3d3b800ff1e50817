//! Silence before measuring.

use guest_runtime::{console, gic, layout, sysreg, timer};

/// How long the console is left alone, and less urgent partitions have to get ready, before measuring, in nanoseconds.
const QUIET_NS: u64 = 50_000_000;

/// Waits until the console has sent everything, and sleeps a while, so that less urgent partitions run.
pub fn rest() {
    console::flush();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let end = timer::now() + timer::ns_to_ticks(QUIET_NS);
    while timer::now() < end {
        timer::set_virtual(end);
        sysreg::wfi();
    }
    timer::stop_virtual();
}
