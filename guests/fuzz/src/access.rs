//! Loads and stores of every form to every region.

use crate::counts;
use crate::step::Fuzzer;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use guest_runtime::{channel, gic, layout, mmu};

/// Makes a function of each form: the address is in x9, what is stored in x10 and x11.
macro_rules! forms {
    ($($form:literal;)*) => {
        /// The forms.
        pub const FORMS: &[&str] = &[$($form),*];
        const RUN: &[fn(usize, u64)] = &[$(|address, value| {
            // SAFETY: what can be stored to at the address, within 64 bytes, is scratch or no memory of this guest.
            unsafe {
                asm!(".arch_extension lse", $form, inout("x9") address => _, inout("x10") value => _,
                    inout("x11") !value => _, out("x12") _, out("x13") _, out("v0") _, out("v1") _, out("v2") _,
                    out("v3") _, options(nostack))
            }
        }),*];
    };
}

forms! {
    "ldrb w10, [x9]"; "ldrh w10, [x9]"; "ldr w10, [x9]"; "ldr x10, [x9]"; "ldrsb w10, [x9]"; "ldrsb x10, [x9]";
    "ldrsh w10, [x9]"; "ldrsh x10, [x9]"; "ldrsw x10, [x9]"; "ldr wzr, [x9]"; "ldr xzr, [x9]"; "ldur w10, [x9, #3]";
    "ldur x10, [x9, #-7]"; "ldr w10, [x9, #4]"; "ldr w10, [x9, xzr]"; "ldr w10, [x9], #4"; "ldr x10, [x9], #8";
    "ldr w10, [x9, #4]!"; "ldr x10, [x9, #-8]!"; "ldrb w10, [x9], #1"; "ldtr w10, [x9]"; "ldtrb w10, [x9]";
    "ldp w10, w11, [x9]"; "ldp x10, x11, [x9]"; "ldp x10, x11, [x9], #16"; "ldp w10, w11, [x9, #8]!";
    "ldpsw x10, x11, [x9]"; "ldnp x10, x11, [x9]"; "ldar w10, [x9]"; "ldar x10, [x9]"; "ldarb w10, [x9]";
    "ldarh w10, [x9]"; "ldxr w10, [x9]"; "ldxr x10, [x9]"; "ldxrb w10, [x9]"; "ldaxr w10, [x9]"; "ldaxrh w10, [x9]";
    "ldxp w10, w11, [x9]"; "ldaxp x10, x11, [x9]"; "ldr b0, [x9]"; "ldr h0, [x9]"; "ldr s0, [x9]"; "ldr d0, [x9]";
    "ldr q0, [x9]"; "ldp q0, q1, [x9]"; "ld1 {{v0.16b}}, [x9]"; "ld1 {{v0.b}}[3], [x9]"; "ld1r {{v0.4s}}, [x9]";
    "ld4 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [x9]"; "prfm pldl1keep, [x9]"; "prfm pstl1strm, [x9]";
    "strb w10, [x9]"; "strh w10, [x9]"; "str w10, [x9]"; "str x10, [x9]"; "str wzr, [x9]"; "str xzr, [x9]";
    "stur w10, [x9, #1]"; "stur x10, [x9, #-9]"; "str w10, [x9], #4"; "str x10, [x9, #8]!"; "strb w10, [x9, #1]!";
    "sttr w10, [x9]"; "stp w10, w11, [x9]"; "stp x10, x11, [x9]"; "stp x10, x11, [x9], #-16"; "stnp w10, w11, [x9]";
    "stlr w10, [x9]"; "stlr x10, [x9]"; "stlrb w10, [x9]"; "stxr w12, w10, [x9]"; "stlxr w12, x10, [x9]";
    "stxrb w12, w10, [x9]"; "stxp w12, w10, w11, [x9]"; "stlxp w12, x10, x11, [x9]"; "str b0, [x9]"; "str h0, [x9]";
    "str s0, [x9]"; "str d0, [x9]"; "str q0, [x9]"; "stp q0, q1, [x9]"; "st1 {{v0.16b}}, [x9]";
    "st1 {{v0.h}}[2], [x9], #2"; "st3 {{v0.2d, v1.2d, v2.2d}}, [x9]"; "dc zva, x9";
    "ldxr w10, [x9]\n stxr w12, w11, [x9]"; "ldaxp x12, x13, [x9]\n stlxp w12, x10, x11, [x9]";
    "cas w10, w11, [x9]"; "casal x10, x11, [x9]"; "casp x10, x11, x12, x13, [x9]"; "swp w10, w11, [x9]";
    "ldadd x10, x11, [x9]"; "stset w10, [x9]"; "ldsmaxal w10, w11, [x9]";
}

/// Where accesses go.
pub const REGIONS: [&str; 14] = [
    "memory",
    "memory of an ordinary kind, as a device's",
    "distributor",
    "own redistributor",
    "another's redistributor",
    "behind the last redistributor",
    "UART",
    "doorbell",
    "hole among the devices",
    "hole behind the memory",
    "no translation of stage 1",
    "a table of stage 1 that is not there",
    "behind the addresses of stage 2",
    "behind the addresses of the CPU",
];

/// Memory that holds nothing. Larger than what an access from its middle reaches.
#[repr(C, align(4096))]
struct Scratch([AtomicU64; 1024]);

static SCRATCH: Scratch = Scratch([const { AtomicU64::new(0) }; 1024]);

/// Windows into what lies where.
const DEVICE_ALIAS: usize = 0;
const NO_TABLE: usize = 1;
const BEHIND_STAGE_2: usize = 2;
const BEHIND_CPU: usize = 3;

/// Registers of the first channel's doorbell; 0 for none.
static DOORBELL: AtomicUsize = AtomicUsize::new(0);

/// Maps the windows.
pub fn prepare() {
    const TABLE: u64 = 3;
    let own = layout::RAM as u64;
    mmu::set_window(DEVICE_ALIAS, own | mmu::BLOCK_DEVICE);
    mmu::set_window(NO_TABLE, layout::MEMORY_HOLE as u64 | TABLE);
    mmu::set_window(BEHIND_STAGE_2, 1 << 39 | mmu::BLOCK_NORMAL);
    mmu::set_window(BEHIND_CPU, 1 << 47 | mmu::BLOCK_DEVICE);
    if let Some(channel) = channel::number(0) {
        DOORBELL.store(channel.registers.base(), Relaxed);
    }
}

/// Returns the first address of a window.
fn window(number: usize) -> usize {
    (mmu::WINDOW_GIB + number) << 30
}

/// Draws an address of a region, a multiple of 16.
pub fn address(fuzzer: &Fuzzer, region: usize) -> usize {
    let drawn = fuzzer.draw() as usize & !15;
    // Half of them where most registers are.
    let in_frame = match fuzzer.below(2) {
        0 => drawn & 0xfff,
        _ => drawn & 0xffff,
    };
    let redistributor = |index: usize| {
        layout::GICR + index * layout::GICR_STRIDE + fuzzer.below(2) * gic::SGI_FRAME + in_frame
    };
    let scratch = SCRATCH.0.as_ptr() as usize + 1024 + drawn % 4096;
    match region {
        0 => scratch,
        1 => window(DEVICE_ALIAS) + (scratch - layout::RAM),
        2 => layout::GICD + in_frame,
        3 => redistributor(fuzzer.index),
        4 => redistributor(fuzzer.below(crate::power::count())),
        5 => redistributor(crate::power::count()),
        // Not its data, nor what overlaps it: the console would be all noise.
        6 => layout::UART + 0x10 + drawn % 0xfd0,
        7 => DOORBELL.load(Relaxed) + drawn % 0x1000,
        8 => layout::DEVICE_HOLE + drawn % 0x10_0000,
        9 => layout::MEMORY_HOLE + drawn % 0x1000_0000,
        10 => window(8) + drawn % (1 << 30),
        11 => window(NO_TABLE) + drawn % (1 << 30),
        12 => window(BEHIND_STAGE_2) + drawn % (1 << 30),
        _ => window(BEHIND_CPU) + drawn % (1 << 30),
    }
}

/// Runs a form at an address of any region, seldom a misaligned one.
pub fn step(fuzzer: &Fuzzer, form: usize) {
    let region = fuzzer.below(REGIONS.len());
    counts::add_region(fuzzer.index, region);
    let aligned = address(fuzzer, region);
    let at = match fuzzer.below(8) {
        0 => aligned + fuzzer.below(16),
        1..=3 => aligned + 4 * fuzzer.below(4),
        4 | 5 => aligned + 8 * fuzzer.below(2),
        _ => aligned,
    };
    RUN[form](at, fuzzer.value());
}
