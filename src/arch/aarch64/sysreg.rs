//! System registers, one line each: name, spelling for the assembler, and whether a write can break memory safety or
//! isolation (`unsafe`).

/// Declares accessors: `name: "SPELLING", r | w | rw | unsafe w | unsafe rw`.
macro_rules! registers {
    ($($name:ident: $spelling:literal, $($mode:ident)+;)+) => {
        /// Reads, named as the register.
        pub mod read {
            $(registers!(@read $name, $spelling, $($mode)+);)+
        }
        /// Writes, named as the register. An `isb` is the caller's where the effect must be seen at once.
        pub mod write {
            $(registers!(@write $name, $spelling, $($mode)+);)+
        }
    };
    (@read $name:ident, $spelling:literal, w) => {};
    (@read $name:ident, $spelling:literal, unsafe w) => {};
    (@read $name:ident, $spelling:literal, $($mode:ident)+) => {
        #[doc = concat!("Reads `", $spelling, "`.")]
        #[allow(dead_code)]
        #[inline(always)]
        pub fn $name() -> u64 {
            let value: u64;
            // SAFETY: the read touches no memory and changes nothing that Rust knows of.
            unsafe {
                core::arch::asm!(concat!("mrs {}, ", $spelling), out(reg) value, options(nostack, preserves_flags));
            }
            value
        }
    };
    (@write $name:ident, $spelling:literal, r) => {};
    (@write $name:ident, $spelling:literal, unsafe $mode:ident) => {
        #[doc = concat!("Writes `", $spelling, "`.")]
        ///
        /// # Safety
        /// The value keeps EL2's own memory mapped as it is and no guest able to reach what is not its own.
        #[allow(dead_code)]
        #[inline(always)]
        pub unsafe fn $name(value: u64) {
            // SAFETY: the caller's claim.
            unsafe {
                core::arch::asm!(concat!("msr ", $spelling, ", {}"), in(reg) value, options(nostack, preserves_flags));
            }
        }
    };
    (@write $name:ident, $spelling:literal, $mode:ident) => {
        #[doc = concat!("Writes `", $spelling, "`.")]
        #[allow(dead_code)]
        #[inline(always)]
        pub fn $name(value: u64) {
            // SAFETY: the register changes a guest's state or an interrupt's, nothing that EL2's memory rests on.
            unsafe {
                core::arch::asm!(concat!("msr ", $spelling, ", {}"), in(reg) value, options(nostack, preserves_flags));
            }
        }
    };
}

registers! {
    // Identification.
    midr_el1: "MIDR_EL1", r;
    mpidr_el1: "MPIDR_EL1", r;
    id_aa64pfr0_el1: "ID_AA64PFR0_EL1", r;
    id_aa64pfr1_el1: "ID_AA64PFR1_EL1", r;
    id_aa64dfr0_el1: "ID_AA64DFR0_EL1", r;
    id_aa64isar1_el1: "ID_AA64ISAR1_EL1", r;
    id_aa64isar2_el1: "S3_0_C0_C6_2", r;
    id_aa64mmfr0_el1: "ID_AA64MMFR0_EL1", r;
    id_aa64mmfr1_el1: "ID_AA64MMFR1_EL1", r;
    currentel: "CurrentEL", r;
    // EL2's controls.
    hcr_el2: "HCR_EL2", unsafe rw;
    hcrx_el2: "S3_4_C1_C2_2", unsafe rw;
    vtcr_el2: "VTCR_EL2", unsafe rw;
    vttbr_el2: "VTTBR_EL2", unsafe rw;
    cptr_el2: "CPTR_EL2", rw;
    mdcr_el2: "MDCR_EL2", rw;
    hstr_el2: "HSTR_EL2", rw;
    vpidr_el2: "VPIDR_EL2", rw;
    vmpidr_el2: "VMPIDR_EL2", rw;
    cnthctl_el2: "CNTHCTL_EL2", rw;
    cntvoff_el2: "CNTVOFF_EL2", rw;
    cnthp_ctl_el2: "CNTHP_CTL_EL2", rw;
    cnthp_cval_el2: "CNTHP_CVAL_EL2", rw;
    vbar_el2: "VBAR_EL2", unsafe w;
    tpidr_el2: "TPIDR_EL2", unsafe rw;
    esr_el2: "ESR_EL2", r;
    elr_el2: "ELR_EL2", rw;
    spsr_el2: "SPSR_EL2", r;
    far_el2: "FAR_EL2", r;
    hpfar_el2: "HPFAR_EL2", r;
    isr_el1: "ISR_EL1", r;
    // Fine-grained traps, present with FEAT_FGT.
    hfgrtr_el2: "S3_4_C1_C1_4", rw;
    hfgwtr_el2: "S3_4_C1_C1_5", rw;
    hfgitr_el2: "S3_4_C1_C1_6", rw;
    hdfgrtr_el2: "S3_4_C3_C1_4", rw;
    hdfgwtr_el2: "S3_4_C3_C1_5", rw;
    hafgrtr_el2: "S3_4_C3_C1_6", rw;
    // Their second halves, present with FEAT_FGT2.
    hdfgrtr2_el2: "S3_4_C3_C1_0", rw;
    hdfgwtr2_el2: "S3_4_C3_C1_1", rw;
    hfgrtr2_el2: "S3_4_C3_C1_2", rw;
    hfgwtr2_el2: "S3_4_C3_C1_3", rw;
    hfgitr2_el2: "S3_4_C3_C1_7", rw;
    // Memory partitioning and monitoring, present with FEAT_MPAM.
    mpam2_el2: "S3_4_C10_C5_0", rw;
    mpamhcr_el2: "S3_4_C10_C4_0", rw;
    mpamidr_el1: "S3_0_C10_C4_4", r;
    // A guest's EL1 and EL0 state.
    sp_el0: "SP_EL0", rw;
    sp_el1: "SP_EL1", rw;
    elr_el1: "ELR_EL1", rw;
    spsr_el1: "SPSR_EL1", rw;
    sctlr_el1: "SCTLR_EL1", rw;
    cpacr_el1: "CPACR_EL1", rw;
    ttbr0_el1: "TTBR0_EL1", rw;
    ttbr1_el1: "TTBR1_EL1", rw;
    tcr_el1: "TCR_EL1", rw;
    esr_el1: "ESR_EL1", rw;
    far_el1: "FAR_EL1", rw;
    afsr0_el1: "AFSR0_EL1", rw;
    afsr1_el1: "AFSR1_EL1", rw;
    mair_el1: "MAIR_EL1", rw;
    amair_el1: "AMAIR_EL1", rw;
    vbar_el1: "VBAR_EL1", rw;
    contextidr_el1: "CONTEXTIDR_EL1", rw;
    tpidr_el1: "TPIDR_EL1", rw;
    tpidr_el0: "TPIDR_EL0", rw;
    tpidrro_el0: "TPIDRRO_EL0", rw;
    cntkctl_el1: "CNTKCTL_EL1", rw;
    par_el1: "PAR_EL1", rw;
    csselr_el1: "CSSELR_EL1", rw;
    mdscr_el1: "MDSCR_EL1", rw;
    apia_low: "S3_0_C2_C1_0", rw;
    apia_high: "S3_0_C2_C1_1", rw;
    apib_low: "S3_0_C2_C1_2", rw;
    apib_high: "S3_0_C2_C1_3", rw;
    apda_low: "S3_0_C2_C2_0", rw;
    apda_high: "S3_0_C2_C2_1", rw;
    apdb_low: "S3_0_C2_C2_2", rw;
    apdb_high: "S3_0_C2_C2_3", rw;
    apga_low: "S3_0_C2_C3_0", rw;
    apga_high: "S3_0_C2_C3_1", rw;
    tpidr2_el0: "S3_3_C13_C0_5", rw; // with SME
    vdisr_el2: "S3_4_C12_C1_1", rw; // with RAS
    vsesr_el2: "S3_4_C5_C2_3", rw; // with RAS
    // Performance monitors: the cycle counter alone is a guest's.
    pmcr_el0: "PMCR_EL0", rw;
    pmccntr_el0: "PMCCNTR_EL0", rw;
    pmccfiltr_el0: "PMCCFILTR_EL0", rw;
    pmcntenset_el0: "PMCNTENSET_EL0", rw;
    pmcntenclr_el0: "PMCNTENCLR_EL0", rw;
    pmintenset_el1: "PMINTENSET_EL1", rw;
    pmintenclr_el1: "PMINTENCLR_EL1", rw;
    pmovsset_el0: "PMOVSSET_EL0", rw;
    pmovsclr_el0: "PMOVSCLR_EL0", rw;
    pmuserenr_el0: "PMUSERENR_EL0", rw;
    pmselr_el0: "PMSELR_EL0", rw;
    pmxevcntr_el0: "PMXEVCNTR_EL0", rw;
    pmxevtyper_el0: "PMXEVTYPER_EL0", rw;
    pmceid0_el0: "PMCEID0_EL0", r;
    pmceid1_el0: "PMCEID1_EL0", r;
    // Breakpoints and watchpoints that a guest can use.
    oslar_el1: "OSLAR_EL1", w;
    dbgbvr0_el1: "DBGBVR0_EL1", w;
    dbgbcr0_el1: "DBGBCR0_EL1", w;
    dbgbvr1_el1: "DBGBVR1_EL1", w;
    dbgbcr1_el1: "DBGBCR1_EL1", w;
    dbgwvr0_el1: "DBGWVR0_EL1", w;
    dbgwcr0_el1: "DBGWCR0_EL1", w;
    dbgwvr1_el1: "DBGWVR1_EL1", w;
    dbgwcr1_el1: "DBGWCR1_EL1", w;
    // Timers.
    cntfrq_el0: "CNTFRQ_EL0", r;
    cntpct_el0: "CNTPCT_EL0", r;
    cntv_ctl_el0: "CNTV_CTL_EL0", rw;
    cntv_cval_el0: "CNTV_CVAL_EL0", rw;
    // GICv3 CPU interface and its virtual half.
    icc_sre_el2: "ICC_SRE_EL2", rw;
    icc_sre_el1: "ICC_SRE_EL1", rw;
    icc_ctlr_el1: "ICC_CTLR_EL1", rw;
    icc_pmr_el1: "ICC_PMR_EL1", rw;
    icc_bpr1_el1: "ICC_BPR1_EL1", rw;
    icc_igrpen1_el1: "ICC_IGRPEN1_EL1", rw;
    icc_iar1_el1: "ICC_IAR1_EL1", r;
    icc_hppir1_el1: "ICC_HPPIR1_EL1", r;
    icc_eoir1_el1: "ICC_EOIR1_EL1", w;
    icc_dir_el1: "ICC_DIR_EL1", w;
    icc_sgi1r_el1: "ICC_SGI1R_EL1", w;
    ich_hcr_el2: "ICH_HCR_EL2", rw;
    ich_vtr_el2: "ICH_VTR_EL2", r;
    ich_vmcr_el2: "ICH_VMCR_EL2", rw;
    ich_misr_el2: "ICH_MISR_EL2", r;
    ich_elrsr_el2: "ICH_ELRSR_EL2", r;
    ich_ap0r0_el2: "ICH_AP0R0_EL2", rw;
    ich_ap0r1_el2: "ICH_AP0R1_EL2", rw;
    ich_ap0r2_el2: "ICH_AP0R2_EL2", rw;
    ich_ap0r3_el2: "ICH_AP0R3_EL2", rw;
    ich_ap1r0_el2: "ICH_AP1R0_EL2", rw;
    ich_ap1r1_el2: "ICH_AP1R1_EL2", rw;
    ich_ap1r2_el2: "ICH_AP1R2_EL2", rw;
    ich_ap1r3_el2: "ICH_AP1R3_EL2", rw;
    ich_lr0_el2: "ICH_LR0_EL2", rw;
    ich_lr1_el2: "ICH_LR1_EL2", rw;
    ich_lr2_el2: "ICH_LR2_EL2", rw;
    ich_lr3_el2: "ICH_LR3_EL2", rw;
    ich_lr4_el2: "ICH_LR4_EL2", rw;
    ich_lr5_el2: "ICH_LR5_EL2", rw;
    ich_lr6_el2: "ICH_LR6_EL2", rw;
    ich_lr7_el2: "ICH_LR7_EL2", rw;
    ich_lr8_el2: "ICH_LR8_EL2", rw;
    ich_lr9_el2: "ICH_LR9_EL2", rw;
    ich_lr10_el2: "ICH_LR10_EL2", rw;
    ich_lr11_el2: "ICH_LR11_EL2", rw;
    ich_lr12_el2: "ICH_LR12_EL2", rw;
    ich_lr13_el2: "ICH_LR13_EL2", rw;
    ich_lr14_el2: "ICH_LR14_EL2", rw;
    ich_lr15_el2: "ICH_LR15_EL2", rw;
}
