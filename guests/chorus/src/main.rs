//! All its vCPUs wait for the same deadlines: each time EL2 has as many to wake, one after the other.
//!
//! The deadlines are the multiples of [`PERIOD_NS`] in the counter, a little less than a millisecond: beside somebody who wakes
//! each millisecond they come to fall before, at and behind that one's deadlines. The first vCPU prints `voices N`.
#![no_std]
#![no_main]

use guest_runtime::{entry, gic, layout, mmu, println, smp, sysreg, timer};

/// Time between two deadlines.
const PERIOD_NS: u64 = 999_500;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init_distributor();
    let mut affinities = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut affinities);
    for (index, affinity) in affinities.iter().enumerate().take(count).skip(1) {
        smp::start(index, *affinity, sing);
    }
    println!("voices {count}");
    sing()
}

/// Wakes with all others, and sleeps on.
fn sing() -> ! {
    gic::init_cpu();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let period = timer::ns_to_ticks(PERIOD_NS);
    loop {
        timer::set_virtual((timer::now() / period + 1) * period);
        sysreg::wfi();
        timer::stop_virtual();
        gic::end(gic::acknowledge());
    }
}
