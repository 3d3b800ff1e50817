// The first instructions of a vCPU: the partition's first one enters at _start, the others by PSCI CPU_ON at
// runtime_secondary. Neither reads memory that another vCPU may hold in its cache before the MMU is on.

.section .text.start, "ax"
.global _start
_start:
    mrs     x23, cntpct_el0             // the first instruction: when it was; the state at entry, for runtime_first
    mrs     x21, daif
    mrs     x22, sctlr_el1
    orr     x20, x1, x2
    orr     x20, x20, x3
    msr     daifset, #15
    msr     spsel, #1
    mov     x19, x0                     // device tree, or 0
    bl      runtime_control_registers
    bl      runtime_invalidate_image
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  mov     x0, #0
    bl      runtime_stack
    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    mov     x3, x22
    mov     x4, x23
    mov     x29, #0
    mov     x30, #0
    b       runtime_first

// x0: the vCPU's index, as the context of CPU_ON.
.global runtime_secondary
runtime_secondary:
    msr     daifset, #15
    msr     spsel, #1
    mov     x19, x0
    bl      runtime_control_registers
    mov     x0, x19
    bl      runtime_stack
    bl      runtime_mmu_on
    mov     x0, x19
    mov     x29, #0
    mov     x30, #0
    b       runtime_next

// Known control registers: MMU off, FP on, our vectors. Clobbers x0.
.global runtime_control_registers
runtime_control_registers:
    ldr     x0, ={sctlr_off}
    msr     sctlr_el1, x0
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    adrp    x0, runtime_vectors
    add     x0, x0, :lo12:runtime_vectors
    msr     vbar_el1, x0
    isb
    ret

// x0: index. Sets the stack and TPIDR_EL1. Clobbers x1, x2.
.global runtime_stack
runtime_stack:
    msr     tpidr_el1, x0
    adrp    x1, RUNTIME_STACKS
    add     x1, x1, :lo12:RUNTIME_STACKS
    add     x2, x0, #1
    mov     x0, #{stack_bytes}
    madd    x1, x2, x0, x1
    mov     sp, x1
    ret

// Drops every cache line of the image, statics and stacks. Correct only while the MMU is off and memory holds the truth.
// Clobbers x0..x3.
runtime_invalidate_image:
    mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x2, #4
    lsl     x3, x2, x3                  // bytes of the smallest data cache line
    adrp    x0, __image_start
    adrp    x1, __image_end
    add     x1, x1, :lo12:__image_end
    dsb     sy
1:  dc      ivac, x0
    add     x0, x0, x3
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

.global runtime_enable_mmu
runtime_enable_mmu:
    mov     x4, x30
    bl      runtime_invalidate_image
    mov     x30, x4
// Clobbers x0..x2.
runtime_mmu_on:
    ldr     x0, ={mair}
    msr     mair_el1, x0
    ldr     x0, ={tcr}
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #7
    cmp     x1, #5                      // 48 bits: more need descriptors of another form
    mov     x2, #5
    csel    x1, x1, x2, lo
    bfi     x0, x1, #32, #3
    msr     tcr_el1, x0
    adrp    x0, RUNTIME_ROOT
    add     x0, x0, :lo12:RUNTIME_ROOT
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, xzr
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x0, ={sctlr_on}
    msr     sctlr_el1, x0
    isb
    ret
