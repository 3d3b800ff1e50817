//! Starting, stopping and restarting partitions, and what other pCPUs ask of the vCPUs that live here.

use super::loading::Cursor;
use super::stays;
use super::timers::VIRTUAL_TIMER;
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::sysreg::read;
use crate::events::Event;
use crate::hw::timer;
use crate::pcpu::{Activity, Holder, Pcpu};
use crate::system::Partition;
use bulkhead::device::doorbell::Presence;
use bulkhead::ids::VcpuId;
use bulkhead::partition::crash::Cause;
use bulkhead::partition::{After, Phase};
use bulkhead::sched::{Heard, Slot};
use bulkhead::smccc::psci::PowerState;
use core::ops::Range;
use core::sync::atomic::Ordering;

impl Pcpu {
    /// Looks after the most urgent one of those that others told of, of those that are heard, or notes that the console is due.
    /// There may be more: [`Pcpu::resume_by_loop`] comes back.
    #[inline(never)]
    pub fn read_mail(&mut self) {
        let heard = self.gate.heard;
        if let Some(slot) = self.mailbox.mail.take_first(heard) {
            self.for_slot(slot, |pcpu| pcpu.attend_slot(slot));
            self.hear_equal_once(slot);
        } else if self.mailbox.mail.take_console(heard) {
            // Its turn comes behind the choice: whoever woke meanwhile goes first.
            self.defer_console();
            self.reschedule = true;
        }
    }

    /// Looks after all slots that anybody pointed at, and the console, one at a time and the most urgent first. Leaves the
    /// rest when somebody more urgent wants to run.
    pub fn attend_to_all(&mut self) {
        loop {
            let told = self.mailbox.mail.has(self.gate.heard);
            if !told && self.attend == 0 {
                return;
            }
            if told && self.mailbox.mail.first(self.gate.heard) < self.attend.trailing_zeros() {
                self.read_mail();
            } else if self.attend != 0 {
                self.attend_first();
            } else {
                self.read_mail(); // the console's
            }
            let more = self.attend != 0 || told && self.mailbox.mail.has(self.gate.heard);
            if more && self.others_go_first() {
                return;
            }
        }
    }

    /// Takes an interrupt that came up, and says whether somebody wants to run who is more urgent than all that are still
    /// to be looked after; these are kept in the mail then, where that one does not hear them. The choice that follows
    /// tells the mail anew who is heard. Deadlines are asked for each time: EL2's timer fires for the first one alone.
    #[inline(never)]
    fn others_go_first(&mut self) -> bool {
        stays::preemption_point(self.id);
        if cpu::interrupt_is_pending() {
            self.take_next(); // and no more, since what follows takes its time too
        }
        let told = self.mailbox.mail.first(self.gate.heard);
        let rest = told.min(self.attend.trailing_zeros());
        let limit = match rest {
            64.. => self.queue.most_urgent(), // the console's request alone
            slot => Some(Slot(slot as u8)),
        };
        self.wake_expired(limit, timer::now());
        let first = self.queue.most_urgent();
        let Some(vcpu) = first.and_then(|slot| self.vcpus.get(slot.index())) else {
            return false;
        };
        if rest < u32::from(vcpu.equals.1.0) {
            return false;
        }
        self.mailbox.mail.keep(core::mem::take(&mut self.attend));
        self.gate.heard = Heard::NOBODY;
        self.reschedule = true;
        true
    }

    /// Looks after the slots that something on this pCPU pointed at.
    pub fn attend_slots(&mut self) {
        while self.attend != 0 {
            self.attend_first();
        }
    }

    /// Looks after the most urgent one of them.
    fn attend_first(&mut self) {
        let slot = Slot(self.attend.trailing_zeros() as u8);
        self.attend &= self.attend.wrapping_sub(1);
        self.attend_slot(slot);
    }

    /// Compares a vCPU with what its partition wants of it.
    #[inline(never)]
    pub fn attend_slot(&mut self, slot: Slot) {
        let loaded = self.current == Some(slot);
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let (partition, id, activity) = (vcpu.partition, vcpu.id, vcpu.activity);
        let (vmcr, active0, active1) = vcpu.interface.as_signals(loaded.then_some(self.shape));
        let mut state = partition.state.lock();
        let kick = if loaded {
            self.fold_into(&mut state.vgic, id)
        } else {
            0
        };
        self.kick(partition, kick);
        if state.life.must_leave(id) {
            drop(state);
            self.unwatch(slot);
            self.retire(slot);
            self.left(slot, partition, id);
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
        let wakes =
            activity == Activity::Waiting && state.vgic.would_signal(id, vmcr, active0, active1);
        drop(state);
        if wakes {
            self.make_ready(slot);
        }
    }

    /// Lets a vCPU run.
    pub fn make_ready(&mut self, slot: Slot) {
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
        if self.fp_owner.is(slot) {
            self.fp_owner = Holder::NOBODY;
        }
        self.unfinished &= !1u64.checked_shl(slot.0.into()).unwrap_or(0);
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.activity = Activity::Off;
            vcpu.unfinished = None;
            let watched = vcpu.watch_at;
            self.set_wake(slot, watched);
        }
        self.block(slot);
    }

    /// Makes the partition of a vCPU that lives here leave, and says why.
    pub fn leave(&mut self, partition: &'static Partition, after: After, why: &'static str) {
        let mut state = partition.state.lock_by_call();
        let absent = self.system.absent(partition);
        let leaving = state.life.leave(after, absent);
        drop(state);
        match leaving {
            Some(leaving) => self.send_away(partition, leaving, after, why),
            // Another one asked first, and its call may be under way.
            None => self.send_current_away(partition),
        }
    }

    /// Tells vCPUs by a mask that they must leave, and people why. When nobody is there to leave, since no pCPU of the
    /// partition ever came up, that is its end.
    pub fn send_away(
        &mut self,
        partition: &'static Partition,
        leaving: u16,
        after: After,
        why: &'static str,
    ) {
        self.report(Event::Leaving {
            partition: partition.id,
            after,
            why,
        });
        self.kick(partition, leaving);
        self.send_current_away(partition);
        if leaving == 0 {
            self.end(partition);
        }
    }

    /// Sees to it that a vCPU of a partition that leaves does not run on, where it is the one that runs here.
    fn send_current_away(&mut self, partition: &'static Partition) {
        if let Some((current, id)) = self.current_identity()
            && current.id == partition.id
        {
            self.kick(partition, 1u16.checked_shl(id.0.into()).unwrap_or(0));
        }
        self.reschedule = true;
    }

    /// Stops a partition for a fault that has no answer in the architecture, as `on_fault` says.
    pub fn give_up(&mut self, why: &'static str) {
        let Some(slot) = self.current else { return };
        let Some(vcpu) = self.vcpu(slot) else { return };
        let (partition, id, pc) = (vcpu.partition, vcpu.id, vcpu.context.pc);
        let own = 1u16.checked_shl(id.0.into()).unwrap_or(0);
        let phase = partition.state.lock_by_call().life.phase();
        if phase != Phase::Running {
            // It leaves already: what it does meanwhile is no second fault, and no reason to stop for good.
            self.unload();
            self.kick(partition, own);
            return;
        }
        self.report(Event::Fault {
            partition: partition.id,
            vcpu: id,
            pc,
            esr: read::esr_el2() as u32,
            why,
        });
        self.keep_crash(slot, Cause::Fault, why);
        let after = self.after_fault(partition);
        self.leave(partition, after, why);
        // It is off the hardware by now, and asked to leave, by this or by another one.
        self.kick(partition, own);
    }

    /// A vCPU has left. The last one tears the partition down, in pieces, as its own work.
    fn left(&mut self, slot: Slot, partition: &'static Partition, id: VcpuId) {
        let mut state = partition.state.lock_by_call();
        if !state.life.left(id) {
            return;
        }
        state.uart.reset();
        state.power.stop();
        partition.output.finish_line();
        let presence = Presence {
            generation: state.life.starts(),
            runs: false,
        };
        let crashed = state.crash.as_ref().is_some_and(|crash| crash.is_fresh());
        drop(state);
        partition.presence.store(presence.raw(), Ordering::Release);
        if self.system.console.wants_call(partition, true) {
            self.call_console_later();
        }
        let first = match crashed {
            true => Cursor::Keep { from: 0 },
            false => Cursor::Quiet { bank: 0 },
        };
        self.begin_pieces(slot, first);
    }

    /// A partition is torn down: it stays stopped, or starts again when that was asked. There is nothing left to do.
    #[inline(never)]
    pub fn ended(&mut self, slot: Slot, partition: &'static Partition) -> Option<Cursor> {
        self.retire(slot);
        self.end(partition);
        None
    }

    /// Nothing of a partition is left: it stays stopped, or is to be loaded again.
    fn end(&mut self, partition: &'static Partition) {
        let mut state = partition.state.lock_by_call();
        let after = state.life.ended();
        let again = after == Some(After::Restart) && state.life.start();
        drop(state);
        if again {
            self.kick(partition, 1);
            return;
        }
        self.report(Event::Stopped {
            partition: partition.id,
        });
        let last = self.system.alive.fetch_sub(1, Ordering::AcqRel) == 1;
        // Without firmware to turn the board off it idles.
        if last && self.system.firmware {
            self.system.console.power_off();
            self.call_console_later();
        }
    }

    /// Sends those of a partition's interrupts that a range of the table's names to vCPU 0's pCPU, with vCPU 0's priority
    /// and the trigger of the table, as at its first start. Says whether there are more.
    pub fn route_interrupts(&self, partition: &'static Partition, which: Range<usize>) -> bool {
        let place = partition.place(VcpuId(0));
        let Some((place, mailbox)) = place.and_then(|place| {
            let mailbox = self.system.mailboxes.get(usize::from(place.pcpu.0))?;
            Some((place, mailbox))
        }) else {
            return false;
        };
        let records = self.system.payload.interrupts(partition.record);
        for record in records.iter().take(which.end).skip(which.start) {
            self.system.set_trigger(record.intid, record.edge != 0);
            self.system
                .distributor
                .route(record.intid, &mailbox.address, place.priority);
        }
        which.end < records.len()
    }

    /// Puts vCPU 0 to work on filling its partition's memory.
    fn begin_loading(&mut self, slot: Slot, again: bool) {
        let scrub = again || self.system.scrubs_at_boot();
        self.begin_pieces(slot, Cursor::new(scrub));
    }

    /// Puts a vCPU to work on its partition's start or end.
    fn begin_pieces(&mut self, slot: Slot, first: Cursor) {
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.activity = Activity::Loading(first);
        }
        self.wake(slot);
    }
}
