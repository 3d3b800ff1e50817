//! Words for exception syndromes.
//!
//! # Source
//! Arm DDI 0487 (A-profile ARM), register page `ESR_EL1`: field `EC`, and "ISS encoding for an exception from a Data Abort",
//! field `DFSC`.

/// Exception class of an unknown reason: an undefined instruction or register, a trapped one without a class of its own.
pub const EC_UNKNOWN: u64 = 0x00;
/// Exception class of a trapped system-register access.
pub const EC_SYSREG: u64 = 0x18;
/// Exception class of an illegal execution state.
pub const EC_ILLEGAL_STATE: u64 = 0x0e;
/// Exception class of SVC in AArch32 state.
pub const EC_SVC_AARCH32: u64 = 0x11;
/// Exception class of SVC.
pub const EC_SVC: u64 = 0x15;
/// Exception class of an instruction abort from a lower level.
pub const EC_INSTRUCTION_ABORT_LOWER: u64 = 0x20;
/// Exception class of an instruction abort without a change of level.
pub const EC_INSTRUCTION_ABORT: u64 = 0x21;
/// Exception class of a data abort from a lower level.
pub const EC_DATA_ABORT_LOWER: u64 = 0x24;
/// Exception class of a data abort without a change of level.
pub const EC_DATA_ABORT: u64 = 0x25;
/// Exception class of BRK.
pub const EC_BRK: u64 = 0x3c;
/// Fault status of a synchronous external abort that is not on a table walk.
pub const STATUS_EXTERNAL: u64 = 0x10;

/// Returns the exception class (bits 31..26) of a syndrome.
pub const fn class(esr: u64) -> u64 {
    (esr >> 26) & 0x3f
}

/// Returns the fault status (bits 5..0) of an abort's syndrome.
pub const fn status(esr: u64) -> u64 {
    esr & 0x3f
}

/// Names the exception class of a syndrome.
pub const fn class_name(esr: u64) -> &'static str {
    match class(esr) {
        0x00 => "unknown reason (undefined instruction or register)",
        0x01 => "trapped WFI or WFE",
        0x03 | 0x04 => "trapped AArch32 system register",
        0x07 => "trapped FP or SIMD",
        0x0e => "illegal execution state",
        0x11 => "SVC of AArch32",
        0x15 => "SVC",
        0x16 => "HVC",
        0x17 => "SMC",
        0x18 => "trapped system register",
        0x20 => "instruction abort from EL0",
        0x21 => "instruction abort",
        0x22 => "PC alignment",
        0x24 => "data abort from EL0",
        0x25 => "data abort",
        0x26 => "SP alignment",
        0x2c => "floating-point exception",
        0x2f => "SError",
        0x3c => "BRK",
        _ => "another class",
    }
}

/// Names the fault status of an abort's syndrome.
pub const fn status_name(esr: u64) -> &'static str {
    match status(esr) {
        0x00..=0x03 => "address size fault",
        0x04..=0x07 => "translation fault",
        0x08..=0x0b => "access flag fault",
        0x0c..=0x0f => "permission fault",
        0x10 => "external abort",
        0x14..=0x17 => "external abort on a table walk",
        0x21 => "alignment fault",
        0x30 => "TLB conflict",
        0x35 => "unsupported exclusive or atomic access",
        _ => "another status",
    }
}

/// Returns whether a syndrome is that of an abort, so that its fault status and `FAR_EL1` mean something.
pub const fn is_abort(esr: u64) -> bool {
    matches!(class(esr), 0x20 | 0x21 | 0x24 | 0x25)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_external_data_abort() {
        let esr = 0x9600_0010;
        assert_eq!(class(esr), EC_DATA_ABORT);
        assert_eq!(class_name(esr), "data abort");
        assert_eq!(status_name(esr), "external abort");
        assert!(is_abort(esr));
    }

    #[test]
    fn does_not_take_an_undefined_instruction_for_an_abort() {
        assert!(!is_abort(0x0200_0000));
        assert_eq!(
            class_name(0x0200_0000),
            "unknown reason (undefined instruction or register)"
        );
    }
}
