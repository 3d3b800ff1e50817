//! Counting doorbells, and waiting for them.

use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::exception::Frame;
use guest_runtime::{gic, sysreg};

static RUNG: AtomicU64 = AtomicU64::new(0);

/// Counts interrupts: doorbells are all that this guest enables.
pub fn on_interrupt(_: &mut Frame) {
    let intid = gic::acknowledge();
    if intid != gic::SPURIOUS {
        RUNG.fetch_add(1, Ordering::Relaxed);
        gic::end(intid);
    }
}

/// Returns how often it rang.
pub fn rung() -> u64 {
    RUNG.load(Ordering::Relaxed)
}

/// Waits until it has rung since it had rung `seen` times.
pub fn wait(seen: u64) {
    loop {
        // Masked, so that no interrupt comes between the look and the wait: WFI wakes for a masked one too.
        sysreg::mask_irqs();
        let rings = rung() != seen;
        if !rings {
            sysreg::wfi();
        }
        sysreg::unmask_irqs();
        if rings {
            return;
        }
    }
}
