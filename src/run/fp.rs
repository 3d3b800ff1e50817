//! Floating-point registers, handed over at the first use.

use crate::arch::aarch64::sysreg::write;
use crate::arch::aarch64::{cpu, fp};
use crate::pcpu::{Holder, Pcpu};
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
        let owner = core::mem::replace(&mut self.fp_owner, Holder::of(slot));
        if !owner.is(slot)
            && let Some(vcpu) = self.vcpu(owner.slot())
        {
            fp::save(&mut vcpu.context.fp);
        }
        if let Some(vcpu) = self.vcpu(slot) {
            fp::restore(&vcpu.context.fp);
        }
    }
}
