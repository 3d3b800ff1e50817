//! Pesters a vCPU of its own that sleeps: what the second vCPU sends it becomes pending, and wakes nobody, since the
//! sleeper's mask lets nothing through.
//!
//! Each SGI is taken back by register before the next one. With GICv2 nobody takes back another's SGI: there it is the UART's
//! interrupt. Prints `sent N` now and then.
#![no_std]
#![no_main]

use guest_runtime::{entry, gic, layout, mmu, println, smp, sysreg};

/// The SGI that is sent.
const SGI: u32 = 5;
/// SGIs from one line to the next.
const VOLLEY: u64 = 500;
/// A mask that lets nothing through.
const SILENT: u64 = 0;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::set_mask(SILENT);
    gic::enable(SGI, 0x80);
    gic::enable(layout::UART_INTID, 0x80);
    let mut affinities = [0; smp::MAX_VCPUS];
    smp::affinities(&mut affinities);
    smp::start(1, affinities[1], pester);
    loop {
        sysreg::wfi();
    }
}

/// What the second vCPU does.
fn pester() -> ! {
    gic::init_cpu();
    for volley in 1u64.. {
        for _ in 0..VOLLEY {
            send();
        }
        println!("sent {}", volley * VOLLEY);
    }
    unreachable!()
}

/// Sends the sleeper an interrupt, and takes it back.
fn send() {
    if gic::is_v2() {
        gic::write_bit(gic::ISPENDR, layout::UART_INTID);
        gic::write_bit(gic::ICPENDR, layout::UART_INTID);
        return;
    }
    gic::send_sgi(SGI, 0);
    gic::redistributor_at(0).write32(gic::SGI_FRAME + gic::ICPENDR, 1 << SGI);
}
