// The vector table and the way into Rust and back. Every register is kept, FP included: handlers are Rust code that may
// use any of them. The layout of the frame is `exception::Frame`.

.macro ENTRY_POINT kind
    .balign 128
    sub     sp, sp, #{frame_bytes}
    stp     x0, x1, [sp]
    mrs     x0, cntvct_el0              // as early as can be: this is when the handler was entered
    mov     x1, #\kind
    b       runtime_exception_common
.endm

.section .text.vectors, "ax"
.balign 2048
.global runtime_vectors
runtime_vectors:
    ENTRY_POINT 0                       // current level, SP_EL0
    ENTRY_POINT 1
    ENTRY_POINT 2
    ENTRY_POINT 3
    ENTRY_POINT 4                       // current level, SP_EL1
    ENTRY_POINT 5
    ENTRY_POINT 6
    ENTRY_POINT 7
    ENTRY_POINT 8                       // EL0, 64-bit
    ENTRY_POINT 9
    ENTRY_POINT 10
    ENTRY_POINT 11
    ENTRY_POINT 12                      // EL0, 32-bit
    ENTRY_POINT 13
    ENTRY_POINT 14
    ENTRY_POINT 15
    .balign 128

runtime_exception_common:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    stp     x30, x2, [sp, #240]
    mrs     x2, spsr_el1
    mrs     x3, esr_el1
    stp     x2, x3, [sp, #256]
    mrs     x2, far_el1
    stp     x2, x0, [sp, #272]
    mrs     x2, fpsr
    mrs     x3, fpcr
    stp     x2, x3, [sp, #288]
    add     x2, sp, #304
    stp     q0, q1, [x2]
    stp     q2, q3, [x2, #32]
    stp     q4, q5, [x2, #64]
    stp     q6, q7, [x2, #96]
    stp     q8, q9, [x2, #128]
    stp     q10, q11, [x2, #160]
    stp     q12, q13, [x2, #192]
    stp     q14, q15, [x2, #224]
    stp     q16, q17, [x2, #256]
    stp     q18, q19, [x2, #288]
    stp     q20, q21, [x2, #320]
    stp     q22, q23, [x2, #352]
    stp     q24, q25, [x2, #384]
    stp     q26, q27, [x2, #416]
    stp     q28, q29, [x2, #448]
    stp     q30, q31, [x2, #480]
    mov     x0, sp
    bl      runtime_exception
    add     x2, sp, #304
    ldp     q0, q1, [x2]
    ldp     q2, q3, [x2, #32]
    ldp     q4, q5, [x2, #64]
    ldp     q6, q7, [x2, #96]
    ldp     q8, q9, [x2, #128]
    ldp     q10, q11, [x2, #160]
    ldp     q12, q13, [x2, #192]
    ldp     q14, q15, [x2, #224]
    ldp     q16, q17, [x2, #256]
    ldp     q18, q19, [x2, #288]
    ldp     q20, q21, [x2, #320]
    ldp     q22, q23, [x2, #352]
    ldp     q24, q25, [x2, #384]
    ldp     q26, q27, [x2, #416]
    ldp     q28, q29, [x2, #448]
    ldp     q30, q31, [x2, #480]
    ldp     x2, x3, [sp, #288]
    msr     fpsr, x2
    msr     fpcr, x3
    ldr     x2, [sp, #256]
    msr     spsr_el1, x2
    ldp     x30, x2, [sp, #240]
    msr     elr_el1, x2
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #{frame_bytes}
    eret
