//! What a guest gets for each system register that traps: one table, deny by default.

use super::debug::DebugRegister;
use super::timer::TimerRegister;

/// A system register or system instruction, packed as the ISS of its trap has it: `Op0` 21:20, `Op2` 19:17,
/// `Op1` 16:14, `CRn` 13:10, `CRm` 4:1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SysReg(u32);

impl SysReg {
    /// Names a register by the five numbers of its encoding; each is cut to its field.
    pub const fn new(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Self {
        Self(
            (op0 & 3) << 20
                | (op2 & 7) << 17
                | (op1 & 7) << 14
                | (crn & 15) << 10
                | (crm & 15) << 1,
        )
    }

    /// Keeps the register's bits of an ISS.
    pub const fn from_iss(iss: u32) -> Self {
        Self(iss & 0x003f_fc1e)
    }

    /// Returns the packed bits, below 2^22.
    pub const fn packed(self) -> u32 {
        self.0
    }

    /// Returns `Op0`.
    pub const fn op0(self) -> u32 {
        self.0 >> 20 & 3
    }

    /// Returns `Op1`.
    pub const fn op1(self) -> u32 {
        self.0 >> 14 & 7
    }

    /// Returns `CRn`.
    pub const fn crn(self) -> u32 {
        self.0 >> 10 & 15
    }

    /// Returns `CRm`.
    pub const fn crm(self) -> u32 {
        self.0 >> 1 & 15
    }

    /// Returns `Op2`.
    pub const fn op2(self) -> u32 {
        self.0 >> 17 & 7
    }
}

impl core::fmt::Debug for SysReg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (op0, op1, op2) = (self.op0(), self.op1(), self.op2());
        write!(f, "S{op0}_{op1}_C{}_C{}_{op2}", self.crn(), self.crm())
    }
}

/// Registers that have a policy of their own, by Arm's names.
///
/// # Source
/// Arm DDI 0487, "AArch64 System register encodings"; Arm IHI 0069 for `ICC_*`.
#[expect(missing_docs, reason = "the names are Arm's register names")]
pub mod register {
    use super::SysReg;

    pub const ACTLR_EL1: SysReg = SysReg::new(3, 0, 1, 0, 1);
    pub const REVIDR_EL1: SysReg = SysReg::new(3, 0, 0, 0, 6);
    pub const AIDR_EL1: SysReg = SysReg::new(3, 1, 0, 0, 7);
    pub const ICC_PMR_EL1: SysReg = SysReg::new(3, 0, 4, 6, 0);
    pub const ICC_DIR_EL1: SysReg = SysReg::new(3, 0, 12, 11, 1);
    pub const ICC_RPR_EL1: SysReg = SysReg::new(3, 0, 12, 11, 3);
    pub const ICC_SGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 5);
    pub const ICC_ASGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 6);
    pub const ICC_SGI0R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 7);
    pub const ICC_CTLR_EL1: SysReg = SysReg::new(3, 0, 12, 12, 4);
    pub const ICC_SRE_EL1: SysReg = SysReg::new(3, 0, 12, 12, 5);
    pub const CNTP_TVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 0);
    pub const CNTP_CTL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 1);
    pub const CNTP_CVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 2);
    pub const PMCR_EL0: SysReg = SysReg::new(3, 3, 9, 12, 0);
    pub const PMSWINC_EL0: SysReg = SysReg::new(3, 3, 9, 12, 4);
    pub const PMCEID0_EL0: SysReg = SysReg::new(3, 3, 9, 12, 6);
    pub const PMCEID1_EL0: SysReg = SysReg::new(3, 3, 9, 12, 7);
    pub const PMCCNTR_EL0: SysReg = SysReg::new(3, 3, 9, 13, 0);
    pub const PMUSERENR_EL0: SysReg = SysReg::new(3, 3, 9, 14, 0);
    pub const PMOVSSET_EL0: SysReg = SysReg::new(3, 3, 9, 14, 3);
    pub const PMINTENSET_EL1: SysReg = SysReg::new(3, 0, 9, 14, 1);
    pub const PMINTENCLR_EL1: SysReg = SysReg::new(3, 0, 9, 14, 2);
    pub const PMCCFILTR_EL0: SysReg = SysReg::new(3, 3, 14, 15, 7);
    pub const DC_ISW: SysReg = SysReg::new(1, 0, 7, 6, 2);
    pub const DC_CSW: SysReg = SysReg::new(1, 0, 7, 10, 2);
    pub const DC_CISW: SysReg = SysReg::new(1, 0, 7, 14, 2);
}
use register::*;

/// Which register a software-generated interrupt was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiGroup {
    /// `ICC_SGI1R_EL1`.
    Group1,
    /// `ICC_ASGI1R_EL1`: the other security state's group 1, so group 1 for a guest that has one state only.
    Group1Alias,
    /// `ICC_SGI0R_EL1`.
    Group0,
}

/// A common register of the GIC's CPU interface: traps only where `ICH_HCR_EL2.TC` stands in for `TDIR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceRegister {
    /// `ICC_CTLR_EL1`.
    Control,
    /// `ICC_PMR_EL1`.
    PriorityMask,
    /// `ICC_RPR_EL1`, read-only.
    RunningPriority,
}

/// What the guest is to see of a trapped register access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysRegAction {
    /// A read gives this value, a write is ignored.
    Fixed(u64),
    /// A read gives [`super::id_registers::virtualize`] of the hardware's value.
    IdRegister,
    /// A write sends software-generated interrupts.
    Sgi(SgiGroup),
    /// A write to `ICC_DIR_EL1` deactivates an interrupt.
    Deactivate,
    /// A common register of the GIC's CPU interface.
    Interface(InterfaceRegister),
    /// The EL1 physical timer: [`super::timer::PhysicalTimer`].
    PhysicalTimer(TimerRegister),
    /// A debug register kept in software: [`super::debug::DebugState`].
    Debug(DebugRegister),
    /// `PMCR_EL0`, always trapped: [`pmcr_seen`] and [`pmcr_written`].
    PmuControl,
    /// Any other PMU register: a read gives 0, a write is ignored, unless it [`begins_monitoring`].
    Pmu,
    /// `PMCEID0_EL0` or `PMCEID1_EL0`, read-only: a read gives the hardware's value.
    PmuEvents,
    /// Cache maintenance by set and way, should the caller trap it: run it as clean-and-invalidate of that line.
    CacheBySetWay,
    /// The guest takes an undefined-instruction exception.
    Undefined,
}

/// Returns what a guest gets for an access to a trapped system register.
///
/// The exception level that the access came from does not matter: what EL0 may not touch never gets here, since
/// traps to EL1 go first.
pub const fn policy(register: SysReg, write: bool) -> SysRegAction {
    // The one that guests use all the time goes first.
    if register.0 == ICC_SGI1R_EL1.0 && write {
        return SysRegAction::Sgi(SgiGroup::Group1);
    }
    match register.op0() {
        3 => match register.crn() {
            0 => identification(register, write),
            9 | 14 => timer_or_pmu(register, write),
            4 | 12 => interrupt_controller(register, write),
            1 if register.0 == ACTLR_EL1.0 => SysRegAction::Fixed(0),
            _ => SysRegAction::Undefined,
        },
        2 => match DebugRegister::decode(register, write) {
            Some(debug) => SysRegAction::Debug(debug),
            None => SysRegAction::Undefined,
        },
        1 if write && register.is_set_way() => SysRegAction::CacheBySetWay,
        _ => SysRegAction::Undefined,
    }
}

impl SysReg {
    /// Says whether this is `DC ISW`, `CSW` or `CISW`. Their variants for allocation tags belong to MTE, which is
    /// hidden.
    const fn is_set_way(self) -> bool {
        self.0 == DC_ISW.0 || self.0 == DC_CSW.0 || self.0 == DC_CISW.0
    }

    /// Says whether `HCR_EL2.TID3` traps this register: `CRn` 0, `CRm` 1 to 7, reserved ones included.
    pub const fn is_feature_id(self) -> bool {
        self.0 & SysReg::new(3, 7, 15, 8, 0).0 == SysReg::new(3, 0, 0, 0, 0).0 && self.crm() != 0
    }
}

/// The policy for `CRn` 0: identification registers, read-only.
const fn identification(register: SysReg, write: bool) -> SysRegAction {
    let known = register.is_feature_id() || register.0 == REVIDR_EL1.0 || register.0 == AIDR_EL1.0;
    if known && !write {
        SysRegAction::IdRegister
    } else {
        SysRegAction::Undefined
    }
}

/// The policy for `CRn` 4 and 12: what is left of the GIC's CPU interface.
const fn interrupt_controller(register: SysReg, write: bool) -> SysRegAction {
    // System register interface on, FIQ and IRQ bypass off, for good.
    const SRE: u64 = 7;
    match (register, write) {
        (ICC_ASGI1R_EL1, true) => SysRegAction::Sgi(SgiGroup::Group1Alias),
        (ICC_SGI0R_EL1, true) => SysRegAction::Sgi(SgiGroup::Group0),
        (ICC_DIR_EL1, true) => SysRegAction::Deactivate,
        (ICC_CTLR_EL1, _) => SysRegAction::Interface(InterfaceRegister::Control),
        (ICC_PMR_EL1, _) => SysRegAction::Interface(InterfaceRegister::PriorityMask),
        (ICC_RPR_EL1, false) => SysRegAction::Interface(InterfaceRegister::RunningPriority),
        (ICC_SRE_EL1, _) => SysRegAction::Fixed(SRE),
        _ => SysRegAction::Undefined,
    }
}

/// The policy for `CRn` 9 and 14: the physical timer and the PMU.
const fn timer_or_pmu(register: SysReg, write: bool) -> SysRegAction {
    match (register, write) {
        (CNTP_CTL_EL0, _) => return SysRegAction::PhysicalTimer(TimerRegister::Control),
        (CNTP_CVAL_EL0, _) => return SysRegAction::PhysicalTimer(TimerRegister::CompareValue),
        (CNTP_TVAL_EL0, _) => return SysRegAction::PhysicalTimer(TimerRegister::TimerValue),
        (PMCR_EL0, _) => return SysRegAction::PmuControl,
        (PMCEID0_EL0 | PMCEID1_EL0, false) => return SysRegAction::PmuEvents,
        (PMCEID0_EL0 | PMCEID1_EL0, true) | (PMSWINC_EL0, false) => {
            return SysRegAction::Undefined;
        }
        (PMINTENSET_EL1 | PMINTENCLR_EL1, _) => return SysRegAction::Pmu,
        _ => {}
    }
    if register.op1() != 3 {
        return SysRegAction::Undefined;
    }
    let event_counter = register.crm() & 3 == 0 && register.op2() == 0;
    let pmu = match (register.crn(), register.crm()) {
        // Enables, overflow flags, software increment and selector; counters by selector.
        (9, 12) => true,
        (9, 13) => register.op2() <= 2,
        (9, 14) => register.0 == PMUSERENR_EL0.0 || register.0 == PMOVSSET_EL0.0,
        // PMEVCNTR0_EL0 and PMEVTYPER0_EL0: a guest has one event counter.
        (14, 8 | 12) => event_counter,
        (14, 15) => register.0 == PMCCFILTR_EL0.0,
        _ => false,
    };
    if pmu {
        SysRegAction::Pmu
    } else {
        SysRegAction::Undefined
    }
}

/// `PMCR_EL0.N`, the number of event counters.
const PMCR_N: u64 = 0x1f << 11;
/// `PMCR_EL0.IMP` and `IDCODE`.
const PMCR_IDENTITY: u64 = 0xffff << 16;
/// What a guest may set: `E`, `P`, `C`, `D`, `X`, `DP`, `LC`.
const PMCR_WRITABLE: u64 = 0x7f;

/// Returns what a guest reads from `PMCR_EL0`: identity of the hardware's, its own control bits, at most one
/// event counter. `stored` is what the guest wrote last (0 before that).
pub const fn pmcr_seen(hardware: u64, stored: u64) -> u64 {
    let counters = if hardware & PMCR_N == 0 { 0 } else { 1 << 11 };
    // P and C are write-only.
    (hardware & PMCR_IDENTITY) | counters | (stored & PMCR_WRITABLE & !0b110)
}

/// Returns what reaches `PMCR_EL0` when a guest writes `value`.
pub const fn pmcr_written(value: u64) -> u64 {
    value & PMCR_WRITABLE
}

/// Says whether a trapped access to a PMU register other than `PMCR_EL0` makes the caller switch the PMU with this vCPU and run
/// the instruction again: a write of anything but 0 by one that has not used the PMU.
///
/// Where one that `uses_pmu` still traps, `PMSELR_EL0` names a counter that `MDCR_EL2.HPMN` keeps from guests, on a CPU with
/// `FEAT_FGT`. A guest sees no such feature, and without it the access may read as zero and write nothing.
///
/// # Source
/// Arm DDI 0487, register pages `PMXEVCNTR_EL0`, `PMXEVTYPER_EL0`.
pub const fn begins_monitoring(write: bool, value: u64, uses_pmu: bool) -> bool {
    write && value != 0 && !uses_pmu
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::debug::DebugRegister;

    /// Every register encoding with `Op0` 0 to 3.
    fn all() -> impl Iterator<Item = SysReg> {
        (0..1u32 << 16).map(|n| SysReg::new(n >> 14, n >> 11, n >> 7, n >> 3, n))
    }

    #[test]
    fn packs_as_the_trap_has_it() {
        // S3_3_C14_C2_1: 0b11 << 20 | 1 << 17 | 3 << 14 | 14 << 10 | 2 << 1.
        assert_eq!(CNTP_CTL_EL0.packed(), 0x32_f804);
        assert_eq!(format!("{CNTP_CTL_EL0:?}"), "S3_3_C14_C2_1");
        assert!(all().all(|r| SysReg::from_iss(r.packed() | 0x3e1) == r));
    }

    #[test]
    fn what_stays_of_the_cpu_interface_is_served() {
        use InterfaceRegister::{Control, PriorityMask, RunningPriority};
        for (register, read, written) in [
            (ICC_CTLR_EL1, Some(Control), Some(Control)),
            (ICC_PMR_EL1, Some(PriorityMask), Some(PriorityMask)),
            (ICC_RPR_EL1, Some(RunningPriority), None),
        ] {
            let served = [(read, false), (written, true)];
            for (to, write) in served {
                let wanted = to.map_or(SysRegAction::Undefined, SysRegAction::Interface);
                assert_eq!(
                    interrupt_controller(register, write),
                    wanted,
                    "{register:?}"
                );
            }
        }
    }

    #[test]
    fn sgi_registers_are_write_only() {
        for (register, group) in [
            (ICC_SGI1R_EL1, SgiGroup::Group1),
            (ICC_ASGI1R_EL1, SgiGroup::Group1Alias),
            (ICC_SGI0R_EL1, SgiGroup::Group0),
        ] {
            assert_eq!(policy(register, true), SysRegAction::Sgi(group));
            assert_eq!(policy(register, false), SysRegAction::Undefined);
        }
        assert_eq!(policy(ICC_DIR_EL1, true), SysRegAction::Deactivate);
        assert_eq!(policy(ICC_DIR_EL1, false), SysRegAction::Undefined);
    }

    #[test]
    fn feature_registers_are_those_that_tid3_traps() {
        let ids: Vec<_> = all().filter(|r| r.is_feature_id()).collect();
        assert_eq!(ids.len(), 7 * 8);
        for register in ids {
            assert_eq!((register.op0(), register.op1(), register.crn()), (3, 0, 0));
            assert_eq!(policy(register, false), SysRegAction::IdRegister);
            assert_eq!(policy(register, true), SysRegAction::Undefined);
        }
    }

    #[test]
    fn hidden_features_are_undefined() {
        for (name, register) in [
            ("ERRSELR_EL1", SysReg::new(3, 0, 5, 3, 1)),
            ("ERXSTATUS_EL1", SysReg::new(3, 0, 5, 4, 2)),
            ("LORC_EL1", SysReg::new(3, 0, 10, 4, 3)),
            ("MPAM1_EL1", SysReg::new(3, 0, 10, 5, 0)),
            ("MPAMIDR_EL1", SysReg::new(3, 0, 10, 4, 4)),
            ("AMCR_EL0", SysReg::new(3, 3, 13, 2, 0)),
            ("AMEVCNTR00_EL0", SysReg::new(3, 3, 13, 4, 0)),
            ("TRBLIMITR_EL1", SysReg::new(3, 0, 9, 11, 0)),
            ("PMSCR_EL1", SysReg::new(3, 0, 9, 9, 0)),
            ("PMBLIMITR_EL1", SysReg::new(3, 0, 9, 10, 0)),
            ("PMMIR_EL1", SysReg::new(3, 0, 9, 14, 6)),
            ("TRFCR_EL1", SysReg::new(3, 0, 1, 2, 1)),
            ("TRCPRGCTLR", SysReg::new(2, 1, 0, 1, 0)),
            ("GCR_EL1", SysReg::new(3, 0, 1, 0, 6)),
            ("TFSR_EL1", SysReg::new(3, 0, 5, 6, 0)),
            ("GMID_EL1", SysReg::new(3, 1, 0, 0, 4)),
            ("SMIDR_EL1", SysReg::new(3, 1, 0, 0, 6)),
            ("ZCR_EL1", SysReg::new(3, 0, 1, 2, 0)),
            ("SMCR_EL1", SysReg::new(3, 0, 1, 2, 6)),
            ("SCXTNUM_EL1", SysReg::new(3, 0, 13, 0, 7)),
            ("TCR2_EL1", SysReg::new(3, 0, 2, 0, 3)),
            ("PMEVCNTR1_EL0", SysReg::new(3, 3, 14, 8, 1)),
            ("PMEVTYPER30_EL0", SysReg::new(3, 3, 14, 15, 6)),
            ("HCR_EL2", SysReg::new(3, 4, 1, 1, 0)),
            ("an A53's L2CTLR_EL1", SysReg::new(3, 1, 11, 0, 2)),
            ("an A53's CPUECTLR_EL1", SysReg::new(3, 1, 15, 2, 1)),
            ("DC IGSW", SysReg::new(1, 0, 7, 6, 4)),
        ] {
            for write in [false, true] {
                assert_eq!(
                    policy(register, write),
                    SysRegAction::Undefined,
                    "{name} {write}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_undefined_is_a_short_list() {
        // 56 feature registers + REVIDR + AIDR; reads only.
        let reads = all().filter(|r| policy(*r, false) != SysRegAction::Undefined);
        let of = |action: fn(SysRegAction) -> bool| {
            all()
                .filter(|r| action(policy(*r, false)) || action(policy(*r, true)))
                .count()
        };
        assert_eq!(of(|a| a == SysRegAction::IdRegister), 58);
        // CRm 12: CNTENSET, CNTENCLR, OVSCLR, SWINC, SELR; CRm 13: 3; CRm 14: 2 + 2 at EL1; counters 2 + filter.
        assert_eq!(of(|a| a == SysRegAction::Pmu), 5 + 3 + 4 + 3);
        assert_eq!(of(|a| a == SysRegAction::CacheBySetWay), 3);
        assert_eq!(of(|a| matches!(a, SysRegAction::PhysicalTimer(_))), 3);
        assert_eq!(of(|a| matches!(a, SysRegAction::Fixed(_))), 2);
        assert!(reads.count() < 120);
    }

    #[test]
    fn debug_registers_that_the_id_registers_announce_exist() {
        for n in 0..2 {
            for op2 in 4..8 {
                let register = SysReg::new(2, 0, 0, n, op2);
                let action = policy(register, true);
                assert!(matches!(action, SysRegAction::Debug(_)), "{register:?}");
            }
        }
        assert_eq!(
            policy(SysReg::new(2, 0, 0, 2, 5), true),
            SysRegAction::Undefined
        );
        assert_eq!(
            policy(SysReg::new(2, 0, 1, 0, 4), true),
            SysRegAction::Debug(DebugRegister::OsLockAccess)
        );
    }

    #[test]
    fn pmcr_shows_at_most_one_event_counter() {
        // A Cortex-A53: IMP 0x41, IDCODE 3, N 6.
        assert_eq!(pmcr_seen(0x4103_3000, 0), 0x4103_0800);
        assert_eq!(pmcr_seen(0x4103_0001, 0x47), 0x4103_0041);
        assert_eq!(pmcr_written(u64::MAX), 0x7f);
    }

    #[test]
    fn an_access_to_the_pmu_runs_again_once_at_most() {
        assert!(begins_monitoring(true, 1, false));
        assert!(!begins_monitoring(true, 1, true), "it would trap for ever");
        assert!(!begins_monitoring(true, 0, false) && !begins_monitoring(false, 1, false));
    }
}
