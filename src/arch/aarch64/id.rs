//! Identification registers by number, for the trap that hides what is not a guest's.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.first, "ax"
    .balign 8
identification_registers:
    .irp    crm, 1, 2, 3, 4, 5, 6, 7
    .irp    op2, 0, 1, 2, 3, 4, 5, 6, 7
    mrs     x0, s3_0_c0_c\crm\()_\op2
    ret
    .endr
    .endr

    // x0: (CRm - 1) * 8 + op2, below 56. Each reader has eight bytes.
read_identification:
    adr     x1, identification_registers
    add     x1, x1, x0, lsl #3
    br      x1
    .text
"#
);

unsafe extern "C" {
    fn read_identification(index: u64) -> u64;
}

/// Reads the identification register op0 = 3, op1 = 0, CRn = 0 with CRm in 1..=7 and op2 in 0..=7; others read as
/// zero, as the architecture says of unallocated ones.
pub fn read(crm: u8, op2: u8) -> u64 {
    if !(1..=7).contains(&crm) || op2 > 7 {
        return 0;
    }
    let index = u64::from(crm - 1) * 8 + u64::from(op2);
    // SAFETY: the index is below 56; the whole space reads without a trap at EL2.
    unsafe { read_identification(index) }
}
