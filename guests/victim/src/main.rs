//! Does in each of its lives what a manager wants to see: waits, crashes, kicks its watchdog and stops kicking it. Which
//! life it is, a channel's registers tell; without a channel every life crashes.
#![no_std]
#![no_main]

use core::arch::asm;
use guest_runtime::{
    channel, console, entry, gic, layout, manage, mmu, println, sysreg, timer, write_sysreg,
};

/// Time between two kicks.
const PAUSE_NS: u64 = 2_000_000;
/// Kicks before a life forgets its watchdog.
const KICKS: u32 = 20;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let life = channel::number(0).map(|channel| channel.own().generation);
    match life {
        None | Some(2) => crash(life),
        Some(3) => forget(),
        Some(life) => {
            println!("life {life} waits");
            loop {
                pause();
            }
        }
    }
}

/// Kicks the watchdog and waits a little.
fn pause() {
    manage::kick();
    timer::set_virtual(timer::now() + timer::ns_to_ticks(PAUSE_NS));
    sysreg::wfi();
    let intid = gic::acknowledge();
    timer::set_virtual(u64::MAX >> 1);
    if intid < 1020 {
        gic::end(intid);
    }
}

/// Takes an exception with vectors where nothing is: EL2 has no answer.
fn crash(life: Option<u32>) -> ! {
    println!("life {life:?} crashes");
    println!("famous last words");
    console::flush();
    // SAFETY: nothing runs here any more.
    unsafe {
        write_sysreg!("vbar_el1", layout::MEMORY_HOLE as u64);
        sysreg::isb();
        asm!("mov x19, #0x1234", "udf #0", options(noreturn))
    }
}

/// Kicks the watchdog for a while, then computes.
fn forget() -> ! {
    println!("life 3 kicks {KICKS} times");
    for _ in 0..KICKS {
        pause();
    }
    println!("life 3 kicks no more");
    loop {
        core::hint::spin_loop();
    }
}
