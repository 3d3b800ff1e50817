//! Measures a channel's doorbell on one pCPU: from the count before the less urgent side rings to the first instruction of
//! the more urgent side's interrupt handler.
//!
//! Side 0 rings, side 1 waits in WFI. Its handler's first instruction reads the count; that stamp goes to side 0 by the
//! shared memory. Side 0 prints `BENCH name min mean max n`, as the guest `bench` does, for rings by call and by register,
//! then `DONE`.
#![no_std]
#![no_main]

mod ring;

use core::arch::{asm, global_asm};
use guest_runtime::channel::{self, Channel, Memory};
use guest_runtime::stats::Summary;
use guest_runtime::{
    console, entry, gic, gicv2, layout, mmu, println, smccc, sysreg, timer, write_sysreg,
};
use ring::{channel_doorbell, channel_doorbell_register};

global_asm!(
    include_str!("../../bench/src/vectors.S"),
    "VECTORS bench_vectors, cntvct_el0",
    interface = const layout::GICC,
    acknowledge = const gicv2::GICC_IAR,
    end = const gicv2::GICC_EOIR,
);

unsafe extern "C" {
    static bench_vectors: u8;
    static bench_vectors_v2: u8;
}

/// Counted runs of each row.
const RUNS: u64 = 1000;
/// Runs of each row before they are counted: a host that watches from outside has seen each of them by then.
const WARM_UPS: u64 = 8;
/// How long the console is left alone before measuring, in nanoseconds.
const QUIET_NS: u64 = 50_000_000;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    let Some(bell) = channel::find("bell") else {
        println!("FAIL bench: the table gives this partition no channel `bell`");
        smccc::system_off()
    };
    match bell.side {
        0 => measure(&bell),
        _ => answer(&bell),
    }
}

/// Tells each ring's stamp.
fn answer(bell: &Channel) -> ! {
    gic::enable(bell.intid, 0x80);
    let vectors = match gic::is_v2() {
        false => &raw const bench_vectors as u64,
        true => &raw const bench_vectors_v2 as u64,
    };
    // SAFETY: these tables' interrupt entry changes x10, x11 and x13 and nothing else; the rest of them is the runtime's.
    unsafe { write_sysreg!("vbar_el1", vectors) };
    sysreg::isb();
    loop {
        let stamp: u64;
        // SAFETY: interrupts are on for these instructions alone, which name what the handler changes.
        unsafe {
            asm!(
                "adr x15, 3f", "mov x13, #0", "msr daifclr, #2", "2:", "wfi", "b 2b", "3:", "msr daifset, #2",
                out("x10") stamp, out("x11") _, in("x12") 0_u64, out("x13") _, out("x15") _, options(nostack)
            );
        }
        bell.memory.write(bell.memory.size() / 2, stamp);
    }
}

/// A row: its name, and what rings and returns the count before.
type Row = (&'static str, fn(&Channel) -> u64);

const ROWS: [Row; 2] = [
    ("channel_doorbell", channel_doorbell),
    ("channel_doorbell_register", channel_doorbell_register),
];

/// Measures and prints.
fn measure(bell: &Channel) -> ! {
    timer::wait_until(timer::PATIENCE_NS, || bell.peer().runs);
    console::flush();
    timer::spin(QUIET_NS);
    for (_, ring) in ROWS {
        run(bell, ring, WARM_UPS);
    }
    let results = ROWS.map(|(name, ring)| (name, run(bell, ring, RUNS)));
    println!("");
    for (name, row) in results {
        let (min, mean, max) = (row.min(), row.mean(), row.max());
        println!("BENCH {name} {min} {mean} {max} {}", row.count());
    }
    println!("DONE");
    smccc::system_off()
}

/// Measures one way to ring. The read of the count before is no part of it.
fn run(bell: &Channel, ring: fn(&Channel) -> u64, runs: u64) -> Summary {
    let mut summary = Summary::new();
    for _ in 0..runs {
        let before = ring(bell);
        // The more urgent side has had its turn.
        let stamp = bell.memory.read(bell.memory.size() / 2);
        summary.add(stamp.wrapping_sub(before).saturating_sub(1));
    }
    summary
}
