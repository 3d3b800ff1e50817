//! Does what a guest should not, at random and for ever: wild accesses, wild registers, wild calls, storms of interrupts.
//!
//! For [`QUIET_NS`] it is a quiet neighbour, so that a witness can say what changed then.
//!
//! Beside it a partition with a heartbeat (`control-loop`) must notice nothing, and EL2 must live. It keeps itself alive:
//! what would only stop or rewrite its own program is left out, everything else is drawn from a generator that starts from
//! the counts, or from [`SEED`] when that is not 0, to do the same again.
//!
//! It prints its seed, and `hostile N actions M faults` every [`REPORT`] actions.
#![no_std]
#![no_main]

mod actions;
mod encodings;

use core::sync::atomic::{AtomicBool, Ordering};
use guest_runtime::exception::catch;
use guest_runtime::random::{self, random};
use guest_runtime::{entry, gic, layout, mmu, println, recorder, smccc, sysreg, timer};

/// Where the generator starts; 0 takes the counts.
const SEED: u64 = 0;
/// How long it is quiet at first.
const QUIET_NS: u64 = 200_000_000;
/// Actions between two lines.
const REPORT: u64 = 100_000;
/// Actions after which the GIC is set up afresh, so that interrupts come again.
const FRESH: u64 = 500;

entry!(main);

fn main() -> ! {
    mmu::enable();
    let seed = if SEED != 0 {
        SEED
    } else {
        timer::now().rotate_left(32) ^ timer::physical_now() | 1
    };
    random::seed(seed);
    HYPERVISED.store(smccc::is_hypervised(), Ordering::Relaxed);
    println!("hostile seed {seed:#x}");
    be_quiet();
    recorder::start();
    let mut faults = 0_u64;
    let mut count = 0_u64;
    loop {
        if count.is_multiple_of(FRESH) {
            sysreg::mask_irqs();
            gic::init();
            for intid in (0..16).chain([
                layout::VIRTUAL_TIMER_INTID,
                layout::PHYSICAL_TIMER_INTID,
                layout::UART_INTID,
            ]) {
                gic::enable(intid, (random() & 0xf8) as u8);
            }
            sysreg::unmask_irqs();
        }
        let (_, fault) = catch(actions::one);
        faults += u64::from(fault.is_some());
        count += 1;
        if count.is_multiple_of(REPORT) {
            sysreg::mask_irqs();
            guest_runtime::console::init();
            println!("hostile {count} actions {faults} faults");
            sysreg::unmask_irqs();
        }
    }
}

/// Waits, as a good neighbour does.
fn be_quiet() {
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let end = timer::now() + timer::ns_to_ticks(QUIET_NS);
    timer::set_virtual(end);
    while timer::now() < end {
        sysreg::wfi();
    }
    timer::stop_virtual();
    println!("hostile from now on");
}

static HYPERVISED: AtomicBool = AtomicBool::new(false);

/// Returns whether there is no hypervisor: then it spares the machine's own devices.
pub fn is_native() -> bool {
    !HYPERVISED.load(Ordering::Relaxed)
}
