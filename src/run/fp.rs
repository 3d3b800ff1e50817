//! Floating-point registers, handed over at the first use.

use crate::arch::aarch64::sysreg::write;
use crate::arch::aarch64::{cpu, fp};
use crate::pcpu::Pcpu;
use bulkhead::sched::Slot;
use bulkhead::trap::controls;

impl Pcpu {
    /// The current vCPU used FP and does not own the registers: they become its own.
    pub fn trap_fp(&mut self) {
        if let Some(slot) = self.current {
            self.take_fp(slot);
        }
    }

    /// Saves the FP registers of their owner and loads those of `slot`.
    pub fn take_fp(&mut self, slot: Slot) {
        write::cptr_el2(controls::CPTR_GUEST);
        cpu::isb();
        if let Some(owner) = self.fp_owner.replace(slot)
            && owner != slot
            && let Some(vcpu) = self.vcpu(owner)
        {
            fp::save(&mut vcpu.context.fp);
        }
        if let Some(vcpu) = self.vcpu(slot) {
            fp::restore(&vcpu.context.fp);
        }
    }
}
