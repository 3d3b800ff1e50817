//! Measures on a board what passing a pCPU from one partition to another costs: doorbells, wake-ups, yields.
//!
//! Three partitions on one pCPU have this guest; their channels say who is who.
//!
//! | partition | priority | channels | does |
//! | --- | --- | --- | --- |
//! | `pair` | low | `go`, `bell`, `turn` | measures and prints, once `go`'s partner says that it is done |
//! | `urgent` | high | `bell` | notes when its handler was entered |
//! | `peer` | that of `pair` | `turn` | yields back |
//!
//! A vCPU that uses the cycle counter takes longer to switch, so nobody does before all is measured: moments are ticks of the
//! virtual count. Pauses of ever another length go before each, so that the mean of many is right; least and greatest are as
//! coarse as a tick. Ticks become cycles at the end.
#![no_std]
#![no_main]

#[path = "../../bench-cycles/src/clock.rs"]
mod clock;
#[path = "../../bench/src/quiet.rs"]
mod quiet;
#[path = "../../bench-channel/src/ring.rs"]
mod ring;
mod rounds;

use clock::Counter;
use core::arch::{asm, global_asm};
use guest_runtime::channel::{self, Channel, Memory};
use guest_runtime::stats::Summary;
use guest_runtime::{entry, gic, gicv2, layout, mmu, println, smccc, sysreg, timer, write_sysreg};

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

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    let vectors = match gic::is_v2() {
        false => &raw const bench_vectors as u64,
        true => &raw const bench_vectors_v2 as u64,
    };
    // SAFETY: these tables are the runtime's but for interrupts, which are unmasked in `wait` alone: it names what changes.
    unsafe { write_sysreg!("vbar_el1", vectors) };
    sysreg::isb();
    let [go, bell, turn] = ["go", "bell", "turn"].map(channel::find);
    for channel in [&go, &bell, &turn].into_iter().flatten() {
        gic::enable(channel.intid, 0x80);
    }
    match (go, bell, turn) {
        (Some(go), Some(bell), Some(turn)) => measure(&go, &bell, &turn),
        (None, Some(bell), None) => rounds::answer(&bell),
        (None, None, Some(turn)) => rounds::yield_back(&turn),
        _ => println!("FAIL bench: the table does not give this partition its channels"),
    }
    smccc::system_off()
}

/// Waits for an interrupt; returns the count at its handler's first instruction.
fn wait() -> u64 {
    let stamp: u64;
    // SAFETY: interrupts are on for these instructions alone, which name what the handler changes.
    unsafe {
        asm!(
            "adr x15, 3f", "mov x13, #0", "msr daifclr, #2", "2:", "wfi", "b 2b", "3:", "msr daifset, #2",
            out("x10") stamp, out("x11") _, in("x12") 0_u64, out("x13") _, out("x15") _, options(nostack)
        );
    }
    stamp
}

/// Takes what is pending: partners that start ring too, and what waits for a vCPU goes with it at each switch.
fn settle() {
    let mut took = 1_u64;
    while took != 0 {
        // SAFETY: as in `wait`.
        unsafe {
            asm!(
                "adr x15, 3f", "mov x13, #0", "msr daifclr, #2", "isb", "3:", "msr daifset, #2",
                out("x10") _, out("x11") _, in("x12") 0_u64, out("x13") took, out("x15") _, options(nostack)
            );
        }
    }
}

/// Waits until the partner has written a word that is not 0.
fn wait_for_word(channel: &Channel, offset: usize) {
    while channel.memory.read(offset) == 0 {
        wait();
    }
    settle();
}

/// A row: its name, what was measured, and whether that has two reads of the count in it or begins at a deadline.
type Row = (&'static str, Summary, bool);

/// Measures when it is time, and prints.
fn measure(go: &Channel, bell: &Channel, turn: &Channel) {
    wait_for_word(go, 0);
    timer::wait_until(timer::PATIENCE_NS, || bell.peer().runs && turn.peer().runs);
    quiet::rest();
    settle();
    let overhead = rounds::overhead();
    let rows: [Row; 4] = [
        (
            "channel doorbell by call to handler, same pCPU",
            rounds::doorbells(bell, ring::channel_doorbell),
            true,
        ),
        (
            "channel doorbell by register to handler",
            rounds::doorbells(bell, ring::channel_doorbell_register),
            true,
        ),
        (
            "timer wakes a more urgent vCPU, to its handler",
            rounds::wakes(bell),
            false,
        ),
        (
            "yield to the successor's next instruction",
            rounds::yields(turn),
            true,
        ),
    ];
    let (unit, convert): (&str, fn(u64) -> u64) = match clock::start() {
        Counter::None => ("nanoseconds", timer::ticks_to_ns),
        Counter::Cycles | Counter::WithoutEl2 => ("cycles", clock::from_ticks),
    };
    println!("");
    println!(
        "In {unit}, between partitions on one pCPU: the means are right, the others as coarse as a tick, {}",
        convert(1)
    );
    println!("| operation | min | mean | max |");
    println!("| --- | --- | --- | --- |");
    for (name, all, reads) in rows {
        // A tick is not over when it is read: half of one is added to what begins with a tick.
        let (plus, minus) = match reads {
            true => (0, overhead.sum() * all.count() / overhead.count().max(1)),
            false => (all.count() / 2, 0),
        };
        let mean = convert((all.sum() + plus).saturating_sub(minus)) / all.count().max(1);
        let (min, max) = (convert(all.min()), convert(all.max()));
        println!("| {name} | {min} | {mean} | {max} |");
    }
    println!("DONE");
}
