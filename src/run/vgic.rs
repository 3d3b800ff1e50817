//! Between the virtual GIC's model and the hardware's list registers.
//!
//! The model owns them while `Pcpu::folded`. [`Pcpu::fold`] reads them back once, before the first thing in a trap that
//! looks at the model; [`Pcpu::refill`] writes those that changed, right before the guest is entered. A trap that asks
//! nothing of the model does neither.

use crate::arch::aarch64::sysreg::{read, write};
use crate::hw::{gicv3, list_registers};
use crate::pcpu::Pcpu;
use crate::system::Partition;
use bulkhead::sched::Slot;
use bulkhead::vgic::{Effects, hcr};

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
        self.folded = true;
        let Some((partition, id)) = self.current_identity() else {
            return;
        };
        let eoi_count = ends_of_spilled();
        let kick = partition.state.lock().vgic.fold(
            id,
            eoi_count,
            |index| list_registers::read_list_register(index as u8),
            |intid| gicv3::deactivate(intid.into()),
        );
        self.kick(partition, kick);
    }

    /// Writes the current vCPU's list registers as the model wants them, before the guest is entered.
    pub fn refill(&mut self) {
        let Some((partition, id)) = self.current_identity() else {
            return;
        };
        self.folded = false;
        let vmcr = read::ich_vmcr_el2() as u32;
        let mut state = partition.state.lock();
        let refill = state.vgic.refill(id, vmcr);
        let mut changed = u32::from(refill.changed) & ((1 << self.shape.count) - 1);
        let registers = state.vgic.list_registers(id);
        while changed != 0 {
            let index = changed.trailing_zeros();
            changed &= changed - 1;
            list_registers::write_list_register(
                index as u8,
                registers.get(index as usize).copied().unwrap_or(0),
            );
        }
        drop(state);
        let mut control = u64::from(refill.hcr);
        if refill.hcr & hcr::TDIR != 0 && !self.shape.traps_deactivate {
            control = control & !u64::from(hcr::TDIR) | TC;
        }
        write::ich_hcr_el2(list_registers::HCR_ENABLE | control);
        self.kick_late(
            partition,
            refill.kick & !1u16.checked_shl(id.0.into()).unwrap_or(0),
        );
    }

    /// Puts one more interrupt of the current vCPU straight into a list register, when nothing stands in the way: what
    /// `fold`, a pending interrupt and `refill` would come to, without looking at the rest. Returns false when the long
    /// way is needed.
    pub fn deliver_directly(&mut self, intid: u16, physical: bool) -> bool {
        if self.folded {
            return false;
        }
        let Some((partition, id)) = self.current_identity() else {
            return false;
        };
        let read = |index| list_registers::read_list_register(index as u8);
        let mut state = partition.state.lock();
        match state.vgic.deliver_directly(id, intid, physical, read) {
            Some((index, value)) => {
                list_registers::write_list_register(index as u8, value);
                true
            }
            None => false,
        }
    }

    /// Says whether the current vCPU would be signalled an interrupt, whatever its PSTATE.
    pub fn current_would_be_signalled(&mut self) -> bool {
        self.fold();
        let Some((partition, id)) = self.current_identity() else {
            return false;
        };
        let (vmcr, active0, active1) = (
            read::ich_vmcr_el2(),
            read::ich_ap0r0_el2(),
            read::ich_ap1r0_el2(),
        );
        partition
            .state
            .lock()
            .vgic
            .would_signal(id, vmcr as u32, active0 as u32, active1 as u32)
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

    /// Carries out what a call of the model asks for on the physical GIC, and tells the vCPUs that it names.
    pub fn apply(&mut self, partition: &Partition, effects: Effects) {
        if effects.is_physical() {
            self.apply_physical(partition, &effects);
        }
        self.kick(partition, effects.kick);
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
        for bit in 0..32 {
            let mask = 1 << bit;
            if (effects.make_edge | effects.make_level) & mask != 0 {
                self.system
                    .set_trigger(bank * 32 + bit, effects.make_edge & mask != 0);
            }
        }
        if let Some(route) = effects.route
            && let Some(place) = partition.place(route.vcpu)
            && let Some(mailbox) = self.system.mailboxes.get(usize::from(place.pcpu.0))
        {
            gic.route(route.intid.into(), mailbox.mpidr);
        }
        for (mask, act) in [
            (
                effects.disable,
                gicv3::Distributor::disable as fn(gicv3::Distributor, u32, u32),
            ),
            (effects.clear_pending, gicv3::Distributor::clear_pending),
            (effects.deactivate, gicv3::Distributor::deactivate),
            (effects.set_pending, gicv3::Distributor::set_pending),
            (effects.enable, gicv3::Distributor::enable),
        ] {
            if mask != 0 {
                act(gic, bank, mask);
            }
        }
    }

    /// Returns whose registers are in the hardware.
    #[inline(always)]
    pub fn current_identity(&self) -> Option<(&'static Partition, bulkhead::ids::VcpuId)> {
        let vcpu = self.vcpus.get(self.current?.index())?;
        Some((vcpu.partition, vcpu.id))
    }
}

/// Returns how many interrupts outside of the list registers the guest has ended. With the guest's EOImode at 1 an end
/// only drops the priority, though some implementations (QEMU 7.2) count it; `ICC_DIR_EL1` traps then.
fn ends_of_spilled() -> u32 {
    let count = (read::ich_hcr_el2() >> EOI_COUNT_SHIFT) as u32;
    if count != 0 && read::ich_vmcr_el2() & VEOIM != 0 {
        0
    } else {
        count
    }
}
