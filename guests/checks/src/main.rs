//! Checks what a guest with one vCPU may rely on, and what a hypervisor has to bear.
//!
//! A test's name begins with the row of the project's list of faults that it answers: `a23_...` is input against EL2, `b10_...`
//! a rule of the virtual GIC, `c_...` the contract with a guest. The lines are those of [`guest_runtime::suite`].
//!
//! It runs on plain QEMU too; what makes sense only above a hypervisor is skipped there.
#![no_std]
#![no_main]

mod aarch32;
mod accesses;
mod calls;
mod contract;
mod exclusives;
mod faults;
mod features;
mod gic_model;
mod gic_order;
mod gic_space;
mod gic_state;
mod gic_v2;
mod holes;
mod sysregs;
mod timers;
mod tree;
mod uart;

use guest_runtime::{entry, gic, mmu, recorder, suite};

entry!(main);

/// No tests.
const NONE: &[suite::Test] = &[];

fn main() -> ! {
    mmu::enable();
    let (interface, space, accesses, holes) = match gic::version() {
        2 => (gic_v2::TESTS, NONE, NONE, NONE),
        _ => (
            contract::V3_TESTS,
            gic_space::V3_TESTS,
            accesses::V3_TESTS,
            holes::V3_TESTS,
        ),
    };
    suite::run(&[
        interface,
        space,
        accesses,
        holes,
        contract::TESTS,
        features::TESTS,
        tree::TESTS,
        timers::TESTS,
        gic_state::TESTS,
        gic_order::TESTS,
        gic_space::TESTS,
        gic_model::TESTS,
        uart::TESTS,
        accesses::TESTS,
        faults::TESTS,
        holes::TESTS,
        exclusives::TESTS,
        aarch32::TESTS,
        calls::TESTS,
        sysregs::TESTS,
    ])
}

/// Brings the GIC into a known state, with nothing pending and an empty log; interrupts are masked.
fn fresh_gic() {
    guest_runtime::sysreg::mask_irqs();
    recorder::quiet(guest_runtime::layout::VIRTUAL_TIMER_INTID);
    recorder::quiet(guest_runtime::layout::PHYSICAL_TIMER_INTID);
    recorder::quiet(guest_runtime::layout::UART_INTID);
    gic::init();
    gic::write_bit(gic::ICPENDR, guest_runtime::layout::UART_INTID);
    gic::write_bit(gic::ICACTIVER, guest_runtime::layout::UART_INTID);
    recorder::start();
}
