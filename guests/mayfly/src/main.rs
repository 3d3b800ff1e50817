//! Ends its life at once, each time in another way, so that the next one follows: a reset, a reset of the newer kind, a fault
//! that EL2 has no answer to. Before that it leaves as much behind as it can: interrupts of all kinds pending and active, both
//! timers running, a mask, FP registers.
//!
//! Which life it is, the doorbell's register of its channel says; its partner finds the number there too. Where that channel's
//! name begins with `kept`, the partner starts what has stopped, and there are more ways ([`KEPT_WAYS`]). How often it was about
//! to take each, it counts in the channel's memory, a word for each way.
#![no_std]
#![no_main]

use core::arch::asm;
use guest_runtime::channel::{Channel, Memory};
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{channel, entry, gic, layout, manage, mmu, smp, sysreg, timer, write_sysreg};

/// `SYSTEM_RESET2`, 64-bit.
const SYSTEM_RESET2: u32 = 0xc400_0012;
/// Our call that lets equals run.
const YIELD: u32 = 0x8600_0001;

/// Ways in which a life ends, by the remainder of its number.
const WAYS: u32 = 3;
/// The same where somebody starts it again, and has an order for those that wait for one. The keeper, `lives` of the guest
/// `fuzz`, has their names.
const KEPT_WAYS: u32 = 8;

entry!(main);

fn main() -> ! {
    let channel = channel::number(0);
    let life = channel.map_or(0, |channel| channel.own().generation);
    if life.is_multiple_of(2) {
        mmu::enable();
    }
    litter(channel);
    match channel {
        Some(channel) if is_kept() => end(count(channel, life % KEPT_WAYS)),
        _ => end(life % WAYS),
    }
}

/// Says whether the partner starts again what has stopped.
fn is_kept() -> bool {
    channel::all().any(|found| found.index == 0 && found.name.starts_with("kept"))
}

/// Counts a way, and returns it.
fn count(channel: Channel, way: u32) -> u32 {
    let word = 8 * way as usize;
    let before = channel.memory.read(word);
    channel.memory.release(word, before + 1);
    way
}

/// Ends the life in a way.
fn end(way: u32) -> ! {
    match way {
        0 => loop {
            smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
        },
        1 => loop {
            smccc::call(Conduit::Smc, SYSTEM_RESET2, [0; 3]);
        },
        2 => perish(),
        3 => smccc::system_off(),
        4 => loop {
            smp::stop_self();
        },
        5 => fall_silent(),
        // To be ordered to stop, or to restart.
        _ => loop {
            manage::kick();
            smccc::call(Conduit::Hvc, YIELD, [0; 3]);
        },
    }
}

/// Leaves as much as it can.
fn litter(channel: Option<Channel>) {
    gic::DISTRIBUTOR.write32(gic::GICD_CTLR, 0x12);
    let private = gic::redistributor_at(0);
    for register in [gic::IGROUPR, gic::ISENABLER, gic::ISPENDR, gic::ISACTIVER] {
        private.write32(gic::SGI_FRAME + register, 0xffff_0f0f);
        gic::DISTRIBUTOR.write32(register + 4, u32::MAX);
    }
    timer::set_virtual(timer::now() + 300);
    timer::set_physical(0);
    // SAFETY: nothing is masked that this guest needs, and the registers are named.
    unsafe {
        write_sysreg!("icc_igrpen1_el1", 1);
        write_sysreg!("icc_pmr_el1", 0xf0);
        write_sysreg!("pmcntenset_el0", 0x8000_0000);
        asm!("fmov d31, #1.0", out("v31") _, options(nostack));
    }
    if let Some(channel) = channel {
        channel.ring();
    }
}

/// Waits for what never comes.
fn fall_silent() -> ! {
    gic::DISTRIBUTOR.write32(gic::GICD_CTLR, 0);
    loop {
        sysreg::wfi();
    }
}

/// Faults with vectors where nothing is.
fn perish() -> ! {
    // SAFETY: nothing runs here any more.
    unsafe {
        write_sysreg!("vbar_el1", layout::MEMORY_HOLE as u64);
        sysreg::isb();
        asm!("udf #0", options(noreturn))
    }
}
