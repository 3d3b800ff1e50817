//! Deadlines of vCPUs that are off the pCPU, and emulated physical timers.
//!
//! A vCPU's virtual timer is in the hardware while its registers are; when they leave, its deadline goes into the
//! pCPU's tree and wakes it from there. The guest's own view of the timer never changes.

use crate::arch::aarch64::sysreg::read;
use crate::hw::timer;
use crate::pcpu::{Activity, Pcpu, Vcpu};
use crate::system::Partition;
use bulkhead::ids::VcpuId;
use bulkhead::sched::Slot;
use bulkhead::vcpu::SystemRegisters;

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
    /// EL2's timer fired: somebody is due, whom the choice that follows wakes, or the console is, who is served.
    #[inline(always)]
    pub fn look_for_late_console(&mut self) {
        if let Some(console) = &self.console
            && console.deadline() <= timer::now()
        {
            self.serve_late_console();
        }
    }

    /// EL2's timer fired before a choice: as [`Self::look_for_late_console`], but whoever is due comes before the console.
    pub fn note_late_console(&mut self) {
        if let Some(console) = &self.console
            && console.deadline() <= timer::now()
        {
            self.defer_console();
        }
    }

    /// The console's deadline is over.
    #[cold]
    #[inline(never)]
    fn serve_late_console(&mut self) {
        self.on_account_of(None, Self::serve_console);
    }

    /// Wakes the most urgent one whose deadline is over, if it is at least as urgent as `running`, or nobody runs. Says
    /// whether there was one.
    #[inline(always)]
    pub fn wake_expired(&mut self, running: Option<Slot>, now: u64) -> bool {
        self.deadlines.may_be_over(now) && self.wake_first_expired(running, now)
    }

    /// [`Pcpu::wake_expired`] when somebody's deadline is over.
    #[inline(never)]
    fn wake_first_expired(&mut self, running: Option<Slot>, now: u64) -> bool {
        let Some(slot) = self.deadlines.expired(now) else {
            return false;
        };
        let running = running.and_then(|slot| self.vcpus.get(slot.index()));
        if running.is_some_and(|running| slot >= running.equals.1) {
            return false;
        }
        if self.limits.is_some() {
            self.for_slot(slot, |pcpu| {
                if !pcpu.replenish(slot, now) {
                    pcpu.expire(slot, now);
                }
            });
        } else {
            self.expire(slot, now);
        }
        true
    }

    /// A vCPU's deadline is over: its timers' interrupts become pending, and end its wait if they would be signalled.
    #[inline(never)]
    pub fn expire(&mut self, slot: Slot, now: u64) {
        let loaded = self.current == Some(slot);
        if loaded {
            self.fold(); // its emulated timer: the hardware watches the other one
        }
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        if vcpu.watch_at <= now {
            self.look_at_watchdog(slot, now);
            return;
        }
        if matches!(vcpu.activity, Activity::Off | Activity::Loading(_)) {
            let at = vcpu.watch_at;
            self.set_wake(slot, at);
            return;
        }
        let (partition, id) = (vcpu.partition, vcpu.id);
        let virtual_due = !loaded && virtual_timer_is_due(&vcpu.context.system, now);
        let physical_due = vcpu.physical_timer.settle(now);
        if physical_due {
            vcpu.settle_own_deadline();
        }
        let mut state = partition.state.lock();
        let vgic = &mut state.vgic;
        if physical_due {
            // This vCPU's own, which is looked after here: there is nobody to kick.
            let _ = vgic.set_line(PHYSICAL_TIMER, Some(id), true);
        }
        let (vmcr, active0, active1) = vcpu.interface.as_signals(loaded.then_some(self.shape));
        let signals = match virtual_due {
            true => vgic.due(id, VIRTUAL_TIMER, vmcr, active0, active1),
            false => vgic.would_signal(id, vmcr, active0, active1),
        };
        let in_flight = vgic.hardware_in_flight(id, VIRTUAL_TIMER);
        drop(state);
        let wakes = signals && vcpu.activity == Activity::Waiting;
        if wakes {
            vcpu.activity = Activity::Ready;
        }
        let deadline = next_deadline(vcpu, loaded || in_flight);
        self.set_wake(slot, deadline);
        if wakes {
            self.wake(slot);
        }
    }

    /// Puts the next deadline of a vCPU into the tree: of its emulated timer, and of its virtual timer when its
    /// registers are not in the hardware.
    pub fn set_deadline(&mut self, slot: Slot) {
        let loaded = self.current == Some(slot);
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let counts = !loaded && vcpu.context.system.cntv_ctl & ENABLE_AND_MASK == ENABLED;
        let in_flight = counts
            && vcpu
                .partition
                .state
                .lock()
                .vgic
                .hardware_in_flight(vcpu.id, VIRTUAL_TIMER);
        let deadline = next_deadline(vcpu, loaded || in_flight);
        self.set_wake(slot, deadline);
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

/// Says whether a virtual timer that is not in the hardware asks for an interrupt.
#[inline(always)]
pub fn virtual_timer_is_due(system: &SystemRegisters, now: u64) -> bool {
    system.cntv_ctl & ENABLE_AND_MASK == ENABLED && system.cntv_cval <= now
}

/// Says whether all that a vCPU waits for, off the hardware, is its virtual timer, which is due.
#[inline(always)]
pub fn waits_for_this(vcpu: &Vcpu, now: u64) -> bool {
    let waits = vcpu.activity == Activity::Waiting && vcpu.own_deadline > now;
    waits && virtual_timer_is_due(&vcpu.context.system, now)
}

/// Returns when a vCPU next wants to be looked at: for its emulated timer, its watchdog, and its virtual timer unless the
/// hardware watches that or its interrupt is on its way already (`virtual_is_seen_to`).
#[inline(always)]
pub fn next_deadline(vcpu: &Vcpu, virtual_is_seen_to: bool) -> u64 {
    let deadline = vcpu.own_deadline;
    let system = &vcpu.context.system;
    if virtual_is_seen_to || system.cntv_ctl & ENABLE_AND_MASK != ENABLED {
        return deadline;
    }
    deadline.min(system.cntv_cval)
}

/// Says whether the hardware's virtual timer, the current vCPU's, asks for an interrupt: enabled, not masked, condition
/// met.
#[inline(always)]
pub fn line_is_high() -> bool {
    read::cntv_ctl_el0() & ALL == FIRES
}
