//! Rings a partner's doorbell as fast as it can, and checks that the partner hears of it.
//!
//! Side 0 of the channel `bell` rings, by call and by register in turns. After each volley of [`RINGS`] it waits until side 1
//! has taken one more interrupt, for rings that find the doorbell pending are one with it, and prints
//! `volley N rings N heard N`. Side 1 counts its interrupts in the shared memory.
//!
//! On a channel `deaf` side 1 leaves its doorbell disabled and sleeps: no ring may wake it. Side 0 rings and computes in turns, and
//! prints `volley N rings N woken N`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::channel::{self, Channel, Memory};
use guest_runtime::exception::{self, Frame};
use guest_runtime::{entry, gic, mmu, println, smccc, sysreg, timer};

/// Rings of a volley.
const RINGS: u64 = 10_000;

/// How long a ringer computes between two rings of a deaf one, and how long it lets that one fall asleep.
const COMPUTE_NS: u64 = 20_000;
const REST_NS: u64 = 100_000_000;

/// Interrupts that side 1 took.
static HEARD: AtomicU64 = AtomicU64::new(0);

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    if let Some(bell) = channel::find("deaf") {
        match bell.side {
            0 => ring_a_deaf_one(&bell),
            _ => sleep_on(&bell),
        }
    }
    let Some(bell) = channel::find("bell") else {
        println!("FAIL bells: the table gives this partition no channel `bell`");
        smccc::system_off()
    };
    match bell.side {
        0 => ring(&bell),
        _ => hear(&bell),
    }
}

/// Returns where the number of interrupts stands in the shared memory.
fn place(bell: &Channel) -> usize {
    bell.memory.size() / 2
}

/// Tells how many interrupts came.
fn hear(bell: &Channel) -> ! {
    exception::set_irq_handler(on_ring);
    gic::enable(bell.intid, 0x80);
    sysreg::unmask_irqs();
    loop {
        bell.memory
            .write(place(bell), HEARD.load(Ordering::Relaxed));
        sysreg::wfi();
    }
}

fn on_ring(_: &mut Frame) {
    let intid = gic::acknowledge();
    if intid != gic::SPURIOUS {
        HEARD.fetch_add(1, Ordering::Relaxed);
        gic::end(intid);
    }
}

/// Rings volleys without end.
fn ring(bell: &Channel) -> ! {
    let heard = || bell.memory.read(place(bell));
    timer::wait_until(timer::PATIENCE_NS, || bell.peer().runs);
    for volley in 1.. {
        for _ in 0..RINGS / 2 {
            bell.signal();
            bell.ring();
        }
        let before = heard();
        bell.ring();
        if timer::wait_until(timer::PATIENCE_NS, || heard() > before) {
            let rings = volley * (RINGS + 1);
            println!("volley {volley} rings {rings} heard {}", heard());
        } else {
            println!("FAIL volley {volley}: nobody heard the last ring");
        }
    }
    unreachable!()
}

/// Sleeps, and tells how often it woke.
fn sleep_on(bell: &Channel) -> ! {
    gic::disable(bell.intid);
    for woken in 0_u64.. {
        bell.memory.write(place(bell), woken);
        sysreg::wfi();
    }
    unreachable!()
}

/// Rings one that sleeps on, in volleys without end. Between rings it does nothing that EL2 sees.
fn ring_a_deaf_one(bell: &Channel) -> ! {
    timer::wait_until(timer::PATIENCE_NS, || bell.peer().runs);
    timer::spin(REST_NS);
    for volley in 1_u64.. {
        for _ in 0..RINGS / 20 {
            bell.signal();
            bell.ring();
            timer::spin(COMPUTE_NS);
        }
        let woken = bell.memory.read(place(bell));
        println!(
            "volley {volley} rings {} woken {woken}",
            volley * RINGS / 10
        );
    }
    unreachable!()
}
