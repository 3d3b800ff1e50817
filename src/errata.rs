//! What is known about the weaknesses of CPUs, by `MIDR_EL1`.
//!
//! | core | weakness | what EL2 does |
//! | --- | --- | --- |
//! | A53 | none of the speculative ones; 835769 and 843419 are the compiler's and the linker's | tells guests |
//! | A72, A76 and others | branch prediction and history, by firmware | tells guests nothing: boards whose firmware helps come later |

use crate::arch::aarch64::sysreg::read;
use bulkhead::smccc::arch::{Mitigation, Mitigations, Workaround};

/// `MIDR_EL1.PartNum` of cores that predict no branches across contexts.
const UNAFFECTED: [u64; 3] = [0xd03, 0xd04, 0xd05]; // Cortex-A53, A35, A55

/// Returns what this pCPU needs.
pub fn mitigations() -> Mitigations {
    let midr = read::midr_el1();
    let arm = midr >> 24 & 0xff == 0x41;
    if arm && UNAFFECTED.contains(&(midr >> 4 & 0xfff)) {
        Mitigations {
            branch_predictor: Mitigation::NotNeeded,
            branch_history: Mitigation::NotNeeded,
            store_bypass_safe: true,
        }
    } else {
        Mitigations::default()
    }
}

/// Carries out a workaround that [`mitigations`] offers; none does yet.
pub fn mitigate(_workaround: Workaround) {}
