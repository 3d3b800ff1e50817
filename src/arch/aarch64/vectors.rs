//! The exception vectors and the way back into a guest.
//!
//! While a guest runs, `SP_EL2` points at its vCPU's [`Context`]: a trap saves the guest's registers there with no
//! scratch register, then takes the pCPU's stack from the context. The handlers return the context to resume, which
//! may be another vCPU's. EL2 itself runs with interrupts masked; an exception taken from EL2 is our own bug.
//!
//! Source: Arm DDI 0487, "Exception vectors"; register pages `ELR_EL2`, `SPSR_EL2`.

use bulkhead::vcpu::Context;
use core::arch::global_asm;
use core::mem::offset_of;

global_asm!(
    r#"
    .macro store_x4_to_x29
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x19, [sp, #16 * 9]
    stp     x20, x21, [sp, #16 * 10]
    stp     x22, x23, [sp, #16 * 11]
    stp     x24, x25, [sp, #16 * 12]
    stp     x26, x27, [sp, #16 * 13]
    stp     x28, x29, [sp, #16 * 14]
    .endm

    .macro guest_vector handler
    .balign 0x80
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
    store_x4_to_x29
    mrs     x21, elr_el2
    mrs     x22, spsr_el2
    stp     x30, x21, [sp, #16 * 15]
    mov     x0, sp
    ldr     x1, [sp, #{stack}]
    str     x22, [sp, #{spsr}]
    mov     sp, x1
    mov     x29, xzr
    bl      \handler
    b       resume_guest
    .endm

    .macro hypervisor_vector kind
    .balign 0x80
    msr     sp_el0, x0              // the guest's: nothing of it survives this
    mov     x0, #\kind
    b       hypervisor_exception
    .endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global exception_vectors
exception_vectors:
    hypervisor_vector 0
    hypervisor_vector 1
    hypervisor_vector 2
    hypervisor_vector 3

    hypervisor_vector 0
    hypervisor_vector 1
    hypervisor_vector 2
    hypervisor_vector 3

    guest_vector guest_synchronous
    guest_vector guest_interrupt
    guest_vector guest_interrupt
    guest_vector guest_serror

    guest_vector guest_synchronous
    guest_vector guest_interrupt
    guest_vector guest_interrupt
    guest_vector guest_serror

    .balign 0x80
    .global resume_guest
resume_guest:                       // x0: the context
    mov     sp, x0
    ldp     x30, x21, [sp, #16 * 15]
    ldr     x22, [sp, #{spsr}]
    msr     elr_el2, x21
    msr     spsr_el2, x22
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
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x28, x29, [sp, #16 * 14]
    eret
    dsb     nsh                     // no speculation past the return
    isb

    // x0: kind; the interrupted x0 is in SP_EL0. One pCPU at a time may use the emergency stack.
hypervisor_exception:
    msr     tpidr_el0, x1
    msr     tpidrro_el0, x2
    msr     tpidr_el1, x3
    ldr     x1, =emergency_taken
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
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
    store_x4_to_x29
    str     x30, [sp, #16 * 15]
    mov     x0, sp
    bl      hypervisor_crash
4:  wfe
    b       4b

    .bss
    .balign 16
emergency_taken: .space 16
    .space 4096
emergency_top:
    .text
"#,
    stack = const offset_of!(Context, stack_top),
    spsr = const offset_of!(Context, pstate),
    crash_sp = const offset_of!(super::crash::CrashFrame, sp),
    crash_kind = const offset_of!(super::crash::CrashFrame, kind),
);

unsafe extern "C" {
    /// Enters the guest whose context is given; never returns here, the next trap starts on a fresh stack.
    ///
    /// # Safety
    /// The context is a valid vCPU's whose EL1 state, stage 2 and list registers are loaded on this pCPU, and its
    /// `stack_top` is this pCPU's stack.
    pub fn resume_guest(context: *mut Context) -> !;
}
