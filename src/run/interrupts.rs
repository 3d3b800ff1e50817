//! Physical interrupts: EL2's own, and those that belong to a guest.

use super::timers::{VIRTUAL_TIMER, line_is_high};
use crate::arch::aarch64::cpu;
use crate::hw::gicv3;
use crate::pcpu::{Activity, Pcpu};
use crate::system::NO_OWNER;
use bulkhead::ids::VcpuId;
use bulkhead::partition::Phase;
use bulkhead::sched::Slot;

/// EL2's own timer.
pub const HYPERVISOR_TIMER: u32 = 26;
/// The list registers' maintenance interrupt.
pub const MAINTENANCE: u32 = 25;
/// Interrupts that are taken before the guest, or the scheduler, gets a turn.
const AT_ONCE: usize = 8;

impl Pcpu {
    /// Takes the interrupts that are pending, a bounded number at a time; more of them trap again at once. A turn of the
    /// console is the last one: what is more urgent goes before the next.
    pub fn take_interrupts(&mut self) {
        for _ in 0..AT_ONCE {
            let intid = gicv3::acknowledge();
            if intid >= gicv3::SPURIOUS - 3 {
                return;
            }
            gicv3::drop_priority(intid);
            if self
                .console
                .as_ref()
                .is_some_and(|console| console.intid() == intid)
            {
                self.serve_console();
                gicv3::deactivate(intid);
                return;
            }
            self.take(intid);
        }
    }

    /// Takes one acknowledged interrupt, whose priority has been dropped and which is still active.
    fn take(&mut self, intid: u32) {
        match intid {
            _ if intid == u32::from(VIRTUAL_TIMER) => self.take_virtual_timer(),
            HYPERVISOR_TIMER => {
                self.timer_fired();
                gicv3::deactivate(intid);
            }
            // Its reason is looked up when the list registers are folded.
            MAINTENANCE => {
                self.fold();
                self.silence_maintenance();
                gicv3::deactivate(intid);
            }
            gicv3::KICK => gicv3::deactivate(intid), // the mailbox is read before any guest is entered
            gicv3::HALT => cpu::park(),
            _ => self.take_shared(intid),
        }
    }

    /// The hardware's virtual timer fired: it is the current vCPU's, which deactivates it when it is done.
    fn take_virtual_timer(&mut self) {
        // It may have been high for the vCPU that left, its fall still on the way when the interrupt was acknowledged.
        let Some((partition, id)) = self.current_identity().filter(|_| line_is_high()) else {
            gicv3::deactivate(VIRTUAL_TIMER.into());
            return;
        };
        if self.deliver_directly(VIRTUAL_TIMER, true) {
            return;
        }
        self.fold();
        let effects = partition
            .state
            .lock()
            .vgic
            .physical_pending(VIRTUAL_TIMER, id);
        self.apply(partition, effects);
    }

    /// Turns the maintenance conditions off until the next refill, so that the level falls before it is deactivated.
    fn silence_maintenance(&mut self) {
        crate::arch::aarch64::sysreg::write::ich_hcr_el2(0);
        cpu::isb();
    }

    /// An SPI: a guest's, or nobody's.
    fn take_shared(&mut self, intid: u32) {
        let owner = self
            .system
            .owners
            .get(intid as usize)
            .copied()
            .unwrap_or(NO_OWNER);
        let Some(partition) = self.system.partitions.get(usize::from(owner)) else {
            self.refuse_shared(intid);
            return;
        };
        if self
            .current_identity()
            .is_some_and(|(current, _)| current.id == partition.id)
        {
            if self.deliver_directly(intid as u16, true) {
                return;
            }
            self.fold();
        }
        let mut state = partition.state.lock();
        if state.life.phase() != Phase::Running {
            // Acknowledged while its partition was being torn down: nothing of it may reach the next life.
            self.refuse_shared(intid);
            return;
        }
        let vcpu = state.vgic.spi_target(intid as u16).unwrap_or(VcpuId(0));
        let effects = state.vgic.physical_pending(intid as u16, vcpu);
        drop(state);
        self.apply(partition, effects);
    }

    /// An SPI that nobody wants: it stays off from here on.
    fn refuse_shared(&self, intid: u32) {
        self.system
            .distributor
            .disable(intid / 32, 1 << (intid % 32));
        gicv3::deactivate(intid);
    }

    /// An SError came while a guest ran. It is that guest's, or of the one that left while it was on its way: that one
    /// gets a virtual one.
    pub fn take_serror(&mut self) {
        match self.serror_of.take() {
            Some(slot) if self.current != Some(slot) => self.keep_serror(slot),
            _ => {
                if let Some(slot) = self.current {
                    self.give_serror(slot);
                }
            }
        }
    }

    /// Notes a virtual SError for a vCPU that is off the pCPU; it ends a wait.
    fn keep_serror(&mut self, slot: Slot) {
        let Some(vcpu) = self.vcpu(slot) else { return };
        match vcpu.activity {
            Activity::Off | Activity::Loading(_) => return,
            Activity::Ready | Activity::Waiting => vcpu.activity = Activity::Ready,
        }
        vcpu.serror = true;
        self.wake(slot);
    }

    /// Makes a virtual SError pending for a vCPU.
    fn give_serror(&mut self, slot: Slot) {
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.serror = true;
            let control = super::world::hypervisor_control(vcpu);
            // SAFETY: the guest's bits of the trap policy; stage 2 is on.
            unsafe { crate::arch::aarch64::sysreg::write::hcr_el2(control) };
            vcpu.serror = false;
        }
    }
}
