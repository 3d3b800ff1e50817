//! `ESR_EL2` as a typed value and as words.

use super::sysreg::SysReg;

/// Exception classes, `ESR_ELx.EC`, by Arm's names where it has one.
///
/// # Source
/// Arm DDI 0487, register page `ESR_EL2`, table of `EC` values.
pub mod ec {
    /// Unknown reason: an undefined instruction.
    pub const UNKNOWN: u32 = 0x00;
    /// WFI, WFE, WFIT or WFET.
    pub const WFX: u32 = 0x01;
    /// Advanced SIMD, floating point or (without its own class) SVE.
    pub const FP: u32 = 0x07;
    /// Pointer authentication instruction or key.
    pub const PAC: u32 = 0x09;
    /// Illegal execution state (`PSTATE.IL`).
    pub const ILLEGAL_STATE: u32 = 0x0e;
    /// HVC from AArch64.
    pub const HVC64: u32 = 0x16;
    /// SMC from AArch64.
    pub const SMC64: u32 = 0x17;
    /// MSR, MRS or system instruction from AArch64.
    pub const SYSTEM_REGISTER: u32 = 0x18;
    /// SVE.
    pub const SVE: u32 = 0x19;
    /// SME.
    pub const SME: u32 = 0x1d;
    /// Instruction abort from a lower exception level.
    pub const INSTRUCTION_ABORT_LOWER: u32 = 0x20;
    /// Instruction abort without a change of exception level.
    pub const INSTRUCTION_ABORT_SAME: u32 = 0x21;
    /// Misaligned PC.
    pub const PC_ALIGNMENT: u32 = 0x22;
    /// Data abort from a lower exception level.
    pub const DATA_ABORT_LOWER: u32 = 0x24;
    /// Data abort without a change of exception level.
    pub const DATA_ABORT_SAME: u32 = 0x25;
    /// Misaligned SP.
    pub const SP_ALIGNMENT: u32 = 0x26;
    /// SError.
    pub const SERROR: u32 = 0x2f;
}

/// `ESR_ELx.IL`: the instruction was 32 bits long.
pub const ESR_IL: u64 = 1 << 25;

/// Returns `ESR_ELx.EC`.
pub const fn exception_class(esr: u64) -> u32 {
    (esr >> 26) as u32 & 0x3f
}

/// Which wait instruction trapped (`HCR_EL2.TWI`, `TWE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// WFI.
    Interrupt,
    /// WFE.
    Event,
    /// WFIT: ends at a deadline too, so completing it at once is right as well.
    InterruptUntil,
    /// WFET: as WFIT.
    EventUntil,
}

/// A trapped MSR, MRS or system instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysRegAccess {
    /// Which register.
    pub register: SysReg,
    /// General register that gives or takes the value; 31 is XZR.
    pub rt: u8,
    /// The guest writes (MSR, SYS) rather than reads (MRS).
    pub write: bool,
}

/// The ISS of a data abort. Not yet checked: ask [`DataAbort::isv`] before the instruction fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAbort(u32);

impl DataAbort {
    /// Keeps the ISS of `esr`, whose class is a data abort.
    pub const fn from_esr(esr: u64) -> Self {
        Self(esr as u32 & 0x01ff_ffff)
    }

    /// `ISV`: `SAS`, `SSE`, `SRT`, `SF` and `AR` are valid.
    pub const fn isv(self) -> bool {
        self.0 >> 24 & 1 != 0
    }

    /// `SAS`: the access has 2 to this power bytes. Valid with [`Self::isv`].
    pub const fn sas(self) -> u32 {
        self.0 >> 22 & 3
    }

    /// `SSE`: the loaded value is sign-extended. Valid with [`Self::isv`].
    pub const fn sse(self) -> bool {
        self.0 >> 21 & 1 != 0
    }

    /// `SRT`: the general register, 31 is XZR. Valid with [`Self::isv`].
    pub const fn srt(self) -> u8 {
        (self.0 >> 16 & 0x1f) as u8
    }

    /// `SF`: the register is a 64-bit one. Valid with [`Self::isv`].
    pub const fn sf(self) -> bool {
        self.0 >> 15 & 1 != 0
    }

    /// `FnV`: `FAR_EL2` does not hold the address.
    pub const fn fnv(self) -> bool {
        self.0 >> 10 & 1 != 0
    }

    /// `CM`: a cache maintenance or address translation instruction faulted, not an access.
    pub const fn cm(self) -> bool {
        self.0 >> 8 & 1 != 0
    }

    /// `S1PTW`: the fault was on the guest's own translation-table walk.
    pub const fn s1ptw(self) -> bool {
        self.0 >> 7 & 1 != 0
    }

    /// `WnR`: the guest wrote (set for cache maintenance too).
    pub const fn wnr(self) -> bool {
        self.0 >> 6 & 1 != 0
    }

    /// `DFSC`, sorted.
    pub const fn fault(self) -> Fault {
        Fault::from_status(self.0)
    }
}

/// The ISS of an instruction abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionAbort(u32);

impl InstructionAbort {
    /// Keeps the ISS of `esr`, whose class is an instruction abort.
    pub const fn from_esr(esr: u64) -> Self {
        Self(esr as u32 & 0x01ff_ffff)
    }

    /// `FnV`: `FAR_EL2` does not hold the address.
    pub const fn fnv(self) -> bool {
        self.0 >> 10 & 1 != 0
    }

    /// `S1PTW`: the fault was on the guest's own translation-table walk.
    pub const fn s1ptw(self) -> bool {
        self.0 >> 7 & 1 != 0
    }

    /// `IFSC`, sorted.
    pub const fn fault(self) -> Fault {
        Fault::from_status(self.0)
    }
}

/// The kinds of fault that `DFSC` and `IFSC` tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The address is larger than the tables or the CPU allow.
    AddressSize,
    /// Nothing is mapped there: what a device access and a wild pointer look like.
    Translation,
    /// The access flag is clear.
    AccessFlag,
    /// Mapped, but not for this kind of access.
    Permission,
    /// The memory system answered with an error.
    External,
    /// External error on a translation-table walk.
    ExternalOnWalk,
    /// Misaligned access to device memory, or an exclusive or atomic on memory that has none.
    Alignment,
    /// Any other status, raw.
    Other(u8),
}

impl Fault {
    /// Sorts the low six bits of an abort's ISS.
    pub const fn from_status(iss: u32) -> Self {
        let status = (iss & 0x3f) as u8;
        match status {
            0x00..=0x03 => Self::AddressSize,
            0x04..=0x07 => Self::Translation,
            0x08..=0x0b => Self::AccessFlag,
            0x0c..=0x0f => Self::Permission,
            0x10 => Self::External,
            0x13..=0x17 => Self::ExternalOnWalk,
            0x21 => Self::Alignment,
            // With 52-bit tables: level -1 of address size and translation faults.
            0x29 => Self::AddressSize,
            0x2b => Self::Translation,
            other => Self::Other(other),
        }
    }

    /// Returns the fault in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::AddressSize => "address size fault",
            Self::Translation => "translation fault",
            Self::AccessFlag => "access flag fault",
            Self::Permission => "permission fault",
            Self::External => "synchronous external abort",
            Self::ExternalOnWalk => "external abort on table walk",
            Self::Alignment => "alignment fault",
            Self::Other(0x11) => "tag check fault",
            Self::Other(0x18 | 0x1b..=0x1f) => "memory parity or ECC error",
            Self::Other(0x30) => "TLB conflict",
            Self::Other(0x31) => "unsupported atomic update",
            Self::Other(0x34) => "lockdown fault",
            Self::Other(0x35) => "unsupported exclusive or atomic",
            Self::Other(_) => "reserved fault status",
        }
    }
}

/// Everything that a synchronous exception to EL2 can be, from a guest or from EL2 itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A wait instruction; `ELR_EL2` points at it.
    Wait(Wait),
    /// HVC from AArch64; `ELR_EL2` points behind it.
    Hvc {
        /// The instruction's immediate; SMCCC wants zero.
        immediate: u16,
    },
    /// SMC from AArch64; `ELR_EL2` points at it, so the caller must skip it.
    Smc {
        /// The instruction's immediate; SMCCC wants zero.
        immediate: u16,
    },
    /// A system register or system instruction.
    SystemRegister(SysRegAccess),
    /// A stage-2 data abort of the guest.
    DataAbort(DataAbort),
    /// A stage-2 instruction abort of the guest.
    InstructionAbort(InstructionAbort),
    /// FP or SIMD while `CPTR_EL2.TFP` is set.
    Fp,
    /// An instruction of a feature that is hidden from guests (SVE, SME, pointer authentication when it is not
    /// enabled, memory copy, 128-bit registers, trapped ERET and others), or a coprocessor access or call of
    /// AArch32: an undefined instruction.
    Hidden,
    /// An undefined instruction, or one that traps without a class of its own.
    Undefined,
    /// `PSTATE.IL` was set by an illegal exception return to the guest.
    IllegalState,
    /// Misaligned PC that `HCR_EL2.TGE` or EL2 itself brings here.
    PcAlignment,
    /// Misaligned SP, as above.
    SpAlignment,
    /// SError; taken through its own vector, listed for completeness.
    SError,
    /// A debug exception routed to EL2.
    Debug,
    /// EL2's own data abort: our bug.
    OwnDataAbort(DataAbort),
    /// EL2's own instruction abort: our bug.
    OwnInstructionAbort(InstructionAbort),
    /// A class that is not known.
    Unknown {
        /// `ESR_EL2.EC`.
        ec: u8,
    },
}

/// Decodes `ESR_EL2` of a synchronous exception.
///
/// Total: every value gives a trap. What a class means for a guest is said at [`Trap`]; [`super::inject::answer`]
/// has the exception to inject for those that are not served.
///
/// # Source
/// Arm DDI 0487, register page `ESR_EL2`.
pub const fn decode(esr: u64) -> Trap {
    let iss = esr as u32 & 0x01ff_ffff;
    match exception_class(esr) {
        ec::HVC64 => Trap::Hvc {
            immediate: iss as u16,
        },
        ec::SMC64 => Trap::Smc {
            immediate: iss as u16,
        },
        ec::DATA_ABORT_LOWER => Trap::DataAbort(DataAbort(iss)),
        ec::SYSTEM_REGISTER => Trap::SystemRegister(SysRegAccess {
            register: SysReg::from_iss(iss),
            rt: (iss >> 5 & 0x1f) as u8,
            write: iss & 1 == 0,
        }),
        ec::WFX => Trap::Wait(match iss & 3 {
            0 => Wait::Interrupt,
            1 => Wait::Event,
            2 => Wait::InterruptUntil,
            _ => Wait::EventUntil,
        }),
        ec::FP => Trap::Fp,
        ec::INSTRUCTION_ABORT_LOWER => Trap::InstructionAbort(InstructionAbort(iss)),
        ec::UNKNOWN => Trap::Undefined,
        ec::ILLEGAL_STATE => Trap::IllegalState,
        ec::PC_ALIGNMENT => Trap::PcAlignment,
        ec::SP_ALIGNMENT => Trap::SpAlignment,
        ec::SERROR => Trap::SError,
        ec::DATA_ABORT_SAME => Trap::OwnDataAbort(DataAbort(iss)),
        ec::INSTRUCTION_ABORT_SAME => Trap::OwnInstructionAbort(InstructionAbort(iss)),
        0x30..=0x35 | 0x38 | 0x3a | 0x3c | 0x3d => Trap::Debug,
        // AArch32 coprocessors (0x03..=0x06, 0x08, 0x0c) and calls (0x11..=0x13); PAC 0x09, LD64B 0x0a,
        // BTI 0x0d, 128-bit registers 0x14, SVC 0x15, SVE 0x19, ERET 0x1a, TME 0x1b, PAC failure 0x1c,
        // SME 0x1d, memory copy 0x27, FP exceptions 0x28 and 0x2c, guarded stack 0x2d.
        0x03..=0x06 | 0x08..=0x0a | 0x0c | 0x0d | 0x11..=0x15 => Trap::Hidden,
        0x19..=0x1d | 0x27 | 0x28 | 0x2c | 0x2d => Trap::Hidden,
        ec => Trap::Unknown { ec: ec as u8 },
    }
}

/// Returns the class of a syndrome in words, for crash reports and health events.
#[inline(never)]
pub const fn describe(esr: u64) -> &'static str {
    match exception_class(esr) {
        0x00 => "undefined instruction",
        0x01 => "WFI or WFE",
        0x03..=0x06 | 0x08 | 0x0c => "AArch32 coprocessor access",
        0x07 => "FP or SIMD access",
        0x09 => "pointer authentication access",
        0x0a => "64-byte load or store",
        0x0d => "branch target exception",
        0x0e => "illegal execution state",
        0x11..=0x13 => "AArch32 SVC, HVC or SMC",
        0x14 => "128-bit system register access",
        0x15 => "SVC",
        0x16 => "HVC",
        0x17 => "SMC",
        0x18 => "system register access",
        0x19 => "SVE access",
        0x1a => "ERET",
        0x1b => "transaction start",
        0x1c => "pointer authentication failure",
        0x1d => "SME access",
        0x20 => "instruction abort from a guest",
        0x21 => "instruction abort at EL2",
        0x22 => "misaligned PC",
        0x24 => "data abort from a guest",
        0x25 => "data abort at EL2",
        0x26 => "misaligned SP",
        0x27 => "memory copy or set",
        0x28 | 0x2c => "floating-point exception",
        0x2d => "guarded control stack exception",
        0x2f => "SError",
        0x30 | 0x31 => "breakpoint",
        0x32 | 0x33 => "software step",
        0x34 | 0x35 => "watchpoint",
        0x38 | 0x3c => "BRK instruction",
        0x3a => "vector catch",
        0x3d => "PMU exception",
        _ => "unknown exception class",
    }
}

/// Returns the kind of fault in words when the syndrome is an abort.
#[inline(never)]
pub const fn describe_fault(esr: u64) -> Option<&'static str> {
    match exception_class(esr) {
        0x20 | 0x21 | 0x24 | 0x25 => Some(Fault::from_status(esr as u32).words()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_carry_their_immediate() {
        assert_eq!(decode(0x5a00_0000), Trap::Hvc { immediate: 0 });
        assert_eq!(decode(0x5e00_1234), Trap::Smc { immediate: 0x1234 });
    }

    #[test]
    fn a_fetch_that_failed_says_where_as_far_as_it_is_known() {
        let of = |iss: u64| {
            let abort = InstructionAbort::from_esr(0x8200_0000 | iss);
            (abort.fnv(), abort.s1ptw())
        };
        assert_eq!(of(0x005), (false, false));
        assert_eq!(of(0x405), (true, false));
        assert_eq!(of(0x085), (false, true));
    }

    #[test]
    fn waits_are_told_apart() {
        // EC 0x01, IL, CV, COND 0b1110.
        assert_eq!(decode(0x07e0_0000), Trap::Wait(Wait::Interrupt));
        assert_eq!(decode(0x07e0_0001), Trap::Wait(Wait::Event));
        assert_eq!(decode(0x07e0_0002), Trap::Wait(Wait::InterruptUntil));
        assert_eq!(decode(0x07e0_0003), Trap::Wait(Wait::EventUntil));
    }

    #[test]
    fn system_register_access_names_register_and_direction() {
        // msr icc_sgi1r_el1, x3: Op0 3, Op1 0, CRn 12, CRm 11, Op2 5.
        let write = 0x6200_0000 | 3 << 20 | 5 << 17 | 12 << 10 | 3 << 5 | 11 << 1;
        let Trap::SystemRegister(access) = decode(write) else {
            panic!("not a system register")
        };
        assert_eq!(access.register, SysReg::new(3, 0, 12, 11, 5));
        assert_eq!((access.rt, access.write), (3, true));
        // mrs xzr, actlr_el1: Op0 3, Op1 0, CRn 1, CRm 0, Op2 1.
        let read = 0x6200_0000 | 3 << 20 | 1 << 17 | 1 << 10 | 31 << 5 | 1;
        let Trap::SystemRegister(access) = decode(read) else {
            panic!("not a system register")
        };
        assert_eq!(access.register, SysReg::new(3, 0, 1, 0, 1));
        assert_eq!((access.rt, access.write), (31, false));
    }

    #[test]
    fn data_abort_has_its_fields() {
        // ldrsh x7, [device]: ISV, SAS 1, SSE, SRT 7, SF, translation fault level 3.
        let esr = 0x9200_0000 | 1 << 24 | 1 << 22 | 1 << 21 | 7 << 16 | 1 << 15 | 7;
        let Trap::DataAbort(abort) = decode(esr) else {
            panic!("not a data abort")
        };
        assert!(abort.isv() && abort.sse() && abort.sf());
        assert_eq!((abort.sas(), abort.srt()), (1, 7));
        assert!(!abort.wnr() && !abort.cm() && !abort.s1ptw() && !abort.fnv());
        assert_eq!(abort.fault(), Fault::Translation);
    }

    #[test]
    fn own_faults_are_not_taken_for_the_guests() {
        assert!(matches!(decode(0x9600_0010), Trap::OwnDataAbort(_)));
        assert!(matches!(decode(0x8600_0007), Trap::OwnInstructionAbort(_)));
        assert!(matches!(decode(0x8200_000f), Trap::InstructionAbort(_)));
    }

    #[test]
    fn every_class_is_decoded_and_described() {
        let known = (0..64u64).filter(|ec| !matches!(decode(ec << 26), Trap::Unknown { .. }));
        let described = (0..64u64).filter(|ec| describe(ec << 26) != "unknown exception class");
        assert_eq!(known.collect::<Vec<_>>(), described.collect::<Vec<_>>());
        assert_eq!(decode(0x3f << 26), Trap::Unknown { ec: 0x3f });
    }

    #[test]
    fn aborts_alone_have_fault_words() {
        assert_eq!(describe_fault(0x9200_0045), Some("translation fault"));
        assert_eq!(describe_fault(0x8200_000f), Some("permission fault"));
        assert_eq!(
            describe_fault(0x9200_0010),
            Some("synchronous external abort")
        );
        assert_eq!(describe_fault(0x5a00_0007), None);
    }
}
