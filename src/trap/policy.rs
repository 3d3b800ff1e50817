//! The trap policy: every bit by which a guest can be made to trap, what is done with it, and why. One place.
//!
//! [`REGISTERS`] has a row for every field of every EL2 register that decides what a guest may do by itself; the values
//! that start-up and the world switch write ([`super::controls`]) are computed from it. [`CLASSES`] has a row for every
//! class of exception that comes of it. For single system registers [`super::sysreg::policy`] goes on where
//! [`Fate::Virtualized`] stands here, and [`super::id_registers`] shows guests what is left.
//!
//! A test holds that no bit is without a row, another that each class ends as its row says; the guest checks compare what
//! the identification registers promise with what a guest can use. Nothing of this is in EL2's image but the numbers.
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
//! Arm DDI 0487, register pages of the registers named; for `ICH_HCR_EL2` and `ICC_SRE_EL2` Arm IHI 0069.

use Fate::{Hypervisor, Passed, PerVcpu, Refused, Reserved, Virtualized};

/// What becomes of that which a bit, or a class of exceptions, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It traps, and EL2 answers in the hardware's place.
    Virtualized,
    /// It does not trap: the guest uses the hardware's, and what has state is switched with the vCPU.
    Passed,
    /// It traps, and the guest takes the exception of a CPU that does not have it. Also: it cannot happen to a guest.
    Refused,
    /// Some vCPUs have it and some do not, or not always: who decides is named.
    PerVcpu,
    /// It is EL2's own affair, and no right of a guest.
    Hypervisor,
    /// The bit has no meaning, or belongs to a feature that is hidden and whose registers trap otherwise.
    Reserved,
}

/// A field of a control register.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Arm's name; of several, the first and the last.
    pub name: &'static str,
    /// Its highest and its lowest bit.
    pub bits: (u32, u32),
    /// Its value while a guest runs, where that does not depend on the vCPU.
    pub value: u64,
    /// What becomes of that which it is about.
    pub fate: Fate,
    /// What it is about, and why this value.
    pub why: &'static str,
}

/// A control register.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Arm's name.
    pub name: &'static str,
    /// All of its fields, by falling bits.
    pub fields: &'static [Field],
}

impl Field {
    /// Returns its bits.
    pub const fn mask(&self) -> u64 {
        let (high, low) = self.bits;
        (u64::MAX >> (63 - high)) & (u64::MAX << low)
    }
}

impl Register {
    /// Returns the value while a guest runs, but for what depends on the vCPU.
    pub const fn value(&self) -> u64 {
        let mut rest = self.fields;
        let mut value = 0;
        while let [field, others @ ..] = rest {
            value |= field.value << field.bits.1;
            rest = others;
        }
        value
    }

    /// Returns the bits of a field, and 0 for a name that the register does not have.
    pub const fn mask(&self, name: &str) -> u64 {
        let mut rest = self.fields;
        while let [field, others @ ..] = rest {
            if same(field.name.as_bytes(), name.as_bytes()) {
                return field.mask();
            }
            rest = others;
        }
        0
    }
}

/// `==`, where that is known when this is compiled.
const fn same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([a, ones @ ..], [b, others @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (ones, others);
    }
    one.is_empty() && other.is_empty()
}

/// Makes a register of rows: name, bit or bits, value, fate, why.
macro_rules! register {
    ($register:literal { $($name:literal $high:literal $(- $low:literal)? = $value:literal, $fate:ident, $why:literal;)* }) => {
        Register {
            name: $register,
            fields: &[$(Field {
                name: $name,
                bits: ($high, last!($high $($low)?)),
                value: $value,
                fate: $fate,
                why: $why,
            }),*],
        }
    };
}

/// Makes rows of one class or of several: number or numbers, fate, why.
macro_rules! classes {
    ($($first:literal $(- $last:literal)?, $fate:ident, $why:literal;)*) => {
        &[$(Class {
            numbers: ($first, last!($first $($last)?)),
            fate: $fate,
            why: $why,
        }),*]
    };
}

/// Returns the second number where there is one.
macro_rules! last {
    ($one:literal) => {
        $one
    };
    ($first:literal $last:literal) => {
        $last
    };
}

/// `HCR_EL2`.
pub const HCR_EL2: Register = register! {
    "HCR_EL2" {
        "TWEDEL" 63 - 60 = 0, Reserved, "the delay of a trapped WFE, which never traps";
        "TWEDEn" 59 = 0, Reserved, "as TWEDEL";
        "TID5" 58 = 1, Refused, "GMID_EL1: MTE is hidden";
        "DCT" 57 = 0, Reserved, "for stage 1 off by DC";
        "ATA" 56 = 0, Refused, "0 traps MTE's registers and makes all memory untagged";
        "TTLBOS" 55 = 0, Passed, "TLBI of the outer domain: a guest's own VMID alone is hit";
        "TTLBIS" 54 = 0, Passed, "TLBI of the inner domain: likewise";
        "EnSCXT" 53 = 0, Refused, "0 traps SCXTNUM_EL0 and SCXTNUM_EL1, which are not switched";
        "TOCU" 52 = 0, Passed, "cache maintenance to the point of unification";
        "AMVOFFEN" 51 = 0, Refused, "no virtual offsets: the activity monitors are hidden";
        "TICAB" 50 = 0, Passed, "IC IALLUIS: costs others time on a shared cache, as on any board";
        "TID4" 49 = 0, Passed, "cache geometry is the hardware's";
        "GPF" 48 = 0, Hypervisor, "granule protection faults: firmware's";
        "FIEN" 47 = 0, Refused, "fault injection into RAS error records";
        "FWB" 46 = 0, Hypervisor, "stage 2 combines memory types in the old way";
        "NV2" 45 = 0, Refused, "nested virtualization";
        "AT" 44 = 0, Passed, "AT S1E0 and S1E1: the answer is the guest's own, through its stage 2";
        "NV1" 43 = 0, Refused, "nested virtualization";
        "NV" 42 = 0, Refused, "nested virtualization";
        "API" 41 = 1, Passed, "pointer authentication instructions";
        "APK" 40 = 1, Passed, "pointer authentication keys: they are switched";
        "TME" 39 = 0, Refused, "transactional memory";
        "MIOCNCE" 38 = 0, Hypervisor, "mismatched cacheability of the inner and outer domain";
        "TEA" 37 = 0, Passed, "an error answer of the memory system belongs to the guest that asked";
        "TERR" 36 = 1, Refused, "RAS error records: firmware's";
        "TLOR" 35 = 1, Refused, "limited ordering regions";
        "E2H" 34 = 0, Hypervisor, "EL2 has its own translation regime";
        "ID" 33 = 0, Passed, "instruction caching is as stage 1 says";
        "CD" 32 = 0, Passed, "data caching is as stage 1 says";
        "RW" 31 = 1, Hypervisor, "EL1 is AArch64";
        "TRVM" 30 = 0, Passed, "reads of the translation registers";
        "HCD" 29 = 0, Virtualized, "HVC comes to EL2";
        "TDZ" 28 = 0, Passed, "DC ZVA; to what is no memory it aborts";
        "TGE" 27 = 0, Hypervisor, "EL2 has no EL0";
        "TVM" 26 = 0, Passed, "writes of the translation registers: switched with the vCPU";
        "TTLB" 25 = 0, Passed, "TLB maintenance: a guest's own VMID alone is hit";
        "TPU" 24 = 0, Passed, "cache maintenance to the point of unification";
        "TPCP" 23 = 0, Passed, "cache maintenance to the point of coherency";
        "TSW" 22 = 0, Passed, "cache maintenance by set and way: VM and SWIO make it harmless";
        "TACR" 21 = 1, Virtualized, "ACTLR_EL1 reads as zero";
        "TIDCP" 20 = 1, Refused, "implementation-defined registers";
        "TSC" 19 = 1, Virtualized, "SMC: nothing reaches the firmware";
        "TID3" 18 = 1, Virtualized, "feature identification: what is not listed reads as zero";
        "TID2" 17 = 0, Passed, "CTR_EL0 and cache geometry are the hardware's";
        "TID1" 16 = 1, Virtualized, "REVIDR_EL1 as it is; AIDR_EL1 as zero; SMIDR_EL1 hidden";
        "TID0" 15 = 0, Reserved, "AArch32 identification at EL1";
        "TWE" 14 = 0, Passed, "WFE: it ends by itself";
        "TWI" 13 = 0, PerVcpu, "WFI: set unless the vCPU is alone on its pCPU and its time unlimited";
        "DC" 12 = 0, Passed, "stage 1 off means uncached, as on hardware";
        "BSU" 11 - 10 = 0, Passed, "barriers reach as far as they say: a vCPU never moves";
        "FB" 9 = 0, Passed, "maintenance reaches as far as it says: a vCPU never moves";
        "VSE" 8 = 0, PerVcpu, "a virtual SError is pending";
        "VI" 7 = 0, Hypervisor, "virtual interrupts come by list registers";
        "VF" 6 = 0, Hypervisor, "as VI";
        "AMO" 5 = 1, Virtualized, "SErrors come to EL2; the owner gets a virtual one";
        "IMO" 4 = 1, Virtualized, "IRQs come to EL2; also traps ICC_SGI1R_EL1 and ICC_ASGI1R_EL1";
        "FMO" 3 = 1, Virtualized, "FIQs come to EL2; also traps ICC_SGI0R_EL1";
        "PTW" 2 = 1, Refused, "a table walk to device memory faults: no walker drives registers";
        "SWIO" 1 = 1, Hypervisor, "DC ISW cleans too: nobody's dirty lines are thrown away";
        "VM" 0 = 1, Hypervisor, "stage 2 is on";
    }
};

/// `HCRX_EL2`, where `ID_AA64MMFR1_EL1.HCX` is not 0.
pub const HCRX_EL2: Register = register! {
    "HCRX_EL2" {
        "all" 63 - 0 = 0, Refused, "0 hides memory copy, 64-byte stores, TCR2_EL1, SCTLR2_EL1, 128-bit tables, guarded stacks, FP8; traps their registers";
    }
};

/// `HFGRTR_EL2`, `HFGWTR_EL2`, `HFGITR_EL2`, `HDFGRTR_EL2`, `HDFGWTR_EL2`, `HAFGRTR_EL2` and their second halves, where
/// `ID_AA64MMFR0_EL1.FGT` is not 0.
pub const FINE_GRAINED: Register = register! {
    "H*FG*TR_EL2" {
        "all" 63 - 0 = 0, Refused, "0 traps the registers of newer features, whose bits count the other way (nPIR_EL1, nTPIDR2_EL0, nBRBCTL, nGCS_EL1); the rest is left to the older controls";
    }
};

/// `CPTR_EL2`, with `E2H` = 0.
pub const CPTR_EL2: Register = register! {
    "CPTR_EL2" {
        "RES0" 63 - 32 = 0, Reserved, "";
        "TCPAC" 31 = 0, Passed, "CPACR_EL1: switched";
        "TAM" 30 = 1, Refused, "activity monitors";
        "RES0" 29 - 21 = 0, Reserved, "";
        "TTA" 20 = 1, Refused, "trace registers";
        "RES0" 19 - 14 = 0, Reserved, "";
        "RES1" 13 = 1, Reserved, "";
        "TSM" 12 = 1, Refused, "SME";
        "RES0" 11 = 0, Reserved, "";
        "TFP" 10 = 0, PerVcpu, "FP and SIMD: set while the vCPU does not own the registers";
        "RES1" 9 = 1, Reserved, "";
        "TZ" 8 = 1, Refused, "SVE";
        "RES1" 7 - 0 = 0xff, Reserved, "";
    }
};

/// `MDCR_EL2`.
pub const MDCR_EL2: Register = register! {
    "MDCR_EL2" {
        "newer" 63 - 28 = 0, Reserved, "of features that are hidden; the others' counters are off";
        "TDCC" 27 = 1, Virtualized, "debug communication channel: empty";
        "HLP" 26 = 0, Hypervisor, "EL2's event counters are off";
        "E2TB" 25 - 24 = 0, Refused, "the trace buffer is EL2's, and off";
        "HCCD" 23 = 1, PerVcpu, "the cycle counter does not count at EL2 (from PMUv3p5) unless the table says counts_el2; before, PMCCFILTR_EL0.NSH alone says, which is the guest's";
        "RES0" 22 - 20 = 0, Reserved, "";
        "TTRF" 19 = 1, Refused, "trace filter control";
        "RES0" 18 = 0, Reserved, "";
        "HPMD" 17 = 1, Hypervisor, "event counters do not count at EL2 (from PMUv3p1)";
        "RES0" 16 = 0, Reserved, "";
        "EnSPM" 15 = 0, Refused, "system PMUs";
        "TPMS" 14 = 1, Refused, "statistical profiling";
        "E2PB" 13 - 12 = 0, Refused, "its buffer is EL2's, and off";
        "TDRA" 11 = 1, Virtualized, "MDRAR_EL1 reads as zero";
        "TDOSA" 10 = 1, Virtualized, "OS lock: kept in software";
        "TDA" 9 = 1, Virtualized, "other debug registers: kept in software, loaded while a guest runs";
        "TDE" 8 = 0, Passed, "debug exceptions go to EL1";
        "HPME" 7 = 0, Hypervisor, "EL2's event counters are off";
        "TPM" 6 = 0, PerVcpu, "PMU registers: set until the vCPU first writes one";
        "TPMCR" 5 = 1, Virtualized, "PMCR_EL0: how many counters there are is ours to say";
        "HPMN" 4 - 0 = 0, PerVcpu, "one event counter is the guest's, where there is any";
    }
};

/// `HSTR_EL2`.
pub const HSTR_EL2: Register = register! {
    "HSTR_EL2" {
        "all" 63 - 0 = 0, Passed, "AArch32 coprocessor registers: EL0 in AArch32 is hidden, and has none that is not switched";
    }
};

/// `CNTHCTL_EL2`, with `E2H` = 0.
pub const CNTHCTL_EL2: Register = register! {
    "CNTHCTL_EL2" {
        "RES0" 63 - 20 = 0, Reserved, "";
        "CNTPMASK" 19 = 0, Hypervisor, "no timer is masked behind a guest's back";
        "CNTVMASK" 18 = 0, Hypervisor, "as CNTPMASK";
        "EVNTIS" 17 = 0, Reserved, "EL2 has no event stream";
        "EL1NVVCT" 16 = 0, Reserved, "nested virtualization";
        "EL1NVPCT" 15 = 0, Reserved, "nested virtualization";
        "EL1TVCT" 14 = 0, Passed, "the virtual counter";
        "EL1TVT" 13 = 0, Passed, "the virtual timer: switched";
        "ECV" 12 = 0, Hypervisor, "the physical counter has no offset";
        "RES0" 11 - 8 = 0, Reserved, "";
        "EVNTI" 7 - 4 = 0, Reserved, "EL2 has no event stream";
        "EVNTDIR" 3 = 0, Reserved, "as EVNTI";
        "EVNTEN" 2 = 0, Hypervisor, "as EVNTI";
        "EL1PCEN" 1 = 0, Virtualized, "the physical timer: kept in software";
        "EL1PCTEN" 0 = 1, Passed, "the physical counter";
    }
};

/// `ICH_HCR_EL2`: what it has beside `En` depends on the state of the list registers.
pub const ICH_HCR_EL2: Register = register! {
    "ICH_HCR_EL2" {
        "RES0" 63 - 32 = 0, Reserved, "";
        "EOIcount" 31 - 27 = 0, PerVcpu, "ends of interrupts that were spilled";
        "RES0" 26 - 16 = 0, Reserved, "";
        "DVIM" 15 = 0, Reserved, "directly injected interrupts";
        "TDIR" 14 = 0, PerVcpu, "ICC_DIR_EL1: while anything active is spilled";
        "TSEI" 13 = 0, Passed, "SEIs of the interface";
        "TALL1" 12 = 0, Passed, "group 1 registers: the virtual interface's";
        "TALL0" 11 = 0, Passed, "group 0 registers: the virtual interface's";
        "TC" 10 = 0, PerVcpu, "common registers: in place of TDIR, on a CPU that lacks it";
        "RES0" 9 = 0, Reserved, "";
        "vSGIEOICount" 8 = 0, Reserved, "directly injected SGIs";
        "VGrp" 7 - 4 = 0, PerVcpu, "maintenance: while interrupts wait for a group to be enabled";
        "NPIE" 3 = 0, PerVcpu, "maintenance: while more interrupts wait than fit";
        "LRENPIE" 2 = 0, PerVcpu, "maintenance: while anything active is spilled";
        "UIE" 1 = 0, PerVcpu, "maintenance: as NPIE";
        "En" 0 = 1, Virtualized, "the guest has the virtual interface";
    }
};

/// `ICC_SRE_EL2`.
pub const ICC_SRE_EL2: Register = register! {
    "ICC_SRE_EL2" {
        "RES0" 63 - 4 = 0, Reserved, "";
        "Enable" 3 = 0, Virtualized, "ICC_SRE_EL1 reads as 7";
        "DIB" 2 = 1, Hypervisor, "no IRQ bypass";
        "DFB" 1 = 1, Hypervisor, "no FIQ bypass";
        "SRE" 0 = 1, Hypervisor, "the GIC is used by system registers";
    }
};

/// `MPAM2_EL2`, where a CPU has MPAM.
pub const MPAM2_EL2: Register = register! {
    "MPAM2_EL2" {
        "other" 63 - 50 = 0, Hypervisor, "MPAM is as firmware left it";
        "TRAPMPAM0EL1" 49 = 1, Refused, "MPAM0_EL1";
        "TRAPMPAM1EL1" 48 = 1, Refused, "MPAM1_EL1";
        "partition" 47 - 0 = 0, Hypervisor, "EL2 runs in partition 0";
    }
};

/// `MPAMHCR_EL2`, where `MPAMIDR_EL1.HAS_HCR`.
pub const MPAMHCR_EL2: Register = register! {
    "MPAMHCR_EL2" {
        "RES0" 63 - 32 = 0, Reserved, "";
        "TRAP_MPAMIDR_EL1" 31 = 1, Refused, "MPAMIDR_EL1";
        "other" 30 - 0 = 0, Hypervisor, "partition numbers of guests are not virtual: all are 0";
    }
};

/// All of them.
pub const REGISTERS: &[Register] = &[
    HCR_EL2,
    HCRX_EL2,
    FINE_GRAINED,
    CPTR_EL2,
    MDCR_EL2,
    HSTR_EL2,
    CNTHCTL_EL2,
    ICH_HCR_EL2,
    ICC_SRE_EL2,
    MPAM2_EL2,
    MPAMHCR_EL2,
];

/// A class of exceptions, `ESR_EL2.EC`.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Its first and its last number.
    pub numbers: (u32, u32),
    /// What becomes of it.
    pub fate: Fate,
    /// What it is, and what the guest gets.
    pub why: &'static str,
}

/// All classes that there are; any other is answered as an undefined instruction.
///
/// # Source
/// Arm DDI 0487, register page `ESR_EL2`, table of `EC` values.
pub const CLASSES: &[Class] = classes! {
    0x00, Refused, "unknown reason: undefined";
    0x01, Virtualized, "WFI blocks the vCPU; WFE, WFIT and WFET are over at once";
    0x03 - 0x06, Refused, "AArch32 coprocessor access: undefined";
    0x07, Virtualized, "FP and SIMD: the vCPU gets the registers, and goes on";
    0x08, Refused, "AArch32 VMRS: undefined";
    0x09, Refused, "pointer authentication: does not trap; undefined";
    0x0a, Refused, "64-byte loads and stores: undefined";
    0x0c, Refused, "AArch32 coprocessor access: undefined";
    0x0d, Refused, "branch target exception: taken to EL1; undefined";
    0x0e, Refused, "illegal execution state: the same, at EL1";
    0x11 - 0x13, Refused, "AArch32 SVC, HVC, SMC: undefined";
    0x14, Refused, "128-bit system registers: undefined";
    0x15, Refused, "SVC: taken to EL1; undefined";
    0x16, Virtualized, "HVC: a call of SMCCC";
    0x17, Virtualized, "SMC: the same call";
    0x18, Virtualized, "system registers: as `sysreg::policy` says";
    0x19, Refused, "SVE: undefined";
    0x1a, Refused, "ERET of nested virtualization: undefined";
    0x1b, Refused, "transaction start: undefined";
    0x1c, Refused, "pointer authentication failure: taken to EL1; undefined";
    0x1d, Refused, "SME: undefined";
    0x20, Refused, "instruction abort: the memory system's error, at EL1";
    0x21, Hypervisor, "instruction abort of EL2: our bug, a panic";
    0x22, Refused, "misaligned PC: the same, at EL1";
    0x24, Virtualized, "data abort: an emulated register, or the memory system's error, at EL1";
    0x25, Hypervisor, "data abort of EL2: our bug, a panic";
    0x26, Refused, "misaligned SP: the same, at EL1";
    0x27, Refused, "memory copy and set: undefined";
    0x28, Refused, "AArch32 FP exception: undefined";
    0x2c, Refused, "FP exception: taken to EL1; undefined";
    0x2d, Refused, "guarded control stack: undefined";
    0x2f, Virtualized, "SError: a virtual one for the vCPU whose work it was";
    0x30 - 0x35, Refused, "breakpoint, step, watchpoint: taken to EL1; undefined";
    0x38, Refused, "AArch32 BKPT: undefined";
    0x3a, Refused, "AArch32 vector catch: undefined";
    0x3c, Refused, "BRK: taken to EL1; undefined";
    0x3d, Refused, "PMU exception: undefined";
};

#[cfg(test)]
mod tests;
