//! Gives its pCPU away a known number of times: says how often it yielded and how often it waited, and powers off.
//!
//! First it waits long enough for a less urgent neighbour to be loaded. Nothing else traps but the console and the
//! interrupt controller.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};
use guest_runtime::exception::{self, Frame};
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{console, entry, gic, layout, mmu, println, sysreg, timer};

/// Our own call: to the tail of one's priority.
const YIELD: u32 = 0x8600_0001;
/// How often it yields.
const YIELDS: u32 = 50;
/// How often it waits beside the first time.
const WAITS: u32 = 100;
/// The first wait, in nanoseconds.
const FIRST_NS: u64 = 20_000_000;
/// Every other wait.
const WAIT_NS: u64 = 30_000;

static WOKEN: AtomicBool = AtomicBool::new(false);

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    exception::set_irq_handler(on_interrupt);
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let mut waits = wait(FIRST_NS);
    for _ in 0..YIELDS {
        smccc::call(Conduit::Hvc, YIELD, [0; 3]);
    }
    for _ in 0..WAITS {
        waits += wait(WAIT_NS);
    }
    println!("yielded {YIELDS} times, waited {waits} times");
    console::flush();
    smccc::system_off()
}

/// Waits for the virtual timer, and returns how often it took a WFI.
fn wait(ns: u64) -> u32 {
    WOKEN.store(false, Ordering::Relaxed);
    timer::set_virtual(timer::now() + timer::ns_to_ticks(ns));
    let mut times = 0;
    loop {
        // Masked, so that the interrupt does not come between the look and the wait: WFI wakes for a masked one too.
        sysreg::mask_irqs();
        let woken = WOKEN.load(Ordering::Relaxed);
        if !woken {
            sysreg::wfi();
            times += 1;
        }
        sysreg::unmask_irqs();
        if woken {
            return times;
        }
    }
}

fn on_interrupt(_: &mut Frame) {
    let intid = gic::acknowledge();
    if intid == layout::VIRTUAL_TIMER_INTID {
        timer::stop_virtual();
        WOKEN.store(true, Ordering::Relaxed);
    }
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
}
