//! The trap policy as register values: what EL2 sets so that [`super::sysreg::policy`] is asked.
//!
//! Bits that are not listed are zero; the reason stands where a zero is a decision. A register that a CPU does not
//! have is not written; one that it has is always written, since its reset value is unknown.
//!
//! # What does not trap, and so must be switched with the vCPU
//! Every MRS, SYS and harmless MSR from EL1 was tried with these values on QEMU 7.2 (`cortex-a53`, `max`): all that
//! traps has a policy, no system instruction traps, and what neither traps nor is undefined is the PSTATE fields, the
//! GIC's virtual interface, `ISR_EL1`, identity and counters, and
//! * `SCTLR`, `CPACR`, `TTBR0`, `TTBR1`, `TCR`, `SPSR`, `ELR`, `AFSR0`, `AFSR1`, `ESR`, `FAR`, `PAR`, `MAIR`, `AMAIR`,
//!   `VBAR`, `CONTEXTIDR`, `TPIDR`, `CNTKCTL`, `CSSELR` (all `_EL1`), `SP_EL0`, `SP_EL1`, `TPIDR_EL0`, `TPIDRRO_EL0`,
//!   `CNTV_CTL_EL0`, `CNTV_CVAL_EL0`, `FPCR`, `FPSR`;
//! * with pointer authentication the ten key registers;
//! * with SME but without fine-grained traps `TPIDR2_EL0`;
//! * with RAS `DISR_EL1`, which is `VDISR_EL2` under `AMO`, and `VSESR_EL2`.
//!
//! QEMU 7.2 does not know `TIDCP`: a Cortex-A53's implementation-defined registers read there as constants.
//!
//! # Source
//! Arm DDI 0487, register pages of the registers named.

/// Bits of `HCR_EL2` while any vCPU runs.
///
/// Left zero: `FB`, `BSU` (a vCPU never moves to another pCPU, so local maintenance is enough); `TSW` (see
/// `SWIO`); `TWE`; `TWI`, `VI`, `VF`, `VSE` (the caller's, per vCPU); `TID2` (cache geometry is the hardware's, and
/// EL0 reads `CTR_EL0`); `TEA` (an error answer belongs to the guest that asked); `TVM`, `TTLB`, `TPCP`, `TPU`
/// (native speed); `NV` and its kin, `E2H`, `TGE`, `FIEN`, `TME`; `ATA` = 0 traps MTE's registers, `EnSCXT` = 0
/// traps `SCXTNUM_EL0` and `SCXTNUM_EL1`, `AMVOFFEN` = 0.
pub mod hcr {
    /// Stage 2 is on. Invalidation by address and by set and way cleans as well.
    pub const VM: u64 = 1 << 0;
    /// `DC ISW` cleans too, whatever `VM` does: no guest can throw away another's dirty lines.
    pub const SWIO: u64 = 1 << 1;
    /// A table walk to device memory faults: no guest drives a walker into device registers.
    pub const PTW: u64 = 1 << 2;
    /// FIQs come to EL2; the guest's are virtual. Traps `ICC_SGI0R_EL1`.
    pub const FMO: u64 = 1 << 3;
    /// IRQs come to EL2; the guest's are virtual. Traps `ICC_SGI1R_EL1` and `ICC_ASGI1R_EL1`.
    pub const IMO: u64 = 1 << 4;
    /// SErrors come to EL2; the owner gets a virtual one.
    pub const AMO: u64 = 1 << 5;
    /// Traps `REVIDR_EL1`, `AIDR_EL1`, `SMIDR_EL1`.
    pub const TID1: u64 = 1 << 16;
    /// Traps the feature identification registers.
    pub const TID3: u64 = 1 << 18;
    /// Traps SMC: nothing reaches the firmware.
    pub const TSC: u64 = 1 << 19;
    /// Traps implementation-defined registers.
    pub const TIDCP: u64 = 1 << 20;
    /// Traps `ACTLR_EL1`.
    pub const TACR: u64 = 1 << 21;
    /// EL1 is AArch64.
    pub const RW: u64 = 1 << 31;
    /// Traps the limited-ordering regions' registers.
    pub const TLOR: u64 = 1 << 35;
    /// Traps the RAS error records.
    pub const TERR: u64 = 1 << 36;
    /// Does not trap the pointer authentication keys: they are switched.
    pub const APK: u64 = 1 << 40;
    /// Does not trap pointer authentication instructions.
    pub const API: u64 = 1 << 41;
    /// Traps `GMID_EL1`.
    pub const TID5: u64 = 1 << 58;

    /// All of the above.
    pub const GUEST: u64 = VM
        | SWIO
        | PTW
        | FMO
        | IMO
        | AMO
        | TID1
        | TID3
        | TSC
        | TIDCP
        | TACR
        | RW
        | TLOR
        | TERR
        | APK
        | API
        | TID5;
}

/// `HCRX_EL2` (where `ID_AA64MMFR1_EL1.HCX` is not 0): zero hides memory copy, 64-byte loads and stores, `TCR2_EL1`,
/// `SCTLR2_EL1`, 128-bit tables, guarded stacks and FP8, and traps their registers.
pub const HCRX_EL2: u64 = 0;

/// `HFGRTR_EL2`, `HFGWTR_EL2`, `HFGITR_EL2`, `HDFGRTR_EL2`, `HDFGWTR_EL2`, `HAFGRTR_EL2` and their second halves
/// (where `ID_AA64MMFR0_EL1.FGT` is not 0): zero traps every register of a newer feature, whose bits count the
/// other way (`nPIR_EL1`, `nTPIDR2_EL0`, `nBRBCTL`, `nGCS_EL1`), and leaves the rest to the older controls.
pub const FINE_GRAINED_TRAPS: u64 = 0;

/// `CPTR_EL2` (with `E2H` = 0).
pub mod cptr {
    /// Bits that are one on a CPU without SVE and SME.
    const RES1: u64 = 0x22ff;
    /// Traps SVE.
    pub const TZ: u64 = 1 << 8;
    /// Traps FP and SIMD: set while the vCPU does not own the registers.
    pub const TFP: u64 = 1 << 10;
    /// Traps SME.
    pub const TSM: u64 = 1 << 12;
    /// Traps trace registers.
    pub const TTA: u64 = 1 << 20;
    /// Traps the activity monitors.
    pub const TAM: u64 = 1 << 30;

    /// While a vCPU runs that owns the FP registers; or [`TFP`] in for one that does not.
    pub const GUEST: u64 = RES1 | TZ | TSM | TTA | TAM;
}

/// `CNTHCTL_EL2` (with `E2H` = 0): `EL1PCTEN` set, so a guest reads the physical counter; `EL1PCEN` clear, so the
/// physical timer traps and is emulated. No event stream, no extra traps: the virtual timer is the guest's own.
pub const CNTHCTL_EL2: u64 = 1 << 0;

/// `HSTR_EL2`: zero. It traps AArch32 coprocessor registers; a guest's AArch32 code at EL0, which is hidden, has
/// none that is not switched.
pub const HSTR_EL2: u64 = 0;

/// `ICC_SRE_EL2`: system registers on, bypass off, `Enable` (bit 3) clear, so that a guest's `ICC_SRE_EL1` traps and
/// reads as 7.
pub const ICC_SRE_EL2: u64 = 7;

/// `MPAM2_EL2` (where a CPU has MPAM): traps `MPAM0_EL1` and `MPAM1_EL1`; EL2 runs in partition 0.
pub const MPAM2_EL2: u64 = 1 << 48 | 1 << 49;
/// `MPAMHCR_EL2` (where `MPAMIDR_EL1.HAS_HCR`): traps `MPAMIDR_EL1`.
pub const MPAMHCR_EL2: u64 = 1 << 31;

/// `MDCR_EL2`.
pub mod mdcr {
    /// Traps `PMCR_EL0`: the number of counters shown is ours to say.
    pub const TPMCR: u64 = 1 << 5;
    /// Traps all PMU registers: set until the vCPU first uses the PMU.
    pub const TPM: u64 = 1 << 6;
    /// Traps the debug registers that the two below leave.
    pub const TDA: u64 = 1 << 9;
    /// Traps the OS lock's registers.
    pub const TDOSA: u64 = 1 << 10;
    /// Traps `MDRAR_EL1`.
    pub const TDRA: u64 = 1 << 11;
    /// Traps statistical profiling. `E2PB` = 0: its buffer is EL2's, so EL1's registers trap.
    pub const TPMS: u64 = 1 << 14;
    /// Event counters do not count at EL2 (from PMUv3p1).
    pub const HPMD: u64 = 1 << 17;
    /// Traps trace filter control. `E2TB` = 0: the trace buffer is EL2's.
    pub const TTRF: u64 = 1 << 19;
    /// The cycle counter does not count at EL2 (from PMUv3p5; before, the guest's own filter says so).
    pub const HCCD: u64 = 1 << 23;
    /// Traps the debug communication channel.
    pub const TDCC: u64 = 1 << 27;

    /// Returns the value while a vCPU runs. `counters` is the hardware's `PMCR_EL0.N`; `uses_pmu` that the PMU is
    /// switched with this vCPU. At most one event counter (`HPMN`) is the guest's: the others are EL2's, stay off
    /// and need no switching.
    pub const fn guest(counters: u8, uses_pmu: bool) -> u64 {
        let own = if counters == 0 { 0 } else { 1 };
        let pmu = if uses_pmu { 0 } else { TPM };
        TPMCR | TDA | TDOSA | TDRA | TPMS | HPMD | TTRF | HCCD | TDCC | pmu | own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_manual() {
        assert_eq!(
            hcr::GUEST,
            0x0400_0318_803d_003f,
            "bits 58, 41, 40, 36, 35, 31, 21..18, 16, 5..0"
        );
        assert_eq!(cptr::GUEST, 0x4010_33ff);
        // TDCC, HCCD, TTRF, HPMD, TPMS, TDRA, TDOSA, TDA, TPM, TPMCR, HPMN = 1.
        assert_eq!(mdcr::guest(6, false), 0x088a_4e61);
        assert_eq!(mdcr::guest(0, true), 0x088a_4e20);
    }
}
