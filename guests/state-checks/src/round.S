// fn state_round(in: *const Live, out: *mut Live, spins: u64)
//
// Loads everything that an instruction can name from `in`, waits, and stores it all to `out`. Waiting is WFI when `spins` is
// 0, else that many turns of a loop. x0 is not checked: it carries the loop and, at the end, `out`.

.section .text.state_round, "ax"
.global state_round
state_round:
    stp     x29, x30, [sp, #-176]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    str     x1, [sp, #160]
    mov     x30, x0
    mov     x0, x2
    ldp     q0, q1, [x30]
    ldp     q2, q3, [x30, #32]
    ldp     q4, q5, [x30, #64]
    ldp     q6, q7, [x30, #96]
    ldp     q8, q9, [x30, #128]
    ldp     q10, q11, [x30, #160]
    ldp     q12, q13, [x30, #192]
    ldp     q14, q15, [x30, #224]
    ldp     q16, q17, [x30, #256]
    ldp     q18, q19, [x30, #288]
    ldp     q20, q21, [x30, #320]
    ldp     q22, q23, [x30, #352]
    ldp     q24, q25, [x30, #384]
    ldp     q26, q27, [x30, #416]
    ldp     q28, q29, [x30, #448]
    ldp     q30, q31, [x30, #480]
    add     x30, x30, #512
    ldp     x1, x2, [x30]
    msr     fpcr, x1
    msr     fpsr, x2
    ldr     x1, [x30, #16]
    msr     nzcv, x1
    ldp     x1, x2, [x30, #24]
    ldp     x3, x4, [x30, #40]
    ldp     x5, x6, [x30, #56]
    ldp     x7, x8, [x30, #72]
    ldp     x9, x10, [x30, #88]
    ldp     x11, x12, [x30, #104]
    ldp     x13, x14, [x30, #120]
    ldp     x15, x16, [x30, #136]
    ldp     x17, x18, [x30, #152]
    ldp     x19, x20, [x30, #168]
    ldp     x21, x22, [x30, #184]
    ldp     x23, x24, [x30, #200]
    ldp     x25, x26, [x30, #216]
    ldp     x27, x28, [x30, #232]
    ldp     x29, x30, [x30, #248]
    cbnz    x0, 1f
    wfi
    b       2f
1:  sub     x0, x0, #1                  // keeps the flags
    cbnz    x0, 1b
2:  ldr     x0, [sp, #160]
    stp     q0, q1, [x0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    add     x0, x0, #512
    stp     x1, x2, [x0, #24]
    stp     x3, x4, [x0, #40]
    stp     x5, x6, [x0, #56]
    stp     x7, x8, [x0, #72]
    stp     x9, x10, [x0, #88]
    stp     x11, x12, [x0, #104]
    stp     x13, x14, [x0, #120]
    stp     x15, x16, [x0, #136]
    stp     x17, x18, [x0, #152]
    stp     x19, x20, [x0, #168]
    stp     x21, x22, [x0, #184]
    stp     x23, x24, [x0, #200]
    stp     x25, x26, [x0, #216]
    stp     x27, x28, [x0, #232]
    stp     x29, x30, [x0, #248]
    mrs     x1, fpcr
    mrs     x2, fpsr
    stp     x1, x2, [x0]
    mrs     x1, nzcv
    str     x1, [x0, #16]
    msr     fpcr, xzr
    msr     fpsr, xzr
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    ldp     x29, x30, [sp], #176
    ret
