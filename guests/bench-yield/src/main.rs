//! Gives way to its equals, over and over: two partitions with this guest, of equal priority on one pCPU, measure what it
//! takes from the yield in one to the next instruction of the other.
//!
//! Each notes the count before its call and after it. The count is the same in both, so the host finds out what followed
//! what: it pairs each `STAMP row before after` of one with those of the other. `OVERHEAD` is the distance of two reads of
//! the count with nothing between.
#![no_std]
#![no_main]

use core::arch::asm;
use core::cell::UnsafeCell;
use guest_runtime::{entry, mmu, println, smccc};

/// Calls in each row.
const ROUNDS: usize = 1100;

/// Counts before and after each call.
struct Stamps(UnsafeCell<[[u64; 2]; ROUNDS]>);

// SAFETY: one vCPU runs here, and it has no interrupt handler.
unsafe impl Sync for Stamps {}

static UNTOUCHED: Stamps = Stamps(UnsafeCell::new([[0; 2]; ROUNDS]));
static LIVE: Stamps = Stamps(UnsafeCell::new([[0; 2]; ROUNDS]));

/// Calls "yield" [`ROUNDS`] times and stores the counts; runs the last instructions, if any, before the second one. The
/// section `.bench.marks` tells the host where what is measured begins and ends.
macro_rules! rounds {
    ($stamps:expr, [$($after:literal),*], $($clobber:tt)*) => {
        // SAFETY: the stamps have room for as many pairs as there are rounds; the call changes x0 to x17 alone.
        unsafe {
            asm!(
                "2:", "mov w0, #1", "movk w0, #0x8600, lsl #16", "isb", "mrs x20, cntvct_el0",
                "771:", "hvc #0", $($after,)* "772:", "mrs x21, cntvct_el0",
                "stp x20, x21, [x22], #16", "subs x23, x23, #1", "b.ne 2b",
                ".pushsection .bench.marks, \"\", %progbits", ".quad 771b, 772b", ".popsection",
                out("x20") _, out("x21") _, inout("x22") $stamps.0.get() => _, inout("x23") ROUNDS => _,
                out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
                out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
                out("x16") _, out("x17") _, $($clobber)* options(nostack)
            )
        }
    };
}

/// Nobody uses FP.
#[inline(never)]
fn yield_fp_untouched() {
    rounds!(UNTOUCHED, [],);
}

/// Both use FP each time that they run: the next instruction is one of FP.
#[inline(never)]
fn yield_fp_live() {
    rounds!(LIVE, ["fmov d31, #1.0"], out("v31") _,);
}

/// Returns the distance of two reads of the count.
fn overhead() -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: reads of the count change nothing.
    unsafe {
        asm!("isb", "mrs {b}, cntvct_el0", "mrs {a}, cntvct_el0", b = out(reg) before, a = out(reg) after,
            options(nomem, nostack))
    };
    after - before
}

entry!(main);

fn main() -> ! {
    mmu::enable();
    overhead();
    let overhead = overhead();
    yield_fp_untouched();
    yield_fp_live();
    println!("OVERHEAD {overhead}");
    for (name, stamps) in [("yield_fp_untouched", &UNTOUCHED), ("yield_fp_live", &LIVE)] {
        // SAFETY: the rounds are over; nobody writes any more.
        for [before, after] in unsafe { &*stamps.0.get() } {
            println!("STAMP {name} {before} {after}");
        }
    }
    println!("DONE");
    smccc::system_off()
}
