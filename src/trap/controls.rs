//! The register values of the trap policy: what [`super::policy`] says, as numbers to write.
//!
//! A register that a CPU does not have is not written; one that it has is always written, since its reset value is
//! unknown.

use super::policy;

/// `HCR_EL2` while any vCPU runs, but for `TWI` and `VSE`.
pub const HCR_GUEST: u64 = policy::HCR_EL2.value();
/// `HCRX_EL2` (where `ID_AA64MMFR1_EL1.HCX` is not 0).
pub const HCRX_EL2: u64 = policy::HCRX_EL2.value();
/// Every fine-grained trap register (where `ID_AA64MMFR0_EL1.FGT` is not 0).
pub const FINE_GRAINED_TRAPS: u64 = policy::FINE_GRAINED.value();
/// `CPTR_EL2` while a vCPU runs that owns the FP registers; or [`CPTR_TFP`] in for one that does not.
pub const CPTR_GUEST: u64 = policy::CPTR_EL2.value();
/// `CPTR_EL2.TFP`: traps FP and SIMD.
pub const CPTR_TFP: u64 = policy::CPTR_EL2.mask("TFP");
/// `CNTHCTL_EL2`.
pub const CNTHCTL_EL2: u64 = policy::CNTHCTL_EL2.value();
/// `HSTR_EL2`.
pub const HSTR_EL2: u64 = policy::HSTR_EL2.value();
/// `ICC_SRE_EL2`.
pub const ICC_SRE_EL2: u64 = policy::ICC_SRE_EL2.value();
/// `MPAM2_EL2` (where a CPU has MPAM).
pub const MPAM2_EL2: u64 = policy::MPAM2_EL2.value();
/// `MPAMHCR_EL2` (where `MPAMIDR_EL1.HAS_HCR`).
pub const MPAMHCR_EL2: u64 = policy::MPAMHCR_EL2.value();

/// `MDCR_EL2.TPM`: traps the performance monitors.
const TPM: u64 = policy::MDCR_EL2.mask("TPM");
/// `MDCR_EL2.HCCD`: the cycle counter stands at EL2, where the CPU has this bit.
const HCCD: u64 = policy::MDCR_EL2.mask("HCCD");

/// What `MDCR_EL2` says about the monitors of a vCPU that has not used them.
pub const MONITORS_UNUSED: u64 = TPM | HCCD;

/// Returns what `MDCR_EL2` says about the monitors of a vCPU with which they are switched. `counts_el2` is the table's key.
pub const fn monitors_used(counts_el2: bool) -> u64 {
    if counts_el2 { 0 } else { HCCD }
}

/// Returns `MDCR_EL2` while a vCPU runs. `counters` is the hardware's `PMCR_EL0.N`; `monitors` is [`MONITORS_UNUSED`] or
/// [`monitors_used`]. At most one event counter (`HPMN`) is the guest's: the others are EL2's, stay off and need no
/// switching.
pub const fn mdcr_guest(counters: u8, monitors: u64) -> u64 {
    const OTHERS: u64 = policy::MDCR_EL2.value() & !MONITORS_UNUSED;
    let own = if counters == 0 { 0 } else { 1 };
    OTHERS | monitors | own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_manual() {
        assert_eq!(
            HCR_GUEST, 0x0400_0318_803d_003f,
            "bits 58, 41, 40, 36, 35, 31, 21..18, 16, 5..0"
        );
        assert_eq!(CPTR_GUEST, 0x4010_33ff);
        assert_eq!(CPTR_TFP, 1 << 10);
        // TDCC, HCCD, TTRF, HPMD, TPMS, TDRA, TDOSA, TDA, TPM, TPMCR, HPMN = 1.
        assert_eq!(mdcr_guest(6, MONITORS_UNUSED), 0x088a_4e61);
        assert_eq!(mdcr_guest(0, monitors_used(false)), 0x088a_4e20);
        // Without HCCD, and nothing else.
        assert_eq!(mdcr_guest(0, monitors_used(true)), 0x080a_4e20);
        assert_eq!((CNTHCTL_EL2, ICC_SRE_EL2), (1, 7));
        assert_eq!((MPAM2_EL2, MPAMHCR_EL2), (3 << 48, 1 << 31));
    }
}
