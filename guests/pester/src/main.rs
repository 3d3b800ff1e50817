//! Pesters a vCPU of its own that sleeps: what the second vCPU sends it becomes pending, and wakes nobody, since the
//! sleeper's mask lets nothing through.
//!
//! Each SGI is taken back by register before the next one. Prints `sent N` now and then.
#![no_std]
#![no_main]

use guest_runtime::{entry, gic, mmu, println, smp, sysreg};

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
    let sleeper = gic::redistributor_at(0);
    for volley in 1u64.. {
        for _ in 0..VOLLEY {
            gic::send_sgi(SGI, 0);
            sleeper.write32(gic::SGI_FRAME + gic::ICPENDR, 1 << SGI);
        }
        println!("sent {}", volley * VOLLEY);
    }
    unreachable!()
}
