//! `memcpy` and `memset`, which the compiler calls for values that are moved: 32 bytes a round, where those that come
//! with the compiler take two instructions a byte.
//!
//! Unaligned addresses are fine: EL2's memory is normal memory, and `SCTLR_EL2.A` is 0.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.first, "ax"
    .global memcpy, memset
memcpy:                             // x0: to; x1: from; x2: bytes
    mov     x3, x0
    subs    x2, x2, #32
    b.lo    2f
1:  ldp     x4, x5, [x1], #32
    ldp     x6, x7, [x1, #-16]
    stp     x4, x5, [x3], #32
    stp     x6, x7, [x3, #-16]
    subs    x2, x2, #32
    b.hs    1b
2:  tbz     x2, #4, 2f              // the low bits of what is left, though 32 too many were taken off
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
2:  tbz     x2, #3, 3f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
3:  tbz     x2, #2, 4f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
4:  tbz     x2, #1, 5f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
5:  tbz     x2, #0, 6f
    ldrb    w4, [x1]
    strb    w4, [x3]
6:  ret

memset:                             // x0: to; x1: the byte; x2: bytes
    mov     x4, #0x0101010101010101
    and     x1, x1, #0xff
    mul     x1, x1, x4
    mov     x3, x0
    subs    x2, x2, #32
    b.lo    2f
1:  stp     x1, x1, [x3], #32
    stp     x1, x1, [x3, #-16]
    subs    x2, x2, #32
    b.hs    1b
2:  tbz     x2, #4, 2f
    stp     x1, x1, [x3], #16
2:  tbz     x2, #3, 3f
    str     x1, [x3], #8
3:  tbz     x2, #2, 4f
    str     w1, [x3], #4
4:  tbz     x2, #1, 5f
    strh    w1, [x3], #2
5:  tbz     x2, #0, 6f
    strb    w1, [x3]
6:  ret
    .text
"#
);
