//! Starting, stopping and restarting partitions, and what other pCPUs ask of the vCPUs that live here.

use super::loading::Cursor;
use super::timers::VIRTUAL_TIMER;
use crate::arch::aarch64::sysreg::read;
use crate::events::Event;
use crate::pcpu::{Activity, Pcpu};
use crate::system::Partition;
use bulkhead::ids::VcpuId;
use bulkhead::partition::{After, Phase};
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::smccc::psci::PowerState;
use core::sync::atomic::Ordering;

impl Pcpu {
    /// Looks after all slots that anybody pointed at, and the console.
    pub fn attend_to_all(&mut self) {
        if self.mailbox.has_mail() {
            self.attend |= self.mailbox.take_slots();
            if self.mailbox.take_console() {
                self.serve_console();
            }
        }
        while self.attend != 0 {
            let slot = Slot(self.attend.trailing_zeros() as u8);
            self.attend &= self.attend - 1;
            self.attend_slot(slot);
        }
    }

    /// Compares a vCPU with what its partition wants of it.
    pub fn attend_slot(&mut self, slot: Slot) {
        let loaded = self.current == Some(slot);
        if loaded {
            self.fold();
        }
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let (partition, id, activity) = (vcpu.partition, vcpu.id, vcpu.activity);
        let (vmcr, active0, active1) = match loaded {
            true => (
                read::ich_vmcr_el2(),
                read::ich_ap0r0_el2(),
                read::ich_ap1r0_el2(),
            ),
            false => {
                let interface = &vcpu.interface;
                (
                    interface.vmcr,
                    interface.active_group0[0],
                    interface.active_group1[0],
                )
            }
        };
        let mut state = partition.state.lock();
        if state.life.must_leave(id) {
            drop(state);
            self.retire(slot);
            self.left(partition, id);
            return;
        }
        if activity == Activity::Off && state.life.phase() == Phase::Loading && id.0 == 0 {
            let again = state.life.starts() > 1;
            drop(state);
            self.begin_loading(slot, again);
            return;
        }
        if activity == Activity::Off && state.life.phase() == Phase::Running {
            let entry = match state.power.state(id) {
                PowerState::OnPending(_) => state.power.start(id),
                _ => None,
            };
            drop(state);
            if let Some(entry) = entry {
                self.restart_vcpu(slot, entry);
                self.make_ready(slot);
            }
            return;
        }
        if loaded && !state.vgic.hardware_in_flight(id, VIRTUAL_TIMER) {
            // Another vCPU may have ended it by this one's redistributor; only this pCPU reaches the physical one.
            self.redistributor.deactivate(VIRTUAL_TIMER.into());
        }
        let wakes = activity == Activity::Waiting
            && state
                .vgic
                .would_signal(id, vmcr as u32, active0 as u32, active1 as u32);
        drop(state);
        if wakes {
            self.make_ready(slot);
        }
    }

    /// Lets a vCPU run.
    fn make_ready(&mut self, slot: Slot) {
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.activity = Activity::Ready;
        }
        self.wake(slot);
    }

    /// Takes a vCPU out of everything: its registers are worth nothing from here on.
    pub fn retire(&mut self, slot: Slot) {
        if self.current == Some(slot) {
            self.unload();
        }
        if self.fp_owner == Some(slot) {
            self.fp_owner = None;
        }
        self.deadlines.set(slot, NEVER);
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.activity = Activity::Off;
        }
        self.block(slot);
    }

    /// Makes the partition of a vCPU that lives here leave, and says why.
    pub fn leave(&mut self, partition: &'static Partition, after: After, why: &'static str) {
        let leaving = partition.state.lock().life.leave(after);
        if leaving != 0 {
            self.report(Event::Leaving {
                partition: partition.id,
                after,
                why,
            });
        }
        self.kick(partition, leaving);
        // The one that runs here must not run on, even where another vCPU asked first and its call is still under way.
        if let Some((current, id)) = self.current_identity()
            && current.id == partition.id
        {
            self.kick(partition, 1u16.checked_shl(id.0.into()).unwrap_or(0));
        }
        self.reschedule = true;
    }

    /// Stops a partition for a fault that has no answer in the architecture, as `on_fault` says.
    pub fn give_up(&mut self, why: &'static str) {
        let Some(vcpu) = self.current_vcpu() else {
            return;
        };
        let (partition, id, pc) = (vcpu.partition, vcpu.id, vcpu.context.pc);
        self.report(Event::Fault {
            partition: partition.id,
            vcpu: id,
            pc,
            esr: read::esr_el2() as u32,
            why,
        });
        let after = self.after_fault(partition);
        self.leave(partition, after, why);
    }

    /// A vCPU has left. The last one tears the partition down, and starts it again when that was asked.
    fn left(&mut self, partition: &'static Partition, id: VcpuId) {
        let mut state = partition.state.lock();
        let Some(after) = state.life.left(id) else {
            return;
        };
        let gic = self.system.distributor;
        state.vgic.for_each_owned_spi(|intid, hardware| {
            if hardware {
                let (bank, mask) = (u32::from(intid / 32), 1 << (intid % 32));
                gic.disable(bank, mask);
                gic.clear_pending(bank, mask);
                gic.deactivate(bank, mask);
            }
        });
        state.vgic.reset();
        state.uart.reset();
        state.power.stop();
        partition.output.finish_line();
        drop(state);
        // Before the next life can begin, which may route them as it likes.
        self.route_interrupts(partition);
        self.output_arrived(true);
        if after == After::Restart && partition.state.lock().life.start() {
            self.kick(partition, 1);
            return;
        }
        self.report(Event::Stopped {
            partition: partition.id,
        });
        if self.system.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.system.console.power_off();
            self.call_console();
        }
    }

    /// Sends a partition's interrupts to vCPU 0's pCPU with the trigger of the table, as at its first start.
    pub fn route_interrupts(&self, partition: &'static Partition) {
        let Some(place) = partition.place(VcpuId(0)) else {
            return;
        };
        let Some(mailbox) = self.system.mailboxes.get(usize::from(place.pcpu.0)) else {
            return;
        };
        for record in self.system.payload.interrupts(partition.record) {
            self.system.set_trigger(record.intid, record.edge != 0);
            self.system.distributor.route(record.intid, mailbox.mpidr);
        }
    }

    /// Puts vCPU 0 to work on filling its partition's memory.
    fn begin_loading(&mut self, slot: Slot, again: bool) {
        let scrub = again || self.system.scrubs_at_boot();
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.activity = Activity::Loading(Cursor::new(scrub));
        }
        self.wake(slot);
    }
}
