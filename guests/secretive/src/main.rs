//! Holds secrets in every register and in memory while it does what EL2 logs, traces and refuses; then it crashes.
//!
//! Secret `n` is [`SECRET`] rotated left by `n`; register `n` holds it during each deed. The random seeds of its device tree
//! are secrets too: it prints them inverted, so that whoever looks for them in the log knows what to look for:
//! `inverted HEX`. Each life begins with `deeds N`.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest_runtime::exception::catch;
use guest_runtime::{console, entry, gic, layout, mmu, println, sysreg, timer, tree, write_sysreg};

/// The first secret. The test that looks for them knows it too.
const SECRET: u64 = 0x5ec2_e7a1_0ddb_a11d;

// Does a deed with a secret in every register that the deed does not need itself: x9 an address, x0 a function of a call.
// x0: the deed's number, x1: what x9 and, for a call, x0 are.
global_asm!(
    ".section .text.secretive, \"ax\"",
    ".global secretive_do",
    "secretive_do:",
    "    stp x29, x30, [sp, #-96]!",
    "    stp x19, x20, [sp, #16]",
    "    stp x21, x22, [sp, #32]",
    "    stp x23, x24, [sp, #48]",
    "    stp x25, x26, [sp, #64]",
    "    stp x27, x28, [sp, #80]",
    "    adr x2, secretive_deeds",
    "    add x2, x2, x0, lsl #4",
    "    mov x9, x1",
    "    msr tpidr_el0, x2", // the way to the deed
    "    ldr x8, ={secret}",
    "    .irp n,1,2,3,4,5,6,7,8,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
    "    ldr x\\n, ={secret}",
    "    ror x\\n, x\\n, #(64 - \\n)",
    "    .endr",
    "    mrs x0, tpidr_el0",
    "    br x0",
    // Sixteen bytes each: x0 is a secret too, or what a call needs.
    "    .balign 16",
    "secretive_deeds:",
    "    b 10f", "    nop", "    nop", "    nop",
    "    b 11f", "    nop", "    nop", "    nop",
    "    b 12f", "    nop", "    nop", "    nop",
    "    b 13f", "    nop", "    nop", "    nop",
    "    b 14f", "    nop", "    nop", "    nop",
    "    b 15f", "    nop", "    nop", "    nop",
    "    b 16f", "    nop", "    nop", "    nop",
    "    b 17f", "    nop", "    nop", "    nop",
    "    b 18f", "    nop", "    nop", "    nop",
    "10: ldr x0, ={secret}", "    ldr w3, [x9]", "    b 9f",
    "11: ldr x0, ={secret}", "    str x5, [x9]", "    b 9f",
    "12: ldr x0, ={secret}", "    stp x5, x6, [x9]", "    b 9f",
    "13: ldr x0, ={secret}", "    str w5, [x9]", "    b 9f",
    "14: ldr x0, ={secret}", "    msr S3_0_C15_C0_0, x7", "    b 9f",
    "15: ldr x0, ={secret}", "    msr cntp_cval_el0, x7", "    mrs x7, cntp_cval_el0", "    wfi", "    b 9f",
    "16: mov x0, x9", "    hvc #0", "    b 9f",
    "17: mov x0, x9", "    smc #0", "    b 9f",
    // The last deed, with vectors where nothing is.
    "18: ldr x0, ={secret}", "    msr vbar_el1, x9", "    isb", "    udf #0",
    "9:  ldp x19, x20, [sp, #16]",
    "    ldp x21, x22, [sp, #32]",
    "    ldp x23, x24, [sp, #48]",
    "    ldp x25, x26, [sp, #64]",
    "    ldp x27, x28, [sp, #80]",
    "    ldp x29, x30, [sp], #96",
    "    ret",
    "    .ltorg",
    secret = const SECRET,
);

unsafe extern "C" {
    fn secretive_do(deed: u64, what: u64);
}

/// A load, a store, a pair and a word to a device or to nothing.
const LOAD: u64 = 0;
const WORD: u64 = 3;
/// A write to a register that is not there; a timer, and a wait.
const UNKNOWN: u64 = 4;
const WAIT: u64 = 5;
/// Calls.
const HVC: u64 = 6;
const SMC: u64 = 7;
/// The crash.
const CRASH: u64 = 8;

/// Functions that are called: unknown ones, refused ones, and one that takes what it gets for an address.
const FUNCTIONS: [u32; 8] = [
    0x8600_00ff,
    0xc600_0019,
    0xc600_001c,
    0xc400_0003,
    0xc400_0004,
    0x8300_0001,
    0xc400_0001,
    0xc600_0010,
];

/// How long a life rests before it crashes.
const PAUSE_NS: u64 = 3_000_000_000;

/// A page of secrets.
static MEMORY: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x40);
    for (number, word) in MEMORY.iter().enumerate() {
        word.store(SECRET.rotate_left(number as u32 % 31), Relaxed);
    }
    for seed in tree::properties().filter(|one| matches!(one.name, "rng-seed" | "kaslr-seed")) {
        seed.value.chunks_exact(8).for_each(|bytes| {
            let word = bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            println!("inverted {:016x}", !word);
        });
    }
    fill_vectors();
    let mut deeds = 0;
    let mut act = |deed, what: usize| {
        // A wait must end, whatever it is for.
        timer::set_virtual(timer::now() + 1000);
        // SAFETY: keeps the procedure call standard; nothing of this guest's lies where it stores.
        catch(|| unsafe { secretive_do(deed, what as u64) });
        deeds += 1;
    };
    let holes = [
        layout::DEVICE_HOLE,
        layout::MEMORY_HOLE,
        layout::GICD + 0xe000,
        layout::UART + 0x5c8,
    ];
    for hole in holes {
        (LOAD..=WORD).for_each(|deed| act(deed, hole));
    }
    for register in [
        layout::UART + 0x24,
        layout::UART + console::IMSC,
        layout::GICD + gic::IPRIORITYR + 32,
    ] {
        act(WORD, register);
    }
    act(UNKNOWN, 0);
    act(WAIT, 0);
    for function in FUNCTIONS {
        act(HVC, function as usize);
        act(SMC, function as usize);
    }
    console::UART.write32(console::IMSC, 0);
    println!("deeds {deeds}");
    console::flush();
    // EL2 says so much in a second and no more; of the crash it is to say something.
    let end = timer::now() + timer::ns_to_ticks(PAUSE_NS);
    timer::set_virtual(end);
    while timer::now() < end {
        sysreg::wfi();
        gic::end(gic::acknowledge());
    }
    // SAFETY: nothing runs here any more.
    unsafe { secretive_do(CRASH, layout::MEMORY_HOLE as u64) };
    loop {
        sysreg::wfi();
    }
}

/// Fills V0 to V31, which EL2 switches when somebody else uses them, and registers that a crash record holds.
fn fill_vectors() {
    // SAFETY: the V registers are declared as changed; this guest uses none of the others.
    unsafe {
        write_sysreg!("tpidrro_el0", SECRET);
        write_sysreg!("sp_el0", SECRET);
        write_sysreg!("contextidr_el1", SECRET & 0xffff_ffff);
        asm!(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "dup v\\n\\().2d, {p}",
            ".endr",
            p = in(reg) SECRET,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}
