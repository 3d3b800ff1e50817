//! The world switch: one vCPU's registers out of the pCPU, another's in.
//!
//! Out: list registers into the model, EL1 and EL0 state with the virtual timer off, FP where it is eager, then the
//! timer interrupt's banked active state. In: stage 2 and identity, traps, the siblings' translations, the timer
//! interrupt's active state before the timer itself, EL1 and EL0 state, list registers, FP. The guest's general
//! registers are in its `Context` already: the vectors put them there.
//!
//! Nothing here waits for stage-2 maintenance: tables never change while a partition runs.

use super::timers::VIRTUAL_TIMER;
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cache, cpu, fp, switch, tlb};
use crate::hw::{list_registers, timer};
use crate::pcpu::{Pcpu, Vcpu};
use bulkhead::ids::Mpidr;
use bulkhead::sched::Slot;
use bulkhead::trap::controls;
use bulkhead::vcpu::Context;

/// `HCR_EL2.TWI`: WFI traps.
const HCR_TWI: u64 = 1 << 13;
/// `HCR_EL2.VSE`: a virtual SError is pending.
const HCR_VSE: u64 = 1 << 8;
/// `ISR_EL1.A`: a physical SError is pending.
const ISR_A: u64 = 1 << 8;
/// `VTTBR_EL2.VMID`.
const VMID_SHIFT: u32 = 48;

impl Pcpu {
    /// Makes a vCPU's registers the ones in the hardware.
    pub fn switch_to(&mut self, slot: Slot) {
        if self.current == Some(slot) {
            return;
        }
        self.unload();
        self.load(slot);
    }

    /// Returns the registers of the current vCPU, ready to be entered.
    pub fn enter(&mut self, slot: Slot) -> *mut Context {
        if self.folded {
            self.refill();
        }
        match self.vcpus.get_mut(slot.index()) {
            Some(vcpu) => &raw mut vcpu.context,
            None => unreachable!("slots are made at start-up"),
        }
    }

    /// Takes the current vCPU's registers out of the hardware.
    pub fn unload(&mut self) {
        let Some(slot) = self.current else { return };
        self.fold();
        self.current = None;
        let (shape, features, redistributor) = (self.shape, self.features, self.redistributor);
        write::ich_hcr_el2(0);
        let owns_fp = self.fp_owner == Some(slot);
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        vcpu.interface.save(shape);
        switch::save(&mut vcpu.context.system, features);
        if vcpu.uses_pmu {
            switch::save_pmu(&mut vcpu.context.system.pmu);
        }
        if vcpu.debug.uses_comparators() {
            switch::clear_comparators();
        }
        if vcpu.fp_eager && owns_fp {
            write::cptr_el2(controls::cptr::GUEST);
            cpu::isb();
            fp::save(&mut vcpu.context.fp);
            self.fp_owner = None;
        }
        vcpu.serror = read::hcr_el2() & HCR_VSE != 0;
        // An SError of what it did last is taken when the next guest is entered, but is still its own.
        cpu::dsb_sy();
        if read::isr_el1() & ISR_A != 0 {
            self.serror_of = Some(slot);
        }
        // The banked active state of the timer's interrupt must not meet the next vCPU. Its line is low by now, or it would
        // become pending again.
        cpu::isb();
        redistributor.deactivate(VIRTUAL_TIMER.into());
        let now = timer::now();
        self.set_deadline(slot, now);
    }

    /// Puts a vCPU's registers into the hardware.
    fn load(&mut self, slot: Slot) {
        let (shape, features, redistributor, counters) = (
            self.shape,
            self.features,
            self.redistributor,
            self.event_counters,
        );
        self.current = Some(slot);
        self.folded = true;
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        let (partition, id) = (vcpu.partition, vcpu.id);
        let control = hypervisor_control(vcpu);
        vcpu.serror = false; // in the hardware from here on, which clears it when the guest takes it
        // SAFETY: the root was built at start-up for this partition alone, and its VMID is no other's.
        unsafe { write::vttbr_el2(u64::from(partition.vmid.0) << VMID_SHIFT | partition.root.0) };
        write::vmpidr_el2(1 << 31 | Mpidr::of_vcpu(id).raw());
        write::mdcr_el2(controls::mdcr::guest(counters, vcpu.uses_pmu));
        // SAFETY: the guest's bits of the trap policy; stage 2 is on.
        unsafe { write::hcr_el2(control) };
        vcpu.interface.restore(shape);
        self.keep_siblings_apart(slot);
        self.load_timer(slot, redistributor);
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        vcpu.context.system.mdscr_el1 = vcpu.debug.mdscr();
        if vcpu.debug.uses_comparators() {
            switch::restore_comparators(&vcpu.debug);
        }
        if vcpu.uses_pmu {
            switch::restore_pmu(&vcpu.context.system.pmu);
        }
        switch::restore(&vcpu.context.system, features);
        self.load_all_list_registers(slot);
        self.load_fp(slot);
        self.set_deadline(slot, timer::now());
    }

    /// Prepares the interrupt controller for the virtual timer that comes: an interrupt that the guest has not finished
    /// is active again, and a deadline that passed meanwhile is injected now, which saves the guest a trap.
    fn load_timer(&mut self, slot: Slot, redistributor: crate::hw::gicv3::Redistributor) {
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        let (system, id) = (&vcpu.context.system, vcpu.id);
        let due = system.cntv_ctl & 0b11 == 0b01 && system.cntv_cval <= timer::now();
        let mut state = vcpu.partition.state.lock();
        if due && !state.vgic.hardware_in_flight(id, VIRTUAL_TIMER) {
            // The vCPU is about to run here: there is nobody else to tell.
            let _ = state.vgic.physical_pending(VIRTUAL_TIMER, id);
        }
        let in_flight = state.vgic.hardware_in_flight(id, VIRTUAL_TIMER);
        drop(state);
        if in_flight {
            redistributor.activate(VIRTUAL_TIMER.into());
            cpu::dsb_sy(); // before the timer's line rises
        }
    }

    /// Drops translations and instructions that another vCPU of the same partition, or a former life, left on this pCPU:
    /// a guest's ASIDs and local maintenance are per CPU, and a reset CPU remembers none.
    fn keep_siblings_apart(&mut self, slot: Slot) {
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let (partition, id) = (vcpu.partition.id, vcpu.id.0);
        let Some(last) = self.last_ran.get_mut(usize::from(partition.0)) else {
            return;
        };
        let before = core::mem::replace(last, id);
        if before != id && before != NOBODY {
            cpu::isb();
            tlb::invalidate_local_guest();
            cache::invalidate_local_instructions();
        }
    }

    /// Writes every list register of the vCPU that comes.
    fn load_all_list_registers(&mut self, slot: Slot) {
        let count = self.shape.count;
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let state = vcpu.partition.state.lock();
        for (index, value) in (0..count).zip(state.vgic.list_registers(vcpu.id)) {
            list_registers::write_list_register(index, *value);
        }
    }

    /// Lets the vCPU that comes use FP when the registers are its own, and traps the first use when they are not.
    fn load_fp(&mut self, slot: Slot) {
        let eager = self
            .vcpus
            .get(slot.index())
            .is_some_and(|vcpu| vcpu.fp_eager);
        if eager && self.fp_owner != Some(slot) {
            self.take_fp(slot);
            return;
        }
        let trap = if self.fp_owner == Some(slot) {
            0
        } else {
            controls::cptr::TFP
        };
        write::cptr_el2(controls::cptr::GUEST | trap);
    }
}

/// In [`Pcpu::last_ran`]: no vCPU of the partition ran here.
pub const NOBODY: u8 = u8::MAX;
/// In [`Pcpu::last_ran`]: a vCPU was started here since one of the partition ran.
pub const FORMER_LIFE: u8 = u8::MAX - 1;

/// Returns `HCR_EL2` for a vCPU.
pub fn hypervisor_control(vcpu: &Vcpu) -> u64 {
    let wait = if vcpu.traps_wait { HCR_TWI } else { 0 };
    let serror = if vcpu.serror { HCR_VSE } else { 0 };
    controls::hcr::GUEST | wait | serror
}
