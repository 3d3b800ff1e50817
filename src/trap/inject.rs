//! Makes a guest take an exception: what hardware would do on the way to EL1, computed from register values.

use super::syndrome::{DataAbort, ESR_IL, InstructionAbort, Trap, ec};

/// `PSTATE` bits as `SPSR_EL1` and `SPSR_EL2` have them.
pub mod pstate {
    /// N, Z, C and V.
    pub const NZCV: u64 = 0xf << 28;
    /// Tag checks overridden.
    pub const TCO: u64 = 1 << 25;
    /// Data-independent timing.
    pub const DIT: u64 = 1 << 24;
    /// Privileged access never.
    pub const PAN: u64 = 1 << 22;
    /// Software step.
    pub const SS: u64 = 1 << 21;
    /// Speculative store bypass safe.
    pub const SSBS: u64 = 1 << 12;
    /// Branch type.
    pub const BTYPE: u64 = 3 << 10;
    /// D, A, I and F.
    pub const DAIF: u64 = 0xf << 6;
    /// AArch32.
    pub const N_RW: u64 = 1 << 4;
    /// Mode, with [`N_RW`].
    pub const MODE: u64 = 0x1f;
    /// EL0.
    pub const EL0T: u64 = 0b00000;
    /// EL1 on `SP_EL0`.
    pub const EL1T: u64 = 0b00100;
    /// EL1 on `SP_EL1`.
    pub const EL1H: u64 = 0b00101;
    /// AArch32 DIT, at another place than AArch64's.
    pub const AARCH32_DIT: u64 = 1 << 21;
}

/// What the CPU has that changes how an exception is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `FEAT_PAN`.
    pub pan: bool,
    /// `FEAT_SSBS`.
    pub ssbs: bool,
    /// `FEAT_MTE`.
    pub mte: bool,
}

impl Features {
    /// Reads them from the hardware's own `ID_AA64MMFR1_EL1` and `ID_AA64PFR1_EL1`.
    pub const fn from_id_registers(mmfr1: u64, pfr1: u64) -> Self {
        Self {
            pan: mmfr1 >> 20 & 0xf != 0,
            ssbs: pfr1 >> 4 & 0xf != 0,
            mte: pfr1 >> 8 & 0xf != 0,
        }
    }
}

/// The guest at the moment of the trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// `ELR_EL2`: the instruction that the guest is to return to.
    pub pc: u64,
    /// `SPSR_EL2`.
    pub pstate: u64,
    /// The guest's `VBAR_EL1`.
    pub vbar_el1: u64,
    /// The guest's `SCTLR_EL1`.
    pub sctlr_el1: u64,
    /// What the CPU has.
    pub features: Features,
}

/// An exception for a guest's EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Undefined instruction.
    Undefined,
    /// The memory system answered a load, store or cache operation with an error.
    DataAbort {
        /// `FAR_EL2`.
        far: u64,
        /// The abort that came to EL2.
        abort: DataAbort,
    },
    /// The memory system answered a fetch with an error.
    InstructionAbort {
        /// `FAR_EL2`.
        far: u64,
        /// The abort that came to EL2.
        abort: InstructionAbort,
    },
    /// Illegal execution state.
    IllegalState,
    /// Misaligned PC.
    PcAlignment {
        /// `FAR_EL2`.
        far: u64,
    },
    /// Misaligned SP.
    SpAlignment,
    /// SError with this ISS (bits 24:0). For guests whose SErrors are masked, set `HCR_EL2.VSE` instead and let the
    /// hardware deliver it.
    SError {
        /// `ESR_EL1.ISS`.
        iss: u32,
    },
}

/// Register values after the exception was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// `ELR_EL1`.
    pub elr_el1: u64,
    /// `SPSR_EL1`.
    pub spsr_el1: u64,
    /// `ESR_EL1`.
    pub esr_el1: u64,
    /// `FAR_EL1`, when the exception writes it.
    pub far_el1: Option<u64>,
    /// `ELR_EL2`: the guest's vector.
    pub pc: u64,
    /// `SPSR_EL2`.
    pub pstate: u64,
}

impl Injection {
    /// Says whether the guest goes on at the very instruction that failed: its vector itself cannot be fetched or
    /// run, and it will never get further. EL2 is not in danger, but the partition is dead.
    pub const fn is_hopeless(&self) -> bool {
        self.pc == self.elr_el1
    }
}

/// Returns the exception that answers a trap which is not served, or `None` for one that is the caller's own to
/// serve (waits, calls, system registers, FP) or that did not come from a guest.
///
/// Give the data abort of an access to nothing, of an access that the syndrome does not describe, or of one that a
/// device refuses; [`is_harmless`] first sorts out those that need no answer.
pub const fn answer(trap: Trap, far: u64) -> Option<Exception> {
    match trap {
        Trap::DataAbort(abort) => Some(Exception::DataAbort { far, abort }),
        Trap::InstructionAbort(abort) => Some(Exception::InstructionAbort { far, abort }),
        Trap::Hidden | Trap::Undefined | Trap::Unknown { .. } => Some(Exception::Undefined),
        // Debug exceptions are EL1's own (`MDCR_EL2.TDE` = 0); one that comes here all the same is refused.
        Trap::Debug => Some(Exception::Undefined),
        Trap::IllegalState => Some(Exception::IllegalState),
        Trap::PcAlignment => Some(Exception::PcAlignment { far }),
        Trap::SpAlignment => Some(Exception::SpAlignment),
        _ => None,
    }
}

/// Says whether a data abort is cache maintenance of an address where nothing is cached: the caller skips the
/// instruction, as the CPU would.
pub const fn is_harmless(abort: DataAbort) -> bool {
    abort.cm() && !abort.s1ptw()
}

/// Computes what taking `exception` to EL1 does.
///
/// The vector follows the mode that the guest was in; an `SPSR_EL2` mode that is no guest's (EL2's own) is treated
/// as EL1h and cannot reach EL2 again, since the new mode is always EL1h.
///
/// # Source
/// Arm DDI 0487, pseudocode `AArch64.TakeException`; "Exception vectors"; register page `ESR_EL1`.
pub const fn take(context: &Context, exception: Exception) -> Injection {
    let mode = context.pstate & pstate::MODE;
    let from_el0 = mode == pstate::EL0T || mode & pstate::N_RW != 0;
    let (esr_el1, far_el1, kind) = report(exception, from_el0);
    let vector = match mode {
        pstate::EL1T => 0x000,
        pstate::EL0T => 0x400,
        mode if mode & pstate::N_RW != 0 => 0x600,
        _ => 0x200,
    };
    Injection {
        elr_el1: context.pc,
        spsr_el1: context.pstate,
        esr_el1,
        far_el1,
        pc: (context.vbar_el1 & !0x7ff).wrapping_add(vector + kind),
        pstate: entered(context),
    }
}

/// Returns `ESR_EL1`, `FAR_EL1` and the offset of the kind of exception from its group of vectors.
const fn report(exception: Exception, from_el0: bool) -> (u64, Option<u64>, u64) {
    /// Synchronous external abort, not on a table walk.
    const EXTERNAL: u64 = 0x10;
    const FNV: u64 = 1 << 10;
    const CM: u64 = 1 << 8;
    const WNR: u64 = 1 << 6;
    const SERROR_OFFSET: u64 = 0x180;

    match exception {
        Exception::Undefined => (esr(ec::UNKNOWN, 0), None, 0),
        Exception::DataAbort { far, abort } => {
            let class = if from_el0 {
                ec::DATA_ABORT_LOWER
            } else {
                ec::DATA_ABORT_SAME
            };
            let iss = EXTERNAL
                | if abort.fnv() { FNV } else { 0 }
                | if abort.cm() { CM } else { 0 }
                | if abort.wnr() { WNR } else { 0 };
            (esr(class, iss), Some(far), 0)
        }
        Exception::InstructionAbort { far, abort } => {
            let class = if from_el0 {
                ec::INSTRUCTION_ABORT_LOWER
            } else {
                ec::INSTRUCTION_ABORT_SAME
            };
            let iss = EXTERNAL | if abort.fnv() { FNV } else { 0 };
            (esr(class, iss), Some(far), 0)
        }
        Exception::IllegalState => (esr(ec::ILLEGAL_STATE, 0), None, 0),
        Exception::PcAlignment { far } => (esr(ec::PC_ALIGNMENT, 0), Some(far), 0),
        Exception::SpAlignment => (esr(ec::SP_ALIGNMENT, 0), None, 0),
        Exception::SError { iss } => (
            esr(ec::SERROR, iss as u64 & 0x01ff_ffff),
            None,
            SERROR_OFFSET,
        ),
    }
}

/// Puts a syndrome together. `IL` is 1 for every class here: the manual says so for each of them when no valid
/// 16-bit instruction is reported.
const fn esr(class: u32, iss: u64) -> u64 {
    (class as u64) << 26 | ESR_IL | iss
}

/// Returns `PSTATE` at the first instruction of the vector.
const fn entered(context: &Context) -> u64 {
    /// `SCTLR_EL1.SPAN`: taking an exception leaves PAN alone.
    const SCTLR_SPAN: u64 = 1 << 23;
    /// `SCTLR_EL1.DSSBS`: the value of SSBS at EL1 entry.
    const SCTLR_DSSBS: u64 = 1 << 44;

    let old = context.pstate;
    let mut new = old & (pstate::NZCV | pstate::PAN);
    if old & pstate::N_RW == 0 {
        new |= old & (pstate::DIT | pstate::TCO);
    } else if old & pstate::AARCH32_DIT != 0 {
        new |= pstate::DIT;
    }
    if context.features.pan && context.sctlr_el1 & SCTLR_SPAN == 0 {
        new |= pstate::PAN;
    }
    if context.features.ssbs && context.sctlr_el1 & SCTLR_DSSBS != 0 {
        new |= pstate::SSBS;
    }
    if context.features.mte {
        new |= pstate::TCO;
    }
    // UAO, SS, IL and BTYPE are cleared.
    new | pstate::DAIF | pstate::EL1H
}

/// Returns PC and `PSTATE` behind an instruction that EL2 has executed for the guest.
///
/// `esr` is `ESR_EL2` of its trap: `IL` says how long the instruction is. Not for HVC, whose `ELR_EL2` already
/// points behind it.
pub const fn skip(pc: u64, spsr: u64, esr: u64) -> (u64, u64) {
    let length = if esr & ESR_IL != 0 { 4 } else { 2 };
    // In AArch32 these bits mean something else: bit 21 is DIT, 11:10 are IT's.
    let done = if spsr & pstate::N_RW == 0 {
        spsr & !(pstate::BTYPE | pstate::SS)
    } else {
        spsr
    };
    (pc.wrapping_add(length), done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::syndrome::decode;

    const VBAR: u64 = 0xffff_8000_0801_0800;
    const SPAN: u64 = 1 << 23;

    fn context(pstate: u64) -> Context {
        Context {
            pc: 0x4000_1234,
            pstate,
            vbar_el1: VBAR,
            sctlr_el1: SPAN,
            features: Features::default(),
        }
    }

    #[test]
    fn features_are_those_of_the_cpu() {
        let seen = |mmfr1, pfr1| {
            let features = Features::from_id_registers(mmfr1, pfr1);
            [features.pan, features.ssbs, features.mte]
        };
        assert_eq!(seen(!(0xf << 20), !0xff0), [false; 3]);
        assert_eq!(seen(1 << 20, 0), [true, false, false]);
        assert_eq!(seen(0, 2 << 4), [false, true, false]);
        assert_eq!(seen(0, 3 << 8), [false, false, true]);
    }

    #[test]
    fn vector_follows_the_mode_of_the_guest() {
        for (mode, offset) in [(0, 0x400), (4, 0x000), (5, 0x200), (0x10, 0x600)] {
            let injection = take(&context(mode), Exception::Undefined);
            assert_eq!(injection.pc, VBAR + offset, "mode {mode:#x}");
            assert_eq!(injection.pstate, 0x3c5, "EL1h, DAIF masked");
            let serror = take(&context(mode), Exception::SError { iss: 0 });
            assert_eq!(serror.pc, VBAR + offset + 0x180);
        }
    }

    #[test]
    fn undefined_instruction_is_reported() {
        let injection = take(&context(0x6000_0005), Exception::Undefined);
        assert_eq!(injection.esr_el1, 0x0200_0000);
        assert_eq!(injection.elr_el1, 0x4000_1234);
        assert_eq!(injection.spsr_el1, 0x6000_0005);
        assert_eq!(injection.far_el1, None);
        assert_eq!(injection.pstate, 0x6000_03c5, "flags are kept");
    }

    #[test]
    fn external_aborts_say_where_they_came_from() {
        // A store with ISV=0 (STP) from EL1 and from EL0: DFSC translation fault in, 0x10 out.
        let trap = decode(0x9200_0047);
        let exception = answer(trap, 0xdead_0008).unwrap();
        let from_el1 = take(&context(5), exception);
        assert_eq!(from_el1.esr_el1, 0x9600_0050);
        assert_eq!(from_el1.far_el1, Some(0xdead_0008));
        assert_eq!(take(&context(0), exception).esr_el1, 0x9200_0050);
        // A fetch.
        let exception = answer(decode(0x8200_0006), 0x10).unwrap();
        assert_eq!(take(&context(5), exception).esr_el1, 0x8600_0010);
        assert_eq!(take(&context(0), exception).esr_el1, 0x8200_0010);
        assert_eq!(take(&context(0x10), exception).esr_el1, 0x8200_0010);
    }

    #[test]
    fn pstate_bits_change_as_on_hardware() {
        // Everything set that can be: NZCV, TCO, DIT, UAO, PAN, SS, IL, SSBS, BTYPE, EL0.
        let old = 0xf3f0_1c00;
        let plain = take(&context(old), Exception::Undefined).pstate;
        assert_eq!(plain, 0xf340_03c5, "UAO, SS, IL, SSBS, BTYPE cleared");
        let mut all = context(0);
        all.features = Features::from_id_registers(1 << 20, 1 << 4 | 2 << 8);
        all.sctlr_el1 = 1 << 44;
        let set = take(&all, Exception::Undefined).pstate;
        assert_eq!(set, 0x0240_13c5, "TCO, PAN, SSBS");
        all.sctlr_el1 = SPAN;
        assert_eq!(take(&all, Exception::Undefined).pstate, 0x0200_03c5);
    }

    #[test]
    fn aarch32_bits_do_not_leak_into_aarch64() {
        // N, Q, IT, J, SSBS, PAN, DIT, GE, E, A, I, F, T, user mode.
        let injection = take(&context(0x8eef_fff0), Exception::Undefined);
        assert_eq!(injection.pstate, 0x8140_03c5, "N, DIT moved, PAN kept");
    }

    #[test]
    fn aborts_keep_what_the_guest_needs_of_their_syndrome() {
        let reported = |esr| {
            let exception = answer(decode(esr), 0).unwrap();
            take(&context(5), exception).esr_el1
        };
        // Translation faults, level 1; FnV, CM and WnR of a load or store, FnV of a fetch.
        assert_eq!(reported(0x9200_0005), 0x9600_0010);
        assert_eq!(reported(0x9200_0405), 0x9600_0410);
        assert_eq!(reported(0x9200_0105), 0x9600_0110);
        assert_eq!(reported(0x9200_0045), 0x9600_0050);
        assert_eq!(reported(0x8200_0405), 0x8600_0410);
    }

    #[test]
    fn an_serror_keeps_its_syndrome_and_nothing_else() {
        let reported = |iss| take(&context(5), Exception::SError { iss }).esr_el1;
        assert_eq!(reported(0), 0xbe00_0000);
        assert_eq!(reported(0x0100_0011), 0xbf00_0011);
        assert_eq!(reported(u32::MAX), 0xbfff_ffff);
    }

    #[test]
    fn failing_vector_is_found_hopeless() {
        let mut guest = context(5);
        guest.pc = VBAR + 0x200;
        assert!(take(&guest, Exception::Undefined).is_hopeless());
        assert!(!take(&context(5), Exception::Undefined).is_hopeless());
    }

    #[test]
    fn vectors_at_the_top_of_memory_do_not_overflow() {
        let mut guest = context(0x10);
        guest.vbar_el1 = u64::MAX;
        assert_eq!(
            take(&guest, Exception::SError { iss: u32::MAX }).pc,
            0xffff_ffff_ffff_ff80
        );
    }

    #[test]
    fn served_traps_have_no_exception() {
        for esr in [
            0x5a00_0000,
            0x5e00_0000,
            0x07e0_0000,
            0x6200_0000,
            0x1e00_0000,
        ] {
            assert_eq!(answer(decode(esr), 0), None);
        }
        assert_eq!(answer(decode(0x9600_0010), 0), None, "EL2's own abort");
    }

    #[test]
    fn cache_maintenance_of_a_hole_is_harmless() {
        assert!(is_harmless(DataAbort::from_esr(0x9200_0147)));
        assert!(!is_harmless(DataAbort::from_esr(0x9200_01c7)), "S1PTW");
        assert!(!is_harmless(DataAbort::from_esr(0x9200_0047)));
    }

    #[test]
    fn skipping_ends_the_instruction() {
        assert_eq!(skip(0x1000, 0x0020_0c05, 0x9200_0000), (0x1004, 5));
        assert_eq!(skip(0x1000, 0x5, 0x9000_0000), (0x1002, 5));
        assert_eq!(skip(u64::MAX, 0x0020_0030, ESR_IL).1, 0x0020_0030);
    }

    proptest::proptest! {
        /// Whatever the guest's registers hold: it goes on at EL1 in AArch64, in its own vectors, all masked.
        #[test]
        fn guest_never_leaves_el1(
            pc: u64, pstate: u64, vbar_el1: u64, sctlr_el1: u64, mmfr1: u64, pfr1: u64, esr: u64, far: u64
        ) {
            let features = Features::from_id_registers(mmfr1, pfr1);
            let guest = Context { pc, pstate, vbar_el1, sctlr_el1, features };
            if let Some(exception) = answer(decode(esr), far) {
                let injection = take(&guest, exception);
                proptest::prop_assert_eq!(injection.pstate & 0x3df, 0x3c5);
                // Nothing but NZCV, TCO, DIT, PAN, SSBS, DAIF and the mode.
                proptest::prop_assert_eq!(injection.pstate & !0xf340_13df, 0);
                proptest::prop_assert_eq!(injection.pc & !0x7ff, vbar_el1 & !0x7ff);
                proptest::prop_assert_eq!(injection.pc & 0x1ff, 0, "synchronous");
                proptest::prop_assert_eq!(injection.spsr_el1, pstate);
            }
            let (_, after) = skip(pc, pstate, esr);
            proptest::prop_assert_eq!(after & 0x1f, pstate & 0x1f);
        }
    }
}
