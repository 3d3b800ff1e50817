//! System registers: those that have a name, and any.

use crate::step::Fuzzer;
use crate::{answers, counts};
use guest_runtime::made::{self, Field, MRS, MSR, SVC, bearable, encoding, is_vital};
use guest_runtime::{el0, esr, smp};

/// An instruction for each register that there could be.
static READS: Field<0x8000> = Field::new();
static WRITES: Field<0x8000> = Field::new();

/// What is read or written of a row.
#[derive(Clone, Copy)]
enum Which {
    /// The register with this encoding.
    Named(u32),
    /// One that holds up this guest: what is written is what was read.
    Kept(u32),
    /// Any, in this mask of the encoding, with these bits.
    Any(u32, u32),
}
use Which::*;

macro_rules! registers {
    ($names:ident $list:ident: $($name:literal $kind:ident($op0:literal $op1:literal $crn:literal $crm:literal $op2:literal);)*) => {
        /// The registers' names.
        pub const $names: &[&str] = &[$($name),*, "any register", "any of the interrupt controller", "any of EL0", "any debug register"];
        const $list: &[Which] = &[
            $($kind(encoding($op0, $op1, $crn, $crm, $op2))),*,
            Any(0x7fff, 0),
            Any(0x3f, encoding(3, 0, 12, 8, 0)),
            Any(0x7f | 15 << 7, encoding(3, 3, 0, 0, 0)),
            Any(0x3fff, 0),
        ];
    };
}

registers! { READ READABLE:
    "MIDR_EL1" Named(3 0 0 0 0); "MPIDR_EL1" Named(3 0 0 0 5); "REVIDR_EL1" Named(3 0 0 0 6); "ID_PFR0_EL1" Named(3 0 0 1 0);
    "MVFR0_EL1" Named(3 0 0 3 0); "ID_AA64PFR0_EL1" Named(3 0 0 4 0); "ID_AA64ZFR0_EL1" Named(3 0 0 4 4);
    "ID_AA64DFR0_EL1" Named(3 0 0 5 0); "ID_AA64ISAR0_EL1" Named(3 0 0 6 0); "ID_AA64MMFR0_EL1" Named(3 0 0 7 0);
    "reserved ID register" Named(3 0 0 7 7); "CCSIDR_EL1" Named(3 1 0 0 0); "CLIDR_EL1" Named(3 1 0 0 1);
    "AIDR_EL1" Named(3 1 0 0 7); "CSSELR_EL1" Named(3 2 0 0 0); "CTR_EL0" Named(3 3 0 0 1); "DCZID_EL0" Named(3 3 0 0 7);
    "SCTLR_EL1" Named(3 0 1 0 0); "ACTLR_EL1" Named(3 0 1 0 1); "CPACR_EL1" Named(3 0 1 0 2); "ZCR_EL1" Named(3 0 1 2 0);
    "TRFCR_EL1" Named(3 0 1 2 1); "TTBR0_EL1" Named(3 0 2 0 0); "TCR_EL1" Named(3 0 2 0 2); "APIAKeyLo_EL1" Named(3 0 2 1 0);
    "AFSR0_EL1" Named(3 0 5 1 0); "ESR_EL1" Named(3 0 5 2 0); "ERRIDR_EL1" Named(3 0 5 3 0); "ERRSELR_EL1" Named(3 0 5 3 1);
    "FAR_EL1" Named(3 0 6 0 0); "PAR_EL1" Named(3 0 7 4 0); "MAIR_EL1" Named(3 0 10 2 0); "AMAIR_EL1" Named(3 0 10 3 0);
    "LORC_EL1" Named(3 0 10 4 3); "MPAM1_EL1" Named(3 0 10 5 0); "VBAR_EL1" Named(3 0 12 0 0); "ISR_EL1" Named(3 0 12 1 0);
    "DISR_EL1" Named(3 0 12 1 1); "CONTEXTIDR_EL1" Named(3 0 13 0 1); "TPIDR_EL1" Named(3 0 13 0 4);
    "TPIDR_EL0" Named(3 3 13 0 2); "TPIDR2_EL0" Named(3 3 13 0 5); "AMCR_EL0" Named(3 3 13 2 0); "CNTKCTL_EL1" Named(3 0 14 1 0);
    "RNDR" Named(3 3 2 4 0); "SVCR" Named(3 3 4 2 2); "CPUECTLR_EL1" Named(3 1 15 2 1); "IMPLEMENTATION DEFINED" Named(3 0 15 0 0);
    "HCR_EL2" Named(3 4 1 1 0); "VTTBR_EL2" Named(3 4 2 1 0); "ICH_HCR_EL2" Named(3 4 12 11 0); "SCR_EL3" Named(3 6 1 1 0);
    "SCTLR_EL12" Named(3 5 1 0 0); "ICC_PMR_EL1" Named(3 0 4 6 0); "ICC_IAR0_EL1" Named(3 0 12 8 0);
    "ICC_HPPIR0_EL1" Named(3 0 12 8 2); "ICC_BPR0_EL1" Named(3 0 12 8 3); "ICC_AP0R0_EL1" Named(3 0 12 8 4);
    "ICC_AP1R0_EL1" Named(3 0 12 9 0); "ICC_AP1R1_EL1" Named(3 0 12 9 1); "ICC_RPR_EL1" Named(3 0 12 11 3);
    "ICC_IAR1_EL1" Named(3 0 12 12 0); "ICC_HPPIR1_EL1" Named(3 0 12 12 2); "ICC_BPR1_EL1" Named(3 0 12 12 3);
    "ICC_CTLR_EL1" Named(3 0 12 12 4); "ICC_SRE_EL1" Named(3 0 12 12 5); "ICC_IGRPEN0_EL1" Named(3 0 12 12 6);
    "ICC_IGRPEN1_EL1" Named(3 0 12 12 7); "CNTFRQ_EL0" Named(3 3 14 0 0); "CNTPCT_EL0" Named(3 3 14 0 1);
    "CNTVCT_EL0" Named(3 3 14 0 2); "CNTP_TVAL_EL0" Named(3 3 14 2 0); "CNTP_CTL_EL0" Named(3 3 14 2 1);
    "CNTP_CVAL_EL0" Named(3 3 14 2 2); "CNTV_TVAL_EL0" Named(3 3 14 3 0); "CNTV_CTL_EL0" Named(3 3 14 3 1);
    "CNTV_CVAL_EL0" Named(3 3 14 3 2); "CNTPS_CTL_EL1" Named(3 7 14 2 1); "PMCR_EL0" Named(3 3 9 12 0);
    "PMCNTENSET_EL0" Named(3 3 9 12 1); "PMOVSCLR_EL0" Named(3 3 9 12 3); "PMSELR_EL0" Named(3 3 9 12 5);
    "PMCEID0_EL0" Named(3 3 9 12 6); "PMCCNTR_EL0" Named(3 3 9 13 0); "PMXEVTYPER_EL0" Named(3 3 9 13 1);
    "PMXEVCNTR_EL0" Named(3 3 9 13 2); "PMUSERENR_EL0" Named(3 3 9 14 0); "PMINTENSET_EL1" Named(3 0 9 14 1);
    "PMEVCNTR0_EL0" Named(3 3 14 8 0); "PMEVCNTR5_EL0" Named(3 3 14 8 5); "PMCCFILTR_EL0" Named(3 3 14 15 7);
    "MDSCR_EL1" Named(2 0 0 2 2); "OSLSR_EL1" Named(2 0 1 1 4); "OSDLR_EL1" Named(2 0 1 3 4); "MDRAR_EL1" Named(2 0 1 0 0);
    "DBGBVR0_EL1" Named(2 0 0 0 4); "DBGBCR1_EL1" Named(2 0 0 1 5); "DBGWVR0_EL1" Named(2 0 0 0 6);
    "DBGAUTHSTATUS_EL1" Named(2 0 7 14 6); "MDCCSR_EL0" Named(2 3 0 1 0); "DBGDTR_EL0" Named(2 3 0 4 0);
    "TRCIDR0" Named(2 1 0 8 7);
}

registers! { WRITTEN WRITABLE:
    "MIDR_EL1" Named(3 0 0 0 0); "CSSELR_EL1" Named(3 2 0 0 0); "SCTLR_EL1" Kept(3 0 1 0 0); "ACTLR_EL1" Named(3 0 1 0 1);
    "CPACR_EL1" Kept(3 0 1 0 2); "TTBR0_EL1" Kept(3 0 2 0 0); "TTBR1_EL1" Kept(3 0 2 0 1); "TCR_EL1" Kept(3 0 2 0 2);
    "APIAKeyLo_EL1" Named(3 0 2 1 0); "APGAKeyHi_EL1" Named(3 0 2 3 1); "AFSR0_EL1" Named(3 0 5 1 0);
    "AFSR1_EL1" Named(3 0 5 1 1); "ESR_EL1" Named(3 0 5 2 0); "ERRSELR_EL1" Named(3 0 5 3 1); "FAR_EL1" Named(3 0 6 0 0);
    "PAR_EL1" Named(3 0 7 4 0); "MAIR_EL1" Kept(3 0 10 2 0); "AMAIR_EL1" Named(3 0 10 3 0); "VBAR_EL1" Kept(3 0 12 0 0);
    "DISR_EL1" Named(3 0 12 1 1); "CONTEXTIDR_EL1" Named(3 0 13 0 1); "TPIDR_EL1" Kept(3 0 13 0 4);
    "TPIDR_EL0" Named(3 3 13 0 2); "TPIDRRO_EL0" Named(3 3 13 0 3); "SP_EL0" Named(3 0 4 1 0); "ELR_EL1" Named(3 0 4 0 1);
    "SPSR_EL1" Named(3 0 4 0 0); "CNTKCTL_EL1" Named(3 0 14 1 0); "NZCV" Named(3 3 4 2 0); "FPSR" Named(3 3 4 4 1);
    "CPUECTLR_EL1" Named(3 1 15 2 1); "IMPLEMENTATION DEFINED" Named(3 0 15 0 0); "HCR_EL2" Named(3 4 1 1 0);
    "VTTBR_EL2" Named(3 4 2 1 0); "ICH_LR0_EL2" Named(3 4 12 12 0); "ICC_PMR_EL1" Named(3 0 4 6 0);
    "ICC_EOIR0_EL1" Named(3 0 12 8 1); "ICC_BPR0_EL1" Named(3 0 12 8 3); "ICC_AP0R0_EL1" Named(3 0 12 8 4);
    "ICC_AP1R0_EL1" Named(3 0 12 9 0); "ICC_DIR_EL1" Named(3 0 12 11 1); "ICC_SGI1R_EL1" Named(3 0 12 11 5);
    "ICC_ASGI1R_EL1" Named(3 0 12 11 6); "ICC_SGI0R_EL1" Named(3 0 12 11 7); "ICC_EOIR1_EL1" Named(3 0 12 12 1);
    "ICC_BPR1_EL1" Named(3 0 12 12 3); "ICC_CTLR_EL1" Named(3 0 12 12 4); "ICC_SRE_EL1" Named(3 0 12 12 5);
    "ICC_IGRPEN0_EL1" Named(3 0 12 12 6); "ICC_IGRPEN1_EL1" Named(3 0 12 12 7); "CNTFRQ_EL0" Named(3 3 14 0 0);
    "CNTP_TVAL_EL0" Named(3 3 14 2 0); "CNTP_CTL_EL0" Named(3 3 14 2 1); "CNTP_CVAL_EL0" Named(3 3 14 2 2);
    "CNTV_TVAL_EL0" Named(3 3 14 3 0); "CNTV_CTL_EL0" Named(3 3 14 3 1); "CNTV_CVAL_EL0" Named(3 3 14 3 2);
    "CNTPS_CVAL_EL1" Named(3 7 14 2 2); "PMCR_EL0" Named(3 3 9 12 0); "PMCNTENSET_EL0" Named(3 3 9 12 1);
    "PMCNTENCLR_EL0" Named(3 3 9 12 2); "PMOVSCLR_EL0" Named(3 3 9 12 3); "PMSWINC_EL0" Named(3 3 9 12 4);
    "PMSELR_EL0" Named(3 3 9 12 5); "PMCCNTR_EL0" Named(3 3 9 13 0); "PMXEVTYPER_EL0" Named(3 3 9 13 1);
    "PMXEVCNTR_EL0" Named(3 3 9 13 2); "PMUSERENR_EL0" Named(3 3 9 14 0); "PMINTENSET_EL1" Named(3 0 9 14 1);
    "PMINTENCLR_EL1" Named(3 0 9 14 2); "PMOVSSET_EL0" Named(3 3 9 14 3); "PMEVTYPER0_EL0" Named(3 3 14 12 0);
    "PMEVCNTR5_EL0" Named(3 3 14 8 5); "PMCCFILTR_EL0" Named(3 3 14 15 7); "MDSCR_EL1" Named(2 0 0 2 2);
    "OSLAR_EL1" Named(2 0 1 0 4); "OSDLR_EL1" Named(2 0 1 3 4); "DBGBVR0_EL1" Named(2 0 0 0 4); "DBGBCR0_EL1" Named(2 0 0 0 5);
    "DBGWVR1_EL1" Named(2 0 0 1 6); "DBGWCR1_EL1" Named(2 0 0 1 7); "DBGCLAIMSET_EL1" Named(2 0 7 8 6); "DBGCLAIMCLR_EL1" Named(2 0 7 9 6);
    "DBGDTR_EL0" Named(2 3 0 4 0); "DBGPRCR_EL1" Named(2 0 1 4 4);
}

/// Makes the instructions.
pub fn prepare() {
    READS.fill(MRS);
    WRITES.fill(MSR);
}

/// Returns the encoding of a row's register.
fn encoding_of(fuzzer: &Fuzzer, which: Which) -> u32 {
    match which {
        Named(encoding) | Kept(encoding) => encoding,
        Any(mask, bits) => fuzzer.draw() as u32 & mask | bits,
    }
}

/// Reads a register.
pub fn read(fuzzer: &Fuzzer, row: usize) {
    let encoding = encoding_of(fuzzer, READABLE[row]);
    // SAFETY: changes x0 alone.
    unsafe { READS.run(encoding, 0) };
    answers::add_register(encoding, false);
}

/// Writes a register, unless that is one that holds this guest up.
pub fn write(fuzzer: &Fuzzer, row: usize) {
    let which = WRITABLE[row];
    let encoding = encoding_of(fuzzer, which);
    let value = match which {
        // SAFETY: changes x0 alone.
        Kept(_) => unsafe { READS.run(encoding, 0) },
        _ => fuzzer.value() & bearable(encoding),
    };
    // Debug exceptions from EL1 are masked; at EL0 any exception is only a way back.
    let is_debug = encoding >> 14 == 0;
    if !matches!(which, Any(..)) || is_debug || !is_vital(encoding) {
        // SAFETY: the register keeps this guest's memory and stack.
        unsafe { WRITES.run(encoding, value) };
        answers::add_register(encoding, true);
    }
}

/// Reads any register, or one that there is, at EL0.
pub fn read_at_el0(fuzzer: &Fuzzer) {
    let encoding = match fuzzer.below(2) {
        0 => encoding_of(fuzzer, READABLE[fuzzer.below(READABLE.len())]),
        _ => fuzzer.draw() as u32 & 0x7fff,
    };
    run_at_el0(MRS | encoding << 5, 0);
}

/// Runs one instruction at EL0.
pub fn run_at_el0(instruction: u32, value: u64) {
    let code = made::place(instruction, SVC);
    // SAFETY: the code is one instruction that writes none of this guest's memory, and SVC; the MMU is on.
    let (_, fault) = unsafe { el0::run(code, value) };
    let class = fault.map_or(esr::EC_SVC, |fault| esr::class(fault.esr));
    counts::add_class(smp::index(), class);
}
