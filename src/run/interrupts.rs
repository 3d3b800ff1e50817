//! Physical interrupts: EL2's own, and those that belong to a guest.

use super::timers::{VIRTUAL_TIMER, line_is_high};
use crate::arch::aarch64::cpu;
use crate::hw::{gic, timer};
use crate::pcpu::{Activity, Pcpu, Quirks};
use crate::system::{NO_OWNER, Partition};
use bulkhead::ids::VcpuId;
use bulkhead::partition::Phase;
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;

/// EL2's own timer.
pub const HYPERVISOR_TIMER: u32 = 26;
/// The list registers' maintenance interrupt.
pub const MAINTENANCE: u32 = 25;
/// Interrupts that are taken before the guest, or the scheduler, gets a turn.
const AT_ONCE: usize = 4;
/// The same with GICv2: to take its list registers into the model costs more.
const AT_ONCE_BY_MEMORY: usize = 3;

impl Pcpu {
    /// Takes the interrupts that the mask lets through, a bounded number at a time; more of them trap again at once. One
    /// that may change who runs is the last: the others may be less urgent than who runs next.
    pub fn take_interrupts(&mut self) {
        self.take_interrupts_from(gic::acknowledge());
    }

    /// [`Pcpu::take_interrupts`] when one is acknowledged already.
    pub fn take_interrupts_from(&mut self, first: u32) {
        let mut taken = first;
        for turn in 1..=AT_ONCE {
            let last = turn == AT_ONCE || self.is_of_console(taken);
            if !self.take_acknowledged(taken) || self.reschedule || last {
                return;
            }
            taken = gic::acknowledge_unless(turn >= AT_ONCE_BY_MEMORY);
        }
    }

    /// Says whether an interrupt is the console's, which has taken its turn then.
    fn is_of_console(&self, intid: u32) -> bool {
        let console = self.console.as_ref();
        console.is_some_and(|console| console.intid() == intid)
    }

    /// Takes the most urgent interrupt that the mask lets through. Returns false when there is none.
    pub fn take_next(&mut self) -> bool {
        self.take_acknowledged(gic::acknowledge())
    }

    #[inline(always)]
    fn take_acknowledged(&mut self, acknowledged: u32) -> bool {
        let exists = gic::intid(acknowledged) < gic::SPECIAL;
        if exists {
            gic::drop_priority(acknowledged);
            self.take(acknowledged);
        }
        exists
    }

    /// Takes one acknowledged interrupt, whose priority has been dropped and which is still active.
    fn take(&mut self, acknowledged: u32) {
        let intid = gic::intid(acknowledged);
        match intid {
            _ if intid == u32::from(VIRTUAL_TIMER) => self.take_virtual_timer(),
            HYPERVISOR_TIMER => {
                timer::arm(NEVER);
                gic::deactivate(intid);
                self.reschedule = true;
                self.note_late_console();
            }
            // Its reason is looked up when the list registers are folded.
            MAINTENANCE => {
                self.fold();
                self.silence_maintenance();
                gic::deactivate(intid);
            }
            gic::KICK => {
                gic::deactivate(acknowledged);
                self.read_mail();
                self.reschedule |= self.mailbox.mail.has(self.gate.heard);
            }
            gic::HALT => cpu::park(),
            _ => self.take_shared(intid),
        }
    }

    /// EL2's timer fired and was acknowledged: it is chosen anew at once.
    #[inline(always)]
    pub fn take_hypervisor_timer(&mut self) {
        gic::drop_priority(HYPERVISOR_TIMER);
        timer::arm(NEVER);
        gic::deactivate(HYPERVISOR_TIMER);
        self.look_for_late_console();
    }

    /// The hardware's virtual timer fired: it is the current vCPU's, which deactivates it when it is done.
    fn take_virtual_timer(&mut self) {
        // It may have been high for the vCPU that left, its fall still on the way when the interrupt was acknowledged.
        let Some((partition, id)) = self.current_identity().filter(|_| line_is_high()) else {
            gic::deactivate(VIRTUAL_TIMER.into());
            return;
        };
        let mut state = partition.state.lock();
        let kick = self.fold_into(&mut state.vgic, id);
        let mut effects = state.vgic.physical_pending(VIRTUAL_TIMER, id);
        drop(state);
        self.kick(partition, kick);
        let runs = self
            .current_vcpu()
            .is_some_and(|vcpu| vcpu.activity == Activity::Ready);
        if runs {
            // Its list registers are filled before it goes on; only one that waits has to be looked at.
            effects.kick &= !1u16.checked_shl(id.0.into()).unwrap_or(0);
        }
        self.apply(partition, effects);
    }

    /// Turns the maintenance conditions off until the next refill, so that the level falls before it is deactivated.
    fn silence_maintenance(&mut self) {
        self.shape.set_control(0);
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
            self.take_unowned(intid);
            return;
        };
        if self
            .current_identity()
            .is_some_and(|(current, _)| current.id == partition.id)
        {
            self.fold();
        }
        self.on_account_of(Some(partition.id), |pcpu| {
            pcpu.make_pending(partition, intid)
        });
    }

    /// Makes an SPI pending for the vCPU that it is routed to.
    fn make_pending(&mut self, partition: &'static Partition, intid: u32) {
        let mut state = partition.state.lock();
        if state.life.phase() != Phase::Running {
            // Acknowledged while its partition was being torn down: nothing of it may reach the next life.
            self.refuse_shared(intid);
            return;
        }
        let vcpu = state.vgic.spi_target(intid as u16).unwrap_or(VcpuId(0));
        let effects = state.vgic.physical_pending(intid as u16, vcpu);
        self.note_unheard(partition, &mut state, vcpu);
        drop(state);
        self.apply(partition, effects);
    }

    /// An SPI that is no guest's: the console's, or nobody's.
    fn take_unowned(&mut self, intid: u32) {
        match self.is_of_console(intid) {
            true => self.on_account_of(None, |pcpu| pcpu.take_console_interrupt(intid)),
            false => self.refuse_shared(intid),
        }
    }

    /// An SPI that nobody wants: it stays off from here on.
    fn refuse_shared(&self, intid: u32) {
        self.system
            .distributor
            .disable(intid / 32, 1 << (intid % 32));
        gic::deactivate(intid);
    }

    /// An SError came while a guest ran. It is that guest's, or of the one that left while it was on its way: that one
    /// gets a virtual one.
    pub fn take_serror(&mut self) {
        match self.serror.take(self.current) {
            Some(slot) if self.current == Some(slot) => self.give_serror(slot),
            Some(slot) => self.keep_serror(slot),
            None => {}
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
        vcpu.quirks.insert(Quirks::SERROR);
        self.wake(slot);
    }

    /// Makes a virtual SError pending for a vCPU.
    fn give_serror(&mut self, slot: Slot) {
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.serror = true;
            vcpu.quirks.insert(Quirks::SERROR);
            let control = super::world::hypervisor_control(vcpu);
            // SAFETY: the guest's bits of the trap policy; stage 2 is on.
            unsafe { crate::arch::aarch64::sysreg::write::hcr_el2(control) };
            vcpu.serror = false;
        }
    }
}
