//! The CPU as a guest sees it: identification registers with everything hidden that is not on the list.
//!
//! Each register has a list of fields a guest may see and the largest value of each; all other fields, those that a
//! later CPU adds included, read as zero. What is shown is either without state of its own or switched with the
//! vCPU.
//!
//! # Source
//! Arm DDI 0487, register pages `ID_AA64*_EL1`.

use super::sysreg::SysReg;
use super::sysreg::register::{AIDR_EL1, REVIDR_EL1};

/// A 4-bit field: the place of its lowest bit, and the largest value that a guest may see.
type Field = (u32, u64);

/// Fields that are signed: 0xf says "not implemented", so it is less than 0.
const ABSENT: u64 = 0xf;

/// `ID_AA64PFR0_EL1`: GIC system registers (24), DIT (48), CSV2 without `SCXTNUM` (56), CSV3 (60).
const PFR0: &[Field] = &[(24, 1), (48, 1), (56, 1), (60, 1)];
/// `ID_AA64PFR1_EL1`: BT (0), SSBS (4), CSV2_frac without `SCXTNUM` (32).
const PFR1: &[Field] = &[(0, 1), (4, 2), (32, 1)];
/// `ID_AA64DFR0_EL1`: DebugVer Armv8.0 (0), BRPs: 2 (12), WRPs: 2 (20). PMUVer is signed and stands apart.
const DFR0: &[Field] = &[(0, 6), (12, 1), (20, 1)];
/// `ID_AA64ISAR0_EL1`: all but TME (24).
const ISAR0: &[Field] = &[
    (4, 2),
    (8, 1),
    (12, 2),
    (16, 1),
    (20, 3),
    (28, 1),
    (32, 1),
    (36, 1),
    (40, 1),
    (44, 1),
    (48, 1),
    (52, 2),
    (56, 2),
    (60, 1),
];
/// `ID_AA64ISAR1_EL1`: all but XS (56) and LS64 (60). Pointer authentication is 4, 8, 24, 28.
const ISAR1: &[Field] = &[
    (0, 2),
    (4, 5),
    (8, 5),
    (12, 1),
    (16, 1),
    (20, 2),
    (24, 1),
    (28, 1),
    (32, 1),
    (36, 1),
    (40, 1),
    (44, 1),
    (48, 1),
    (52, 1),
];
/// `ID_AA64ISAR2_EL1`: RPRES (4), GPA3 (8), APA3 (12), BC (20), PAC_frac (24), CLRBHB (28), RPRFM (48), CSSC (52).
/// WFxT (0) and MOPS (16) would need service at EL2.
const ISAR2: &[Field] = &[
    (4, 1),
    (8, 1),
    (12, 5),
    (20, 1),
    (24, 1),
    (28, 1),
    (48, 1),
    (52, 1),
];
/// `ID_AA64MMFR0_EL1`: PARange of at most 40 bits (0), ASIDBits (4), TGran16 without 52-bit addresses (20), ECV's
/// self-synchronizing counters (60). Mixed endianness (8, 16) is hidden. TGran64 and TGran4 are signed.
const MMFR0: &[Field] = &[(0, 2), (4, 2), (20, 1), (60, 1)];
/// `ID_AA64MMFR1_EL1`: HAFDBS (0), HPDS (12), PAN (20), SpecSEI (24), ETS (36), AFP (44), nTLBPA (48), ECBHB (60).
const MMFR1: &[Field] = &[
    (0, 2),
    (12, 2),
    (20, 3),
    (24, 1),
    (36, 2),
    (44, 1),
    (48, 1),
    (60, 1),
];
/// `ID_AA64MMFR2_EL1`: CnP (0), UAO (4), LSM (8), VARange (16), CCIDX (20), ST (28), AT (32), IDS (36), TTL (48),
/// BBM (52), E0PD (60).
const MMFR2: &[Field] = &[
    (0, 1),
    (4, 1),
    (8, 1),
    (16, 1),
    (20, 1),
    (28, 1),
    (32, 1),
    (36, 1),
    (48, 1),
    (52, 2),
    (60, 1),
];

/// Returns what a guest reads from an identification register whose hardware value is `hardware`.
///
/// Serves `CRn` 0 with `CRm` 1 to 7, `REVIDR_EL1` and `AIDR_EL1`; whatever else is asked for reads as zero, and so
/// do the AArch32 registers: a guest's EL0 is AArch64 too.
pub fn virtualize(register: SysReg, hardware: u64) -> u64 {
    if register == REVIDR_EL1 {
        // Says which errata this CPU's revision has fixed: true for the guest as well.
        return hardware;
    }
    if !register.is_feature_id() || register == AIDR_EL1 {
        return 0;
    }
    match (register.crm(), register.op2()) {
        (4, 0) => {
            // EL0 and EL1 AArch64 only, no EL2 or EL3; FP (16) and AdvSIMD (20) are signed.
            0x11 | shown(hardware, PFR0) | signed(hardware, 16, 1) | signed(hardware, 20, 1)
        }
        (4, 1) => shown(hardware, PFR1),
        (5, 0) => {
            // PMUVer (8): PMUv3 where there is any; DoubleLock (36): none.
            let pmu = match hardware >> 8 & 0xf {
                0 | ABSENT => 0,
                _ => 1,
            };
            shown(hardware, DFR0) | pmu << 8 | ABSENT << 36
        }
        (6, 0) => shown(hardware, ISAR0),
        (6, 1) => shown(hardware, ISAR1),
        (6, 2) => shown(hardware, ISAR2),
        (7, 0) => shown(hardware, MMFR0) | signed(hardware, 24, 0) | signed(hardware, 28, 0),
        (7, 1) => shown(hardware, MMFR1),
        (7, 2) => shown(hardware, MMFR2),
        _ => 0,
    }
}

/// Returns what a guest reads of [`virtualize`]d registers where its GIC is a GICv2, whatever the CPU has: nobody serves the
/// GIC's system registers there.
pub fn without_gic_registers(register: SysReg, value: u64) -> u64 {
    match register.is_feature_id() && (register.crm(), register.op2()) == (4, 0) {
        true => value & !(0xf << 24),
        false => value,
    }
}

/// Returns the listed fields, each cut to its largest value.
fn shown(hardware: u64, fields: &[Field]) -> u64 {
    fields.iter().fold(0, |value, &(shift, largest)| {
        value | (hardware >> shift & 0xf).min(largest) << shift
    })
}

/// Returns a signed field, cut to its largest value; negative ones say "not implemented".
const fn signed(hardware: u64, shift: u32, largest: u64) -> u64 {
    let field = hardware >> shift & 0xf;
    let seen = if field > 7 {
        ABSENT
    } else if field > largest {
        largest
    } else {
        field
    };
    seen << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(crm: u32, op2: u32) -> SysReg {
        SysReg::new(3, 0, 0, crm, op2)
    }

    #[test]
    fn cortex_a53_looks_like_itself_without_el2_el3_and_aarch32() {
        // Values of the Cortex-A53 manual (r0p4), with the GIC CPU interface enabled.
        assert_eq!(virtualize(id(4, 0), 0x0100_2222), 0x0100_0011);
        assert_eq!(virtualize(id(5, 0), 0x1030_5106), 0x00f0_0010_1106);
        assert_eq!(virtualize(id(6, 0), 0x0001_1120), 0x0001_1120);
        assert_eq!(virtualize(id(7, 0), 0x0000_1122), 0x0000_0022);
    }

    #[test]
    fn a_gicv2_has_no_system_registers() {
        let hidden = |register| without_gic_registers(register, 0x0100_0011);
        assert_eq!(hidden(id(4, 0)), 0x11);
        assert_eq!(hidden(id(6, 0)), 0x0100_0011);
    }

    #[test]
    fn features_that_are_not_switched_are_hidden() {
        let all = u64::MAX / 0xf; // every field 1
        let pfr0 = virtualize(id(4, 0), all);
        for (name, shift) in [
            ("EL2", 8),
            ("EL3", 12),
            ("RAS", 28),
            ("SVE", 32),
            ("SEL2", 36),
            ("MPAM", 40),
            ("AMU", 44),
            ("RME", 52),
        ] {
            assert_eq!(pfr0 >> shift & 0xf, 0, "{name}");
        }
        let pfr1 = virtualize(id(4, 1), all);
        for (name, shift) in [("MTE", 8), ("SME", 24), ("NMI", 36), ("GCS", 44)] {
            assert_eq!(pfr1 >> shift & 0xf, 0, "{name}");
        }
        let dfr0 = virtualize(id(5, 0), all);
        for (name, shift) in [
            ("trace", 4),
            ("SPE", 32),
            ("trace filter", 40),
            ("trace buffer", 44),
            ("BRBE", 52),
        ] {
            assert_eq!(dfr0 >> shift & 0xf, 0, "{name}");
        }
        assert_eq!(virtualize(id(4, 4), u64::MAX), 0, "ID_AA64ZFR0_EL1");
        assert_eq!(virtualize(id(4, 5), u64::MAX), 0, "ID_AA64SMFR0_EL1");
        assert_eq!(
            virtualize(id(7, 3), u64::MAX),
            0,
            "ID_AA64MMFR3_EL1: S1PIE, TCR2"
        );
    }

    #[test]
    fn aarch32_is_hidden_everywhere() {
        assert_eq!(virtualize(id(4, 0), 0x22) & 0xff, 0x11);
        for crm in 1..=3 {
            for op2 in 0..8 {
                assert_eq!(virtualize(id(crm, op2), u64::MAX), 0);
            }
        }
    }

    #[test]
    fn pointer_authentication_passes() {
        // QEMU's `max`: APA 5, GPA 1.
        assert_eq!(virtualize(id(6, 1), 0x0100_0050) & 0xff00_0ff0, 0x0100_0050);
        assert_eq!(virtualize(id(6, 2), 0x5100), 0x5100);
    }

    #[test]
    fn signed_fields_keep_not_implemented() {
        assert_eq!(virtualize(id(4, 0), 0x00ff_0000) & 0x00ff_0000, 0x00ff_0000);
        assert_eq!(virtualize(id(7, 0), 0xff00_0000), 0xff00_0000);
        // The largest positive value is cut, the smallest negative one kept.
        assert_eq!(virtualize(id(4, 0), 0x0087_0000) & 0x00ff_0000, 0x00f1_0000);
        // 52-bit addresses with the 4 KiB granule (TGran4 = 1) show as plain 4 KiB support.
        assert_eq!(virtualize(id(7, 0), 0x1000_0000), 0);
        // An implementation-defined PMU (0xf) is none that we can switch.
        assert_eq!(virtualize(id(5, 0), 0xf00) & 0xf00, 0);
        assert_eq!(virtualize(id(5, 0), 0x600) & 0xf00, 0x100);
        assert_eq!(virtualize(id(5, 0), 0x1030_5006) & 0xf00, 0, "no PMU");
    }

    #[test]
    fn no_field_grows() {
        // For unsigned fields a guest never sees more than there is.
        for (crm, op2) in [(4, 1), (6, 0), (6, 1), (6, 2), (7, 1), (7, 2)] {
            for value in 0..16u64 {
                let hardware = value * (u64::MAX / 0xf);
                let seen = virtualize(id(crm, op2), hardware);
                for shift in (0..64).step_by(4) {
                    assert!(seen >> shift & 0xf <= value, "{crm} {op2} bit {shift}");
                }
            }
        }
    }

    #[test]
    fn every_feature_on_the_list_is_seen() {
        // Every field 1: those on the list show it, and all others are hidden.
        let of = |crm, op2| virtualize(id(crm, op2), u64::MAX / 0xf);
        assert_eq!(of(4, 1), 0x0000_0001_0000_0011);
        assert_eq!(of(6, 0), 0x1111_1111_1011_1110);
        assert_eq!(of(6, 1), 0x0011_1111_1111_1111);
        assert_eq!(of(6, 2), 0x0011_0000_1110_1110);
        assert_eq!(of(7, 1), 0x1001_1010_0110_1001);
        assert_eq!(of(7, 2), 0x1011_0011_1011_0111);
    }

    #[test]
    fn the_revision_is_the_hardwares_and_aidr_reads_as_zero() {
        assert_eq!(
            virtualize(REVIDR_EL1, 0x1234_5678_9abc_def0),
            0x1234_5678_9abc_def0
        );
        assert_eq!(virtualize(AIDR_EL1, u64::MAX), 0);
        let other = SysReg::new(3, 1, 0, 4, 1);
        assert_eq!(virtualize(other, u64::MAX), 0, "not one of these");
    }

    #[test]
    fn physical_addresses_fit_stage_two() {
        assert_eq!(virtualize(id(7, 0), 6) & 0xf, 2, "40 bits");
        assert_eq!(virtualize(id(7, 0), 1) & 0xf, 1, "36 bits");
    }
}
