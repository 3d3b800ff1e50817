//! Start-up: from the loader's jump to the first line of Rust, on the first pCPU and on the others.
//!
//! Position independent: it runs at whatever physical address the image was loaded, builds EL2's stage 1 (text
//! read-only and executable, constants read-only, data never executable, a hole below the stack), turns the MMU on
//! through a boot root that also maps this code one to one, jumps to the linked address, and drops that root.
//!
//! Source: Linux `Documentation/arm64/booting.rst` for the header and the state at entry; Arm DDI 0487, register
//! pages `TCR_EL2`, `SCTLR_EL2`, `MAIR_EL2` and "VMSAv8-64 descriptor formats".

use core::arch::global_asm;
use core::mem::offset_of;

use bulkhead::config::record::{Header, MAGIC, system_flags};
use bulkhead::console::steps::Step;

/// Where the image is linked; `linker/bulkhead.ld` says the same.
pub const IMAGE_BASE: u64 = 0x7f_c000_0000;

/// `MAIR_EL2`: index 0 normal write-back memory, index 1 Device-nGnRE.
const MAIR: u64 = 0x04ff;

/// `TCR_EL2` without `PS`: 39-bit addresses, 4 KiB granule, write-back inner-shareable walks, RES1 bits 31 and 23.
const TCR: u64 = 1 << 31 | 1 << 23 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 25;

/// `SCTLR_EL2`: its RES1 bits, then WXN, I, SA, C and M.
const SCTLR: u64 = 0x30c5_0830 | 1 << 19 | 1 << 12 | 1 << 3 | 1 << 2 | 1;

/// A page or block of normal memory: access flag, inner-shareable, `AP[1]` (RES1 at EL2), without type bits.
const NORMAL: u64 = 1 << 10 | 0b11 << 8 | 1 << 6;
/// `AP[2]`: no writes.
const READ_ONLY: u64 = 1 << 7;
/// XN.
const NEVER_EXECUTE: u64 = 1 << 54;

global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    b       primary_entry               // code0
    .long   0                           // code1
    .quad   0                           // text_offset: any 2 MiB boundary
    .quad   0                           // image_size: written by the image builder, payload included
    .quad   0xa                         // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    // Maps the image's pages from \first to \end. x0: level-3 table; x21: physical base. Uses x1 to x5.
    .macro map_section first, end, attributes_low, attributes_high
    adrp    x1, \first
    adrp    x2, \end
    movz    x3, #\attributes_low
    movk    x3, #\attributes_high, lsl #48
    sub     x4, x1, x21
    add     x4, x0, x4, lsr #9          // one 8-byte descriptor a page
1:  cmp     x1, x2
    b.hs    2f
    orr     x5, x1, x3
    str     x5, [x4], #8
    add     x1, x1, #4096
    b       1b
2:
    .endm

    // Says that a step is done, as `console::steps` has it. Uses x4, x9 to x12, x30.
    .macro done letter
    mov     w4, #\letter
    bl      early_letter
    .endm

primary_entry:
    msr     daifset, #0xf
    mov     x20, x0                     // device tree, or 0
    done    {entered}
    adrp    x21, _image_start
    mrs     x0, CurrentEL
    cmp     x0, #8
    b.ne    wrong_level

    adrp    x0, image_table
    map_section _image_start, _text_end, {page_text}, 0
    map_section _text_end, _rodata_end, {page_rodata}, {never_execute}
    map_section _rodata_end, _guard, {page_data}, {never_execute}
    map_section _stack_bottom, _image_end, {page_data}, {never_execute}

    adrp    x1, level2_table
    orr     x2, x0, #3
    str     x2, [x1]                    // first 2 MiB: the image
    orr     x2, x1, #3
    adrp    x3, root_table
    str     x2, [x3, #511 * 8]
    adrp    x4, boot_root_table
    str     x2, [x4, #511 * 8]
    lsr     x5, x21, #30                // this code's gigabyte, one to one
    lsl     x6, x5, #30
    movz    x7, #{block_text}
    orr     x6, x6, x7
    str     x6, [x4, x5, lsl #3]

    // The tables were written past the caches: drop the clean lines that the loader may have left of them.
    mrs     x0, ctr_el0
    ubfx    x0, x0, #16, #4
    mov     x1, #4
    lsl     x1, x1, x0                  // bytes in the smallest data cache line
    adrp    x2, _tables_start
    adrp    x3, _tables_end
3:  dc      ivac, x2
    add     x2, x2, x1
    cmp     x2, x3
    b.lo    3b
    dsb     sy
    done    {own_map}

    bl      enable_mmu
    ldr     x0, =_stack_top
    mov     sp, x0
    mov     x0, x20
    mov     x1, x21
    mov     x29, xzr
    mov     x30, xzr
    b       primary_start

    // PSCI CPU_ON brings the other pCPUs here with x0 = virtual address of their `SecondaryStart`.
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x20, x0
    bl      enable_mmu
start_other:
    mov     x0, x20
    ldr     x1, [x0]
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    b       secondary_start

    // A spin table brings them here with nothing in their registers: each looks for its affinity among those that are
    // registered, in `Place`s of two words. One that is not asked for sleeps.
    .global spin_table_entry
spin_table_entry:
    msr     daifset, #0xf
    mrs     x0, CurrentEL
    cmp     x0, #8
    b.ne    8f
    bl      enable_mmu
    mrs     x1, mpidr_el1
    and     x2, x1, #0xffffff           // Aff2, Aff1, Aff0
    and     x1, x1, #0xff << 32         // Aff3
    orr     x1, x1, x2
    ldr     x2, =SPIN_TABLE_STARTS
    mov     x3, #{most_cpus}
7:  ldp     x4, x20, [x2], #16
    cmp     x4, x1
    ccmp    x20, #0, #4, eq             // registered, not just zero
    b.ne    start_other
    subs    x3, x3, #1
    b.ne    7b
8:  wfe
    b       8b

    // Turns the MMU on and returns at the linked address. Uses x0 to x4.
enable_mmu:
    mrs     x0, hcr_el2                 // RW, everything else off; E2H must be 0 before TCR_EL2 means what it says
    mov     x0, #1 << 31
    msr     hcr_el2, x0
    isb
    movz    x0, #{mair}
    msr     mair_el2, x0
    movz    x0, #{tcr_low}
    movk    x0, #{tcr_high}, lsl #16
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf                // PARange; more than 48 bits needs other descriptors
    mov     x2, #5
    cmp     x1, x2
    csel    x1, x1, x2, lo
    bfi     x0, x1, #16, #3
    msr     tcr_el2, x0
    adrp    x1, boot_root_table
    msr     ttbr0_el2, x1
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    movz    x0, #{sctlr_low}
    movk    x0, #{sctlr_high}, lsl #16
    adrp    x2, root_table
    adrp    x3, _image_start
    msr     sctlr_el2, x0
    isb
    ldr     x0, =linked_address
    br      x0
linked_address:
    msr     ttbr0_el2, x2               // leaves the one-to-one map behind
    isb
    tlbi    alle2
    dsb     nsh
    ldr     x0, =exception_vectors
    msr     vbar_el2, x0
    isb
    ldr     x0, =_image_start
    sub     x0, x0, x3
    add     x30, x30, x0
    ret

    // Entered below EL2: says so on the UART that the payload names, then sleeps.
wrong_level:
    adr     x3, wrong_level_text
    adrp    x9, _image_end
    ldr     w10, [x9, #{flags}]
    and     w10, w10, #{letters}
    cbnz    w10, 4f
    add     x3, x3, #2                  // no letter stands there: no new line
4:  ldrb    w4, [x3], #1
    cbz     w4, 5f
    bl      early_put
    b       4b
5:  wfe
    b       5b

    // Keeps the letter in w4 in memory, and sends it if the payload asks for letters. Uses x9 to x12.
early_letter:
    adrp    x9, START_STEP
    strb    w4, [x9, #:lo12:START_STEP]
    adrp    x9, _image_end
    ldr     w10, [x9, #{flags}]
    tst     w10, #{letters}
    b.ne    early_put
    ret

    // Sends the byte in w4 to the UART that the payload names, if there is a payload and it names one; does not wait for
    // room. Uses x9 to x12.
early_put:
    adrp    x9, _image_end
    ldr     x10, [x9, #{magic_at}]
    ldr     x11, ={magic}
    cmp     x10, x11
    b.ne    6f
    ldr     x10, [x9, #{uart_out}]
    cbz     x10, 6f
    ldr     w11, [x9, #{uart_kind}]
    and     w12, w11, #0xff
    tst     w11, #0x10000
    ccmp    w12, #4, #0, eq             // a 16550 whose registers are bytes
    b.eq    7f
    str     w4, [x10]
    ret
7:  strb    w4, [x10]
6:  ret
wrong_level_text:
    .asciz  "\r\nbulkhead| refused: the CPU is not at EL2. Start QEMU with virtualization=on, or make the boot loader enter at EL2.\r\nbulkhead| not started: 1 violation\r\n"
    .balign 4

    .section .tables, "aw", %nobits
    .balign 4096
    .global level2_table, spare_tables
level2_table:    .space 4096
image_table:     .space 4096
spare_tables:    .space 4096 * {spare_tables}

    // Written before there are virtual addresses, and then read by the MMU alone: they lie where nothing is mapped.
    .section .roots, "aw", %nobits
    .balign 4096
root_table:      .space 4096
boot_root_table: .space 4096
    .text
"#,
    page_text = const 3 | NORMAL | READ_ONLY,
    page_rodata = const 3 | NORMAL | READ_ONLY,
    page_data = const 3 | NORMAL,
    never_execute = const NEVER_EXECUTE >> 48,
    block_text = const 1 | NORMAL | READ_ONLY,
    mair = const MAIR,
    tcr_low = const TCR & 0xffff,
    tcr_high = const TCR >> 16,
    sctlr_low = const SCTLR & 0xffff,
    sctlr_high = const SCTLR >> 16,
    entered = const Step::Entered.letter(),
    own_map = const Step::OwnMap.letter(),
    magic = const MAGIC,
    letters = const system_flags::LETTERS,
    magic_at = const offset_of!(Header, magic),
    flags = const offset_of!(Header, flags),
    uart_kind = const offset_of!(Header, uart_kind),
    uart_out = const offset_of!(Header, uart_out),
    spare_tables = const super::mmu::SPARE_TABLES,
    most_cpus = const bulkhead::ids::MAX_PCPUS,
);
