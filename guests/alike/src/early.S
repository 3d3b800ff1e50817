// The first instructions of both vCPUs: what every register holds goes to memory before anything is changed. The layout is
// `look::Kept`: x0 to x30, SP, the names below, FPCR, FPSR, V0 to V31, the image's checksum.

// x0: where to; x0 itself is kept by who comes here.
.macro KEEP
    stp     x1, x2, [x0, #8]
    stp     x3, x4, [x0, #24]
    stp     x5, x6, [x0, #40]
    stp     x7, x8, [x0, #56]
    stp     x9, x10, [x0, #72]
    stp     x11, x12, [x0, #88]
    stp     x13, x14, [x0, #104]
    stp     x15, x16, [x0, #120]
    stp     x17, x18, [x0, #136]
    stp     x19, x20, [x0, #152]
    stp     x21, x22, [x0, #168]
    stp     x23, x24, [x0, #184]
    stp     x25, x26, [x0, #200]
    stp     x27, x28, [x0, #216]
    stp     x29, x30, [x0, #232]
    mov     x1, sp
    str     x1, [x0, #248]
    add     x2, x0, #256
    .irp name, sctlr_el1, cpacr_el1, vbar_el1, daif, spsel, currentel, nzcv, elr_el1, spsr_el1, esr_el1, far_el1, tpidr_el1, mair_el1, tcr_el1, ttbr0_el1, ttbr1_el1, sp_el0, contextidr_el1
    mrs     x1, \name
    str     x1, [x2], #8
    .endr
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1               // so that FP can be looked at; what was there is kept already
    isb
    mrs     x1, fpcr
    str     x1, [x2], #8
    mrs     x1, fpsr
    str     x1, [x2], #8
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x2], #16
    .endr
.endm

.section .text.start, "ax"

// The partition's entry. TPIDRRO_EL0 is the one register that must give way.
.global alike_first
alike_first:
    msr     tpidrro_el0, x0
    adrp    x0, ALIKE_KEPT
    add     x0, x0, :lo12:ALIKE_KEPT
    KEEP
    mrs     x19, tpidrro_el0
    str     x19, [x0]
    mov     x20, x0
    add     x21, x2, #8                 // behind the checksum
    // All of the image but what was just written: text, constants, statics, stacks.
    mov     x3, #0
    adrp    x0, __image_start
    mov     x1, x20
    bl      alike_sum
    adrp    x1, __image_end
    add     x1, x1, :lo12:__image_end
    add     x0, x20, #{kept_bytes}
    bl      alike_sum
    str     x3, [x21, #-8]
    bl      runtime_control_registers
    mov     x0, #0
    bl      runtime_stack
    mov     x0, x19
    bl      alike_look                  // MMU off, statics as they were loaded
    mov     x0, x19
    mov     x1, #0
    mov     x2, #0
    mov     x3, #0
    b       _start

// Adds the words from x0 up to x1 to the checksum in x3. Clobbers x0, x4.
alike_sum:
    cmp     x0, x1
    b.hs    2f
    ldr     x4, [x0], #8
    ror     x3, x3, #1
    add     x3, x3, x4
    b       alike_sum
2:  ret

// The second vCPU's, by CPU_ON; its context says where its registers go.
.global alike_second
alike_second:
    KEEP
    str     x0, [x0]
    bl      runtime_control_registers
    mov     x0, #1
    bl      runtime_stack
    b       alike_look_beside
