//! AArch64 at EL2 with `HCR_EL2.E2H` = 0.

pub mod cache;
pub mod copy;
pub mod cpu;
pub mod crash;
pub mod entry;
pub mod fp;
pub mod id;
pub mod mmio;
pub mod mmu;
pub mod percpu;
pub mod switch;
pub mod sysreg;
pub mod tlb;
pub mod vectors;
