//! Choosing who runs: [`Pcpu::resume_by_loop`], the end of every trap that [`super::handover`] does not end.
//!
//! It goes round until a vCPU can be entered: what others asked for comes first, since it may wake or stop somebody;
//! then deadlines that have passed; then the most urgent of those that are ready. A vCPU that loads its partition gets
//! one page at a time, with a look at interrupts in between. EL2's timer is set for what may interrupt the vCPU that is
//! entered, and for nothing else: whoever is less urgent is looked at when it could run.

use super::stays;
use crate::arch::aarch64::cpu;
use crate::hw::{gic, timer};
use crate::pcpu::{Activity, Pcpu, Quirks, Vcpu};
use bulkhead::sched::deadlines::NEVER;
use bulkhead::sched::{Gate, Slot};
use bulkhead::trace::What;
use bulkhead::vcpu::Context;
use core::sync::atomic::Ordering;

/// How long an equal of the running vCPU is not heard after it was heard once, in nanoseconds.
const DEAF_NS: u64 = 1_000_000;

impl Pcpu {
    /// Looks after everything that came up, then returns the registers of the vCPU to enter. Sleeps when nobody wants
    /// to run.
    pub fn resume_by_loop(&mut self) -> *mut Context {
        let mut looked = false;
        loop {
            self.attend_to_all();
            if !self.reschedule
                && let Some(slot) = self.current
            {
                // As below, when this one's are to be filled; that may take several pieces.
                if self.folded && (self.look_for_interrupts() || !self.refill()) {
                    continue;
                }
                return self.enter(slot);
            }
            // What the trap did, or a console turn, may have been long, and so is the choice where deadlines are over. Once for
            // each choice: who woke is chosen however often others ask for somebody here, and then they are not heard.
            if !core::mem::replace(&mut looked, true) {
                stays::preemption_point(self.id);
                if cpu::interrupt_is_pending() && self.take_before_choice() {
                    continue;
                }
            }
            looked = false;
            let Some(candidate) = self.choose() else {
                continue;
            };
            let (gate, loads) = self.turn_of(candidate);
            if !self.settle_gate(gate, candidate) {
                // The next interrupt is the most urgent of all that came, and then the choice is made anew.
                stays::preemption_point(self.id);
                continue;
            }
            self.settle_console();
            let Some(slot) = candidate else {
                self.idle();
                if self.folded
                    && !self.held_back
                    && let Some(context) = self.wake_from_sleep()
                {
                    return context.as_ptr();
                }
                continue;
            };
            self.chosen = slot;
            if loads {
                self.trace_turn(Some(slot), What::Load);
                self.arm_timer(Some(slot));
                self.load_piece(slot);
                self.look_for_interrupts();
                continue;
            }
            // Filling the list registers may be long: whoever is more urgent comes first.
            self.watch_more_urgent(candidate);
            if self.look_for_interrupts() {
                continue;
            }
            self.trace_turn(Some(slot), What::Run);
            self.switch_to(slot);
            if self.current.is_none() {
                continue;
            }
            self.reschedule = false;
            self.arm_timer(Some(slot));
            // The switch itself may have found something, such as a deadline that is over.
            if self.attend | self.unfinished == 0 && !self.folded {
                return self.enter(slot);
            }
            self.finish_write(slot);
        }
    }

    /// Does a piece of the register write that the current vCPU has to finish, if it has one, unless something else comes
    /// first. Nobody is entered with half a write done: the vCPU is chosen anew in any case.
    #[inline(never)]
    fn finish_write(&mut self, slot: Slot) {
        if self.unfinished & 1u64.checked_shl(slot.0.into()).unwrap_or(0) == 0 {
            return;
        }
        self.reschedule = true;
        if self.attend == 0 && !self.look_for_interrupts() {
            self.continue_write();
        }
    }

    /// Says whether the current vCPU can go on at once when there is nobody to choose: nothing is to be looked after, and its
    /// list registers are in the hardware. Mail that came meanwhile and is heard comes with a call, which interrupts the guest.
    #[inline(always)]
    pub fn is_undisturbed(&self) -> bool {
        !self.folded && self.attend == 0 && self.current.is_some()
    }

    /// Makes the pCPU hear what is at least as urgent as the one that is about to run, and nothing else. Returns false when
    /// something came up, which may be for somebody more urgent: then choose anew.
    ///
    /// When more is let through than before, what was held back is taken first, one interrupt at a time and the most
    /// urgent first, until there is none: so it wakes its sleeping owner before anybody less urgent runs, and once that
    /// one is chosen the rest is held back again. This ends: an interrupt that is taken for a guest stays active until
    /// its owner has run, so no INTID comes twice, and EL2's own come again only when somebody asks anew.
    #[inline(always)]
    fn settle_gate(&mut self, gate: Gate, candidate: Option<Slot>) -> bool {
        if gate != self.gate {
            self.held_back |= gate.mask > self.gate.mask;
            self.gate = gate;
            self.held_back |= self.unheard & gate.heard.slots != 0;
            gic::set_mask(gate.mask);
            self.mailbox.mail.publish(gate.heard);
            if self.mailbox.mail.has(gate.heard) {
                return false;
            }
        }
        !self.held_back || !self.take_held_back(candidate)
    }

    /// Takes the most urgent interrupt that was held back, or lets some speak that were silent. Returns false when there is
    /// none any more.
    #[inline(never)]
    fn take_held_back(&mut self, candidate: Option<Slot>) -> bool {
        self.watch_more_urgent(candidate); // for the next look: the console may be what was held back
        cpu::isb(); // the mask counts from here on
        stays::preemption_point(self.id);
        self.held_back = self.take_next();
        if !self.held_back && self.unheard & self.gate.heard.slots != 0 {
            self.restore_priorities();
            self.held_back = true;
        }
        self.held_back
    }

    /// Chooses the slot to run, if any, after waking all whose deadlines are over and who are at least as urgent. `None`
    /// when an interrupt came in between, and something is to be looked after first.
    fn choose(&mut self) -> Option<Option<Slot>> {
        let now = timer::now();
        self.end_slice(now);
        if self.limits.is_some() {
            self.settle_limits(now);
            if !self.end_crossing() {
                return None;
            }
        }
        let mut until = now;
        loop {
            let candidate = self.queue.most_urgent();
            if !self.wake_expired(candidate, until) {
                if self.limits.is_none() {
                    return Some(candidate);
                }
                if candidate.is_some() || !self.wake_background(now) {
                    return Some(self.run_within_limits(candidate, now));
                }
            }
            self.close_gate();
            if self.look_for_interrupts() {
                return None;
            }
            // EL2's timer, which fired for one deadline, is off: a look does not see another one that passes meanwhile.
            until = timer::now();
        }
    }

    /// EL2's timer may have fired and be off until who was chosen is entered: has the looks on the way there see whose deadlines
    /// pass meanwhile and who go first.
    #[inline(always)]
    fn watch_more_urgent(&self, candidate: Option<Slot>) {
        if !timer::is_armed() {
            self.arm_for_more_urgent(candidate);
        }
    }

    #[inline(never)]
    fn arm_for_more_urgent(&self, candidate: Option<Slot>) {
        let vcpu = candidate.and_then(|slot| self.vcpus.get(slot.index()));
        timer::arm(match vcpu {
            Some(vcpu) => self.deadlines.earliest_before(vcpu.equals.0),
            None => self.deadlines.earliest(),
        });
    }

    /// Somebody woke: what is less urgent, such as the console, is not heard any more before the choice is made.
    #[inline(never)]
    fn close_gate(&mut self) {
        let woke = self.queue.most_urgent();
        let Some(vcpu) = woke.and_then(|slot| self.vcpus.get(slot.index())) else {
            return;
        };
        let gate = self.limited_gate(woke, vcpu.gate);
        if gate.mask < self.gate.mask {
            self.gate = gate;
            gic::set_mask(gate.mask);
            self.mailbox.mail.publish(gate.heard);
            cpu::isb(); // the mask counts from here on
        }
    }

    /// Sleeps until an interrupt is pending, and takes it. The mask lets all through: WFI sleeps through a masked one.
    fn idle(&mut self) {
        self.break_silence();
        self.arm_timer(None);
        if self.attend != 0 {
            return;
        }
        self.trace_turn(None, What::Idle);
        stays::wait_for_interrupt(self.id);
        self.trace_awake();
        let wakes = self.mailbox.wakes.load(Ordering::Relaxed);
        self.mailbox
            .wakes
            .store(wakes.wrapping_add(1), Ordering::Relaxed);
        self.take_interrupts();
    }

    /// Takes interrupts that came while EL2 worked. Says whether there was any.
    #[inline(always)]
    pub fn look_for_interrupts(&mut self) -> bool {
        stays::preemption_point(self.id);
        let pending = cpu::interrupt_is_pending();
        if pending {
            self.take_interrupts();
        }
        pending
    }

    /// Takes interrupts that came while EL2 worked, but for the console's: it may come again and again, and whoever woke would
    /// never be chosen. It is the least urgent that is heard, so when it is first there is no other. For the same reason EL2's
    /// timer brings the console no turn here. Says whether there was any.
    #[inline(never)]
    fn take_before_choice(&mut self) -> bool {
        let first = gic::intid(gic::highest_pending());
        let console = self.console.as_ref().map(|server| server.intid());
        if console == Some(first) {
            return false;
        }
        self.take_interrupts();
        true
    }

    /// Makes a vCPU want to run; the pCPU chooses anew.
    pub fn wake(&mut self, slot: Slot) {
        self.trace(slot, What::Wake);
        self.enqueue(slot);
        self.reschedule = true;
    }

    /// Takes a vCPU off the run queue; the pCPU chooses anew.
    pub fn block(&mut self, slot: Slot) {
        self.trace(slot, What::Block);
        self.dequeue(slot);
        self.reschedule = true;
    }

    /// Puts the vCPU that was chosen last behind its equals when its time slice is over.
    fn end_slice(&mut self, now: u64) {
        let start = core::mem::replace(&mut self.slice_start, now);
        let slot = self.chosen;
        let Some(vcpu) = self.vcpu(slot) else { return };
        if vcpu.time_slice == 0 {
            return;
        }
        vcpu.slice_left = vcpu.slice_left.saturating_sub(now.wrapping_sub(start));
        if vcpu.slice_left == 0 {
            vcpu.begin_slice();
            self.rotate_elsewhere(slot);
        }
    }

    /// [`Pcpu::rotate`], for those that need not be fast.
    #[inline(never)]
    fn rotate_elsewhere(&mut self, slot: Slot) {
        self.rotate(slot);
    }

    /// Lets the equals of the current vCPU go first.
    #[inline(never)]
    pub fn yield_elsewhere(&mut self) {
        if let Some(slot) = self.current {
            self.rotate(slot);
            if let Some(vcpu) = self.vcpu(slot) {
                vcpu.begin_slice();
            }
            self.reschedule = true;
        }
    }

    /// [`Pcpu::yield_elsewhere`] on a pCPU without limits, when it is chosen anew at once, of one that has its next slice.
    #[inline(always)]
    pub fn yield_plainly(&mut self) {
        if let Some(slot) = self.current {
            self.queue.rotate(slot);
        }
    }

    /// Sets EL2's timer for what may interrupt the vCPU that is about to run, or for everything when none is.
    #[inline(always)]
    fn arm_timer(&mut self, running: Option<Slot>) {
        let console = match &self.console {
            Some(console) if self.gate.heard.console() => console.deadline(),
            _ => NEVER,
        };
        let due = match running {
            None => self.deadlines.earliest().min(self.idle_limits_due()),
            Some(slot) => self.due_while(slot),
        };
        timer::arm(due.min(console));
    }

    /// Returns the earliest event that may interrupt a vCPU: of its own timers, of those more urgent, of its equals
    /// when it shares time with them, and the end of its slice.
    #[inline(always)]
    fn due_while(&self, slot: Slot) -> u64 {
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return NEVER;
        };
        if vcpu.quirks.has_any(Quirks::TIMED) {
            return self.due_before_limits(slot, vcpu);
        }
        let own = self.deadlines.of(slot);
        own.min(self.deadlines.earliest_before(vcpu.equals.0))
    }

    /// [`Pcpu::due_while`] when the time of the vCPU is limited, or may be.
    #[inline(never)]
    fn due_before_limits(&self, slot: Slot, vcpu: &Vcpu) -> u64 {
        let (behind, slice) = match (vcpu.time_slice, self.has_waiting_equal(slot)) {
            (0, _) => (vcpu.equals.0, NEVER),
            (_, false) => (vcpu.equals.1, NEVER),
            (_, true) => (
                vcpu.equals.1,
                self.slice_start.saturating_add(vcpu.slice_left),
            ),
        };
        let deaf = match vcpu.quirks.has_any(Quirks::DEAF) {
            true => self.deaf_until,
            false => NEVER,
        };
        let own = self.deadlines.of(slot);
        let others = self.deadlines.earliest_before(behind);
        self.limited(slot, behind, own.min(others).min(slice).min(deaf))
    }

    /// Returns what may interrupt the one that was chosen, and whether it fills memory rather than runs a guest.
    #[inline(always)]
    fn turn_of(&mut self, candidate: Option<Slot>) -> (Gate, bool) {
        let vcpu = candidate.and_then(|slot| self.vcpus.get(slot.index()));
        let (gate, loads) = vcpu.map_or((Gate::OPEN, false), |vcpu| {
            (vcpu.gate, matches!(vcpu.activity, Activity::Loading(_)))
        });
        let gate = self.limited_gate(candidate, gate);
        match self.deaf_to {
            0 => (gate, loads),
            _ => (self.deafened(candidate, gate), loads),
        }
    }

    /// Mail for a slot was read. When that is an equal of the one whose turn it is, it is not heard any more for a while: it
    /// runs in no case before that one's turn ends, and would take that one's time for as long as mail comes.
    #[inline(never)]
    pub fn hear_equal_once(&mut self, slot: Slot) {
        let Some(chosen) = self.vcpus.get_mut(self.chosen.index()) else {
            return;
        };
        let equal = chosen.equals.0 <= slot && slot < chosen.equals.1;
        if !equal || slot == self.chosen || !self.queue.is_ready(self.chosen) {
            return;
        }
        if self.deaf_to == 0 {
            self.deaf_until = timer::now().saturating_add(timer::ticks(DEAF_NS));
            chosen.quirks.insert(Quirks::DEAF);
        }
        self.deaf_to |= 1u64.checked_shl(slot.0.into()).unwrap_or(0);
        self.gate = self.gate.with_slots(self.gate.heard.slots & !self.deaf_to);
        self.mailbox.mail.publish(self.gate.heard);
        self.reschedule = true;
    }

    /// Takes those who are not heard for a while off what may interrupt the one that is about to run; they are heard again
    /// when that while is over, or its turn.
    #[cold]
    #[inline(never)]
    fn deafened(&mut self, candidate: Option<Slot>, gate: Gate) -> Gate {
        if candidate != Some(self.chosen) || self.deaf_until <= timer::now() {
            self.deaf_to = 0;
            if let Some(vcpu) = self.vcpus.get_mut(self.chosen.index()) {
                vcpu.quirks.remove(Quirks::DEAF);
            }
        }
        gate.with_slots(gate.heard.slots & !self.deaf_to)
    }
}
