//! The part of a trap's decoding that its short ways ask: whether it is the plain case, by a mask and a compare.
//!
//! Each answer agrees with the general decoding ([`super::access::sort`], [`super::inject::skip`]) where it is given, and
//! is withheld where there is anything more to it; the tests compare the two over all values that differ in kind.

use super::inject::pstate;
use super::syndrome::{ESR_IL, ec};
use super::sysreg::SysReg;

/// The general registers that the vectors save before a short way is tried: those that a call may overwrite, what stands
/// beside them in a pair, and 31, which is XZR.
#[inline(always)]
pub const fn is_at_hand(register: u8) -> bool {
    register < 20 || register >= 30
}

/// Says whether stepping over the trapped instruction is adding 4 to the PC and nothing else: four bytes, AArch64, no
/// single step and no branch type to end.
#[inline(always)]
pub const fn steps_plainly(esr: u64, spsr: u64) -> bool {
    esr & ESR_IL != 0 && spsr & (pstate::N_RW | pstate::BTYPE | pstate::SS) == 0
}

/// One plain load or store of up to four bytes where stage 2 maps nothing. A load leaves the upper part of its register zero: for a device that answers no more bits than are loaded, the answer is what the
/// register gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainAccess {
    /// Guest-physical page number.
    pub page: u64,
    /// Byte in the page.
    pub offset: u64,
    /// General register, 31 is XZR.
    pub register: u8,
    /// A store.
    pub write: bool,
    /// Four bytes.
    pub is_word: bool,
}

/// Returns the access of a data abort, if it is a plain one.
#[inline(always)]
pub const fn access(esr: u64, hpfar: u64, far: u64) -> Option<PlainAccess> {
    const ISV: u64 = 1 << 24;
    /// `SAS`: eight bytes, and four.
    const DOUBLE: u64 = 3 << 22;
    const WORD: u64 = 2 << 22;
    const SSE: u64 = 1 << 21;
    const FNV: u64 = 1 << 10;
    const CM: u64 = 1 << 8;
    const S1PTW: u64 = 1 << 7;
    const WNR: u64 = 1 << 6;
    /// DFSC but for the level.
    const FAULT: u64 = 0x3c;
    const TRANSLATION: u64 = 0x04;
    const CLASS: u64 = 0x3f << 26;
    const KIND: u64 = CLASS | ISV | SSE | FNV | CM | S1PTW | FAULT;
    const PLAIN: u64 = (ec::DATA_ABORT_LOWER as u64) << 26 | ISV | TRANSLATION;
    let register = (esr >> 16 & 0x1f) as u8;
    if esr & KIND != PLAIN || esr & DOUBLE == DOUBLE {
        return None;
    }
    Some(PlainAccess {
        page: page(hpfar),
        offset: far & 0xfff,
        register,
        write: esr & WNR != 0,
        is_word: esr & DOUBLE == WORD,
    })
}

/// Returns the guest-physical page number of `HPFAR_EL2`.
#[inline(always)]
pub const fn page(hpfar: u64) -> u64 {
    /// `HPFAR_EL2.FIPA`.
    const FIPA: u64 = 0x0000_ffff_ffff_fff0;
    (hpfar & FIPA) >> 4
}

/// Returns the general register that an `MSR` names, when that is what the exception is, to the one system register, and the
/// register is at hand.
#[inline(always)]
pub const fn written(esr: u64, register: SysReg) -> Option<u8> {
    const RT_SHIFT: u32 = 5;
    const MSR: u64 = (ec::SYSTEM_REGISTER as u64) << 26 | ESR_IL;
    let rt = (esr >> RT_SHIFT & 0x1f) as u8;
    let others = esr & 0xffff_ffff & !(0x1f << RT_SHIFT);
    if others == MSR | register.packed() as u64 && is_at_hand(rt) {
        Some(rt)
    } else {
        None
    }
}

/// What an exception may be that has a short way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An HVC without an immediate, for certain.
    Hvc,
    /// An SMC without an immediate, for certain.
    Smc,
    /// A data abort, if [`access`] says so.
    DataAbort,
    /// An access to a system register, if [`written`] says so.
    SystemRegister,
    /// Nothing that has one.
    Other,
}

/// Sorts an exception by few instructions: two bits tell classes apart, and those who serve one look at all of it.
#[inline(always)]
pub const fn classify(esr: u64) -> Class {
    const HVC: u32 = ec::HVC64 << 26 | ESR_IL as u32;
    const SMC: u32 = ec::SMC64 << 26 | ESR_IL as u32;
    /// Bits 5 and 3 of the class.
    const MEMORY: u64 = 1 << 31;
    const SYSTEM: u64 = 1 << 29;
    match esr as u32 {
        HVC => Class::Hvc,
        _ if esr & MEMORY != 0 => Class::DataAbort,
        _ if esr & SYSTEM != 0 => Class::SystemRegister,
        SMC => Class::Smc,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::{Aborted, Width, sort};
    use super::super::inject::skip;
    use super::super::syndrome::{DataAbort, Trap, decode};
    use super::*;

    const HPFAR: u64 = 1 << 63 | 0x0900_0000 >> 8;
    const FAR: u64 = 0xffff_8000_1234_5018;

    #[test]
    fn an_access_is_what_the_general_decoding_says() {
        let mut given = 0;
        // ISV, FnV, CM, S1PTW, WnR and DFSC in all combinations, with all widths and a few of the others.
        for flags in 0..1u64 << 8 {
            for fault in 0..64 {
                for register in [0, 5, 19, 20, 28, 29, 30, 31] {
                    let iss = (flags & 1) << 24
                        | (flags >> 1 & 1) << 10
                        | (flags >> 2 & 1) << 8
                        | (flags >> 3 & 1) << 7
                        | (flags >> 4 & 1) << 6
                        | (flags >> 5 & 3) << 22
                        | (flags >> 7 & 1) << 21
                        | register << 16
                        | fault;
                    let esr = (ec::DATA_ABORT_LOWER as u64) << 26 | ESR_IL | iss;
                    if let Some(plain) = access(esr, HPFAR, FAR) {
                        given += 1;
                        agrees(plain, esr);
                    }
                }
            }
        }
        assert_eq!(
            given,
            4 * 2 * 3 * 8,
            "levels, directions, widths, registers"
        );
    }

    fn agrees(plain: PlainAccess, esr: u64) {
        let general = sort(DataAbort::from_esr(esr), HPFAR, FAR);
        let Aborted::Access { address, access } = general else {
            panic!("{esr:#x}")
        };
        assert_eq!(address.0, plain.page << 12 | plain.offset);
        assert_eq!(
            (access.register, access.write),
            (plain.register, plain.write)
        );
        assert_eq!(access.width == Width::Word, plain.is_word);
        assert_eq!(access.extend(0xa5), 0xa5);
        if plain.is_word {
            assert_eq!(access.extend(0xffff_ffff), 0xffff_ffff);
        }
    }

    #[test]
    fn other_classes_are_no_accesses() {
        for class in 0..64u64 {
            let esr = class << 26 | ESR_IL | 1 << 24 | 7;
            let expected = class == ec::DATA_ABORT_LOWER as u64;
            assert_eq!(access(esr, HPFAR, FAR).is_some(), expected, "{class:#x}");
        }
    }

    #[test]
    fn a_plain_step_is_what_the_general_one_does() {
        let pc = 0xffff_8000_0000_1000;
        for esr in [0, ESR_IL] {
            for bit in 0..64 {
                let spsr = 0x3c5 | 1 << bit;
                if steps_plainly(esr, spsr) {
                    assert_eq!(skip(pc, spsr, esr), (pc + 4, spsr), "bit {bit}");
                }
            }
        }
        assert!(steps_plainly(ESR_IL, 0x3c5));
        assert!(!steps_plainly(0, 0x3c5));
    }

    #[test]
    fn a_written_register_is_what_the_general_decoding_says() {
        let sgi = SysReg::new(3, 0, 12, 11, 5);
        let class = (ec::SYSTEM_REGISTER as u64) << 26 | ESR_IL;
        let mut given = 0;
        for iss in 0..1u64 << 22 {
            if let Some(rt) = written(class | iss, sgi) {
                given += 1;
                let Trap::SystemRegister(access) = decode(class | iss) else {
                    panic!("{iss:#x}")
                };
                assert!(access.register == sgi && access.write && access.rt == rt);
            }
        }
        assert_eq!(given, 32 - 10);
        for class in (0..64).filter(|class| *class != u64::from(ec::SYSTEM_REGISTER)) {
            let esr = class << 26 | ESR_IL | u64::from(sgi.packed());
            assert_eq!(written(esr, sgi), None, "{class:#x}");
        }
    }

    #[test]
    fn a_call_and_all_that_has_a_short_way_is_sorted_as_the_general_decoding_says() {
        for class in 0..64u64 {
            for iss in [0, 1, 0x41, 0xffff, 0x1_0000, 0x01ff_ffff] {
                for il in [0, ESR_IL] {
                    let esr = class << 26 | il | iss;
                    let sorted = classify(esr);
                    // Without IL it is no A64 instruction; nothing of it is a call.
                    let wanted = match decode(esr) {
                        Trap::Hvc { immediate: 0 } if il != 0 && iss == 0 => Class::Hvc,
                        Trap::Smc { immediate: 0 } if il != 0 && iss == 0 => Class::Smc,
                        Trap::DataAbort(_) => Class::DataAbort,
                        Trap::SystemRegister(_) => Class::SystemRegister,
                        _ => {
                            assert!(!matches!(sorted, Class::Hvc | Class::Smc), "{esr:#x}");
                            continue;
                        }
                    };
                    assert_eq!(sorted, wanted, "{esr:#x}");
                }
            }
        }
    }
}
