//! Vectors that read the counter, and the reads themselves, for the feature `stay-counter`.

use super::cpu;
use super::sysreg::write;
use core::arch::asm;

/// The table, in the words of the vectors' macros.
macro_rules! counting_vectors {
    () => {
        r#"
    .macro counted_vector way
    .balign 0x80
    stp     x18, x19, [sp, #16 * 9]
771:
    mrs     x19, cntpct_el0
    .pushsection .stay_begin, "", %progbits
    .quad   771b, 771b
    .popsection
    b       \way
    .endm

    // As `guest_vector`; `quick` gets the count as its second argument.
    .macro counted_way label quick general
\label:
    store_low
    str     x30, [sp, #16 * 15]
    mov     x1, x19
    ldr     x2, [sp, #{stack}]
    try_quick \quick, \general, x2
    .endm

    .balign 0x800
    .global counting_vectors
counting_vectors:
    .rept 2
    hypervisor_vector 0
    hypervisor_vector 1
    hypervisor_vector 2
    hypervisor_vector 3
    .endr
    .rept 2
    counted_vector counted_synchronous_way
    counted_vector counted_interrupt_way
    counted_vector counted_interrupt_way
    counted_vector counted_error_way
    .endr

    .balign 0x80
    counted_way counted_synchronous_way, counted_quick_synchronous, counted_synchronous
    counted_way counted_interrupt_way, counted_quick_interrupt, counted_interrupt
    counted_way counted_error_way, counted_quick_serror, counted_error
    general_way counted_synchronous, blr, x1, counted_resume
    general_way counted_interrupt, bl, guest_interrupt, counted_resume
    general_way counted_error, bl, counted_serror, counted_resume
counted_resume:
    mov     x19, x0
    bl      close_stay
    mov     x0, x19
    b       resume_guest
"#
    };
}

unsafe extern "C" {
    static counting_vectors: u8;
}

/// Lets this pCPU take its exceptions by the vectors that read the counter.
pub fn use_vectors() {
    // SAFETY: the table leads to the same handlers as the others, by the same registers and stack.
    unsafe { write::vbar_el2(&raw const counting_vectors as u64) };
    cpu::isb();
}

/// Reads the counter, and names the instruction in a section.
macro_rules! marked_read {
    ($name:ident $section:literal $before:literal) => {
        /// Reads the counter where a stay begins or ends.
        #[inline(always)]
        pub fn $name() -> u64 {
            let count: u64;
            // SAFETY: reads a register.
            unsafe {
                asm!(
                    $before,
                    "771:",
                    "mrs {count}, cntpct_el0",
                    concat!(".pushsection ", $section, ", \"\", %progbits"),
                    ".quad 771b, 771b",
                    ".popsection",
                    count = out(reg) count,
                    options(nostack, preserves_flags)
                );
            }
            count
        }
    };
}

marked_read!(begin ".stay_begin" "");
// What came before is counted: the read does not overtake it.
marked_read!(end ".stay_end" "isb");
