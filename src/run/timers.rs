//! Deadlines of vCPUs that are off the pCPU, and emulated physical timers.
//!
//! A vCPU's virtual timer is in the hardware while its registers are; when they leave, its deadline goes into the
//! pCPU's tree and wakes it from there. The guest's own view of the timer never changes.

use crate::arch::aarch64::sysreg::read;
use crate::hw::timer;
use crate::pcpu::{Activity, Pcpu};
use crate::system::Partition;
use bulkhead::ids::VcpuId;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::sched::{MAX_SLOTS, Slot};

/// The PPI of the virtual timer, physical and virtual alike.
pub const VIRTUAL_TIMER: u16 = 27;
/// The virtual PPI of the emulated physical timer.
pub const PHYSICAL_TIMER: u16 = 30;

/// `CNTV_CTL_EL0`: enabled and not masked.
const ENABLED: u64 = 0b01;
const ENABLE_AND_MASK: u64 = 0b11;
/// With the condition met (bit 2), as the hardware says.
const ALL: u64 = 0b111;
const FIRES: u64 = 0b101;

impl Pcpu {
    /// EL2's timer fired: wakes who is due and may interrupt the current vCPU.
    pub fn timer_fired(&mut self) {
        timer::arm(NEVER);
        self.reschedule = true;
        let now = timer::now();
        if self
            .console
            .as_ref()
            .is_some_and(|console| console.deadline() <= now)
        {
            self.serve_console();
        }
        let running = self.current.filter(|slot| self.queue.is_ready(*slot));
        self.wake_expired(running, now);
    }

    /// Wakes all whose deadlines are over and who are at least as urgent as `running`, or all when nobody runs. Says
    /// whether there was any.
    pub fn wake_expired(&mut self, running: Option<Slot>, now: u64) -> bool {
        let end = running.and_then(|slot| self.vcpus.get(slot.index()).map(|vcpu| vcpu.equals.1));
        let mut any = false;
        for _ in 0..MAX_SLOTS {
            let Some(slot) = self.deadlines.expired(now) else {
                break;
            };
            if end.is_some_and(|end| slot >= end) {
                break;
            }
            self.expire(slot, now);
            any = true;
        }
        any
    }

    /// A vCPU's deadline is over: its timers' interrupts become pending.
    fn expire(&mut self, slot: Slot, now: u64) {
        self.deadlines.set(slot, NEVER);
        let loaded = self.current == Some(slot);
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        if matches!(vcpu.activity, Activity::Off | Activity::Loading(_)) {
            return;
        }
        let system = &vcpu.context.system;
        let virtual_due =
            !loaded && system.cntv_ctl & ENABLE_AND_MASK == ENABLED && system.cntv_cval <= now;
        let physical_due = vcpu.physical_timer.line(now);
        let (partition, id) = (vcpu.partition, vcpu.id);
        if loaded {
            self.fold();
        }
        let mut state = partition.state.lock();
        let mut kick = 0;
        if virtual_due && !state.vgic.hardware_in_flight(id, VIRTUAL_TIMER) {
            kick |= state.vgic.physical_pending(VIRTUAL_TIMER, id).kick;
        }
        kick |= state
            .vgic
            .set_line(PHYSICAL_TIMER, Some(id), physical_due)
            .kick;
        drop(state);
        self.kick(partition, kick);
        self.set_deadline(slot, now);
        self.attend_slot(slot);
    }

    /// Puts the next deadline of a vCPU into the tree: of its emulated timer, and of its virtual timer when its
    /// registers are not in the hardware.
    pub fn set_deadline(&mut self, slot: Slot, now: u64) {
        let loaded = self.current == Some(slot);
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        let mut deadline = vcpu.physical_timer.deadline(now).unwrap_or(NEVER);
        let system = &vcpu.context.system;
        if !loaded && system.cntv_ctl & ENABLE_AND_MASK == ENABLED {
            let partition = vcpu.partition;
            let in_flight = partition
                .state
                .lock()
                .vgic
                .hardware_in_flight(vcpu.id, VIRTUAL_TIMER);
            if !in_flight {
                deadline = deadline.min(system.cntv_cval);
            }
        }
        self.deadlines.set(slot, deadline);
    }

    /// Lets the model know the level of the current vCPU's virtual timer, which the guest can see in its pending state.
    pub fn sample_virtual_timer(&mut self, partition: &'static Partition, vcpu: VcpuId) {
        let level = line_is_high();
        let effects = partition
            .state
            .lock()
            .vgic
            .set_ppi_level(vcpu, VIRTUAL_TIMER, level);
        self.apply(partition, effects);
    }
}

/// Says whether the hardware's virtual timer, the current vCPU's, asks for an interrupt: enabled, not masked, condition
/// met.
#[inline(always)]
pub fn line_is_high() -> bool {
    read::cntv_ctl_el0() & ALL == FIRES
}
