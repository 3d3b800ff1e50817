//! What is known about the weaknesses of CPUs, by `MIDR_EL1`, and what the firmware does about them.
//!
//! | core | weakness | what EL2 does |
//! | --- | --- | --- |
//! | A35, A53, A55 | none of the speculative ones | tells guests |
//! | A53, r0p0 to r0p4 | 843419: an ADRP at the end of a page | the linker looks for it in EL2's image |
//! | A53, r0p0 to r0p4 | 835769: a 64-bit multiply-add right behind a load or store | nothing: the compiler has no stable switch for it |
//! | A72 | 1319367: a walk while translation registers are changed | nothing yet |
//! | A76 | 1165522: the same, by an address translation instruction | nothing yet |
//! | others, with firmware that has SMCCC 1.1 | branch prediction and history | asks the firmware what the pCPU needs, tells guests, and has it done when they call |
//! | others, without | the same | tells guests that there is no such call |
//!
//! These are the only calls that reach the firmware for a guest: they take no argument and change nothing but what the
//! pCPU remembers of branches.
//!
//! # Source
//! Arm DEN 0028 (SMCCC), "SMCCC_ARCH_FEATURES", "SMCCC_ARCH_WORKAROUND_1", "SMCCC_ARCH_WORKAROUND_3"; numbers of errata: Arm's
//! errata notices for software developers, by core.

use crate::arch::aarch64::cpu;
use crate::arch::aarch64::sysreg::read;
use bulkhead::smccc::arch::{Mitigation, Mitigations, VERSION_1_1, Workaround, function};
use bulkhead::smccc::psci;

/// `MIDR_EL1.PartNum` of cores that predict no branches across contexts.
const UNAFFECTED: [u64; 3] = [0xd03, 0xd04, 0xd05]; // Cortex-A53, A35, A55

/// Returns what this pCPU needs. `firmware` says that there is one that answers PSCI by SMC.
pub fn mitigations(firmware: bool) -> Mitigations {
    let midr = read::midr_el1();
    let arm = midr >> 24 & 0xff == 0x41;
    if arm && UNAFFECTED.contains(&(midr >> 4 & 0xfff)) {
        return Mitigations {
            branch_predictor: Mitigation::NotNeeded,
            branch_history: Mitigation::NotNeeded,
            store_bypass_safe: true,
        };
    }
    if !firmware || !speaks() {
        return Mitigations::default();
    }
    let needs = |workaround: Workaround| {
        let asked = [workaround.function().into(), 0, 0];
        Mitigation::from_firmware(ask(function::SMCCC_ARCH_FEATURES, asked))
    };
    Mitigations {
        branch_predictor: needs(Workaround::BranchPredictor),
        branch_history: needs(Workaround::BranchHistory),
        store_bypass_safe: false,
    }
}

/// Says whether the firmware has a version of the convention in which one can ask for a function.
fn speaks() -> bool {
    let asked = [function::SMCCC_VERSION.into(), 0, 0];
    ask(psci::function::PSCI_FEATURES, asked) >= 0
        && ask(function::SMCCC_VERSION, [0; 3]) >= VERSION_1_1
}

/// Asks the firmware. Results of these calls have 32 bits.
fn ask(function: u32, arguments: [u64; 3]) -> i32 {
    // SAFETY: questions: they change nothing.
    unsafe { cpu::smc(function, arguments) as i32 }
}

/// Carries out a workaround that [`mitigations`] offers.
pub fn mitigate(workaround: Workaround) {
    // SAFETY: it makes this pCPU forget branches, and changes nothing else.
    unsafe { cpu::smc(workaround.function(), [0; 3]) };
}
