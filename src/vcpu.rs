//! A vCPU's registers, as the world switch keeps them and as a start or a reset makes them.
//!
//! Source for the values at start: Linux `Documentation/arm64/booting.rst`; Arm DDI 0487, register pages (reset
//! values of `SCTLR_EL1`, `SPSR_EL2`), "Reset to AArch64 state".
#![forbid(unsafe_code)]

/// Registers of one vCPU. The trap vectors use the first fields by their offsets.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Context {
    /// x0 to x30.
    pub gpr: [u64; 31],
    /// The guest's program counter.
    pub pc: u64,
    /// The guest's PSTATE, in `SPSR_EL2`'s form.
    pub pstate: u64,
    /// Top of the stack of the pCPU that runs this vCPU.
    pub stack_top: u64,
    /// EL1 and EL0 state.
    pub system: SystemRegisters,
    /// Floating point and SIMD.
    pub fp: FpRegisters,
}

/// EL1 and EL0 system registers that a world switch saves and restores.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)] // each field is the register of that name
pub struct SystemRegisters {
    pub sp_el0: u64,
    pub sp_el1: u64,
    pub elr_el1: u64,
    pub spsr_el1: u64,
    pub sctlr_el1: u64,
    pub cpacr_el1: u64,
    pub ttbr0_el1: u64,
    pub ttbr1_el1: u64,
    pub tcr_el1: u64,
    pub esr_el1: u64,
    pub far_el1: u64,
    pub mair_el1: u64,
    pub vbar_el1: u64,
    pub contextidr_el1: u64,
    pub tpidr_el1: u64,
    pub tpidr_el0: u64,
    pub tpidrro_el0: u64,
    pub cntkctl_el1: u64,
    pub par_el1: u64,
    pub csselr_el1: u64,
    pub afsr0_el1: u64,
    pub afsr1_el1: u64,
    pub amair_el1: u64,
    pub disr: u64,
    pub tpidr2_el0: u64,
    pub cntv_ctl: u64,
    pub cntv_cval: u64,
    /// Cycle counter and its controls.
    pub pmu: PmuRegisters,
    /// Pointer-authentication keys: APIA, APIB, APDA, APDB, APGA, low half first.
    pub keys: [u64; 10],
}

/// The cycle counter of the performance monitors.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)] // each field is the register of that name
pub struct PmuRegisters {
    pub pmcr: u64,
    pub pmccntr: u64,
    pub pmccfiltr: u64,
    pub pmcntenset: u64,
    pub pmintenset: u64,
    pub pmovsset: u64,
    pub pmuserenr: u64,
    pub pmselr: u64,
    /// `PMEVCNTR0_EL0`.
    pub event_counter: u64,
    /// `PMEVTYPER0_EL0`.
    pub event_type: u64,
}

/// The SIMD and floating-point registers.
#[derive(Clone, Debug, Default)]
#[repr(C, align(16))]
pub struct FpRegisters {
    /// V0 to V31, each as two halves.
    pub v: [[u64; 2]; 32],
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
}

/// `SCTLR_EL1` out of reset: its RES1 bits; MMU and caches off.
const SCTLR_EL1_RESET: u64 = 0x30d0_0800;
/// PSTATE at a start: EL1h with D, A, I and F masked.
const PSTATE_START: u64 = 0x3c5;

impl Context {
    /// Makes the registers of a vCPU that starts at `entry` with `argument` in x0.
    pub fn starting_at(entry: u64, argument: u64, stack_top: u64) -> Self {
        let mut gpr = [0; 31];
        gpr[0] = argument;
        Self {
            gpr,
            pc: entry,
            pstate: PSTATE_START,
            stack_top,
            system: SystemRegisters {
                sctlr_el1: SCTLR_EL1_RESET,
                ..SystemRegisters::default()
            },
            fp: FpRegisters::default(),
        }
    }

    /// Reads a general-purpose register; 31 is the zero register.
    #[inline(always)]
    pub fn register(&self, index: u8) -> u64 {
        self.gpr.get(usize::from(index)).copied().unwrap_or(0)
    }

    /// Writes a general-purpose register; 31 is the zero register.
    #[inline(always)]
    pub fn set_register(&mut self, index: u8, value: u64) {
        if let Some(register) = self.gpr.get_mut(usize::from(index)) {
            *register = value;
        }
    }

    /// Steps over the trapped instruction. All A64 instructions have four bytes; an AArch32 EL0 is hidden, and one
    /// that runs all the same only hurts itself.
    #[inline(always)]
    pub fn skip_instruction(&mut self) {
        self.pc = self.pc.wrapping_add(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_as_linux_wants_it() {
        let context = Context::starting_at(0x4020_0000, 0x4fff_0000, 0);
        assert_eq!(
            (context.pc, context.gpr[0], context.gpr[1]),
            (0x4020_0000, 0x4fff_0000, 0)
        );
        assert_eq!(context.pstate & 0xf, 0b0101, "EL1h");
        assert_eq!(context.pstate >> 6 & 0xf, 0xf, "DAIF masked");
        assert_eq!(context.system.sctlr_el1, 0x30d0_0800, "MMU off");
    }

    #[test]
    fn register_31_reads_as_zero_and_ignores_writes() {
        let mut context = Context::starting_at(0, 7, 0);
        context.set_register(31, 9);
        assert_eq!(context.register(31), 0);
        assert_eq!(context.register(0), 7);
        context.set_register(30, 9);
        assert_eq!((context.register(30), context.gpr[30]), (9, 9));
    }

    #[test]
    fn an_instruction_has_four_bytes() {
        let mut context = Context::starting_at(u64::MAX - 7, 0, 0);
        context.skip_instruction();
        assert_eq!(context.pc, u64::MAX - 3);
        context.skip_instruction();
        assert_eq!(context.pc, 0);
    }
}
