//! Between the virtual GIC's model and the hardware's list registers.
//!
//! The model owns them while `Pcpu::folded`. [`Pcpu::fold`] reads them back once, before the first thing in a trap that
//! looks at the model; [`Pcpu::refill`] writes those that changed, right before the guest is entered. A trap that asks
//! nothing of the model does neither.

use crate::hw::list_registers::{self, Kind, Shape};
use crate::hw::{gic, gich};
use crate::pcpu::Pcpu;
use crate::system::Partition;
use bulkhead::ids::VcpuId;
use bulkhead::sched::Slot;
use bulkhead::vgic::{Effects, Ends, Unfinished, Vgic, hcr};

/// `ICH_HCR_EL2.EOIcount`.
const EOI_COUNT_SHIFT: u32 = 27;
/// `ICH_VMCR_EL2.VEOIM`: the guest's EOImode.
const VEOIM: u64 = 1 << 9;
/// `ICH_HCR_EL2.TC`: traps the common registers, for CPUs that cannot trap `ICC_DIR_EL1` alone.
const TC: u64 = 1 << 10;

impl Pcpu {
    /// Takes the current vCPU's list registers into the model, when they are in the hardware.
    pub fn fold(&mut self) {
        if self.folded {
            return;
        }
        let Some((partition, id)) = self.current_identity() else {
            return;
        };
        let kick = self.fold_into(&mut partition.state.lock().vgic, id);
        self.kick(partition, kick);
    }

    /// [`Pcpu::fold`] for who holds the partition's lock already; returns the vCPUs to kick when it does not any more.
    pub fn fold_into(&mut self, vgic: &mut Vgic<'static>, id: VcpuId) -> u16 {
        if core::mem::replace(&mut self.folded, true) {
            return 0;
        }
        self.held = vgic.used_list_registers(id);
        let ends = ends_of_spilled(self.shape);
        match self.shape.is_memory_mapped() {
            false => vgic.fold(
                id,
                ends,
                |index| list_registers::read_list_register(index as u8),
                |intid| gic::deactivate(intid.into()),
            ),
            true => fold_memory(vgic, id, ends),
        }
    }

    /// Writes the current vCPU's list registers as the model wants them, before the guest is entered. Returns false when
    /// only a piece of it is done.
    #[inline(always)]
    pub fn refill(&mut self) -> bool {
        let Some((partition, id)) = self.current_identity() else {
            return true;
        };
        let vmcr = self.shape.vmcr() as u32;
        let mut state = partition.state.lock();
        let refill = state.vgic.refill(id, vmcr);
        if refill.unfinished {
            drop(state);
            self.kick(partition, refill.kick);
            return false;
        }
        self.folded = false;
        let changed = u32::from(refill.changed) & ((1 << self.shape.count) - 1);
        let registers = state.vgic.list_registers(id);
        self.shape.write_list_registers(changed as u16, registers);
        drop(state);
        self.shape
            .set_control(interface_control(self.shape, refill.hcr));
        self.kick_late(partition, refill.kick);
        true
    }

    /// Says whether the current vCPU would be signalled an interrupt, whatever its PSTATE.
    pub fn current_would_be_signalled(&mut self) -> bool {
        self.fold();
        let Some(vcpu) = self.current.and_then(|slot| self.vcpus.get(slot.index())) else {
            return false;
        };
        let (vmcr, active0, active1) = vcpu.interface.as_signals(Some(self.shape));
        vcpu.partition
            .state
            .lock()
            .vgic
            .would_signal(vcpu.id, vmcr, active0, active1)
    }

    /// Tells vCPUs of something while a guest is about to be entered: those that live here are told by an interrupt, since
    /// nobody looks for them before the next one.
    fn kick_late(&mut self, partition: &Partition, vcpus: u16) {
        if vcpus == 0 {
            return;
        }
        self.kick(partition, vcpus);
        let mut here = core::mem::take(&mut self.attend);
        while here != 0 {
            self.mailbox.post(Slot(here.trailing_zeros() as u8));
            here &= here - 1;
        }
    }

    /// Carries out what a call of the model asks for on the physical GIC, and tells the vCPUs that it names. What is left of
    /// a write is the current vCPU's.
    pub fn apply(&mut self, partition: &Partition, effects: Effects) {
        if effects.is_physical() {
            self.apply_physical(partition, &effects);
        }
        self.kick(partition, effects.kick);
        if effects.rest.is_some() {
            self.put_off(effects.rest);
        }
    }

    /// Keeps the rest of the current vCPU's register write: [`Pcpu::resume_by_loop`] comes back to it after a look at who else
    /// wants to run, and before the vCPU runs on.
    fn put_off(&mut self, rest: Option<Unfinished>) {
        let Some(slot) = self.current else { return };
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.unfinished = rest;
        }
        self.unfinished |= 1u64.checked_shl(slot.0.into()).unwrap_or(0);
        self.reschedule = true;
    }

    /// Does the next piece of the current vCPU's register write. The list registers are as the write found them, or in
    /// the model: the vCPU has not been entered since.
    pub fn continue_write(&mut self) {
        let Some(slot) = self.current else { return };
        self.unfinished &= !1u64.checked_shl(slot.0.into()).unwrap_or(0);
        let Some(vcpu) = self.vcpu(slot) else { return };
        let partition = vcpu.partition;
        if let Some(rest) = vcpu.unfinished.take() {
            let effects = partition.state.lock_by_call().vgic.continue_write(rest);
            self.apply(partition, effects);
        }
    }

    fn apply_physical(&mut self, partition: &Partition, effects: &Effects) {
        let gic = self.system.distributor;
        let bank = u32::from(effects.first / 32);
        if bank == 0 {
            let current = self
                .current_identity()
                .map(|(current, id)| (current.id, id.0));
            if current == Some((partition.id, effects.vcpu)) {
                self.redistributor.deactivate_mask(effects.deactivate);
            } else if effects.deactivate != 0 {
                self.kick(
                    partition,
                    1u16.checked_shl(effects.vcpu.into()).unwrap_or(0),
                );
            }
            return;
        }
        if effects.trigger != 0 {
            self.trigger_shared(partition, bank, effects.trigger);
        }
        if let Some(route) = effects.route {
            self.route(partition, route.intid);
        }
        if effects.switch != 0 {
            self.switch_shared(partition, bank, effects.switch);
        }
        if effects.clear_pending != 0 {
            gic.clear_pending(bank, effects.clear_pending);
        }
        if effects.deactivate != 0 {
            self.deactivate_shared(partition, bank, effects.deactivate);
        }
        if effects.set_pending != 0 {
            gic.set_pending(bank, effects.set_pending);
        }
    }

    /// Turns the SPIs of a bank that a mask names on or off as the model has it by now: another vCPU may have changed it
    /// again. Under the lock, so that what is written last is what the model says.
    #[inline(never)]
    fn switch_shared(&self, partition: &Partition, bank: u32, mask: u32) {
        let gic = self.system.distributor;
        let state = partition.state.lock();
        let enabled = state.vgic.enabled_spis(bank) & mask;
        if enabled != 0 {
            gic.enable(bank, enabled);
        }
        if enabled != mask {
            gic.disable(bank, mask & !enabled);
        }
    }

    /// The same for the triggers: the one lock that is taken with another one held, which is always the partition's.
    #[inline(never)]
    fn trigger_shared(&self, partition: &Partition, bank: u32, mask: u32) {
        let state = partition.state.lock();
        let edge = state.vgic.edge_spis(bank);
        for bit in (0..32).filter(|bit| mask & 1 << bit != 0) {
            self.system
                .set_trigger(bank * 32 + bit, edge & 1 << bit != 0);
        }
    }

    /// Returns whose registers are in the hardware.
    #[inline(always)]
    pub fn current_identity(&self) -> Option<(&'static Partition, VcpuId)> {
        let vcpu = self.vcpus.get(self.current?.index())?;
        Some((vcpu.partition, vcpu.id))
    }
}

/// Takes GICv2's list registers into the model, which wants to know their states alone.
#[cold]
#[inline(never)]
fn fold_memory(vgic: &mut Vgic<'static>, id: VcpuId, ends: Ends) -> u16 {
    let read = |index| gich::read_state(index as u8);
    let deactivate = |intid: u16| gic::deactivate(intid.into());
    vgic.fold(id, ends, read, deactivate)
}

/// Returns `ICH_HCR_EL2` for what the model asks for.
#[inline(always)]
pub const fn interface_control(shape: Shape, wanted: u32) -> u64 {
    if wanted == 0 {
        return list_registers::HCR_ENABLE;
    }
    let control = list_registers::HCR_ENABLE | wanted as u64;
    let traps = wanted & hcr::TDIR != 0;
    match shape.kind {
        Kind::Plain if traps => control & !(hcr::TDIR as u64) | TC,
        // A guest's GICC_DIR always traps: stage 2 has no page there.
        Kind::Memory => control & !(hcr::TDIR as u64),
        _ => control,
    }
}

/// Returns what the guest has ended outside of the list registers.
#[inline(always)]
pub fn ends_of_spilled(shape: Shape) -> Ends {
    match (shape.control() as u32) >> EOI_COUNT_SHIFT {
        0 => Ends::NONE,
        count => counted_ends(count),
    }
}

/// [`ends_of_spilled`] when there are some. With the guest's EOImode at 1 an end only drops the priority, though some
/// implementations (QEMU 7.2) count it; `ICC_DIR_EL1` traps then.
#[cold]
#[inline(never)]
fn counted_ends(count: u32) -> Ends {
    let (vmcr, active0, active1) = list_registers::signals(gic::is_memory_mapped());
    match u64::from(vmcr) & VEOIM {
        0 => Ends::new(count, active0 | active1),
        _ => Ends::NONE,
    }
}
