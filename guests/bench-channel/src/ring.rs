//! A ring of a channel's doorbell, right behind a read of the virtual count.

use core::arch::asm;
use guest_runtime::channel::{self, Channel};

/// Returns the count before an instruction, which has to come after it at once. The section `.bench.marks` tells the host,
/// which may watch from outside, where what is measured begins and that it ends with the other side's handler.
macro_rules! before {
    ([$($instruction:expr),*], $($operands:tt)*) => {{
        let before: u64;
        // SAFETY: the rows below ring a doorbell of this partition, and name what they change.
        unsafe {
            asm!("isb", "mrs {before}, cntvct_el0", "771:", $($instruction,)*
                ".pushsection .bench.marks, \"\", %progbits", ".quad 771b, bench_vectors + 0x280", ".popsection",
                before = out(reg) before, $($operands)*)
        };
        before
    }};
}

/// Rings by call.
#[inline(never)]
pub fn channel_doorbell(bell: &Channel) -> u64 {
    before!(
        ["mov w0, {function:w}", "mov w1, {index:w}", "mov x2, #0", "mov x3, #0", "hvc #0"],
        function = in(reg) channel::CHANNEL_SIGNAL, index = in(reg) bell.index,
        out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
        out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
        out("x16") _, out("x17") _, options(nostack)
    )
}

/// Rings by a store to the doorbell's register.
#[inline(never)]
pub fn channel_doorbell_register(bell: &Channel) -> u64 {
    before!(["str {one:w}, [{a}]"], one = in(reg) 1_u32, a = in(reg) bell.registers.base(), options(nostack))
}
