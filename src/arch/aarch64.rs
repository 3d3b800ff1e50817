//! AArch64 at EL2 with `HCR_EL2.E2H` = 0.

pub mod cache;
pub mod copy;
#[cfg(feature = "stay-counter")]
#[macro_use]
pub mod counting;
pub mod cpu;
pub mod crash;
pub mod entry;
pub mod fp;
pub mod id;
mod memory;
pub mod mmio;
pub mod mmu;
pub mod percpu;
pub mod probe;
pub mod switch;
pub mod sysreg;
pub mod tlb;
#[cfg(not(feature = "stay-counter"))]
#[macro_use]
mod uncounted;
pub mod vectors;
