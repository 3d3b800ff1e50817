//! Floating-point and SIMD registers, moved by two blocks of assembly: EL2's own code never touches them.

use bulkhead::vcpu::FpRegisters;
use core::arch::asm;
use core::mem::offset_of;

/// Saves V0 to V31, FPCR and FPSR. `CPTR_EL2.TFP` must be 0.
pub fn save(registers: &mut FpRegisters) {
    // SAFETY: writes the structure and nothing else; V registers are not the compiler's on this target.
    unsafe {
        asm!(
            ".arch_extension fp", ".arch_extension simd",
            "stp q0, q1, [{0}, #32 * 0]", "stp q2, q3, [{0}, #32 * 1]", "stp q4, q5, [{0}, #32 * 2]",
            "stp q6, q7, [{0}, #32 * 3]", "stp q8, q9, [{0}, #32 * 4]", "stp q10, q11, [{0}, #32 * 5]",
            "stp q12, q13, [{0}, #32 * 6]", "stp q14, q15, [{0}, #32 * 7]", "stp q16, q17, [{0}, #32 * 8]",
            "stp q18, q19, [{0}, #32 * 9]", "stp q20, q21, [{0}, #32 * 10]", "stp q22, q23, [{0}, #32 * 11]",
            "stp q24, q25, [{0}, #32 * 12]", "stp q26, q27, [{0}, #32 * 13]", "stp q28, q29, [{0}, #32 * 14]",
            "stp q30, q31, [{0}, #32 * 15]",
            "mrs {1}, fpcr", "str {1}, [{0}, #{fpcr}]",
            "mrs {1}, fpsr", "str {1}, [{0}, #{fpsr}]",
            ".arch_extension nosimd", ".arch_extension nofp",
            in(reg) core::ptr::from_mut(registers), out(reg) _,
            fpcr = const offset_of!(FpRegisters, fpcr), fpsr = const offset_of!(FpRegisters, fpsr),
            options(nostack, preserves_flags));
    }
}

/// Loads V0 to V31, FPCR and FPSR. `CPTR_EL2.TFP` must be 0.
pub fn restore(registers: &FpRegisters) {
    // SAFETY: reads the structure and nothing else; V registers are not the compiler's on this target.
    unsafe {
        asm!(
            ".arch_extension fp", ".arch_extension simd",
            "ldp q0, q1, [{0}, #32 * 0]", "ldp q2, q3, [{0}, #32 * 1]", "ldp q4, q5, [{0}, #32 * 2]",
            "ldp q6, q7, [{0}, #32 * 3]", "ldp q8, q9, [{0}, #32 * 4]", "ldp q10, q11, [{0}, #32 * 5]",
            "ldp q12, q13, [{0}, #32 * 6]", "ldp q14, q15, [{0}, #32 * 7]", "ldp q16, q17, [{0}, #32 * 8]",
            "ldp q18, q19, [{0}, #32 * 9]", "ldp q20, q21, [{0}, #32 * 10]", "ldp q22, q23, [{0}, #32 * 11]",
            "ldp q24, q25, [{0}, #32 * 12]", "ldp q26, q27, [{0}, #32 * 13]", "ldp q28, q29, [{0}, #32 * 14]",
            "ldp q30, q31, [{0}, #32 * 15]",
            "ldr {1}, [{0}, #{fpcr}]", "msr fpcr, {1}",
            "ldr {1}, [{0}, #{fpsr}]", "msr fpsr, {1}",
            ".arch_extension nosimd", ".arch_extension nofp",
            in(reg) core::ptr::from_ref(registers), out(reg) _,
            fpcr = const offset_of!(FpRegisters, fpcr), fpsr = const offset_of!(FpRegisters, fpsr),
            options(nostack, preserves_flags));
    }
}
