//! Physical priorities that change: with the route of an interrupt, and for interrupts that disturb somebody more urgent.
//!
//! An interrupt can reach a pCPU for a vCPU that is not heard there when the two share a level of priority, or when that
//! vCPU is kept off by a limit. It is acknowledged and stays active, so it comes once; but a sibling on another pCPU can
//! deactivate it, by register or by taking it over, and raise it again. So from the first one on, interrupts of that vCPU
//! are silent when they are deactivated or routed to it, until it is heard again.

use crate::hw::gic;
use crate::pcpu::Pcpu;
use crate::system::{Partition, State};
use bulkhead::ids::VcpuId;
use bulkhead::sched::Slot;

impl Pcpu {
    /// An interrupt of a vCPU was taken. Notes it when the vCPU lives here and is not heard.
    pub fn note_unheard(&mut self, partition: &Partition, state: &mut State, vcpu: VcpuId) {
        let Some(place) = partition.place(vcpu) else {
            return;
        };
        let slot = 1u64.checked_shl(place.slot.0.into()).unwrap_or(0);
        if place.pcpu == self.id && slot & self.gate.heard.slots == 0 {
            self.unheard |= slot;
            if let Some(vcpu) = self.vcpus.get_mut(place.slot.index()) {
                vcpu.restored = 0; // what was made heard again may become silent again
            }
            state.unheard |= 1u16.checked_shl(vcpu.0.into()).unwrap_or(0);
        }
    }

    /// Routes an SPI as the model has it by now: another vCPU may have changed it again. Under the lock, so that what is
    /// written last is what the model says.
    #[inline(never)]
    pub fn route(&self, partition: &Partition, intid: u16) {
        let state = partition.state.lock();
        let Some(vcpu) = state.vgic.spi_target(intid) else {
            // It waits in the GIC until somebody takes it: raised and taken back again and again, it would disturb whoever
            // runs where it was routed before.
            let distributor = self.system.distributor;
            distributor.set_priority(intid.into(), gic::SILENT);
            return;
        };
        if let Some(place) = partition.place(vcpu)
            && let Some(mailbox) = self.system.mailboxes.get(usize::from(place.pcpu.0))
        {
            let priority = match state.is_heard(vcpu) {
                true => place.priority,
                false => gic::SILENT,
            };
            let distributor = self.system.distributor;
            distributor.route(intid.into(), &mailbox.address, priority);
        }
    }

    /// Sends here what belongs here, with GICv2: nobody knew this pCPU's CPU interface before it came up.
    pub fn claim_interrupts(&self) {
        let (distributor, address) = (self.system.distributor, &self.mailbox.address);
        for partition in self.system.partitions {
            for bank in 0.. {
                let state = partition.state.lock();
                let Some(spis) = state.vgic.hardware_spis(bank) else {
                    break;
                };
                for bit in (0..32u16).filter(|bit| spis & 1 << bit != 0) {
                    let intid = (bank as u16 + 1) * 32 + bit;
                    let vcpu = state.vgic.spi_target(intid);
                    let place = vcpu.and_then(|vcpu| partition.place(vcpu));
                    if place.is_some_and(|place| place.pcpu == self.id) {
                        distributor.retarget(intid.into(), address);
                    }
                }
            }
        }
        if let Some(console) = self
            .console
            .as_ref()
            .filter(|it| it.intid() >= gic::FIRST_SHARED)
        {
            distributor.retarget(console.intid(), address);
        }
    }

    /// Deactivates the SPIs of a bank that a mask names; silences those of vCPUs that are not heard first.
    #[inline(never)]
    pub fn deactivate_shared(&self, partition: &Partition, bank: u32, mask: u32) {
        let state = partition.state.lock();
        if state.unheard != 0 {
            for bit in (0..32).filter(|bit| mask & 1 << bit != 0) {
                let intid = bank * 32 + bit;
                let vcpu = state.vgic.spi_target(intid as u16);
                if vcpu.is_some_and(|vcpu| !state.is_heard(vcpu)) {
                    let distributor = self.system.distributor;
                    distributor.set_priority(intid, gic::SILENT);
                }
            }
        }
        self.system.distributor.deactivate(bank, mask);
    }

    /// Gives interrupts of a bank the priority that they have by the table, of the most urgent vCPU that is heard again and
    /// has such. There may be more.
    #[inline(never)]
    pub fn restore_priorities(&mut self) {
        let again = self.unheard & self.gate.heard.slots;
        let slot = Slot(again.trailing_zeros() as u8);
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            self.unheard &= !again;
            return;
        };
        let Some(place) = vcpu.partition.place(vcpu.id) else {
            return;
        };
        let mut state = vcpu.partition.state.lock_by_call();
        // From here on nobody makes one silent: what was restored stays so.
        state.unheard &= !1u16.checked_shl(vcpu.id.0.into()).unwrap_or(0);
        let bank = vcpu.restored;
        vcpu.restored += 1;
        let Some(spis) = state.vgic.hardware_spis(bank.into()) else {
            vcpu.restored = 0;
            self.unheard &= !(again & again.wrapping_neg());
            return;
        };
        for bit in (0..32).filter(|bit| spis & 1 << bit != 0) {
            let intid = (u16::from(bank) + 1) * 32 + bit;
            if state.vgic.spi_target(intid) == Some(vcpu.id) {
                let gic = self.system.distributor;
                gic.set_priority(intid.into(), place.priority);
            }
        }
    }
}
