//! Restarts its partition again and again and checks that each life begins as the first one did.
//!
//! Each life prints `life at N ms of the physical count`, runs its tests and names those that fail, leaves as much behind
//! as it can (memory full of a pattern, registers, interrupts enabled, pending and active, a running timer, the other
//! vCPUs on) and calls PSCI SYSTEM_RESET: from the first vCPU, or from another one where there is one, in turns. The only
//! thing that lasts is the physical count, so lives go on until [`LAST_LIFE_MS`] of it; that last one prints each test's
//! result and `DONE`, and powers off.
//!
//! Names and lines are those of the guest `checks`.
#![no_std]
#![no_main]

mod leftovers;
mod translations;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use guest_runtime::suite::{self, Outcome, Test};
use guest_runtime::{
    console, entry, expect, expect_eq, gic, mmu, println, skip, smccc, smp, sysreg, tests, timer,
};

/// A life that begins later than this is the last one.
const LAST_LIFE_MS: u64 = 3_000;

const TESTS: &[Test] = tests![
    a20_registers_hold_nothing_of_a_former_life,
    a20_interrupts_are_off_as_at_the_start,
    a20_the_uart_is_as_at_the_start,
    a20_other_vcpus_are_off,
    a20_memory_holds_nothing_of_a_former_life,
    a18_the_first_vcpu_keeps_no_translation_of_a_former_life,
    a18_other_vcpus_keep_no_translation_of_a_former_life,
    a28_no_line_of_a_former_life_lands_later,
];

entry!(main);

fn main() -> ! {
    let registers = leftovers::registers();
    translations::look();
    mmu::enable();
    FOUND.store(registers, Ordering::Relaxed);
    gic::version();
    let age_ms = timer::ticks_to_ns(timer::physical_now()) / 1_000_000;
    println!("life at {age_ms} ms of the physical count");
    if age_ms > LAST_LIFE_MS {
        suite::run(&[TESTS]);
    }
    suite::run_quietly(&[TESTS]);
    leave_everything(age_ms)
}

static FOUND: AtomicU64 = AtomicU64::new(0);

fn a20_registers_hold_nothing_of_a_former_life() -> Outcome {
    let found = FOUND.load(Ordering::Relaxed);
    expect_eq!(
        found,
        0,
        "registers (by bit, see leftovers.rs) that hold the pattern"
    );
    Ok(())
}

fn a20_interrupts_are_off_as_at_the_start() -> Outcome {
    if !smccc::is_hypervised() {
        // QEMU's own reset puts PPIs and SGIs into other states than a fresh machine's; the tests below are for EL2.
        skip!("for a hypervisor's restart");
    }
    let frame = gic::bank(0);
    // A GICv2's SGIs cannot be disabled.
    let enabled = if gic::is_v2() { 0xffff } else { 0 };
    expect_eq!(frame.read32(gic::ISENABLER), enabled, "GICR_ISENABLER0");
    expect_eq!(frame.read32(gic::ISPENDR), 0, "GICR_ISPENDR0");
    expect_eq!(frame.read32(gic::ISACTIVER), 0, "GICR_ISACTIVER0");
    expect_eq!(
        gic::DISTRIBUTOR.read32(gic::ISENABLER + 4),
        0,
        "GICD_ISENABLER1"
    );
    expect_eq!(
        gic::DISTRIBUTOR.read32(gic::ISPENDR + 4),
        0,
        "GICD_ISPENDR1"
    );
    expect_eq!(
        gic::DISTRIBUTOR.read32(gic::ISACTIVER + 4),
        0,
        "GICD_ISACTIVER1"
    );
    expect_eq!(
        gic::DISTRIBUTOR.read32(gic::GICD_CTLR) & 3,
        0,
        "groups in GICD_CTLR"
    );
    expect_eq!(timer::virtual_control() & 3, 0, "CNTV_CTL_EL0");
    Ok(())
}

fn a20_the_uart_is_as_at_the_start() -> Outcome {
    if !smccc::is_hypervised() {
        skip!("QEMU's UART keeps its registers over a reset");
    }
    // The runtime masks its interrupts; the divisor is what nobody sets.
    expect_eq!(console::UART.read32(0x24), 0, "UARTIBRD");
    Ok(())
}

fn a20_other_vcpus_are_off() -> Outcome {
    let mut affinities = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut affinities);
    for affinity in affinities[..count]
        .iter()
        .filter(|affinity| **affinity != sysreg::affinity())
    {
        let state = smp::state(*affinity);
        expect!(state == 1, "AFFINITY_INFO of {affinity:#x} is {state}");
    }
    Ok(())
}

fn a20_memory_holds_nothing_of_a_former_life() -> Outcome {
    if !smccc::is_hypervised() {
        skip!("a machine's reset does not clear its memory");
    }
    let (words, last) = leftovers::search();
    expect!(
        words == 0,
        "{words} words of the pattern are left, the last at {last:#x}"
    );
    Ok(())
}

fn a18_the_first_vcpu_keeps_no_translation_of_a_former_life() -> Outcome {
    translations::first_reads_its_own()
}

fn a18_other_vcpus_keep_no_translation_of_a_former_life() -> Outcome {
    let mut affinities = [0; smp::MAX_VCPUS];
    let (count, own) = (smp::affinities(&mut affinities), sysreg::affinity());
    let others = &mut affinities[..count];
    // The first in the list of redistributors may be another one than the one that runs.
    if let Some(place) = others.iter().position(|affinity| *affinity == own) {
        others.swap(0, place);
    }
    translations::others_read_their_own(others.get(1..).unwrap_or(&[]))
}

fn a28_no_line_of_a_former_life_lands_later() -> Outcome {
    if !smccc::is_hypervised() {
        skip!("a machine's reset does not clear its memory");
    }
    // By now whatever was still in a cache or on its way has had time.
    timer::spin(2_000_000);
    let (words, last) = leftovers::search();
    expect!(
        words == 0,
        "{words} words of the pattern have come back, the last at {last:#x}"
    );
    Ok(())
}

/// Restarts the partition.
fn restart() -> ! {
    smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
    println!("FAIL a20_restart: SYSTEM_RESET came back");
    smccc::system_off()
}

/// Whether the first vCPU has left behind what it can, but for its registers.
static READY: AtomicBool = AtomicBool::new(false);

/// What another vCPU does in a life in which it restarts the partition.
fn restart_from_here() -> ! {
    while !READY.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    timer::spin(1_000_000);
    restart()
}

/// What the other vCPUs do else.
fn idle() -> ! {
    loop {
        sysreg::wfi();
    }
}

/// Leaves as much behind as can be, then restarts.
fn leave_everything(age_ms: u64) -> ! {
    let mut affinities = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut affinities);
    let own = sysreg::affinity();
    leftovers::fill_memory();
    leftovers::interrupts();
    let by_another = count > 1 && age_ms % 2 == 1;
    let others = affinities[..count]
        .iter()
        .filter(|affinity| **affinity != own);
    for (index, affinity) in (1..).zip(others) {
        smp::start(
            index,
            *affinity,
            if by_another && index == 1 {
                restart_from_here
            } else {
                idle
            },
        );
    }
    console::UART.write32(0x24, 0x55);
    console::flush();
    READY.store(true, Ordering::Release);
    translations::leave_behind();
    leftovers::fill_registers();
    if by_another {
        idle()
    }
    restart()
}
