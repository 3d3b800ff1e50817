// The vector tables while a benchmark runs: the interrupt entry reads a counter in its first instruction. Everything else is
// the runtime's. VECTORS makes two of them, \name and \name\()_v2, one for each version of the GIC, that read
// \counter. What the measuring code and this handler share:
//   x10  out: the count at the handler's first instruction
//   x11  out: scratch
//   x12  in:  address of a register to which 1 is written so that the device's interrupt falls, or 0
//   x13  out: 1 once the handler ran, and scratch before
//   x15  in:  where it goes on behind the handler: an interrupt that comes right before a WFI must not let it wait

.macro RUNTIME_ENTRY offset
    .balign 128
    b       runtime_vectors + \offset
.endm

// The vector table \name, whose interrupt entry reads \counter and acknowledges and ends by \end.
.macro VECTOR_TABLE name, end, counter
    .balign 2048
    .global \name
\name:
    RUNTIME_ENTRY 0x000
    RUNTIME_ENTRY 0x080
    RUNTIME_ENTRY 0x100
    RUNTIME_ENTRY 0x180
    RUNTIME_ENTRY 0x200
    .balign 128
    mrs     x10, \counter
    msr     cntv_ctl_el0, xzr
    cbz     x12, 3f
    mov     w11, #1
    str     w11, [x12]
    dsb     sy
3:  isb
    \end
    msr     elr_el1, x15
    mov     x13, #1
    eret
    RUNTIME_ENTRY 0x300
    RUNTIME_ENTRY 0x380
    RUNTIME_ENTRY 0x400
    RUNTIME_ENTRY 0x480
    RUNTIME_ENTRY 0x500
    RUNTIME_ENTRY 0x580
    RUNTIME_ENTRY 0x600
    RUNTIME_ENTRY 0x680
    RUNTIME_ENTRY 0x700
    RUNTIME_ENTRY 0x780
    .balign 128
.endm

.macro END_BY_REGISTERS
    mrs     x11, icc_iar1_el1
    msr     icc_eoir1_el1, x11
    isb
.endm

.macro END_BY_MEMORY
    movz    x13, #({interface} >> 16), lsl #16
    ldr     w11, [x13, #{acknowledge}]
    str     w11, [x13, #{end}]
    dsb     sy
.endm

.macro VECTORS name, counter
    .pushsection .text.vectors, "ax"
    VECTOR_TABLE \name, END_BY_REGISTERS, \counter
    VECTOR_TABLE \name\()_v2, END_BY_MEMORY, \counter
    .popsection
.endm
