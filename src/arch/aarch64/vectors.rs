//! The exception vectors and the way back into a guest.
//!
//! While a guest runs, `SP_EL2` points at its vCPU's [`Context`]: a trap saves registers there with no scratch register,
//! then takes the pCPU's stack from the context. First it saves only what a call may overwrite and tries the short way
//! (`run::quick`); where that does not do, the rest is saved, and the handlers return the context to resume, which may
//! be another vCPU's. EL2 itself runs with interrupts masked; an exception taken from EL2 is our own bug.
//!
//! Source: Arm DDI 0487, "Exception vectors"; register pages `ELR_EL2`, `SPSR_EL2`.

use super::cpu;
use super::sysreg::write;
use bulkhead::vcpu::Context;
use core::arch::global_asm;
use core::mem::offset_of;

global_asm!(
    r#"
    .macro store_low
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    .endm

    // What a call may overwrite, and x19 for the vectors' own use.
    .macro store_scratch
    store_low
    stp     x18, x19, [sp, #16 * 9]
    str     x30, [sp, #16 * 15]
    .endm

    .macro load_scratch
    ldp     x0, x1, [sp, #16 * 0]
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x18, x19, [sp, #16 * 9]
    ldr     x30, [sp, #16 * 15]
    .endm

    .macro store_others base
    stp     x20, x21, [\base, #16 * 10]
    stp     x22, x23, [\base, #16 * 11]
    stp     x24, x25, [\base, #16 * 12]
    stp     x26, x27, [\base, #16 * 13]
    stp     x28, x29, [\base, #16 * 14]
    .endm

    // Calls `quick` on the pCPU's stack, and returns to the guest, or goes to `general` where that does not do: with the context
    // in x19, and still on that stack.
    .macro try_quick quick general stack
    mov     x19, sp
    mov     x0, sp
    mov     sp, \stack
    bl      \quick
    cbnz    x0, \general
    mov     sp, x19
    load_scratch
    eret
    dsb     nsh                     // no speculation past the return
    isb
    .endm

    // The short way: `quick` gets the vCPU, answers in x0, where 0 says that all is done, and keeps x19 to x29. A vector has
    // 32 instructions, which this fills. A backtrace out of it ends at the guest's frame pointer.
    .macro guest_vector quick general
    .balign 0x80
    store_scratch
    ldr     x1, [sp, #{stack}]
    try_quick \quick, \general, x1
    .endm

    // The general way: everything is saved; `handler`, which `call` calls, gets the context and the short way's answer, and the
    // context that it returns goes to `then`. A handler may enter the guest itself where that is `resume_guest`.
    .macro general_way label call handler then
\label:
    store_others x19
    mrs     x21, elr_el2
    mrs     x22, spsr_el2
    mov     x1, x0
    mov     x0, x19
    stp     x21, x22, [x19, #{pc}]
    mov     x29, xzr
    \call    \handler
    b       \then
    .endm

    .macro guest_error_vector general
    .balign 0x80
    store_scratch
    mov     x19, sp
    ldr     x1, [sp, #{stack}]
    mov     sp, x1
    b       \general
    .endm

    .macro hypervisor_vector kind
    .balign 0x80
    msr     sp_el0, x0              // the guest's: nothing of it survives this
    mov     x0, #\kind
    b       hypervisor_exception
    .endm

    // A table: entries, label by label, for the guest's synchronous exceptions, its interrupts, its SErrors.
    .macro vectors table quick_synchronous synchronous quick_interrupt interrupt error
    .balign 0x800
    .global \table
\table:
    .rept 2
    hypervisor_vector 0
    hypervisor_vector 1
    hypervisor_vector 2
    hypervisor_vector 3
    .endr
    .rept 2
    guest_vector \quick_synchronous, \synchronous
    guest_vector \quick_interrupt, \interrupt
    guest_vector \quick_interrupt, \interrupt
    guest_error_vector \error
    .endr
    .endm

    .section .text.vectors, "ax"
    vectors exception_vectors, quick_synchronous, synchronous, quick_interrupt, interrupt, error
    // The same with short ways by GICv2's interfaces.
    vectors memory_mapped_vectors, quick_synchronous_by_memory, synchronous, quick_interrupt_by_memory, interrupt, error
    // The same around functions that record the trap, for a pCPU that traces.
    vectors traced_vectors, traced_quick_synchronous, traced_synchronous, traced_quick_interrupt, traced_interrupt, traced_error
"#,
    counting_vectors!(),
    r#"
    .balign 0x80
    general_way traced_synchronous, blr, x1, traced_resume
    general_way traced_interrupt, bl, guest_interrupt, traced_resume
    general_way traced_error, bl, traced_serror, traced_resume
traced_resume:
    mov     x19, x0
    bl      note_entry
    mov     x0, x19
    b       resume_guest

    general_way synchronous, blr, x1, resume_guest
    general_way interrupt, bl, guest_interrupt, resume_guest
    general_way error, bl, guest_serror, resume_guest

    .global resume_guest
resume_guest:                       // x0: the context
    mov     sp, x0
    ldp     x21, x22, [sp, #{pc}]
    msr     elr_el2, x21
    msr     spsr_el2, x22
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x28, x29, [sp, #16 * 14]
    load_scratch
9:
    eret
    dsb     nsh
    isb

    // x0: kind; the interrupted x0 is in SP_EL0. One pCPU at a time may use the emergency stack.
hypervisor_exception:
    msr     tpidr_el0, x1
    msr     tpidrro_el0, x2
    msr     tpidr_el1, x3
    ldr     x1, =probe_load         // start-up only asks whether something answers there (`probe`)
    mrs     x2, elr_el2
    cmp     x1, x2
    b.ne    5f
    ldr     x1, =probe_failed
    msr     elr_el2, x1
    b       9b                      // the barriers behind it too
5:  ldr     x1, =emergency_taken
1:  ldaxr   w2, [x1]
    cbnz    w2, 2f
    mov     w2, #1
    stxr    w3, w2, [x1]
    cbnz    w3, 1b
    b       3f
2:  wfe
    b       2b
3:  mov     x1, sp
    ldr     x2, =emergency_top
    mov     sp, x2
    sub     sp, sp, #16 * 18
    str     x1, [sp, #{crash_sp}]
    str     x0, [sp, #{crash_kind}]
    mrs     x0, sp_el0
    mrs     x1, tpidr_el0
    mrs     x2, tpidrro_el0
    mrs     x3, tpidr_el1
    store_scratch
    store_others sp
    mov     x0, sp
    bl      hypervisor_crash
4:  wfe
    b       4b

    .bss
    .balign 16
emergency_taken: .space 16
    .space 3584                     // two pages with all other variables
emergency_top:
    .text
"#,
    stack = const offset_of!(Context, stack_top),
    pc = const {
        assert!(offset_of!(Context, pstate) == offset_of!(Context, pc) + 8);
        offset_of!(Context, pc)
    },
    crash_sp = const offset_of!(super::crash::CrashFrame, sp),
    crash_kind = const offset_of!(super::crash::CrashFrame, kind),
);

unsafe extern "C" {
    static traced_vectors: u8;
    static memory_mapped_vectors: u8;

    /// Enters the guest whose context is given; never returns here, the next trap starts on a fresh stack.
    ///
    /// # Safety
    /// The context is a valid vCPU's whose EL1 state, stage 2 and list registers are loaded on this pCPU, and its
    /// `stack_top` is this pCPU's stack.
    pub fn resume_guest(context: *mut Context) -> !;
}

/// Lets this pCPU take its exceptions by the vectors that record traps.
pub fn use_traced() {
    // SAFETY: both tables lead to the same handlers, by the same registers and stack.
    unsafe { write::vbar_el2(&raw const traced_vectors as u64) };
    cpu::isb();
}

/// Lets this pCPU take its exceptions by the vectors whose short ways are made for GICv2.
pub fn use_memory_mapped() {
    // SAFETY: as above.
    unsafe { write::vbar_el2(&raw const memory_mapped_vectors as u64) };
    cpu::isb();
}
