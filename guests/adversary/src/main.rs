//! Reaches every path of EL2 that a guest can take, and tries to make each long.
//!
//! With several vCPUs it goes through calls, system registers, accesses to devices and to nothing, and the interrupt
//! controller's registers, each of them in states that are as full as they get: all interrupts pending, all active, both,
//! every list register in use. With one vCPU it spoils its own vectors and faults, so that its partition is torn down, and
//! started again where the table says so.
//!
//! It checks nothing and prints next to nothing: `cargo xtask bench --longest` watches EL2 from outside. That it has done
//! all, the host sees by [`finished`], whose place is in the section `.bench.marks`.
#![no_std]
#![no_main]

mod accesses;
mod calls;
mod controller;
mod extras;
mod registers;

use core::arch::asm;
use guest_runtime::{
    channel, console, entry, gic, layout, mmu, println, recorder, smccc, smp, sysreg, timer,
    write_sysreg,
};

/// Turns of the part that is drawn at random.
const TURNS: u64 = 1500;

entry!(main);

fn main() -> ! {
    mmu::enable();
    let mut affinities = [0; smp::MAX_VCPUS];
    if smp::affinities(&mut affinities) == 1 {
        perish();
    }
    if channel::number(0).is_some_and(|channel| channel.own().generation > 1) {
        // What tore the first life down, and began this one, has been seen.
        finished();
        smccc::system_off()
    }
    recorder::start();
    recorder::set_hook(deafen);
    gic::init();
    let own = sysreg::affinity();
    for (index, affinity) in affinities.iter().enumerate() {
        if *affinity != own {
            smp::start(index, *affinity, help);
        }
    }
    extras::start();
    for _ in 0..2 {
        calls::all();
        registers::all();
        accesses::all();
        controller::all(own);
        flood_console();
    }
    for _ in 0..TURNS {
        controller::at_random();
    }
    calmly(|| println!("all done"));
    console::flush();
    loop {
        // SYSTEM_RESET, which does not come back.
        smccc::psci(0x8400_0009, [0; 3]);
    }
}

/// Where the instruction is that says that all is done: the host cannot tell guests apart, and no other one has code there.
const FINISHED: usize = 0x401e_0000;

/// All is done. The host sees the instruction.
fn finished() {
    const RET: u32 = 0xd65f_03c0;
    // SAFETY: the address is in this guest's memory, far behind what it uses, and gets a return. The section names it.
    unsafe {
        (FINISHED as *mut u32).write_volatile(RET);
        asm!(
            "dc cvau, {at}", "dsb ish", "ic ivau, {at}", "dsb ish", "isb", "blr {at}",
            ".pushsection .bench.marks, \"\", %progbits",
            ".quad {FINISHED}, {FINISHED}",
            ".popsection",
            at = in(reg) FINISHED, FINISHED = const FINISHED, out("x30") _, options(nostack)
        )
    };
}

/// What further vCPUs do: they take what comes and wait for more.
fn help() -> ! {
    gic::init_cpu();
    for intid in 0..16 {
        gic::enable(intid, 0x80);
    }
    loop {
        sysreg::unmask_irqs();
        // All of them at the same time.
        timer::set_virtual((timer::now() | 0x3fff) + 1);
        sysreg::wfi();
        use_fp();
    }
}

/// Takes the FP registers from whoever has them.
pub fn use_fp() {
    // SAFETY: FP is on, and the register is named.
    unsafe { asm!("fmov d31, #1.0", out("v31") _, options(nostack)) };
}

/// In the handler: lets level interrupts fall, and masks what would come again and again.
fn deafen(intid: u32) {
    recorder::quiet(intid);
    if intid >= 32 {
        gic::disable(intid);
    }
}

/// Faults with vectors where nothing is: EL2 has no answer but to end this life. Some lives wait for the watchdog instead.
fn perish() -> ! {
    let waits = timer::physical_now() >> 10 & 1 != 0;
    timer::spin(500_000);
    if waits {
        loop {
            core::hint::spin_loop();
        }
    }
    // SAFETY: nothing runs here any more.
    unsafe {
        write_sysreg!("vbar_el1", layout::MEMORY_HOLE as u64);
        sysreg::isb();
        asm!("udf #0", options(noreturn))
    }
}

/// Runs `body` with a fresh interrupt controller.
pub fn calmly(body: impl FnOnce()) {
    sysreg::mask_irqs();
    gic::init();
    body();
}

/// Writes more than the UART and the ring behind it hold.
fn flood_console() {
    calmly(|| {
        gic::enable(layout::UART_INTID, 0x40);
        console::UART.write32(console::IMSC, 0x7ff);
        for number in 0..600_u32 {
            let byte = if number % 70 == 69 { b'\n' } else { b'~' };
            console::UART.write32(console::DR, u32::from(byte));
            if number % 64 == 0 {
                // Lets what has come up be taken.
                sysreg::unmask_irqs();
                sysreg::mask_irqs();
            }
        }
        console::UART.write32(console::IMSC, 0);
    });
    console::init();
}
