//! Dumps all that it can see at its first start and at its hundredth, and compares. In between it leaves behind as much as
//! it can, and ends each life in another way.
//!
//! The dump is made before the runtime starts ([`look`]): x0 to x30, SP and the V registers at the first instruction, every
//! system register that can be read, all words of the distributor, of the redistributors and of the UART, a checksum of
//! the image and of each page of memory, the device tree; the same registers of the second vCPU, at its start; and what the budgets give. It lies
//! in the memory of the channel, which outlasts a restart. Lives 1 to 7 and 100 are dumped: one after each kind of end.
//!
//! The partner, the other end of the channel, is this guest too: it rings, and restarts who asks for it.
//!
//! Each life but a dumped one says `life N`; the last one prints each test's result and `DONE`.
#![no_std]
#![no_main]

mod dirt;
mod dump;
mod look;
mod partner;
mod supply;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use dump::{Class, Dump};
use guest_runtime::channel::{self, Channel};
use guest_runtime::suite::{self, Outcome, Test};
use guest_runtime::{
    console, entry, expect, manage, mmu, println, smccc, smp, sysreg, tests, timer,
};

/// The life that is compared last.
const LAST: u32 = 100;
/// `SYSTEM_RESET2`, 64-bit.
const SYSTEM_RESET2: u32 = 0xc400_0012;
/// How long the life before the last one waits for somebody to type.
const TYPING_NS: u64 = 20_000_000_000;

const TESTS: &[Test] = tests![
    a20_general_registers_are_as_at_the_first_start,
    a20_vector_registers_are_as_at_the_first_start,
    a20_system_registers_are_as_at_the_first_start,
    a20_the_distributor_is_as_at_the_first_start,
    a20_redistributors_are_as_at_the_first_start,
    a20_the_uart_is_as_at_the_first_start,
    a20_memory_is_as_at_the_first_start,
    a20_the_device_tree_is_as_at_the_first_start,
    a20_calls_answer_as_at_the_first_start,
    a20_another_vcpus_general_registers_are_as_at_the_first_start,
    a20_another_vcpus_vector_registers_are_as_at_the_first_start,
    a20_another_vcpus_system_registers_are_as_at_the_first_start,
    a20_budgets_give_what_they_gave_at_the_first_start,
];

entry!(main);

/// Says whether a life is dumped.
fn is_dumped(life: u32) -> bool {
    (1..=7).contains(&life) || life == LAST
}

/// The address of the channel's memory: the tree that says it does not last as long as the life.
static SHARED: AtomicUsize = AtomicUsize::new(0);

/// Finds this guest's end of its channel.
fn find() -> Option<Channel> {
    let found = channel::all().next()?;
    SHARED.store(found.memory as usize, Ordering::Relaxed);
    Some(Channel::new(found))
}

/// Returns the address of the channel's memory.
fn shared() -> usize {
    SHARED.load(Ordering::Relaxed)
}

fn main() -> ! {
    mmu::enable();
    let channel = find().expect("the table has a channel");
    if channel.side != 0 {
        partner::serve(&channel);
    }
    let life = channel.own().generation;
    manage::kick();
    match life {
        1 => println!("dumped {} entries", Dump::new(shared(), 1).entries()),
        LAST => {
            println!("restarted by its manager {} times", partner::restarts());
            suite::run(&[TESTS])
        }
        _ if is_dumped(life) => suite::run_quietly(&[TESTS]),
        _ => {}
    }
    println!("life {life}");
    end(life)
}

/// Compares a class of both dumps, which has some entries.
fn alike(class: Class) -> Outcome {
    alike_within(class, 0)
}

/// How much a budget may give more or less in five periods, half of one: what the measured time cuts off depends on when
/// neighbours wake. One that was lost or renewed makes more.
const SUPPLY_NS: u64 = 2_500_000;

fn a20_budgets_give_what_they_gave_at_the_first_start() -> Outcome {
    for vcpu in 0..2 {
        let gave = Dump::new(shared(), 2).value(Class::Budget, vcpu);
        println!(
            "budget of vCPU {vcpu} gave {} ns in 50 ms",
            gave.unwrap_or(0)
        );
    }
    alike_within(Class::Budget, SUPPLY_NS)
}

/// Compares a class of both dumps, whose values may be so much apart.
fn alike_within(class: Class, apart: u64) -> Outcome {
    let (first, now) = (Dump::new(shared(), 1), Dump::new(shared(), 2));
    expect!(now.entries() != usize::MAX, "the dump was too small");
    let (mut wrong, mut example) = (0, (0, 0, 0));
    let count = dump::compare(first, now, class, |key, then, here| {
        if then.abs_diff(here) > apart || then == here {
            wrong += 1;
            if wrong == 1 {
                example = (key, then, here);
            }
        }
    });
    manage::kick();
    let (key, then, here) = example;
    expect!(
        wrong == 0,
        "{wrong} of {count} differ; at {key:#x} was {then:#x}, is {here:#x}"
    );
    expect!(count > 0, "nothing was compared");
    Ok(())
}

macro_rules! alike {
    ($($name:ident $class:ident;)*) => {
        $(fn $name() -> Outcome {
            alike(Class::$class)
        })*
    };
}

alike! {
    a20_general_registers_are_as_at_the_first_start General;
    a20_vector_registers_are_as_at_the_first_start Vector;
    a20_system_registers_are_as_at_the_first_start System;
    a20_the_distributor_is_as_at_the_first_start Distributor;
    a20_redistributors_are_as_at_the_first_start Redistributor;
    a20_the_uart_is_as_at_the_first_start Uart;
    a20_memory_is_as_at_the_first_start Memory;
    a20_the_device_tree_is_as_at_the_first_start Tree;
    a20_calls_answer_as_at_the_first_start Calls;
    a20_another_vcpus_general_registers_are_as_at_the_first_start Second;
    a20_another_vcpus_vector_registers_are_as_at_the_first_start SecondVector;
    a20_another_vcpus_system_registers_are_as_at_the_first_start SecondSystem;
}

/// The first vCPU has left behind what it can, but for its registers; and what the second one is to call then.
static READY: AtomicBool = AtomicBool::new(false);
static CALL: AtomicU32 = AtomicU32::new(0);
/// A dumped life comes next: every register is written, by every encoding.
static ALL: AtomicBool = AtomicBool::new(false);

/// What the second vCPU does: makes itself dirty, and ends the life where it is to.
fn second() -> ! {
    dirt::controller();
    dirt::vectors();
    while !READY.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    dirt::registers(ALL.load(Ordering::Relaxed));
    match CALL.load(Ordering::Relaxed) {
        0 => spin(),
        function => dirt::last(function),
    }
}

fn spin() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Leaves as much behind as can be, and ends this life.
fn end(life: u32) -> ! {
    let how = life % 6;
    let mut affinities = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut affinities);
    let own = sysreg::affinity();
    let other = affinities[..count].iter().find(|other| **other != own);
    if how == 1 && other.is_some() {
        CALL.store(smccc::SYSTEM_RESET, Ordering::Relaxed);
    }
    if life == LAST - 1 {
        println!("type something");
        timer::wait_until(TYPING_NS, || {
            manage::kick();
            console::UART.read32(console::FR) & console::FR_RXFE == 0
        });
    }
    console::flush();
    dirt::prepare();
    dirt::memory();
    dirt::controller();
    if let Some(other) = other {
        smp::start(1, *other, second);
    }
    dirt::uart();
    partner::ask(partner::RING, life);
    // It rings, and the second vCPU gets its turn.
    timer::spin(2_000_000);
    let all = is_dumped(life + 1);
    ALL.store(all, Ordering::Relaxed);
    READY.store(true, Ordering::Release);
    dirt::registers(all);
    dirt::vectors();
    if how == 4 {
        partner::ask(partner::RESTART, life);
    }
    match how {
        // The second one does it; the manager does it; the watchdog does it.
        1 if other.is_some() => spin(),
        4 | 5 => spin(),
        2 => dirt::last(SYSTEM_RESET2),
        3 => dirt::last(dirt::NO_CALL),
        _ => dirt::last(smccc::SYSTEM_RESET),
    }
}
