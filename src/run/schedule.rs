//! Choosing who runs: [`Pcpu::resume`], the end of every trap.
//!
//! It goes round until a vCPU can be entered: what others asked for comes first, since it may wake or stop somebody;
//! then deadlines that have passed; then the most urgent of those that are ready. A vCPU that loads its partition gets
//! one page at a time, with a look at interrupts in between. EL2's timer is set for what may interrupt the vCPU that is
//! entered, and for nothing else: whoever is less urgent is looked at when it could run.

use crate::arch::aarch64::cpu;
use crate::arch::aarch64::sysreg::read;
use crate::hw::timer;
use crate::pcpu::{Activity, Pcpu};
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::vcpu::Context;

impl Pcpu {
    /// Looks after everything that came up, then returns the registers of the vCPU to enter. Sleeps when nobody wants
    /// to run.
    pub fn resume(&mut self) -> *mut Context {
        loop {
            self.attend_to_all();
            if !self.reschedule
                && let Some(slot) = self.current
            {
                return self.enter(slot);
            }
            let Some(slot) = self.choose() else {
                self.idle();
                continue;
            };
            if self.is_loading(slot) {
                self.settle_console(Some(slot));
                self.arm_timer(Some(slot));
                self.load_piece(slot);
                self.look_for_interrupts();
                continue;
            }
            self.switch_to(slot);
            self.settle_console(Some(slot));
            self.reschedule = false;
            self.arm_timer(Some(slot));
            // The switch itself may have found something, such as a deadline that is over.
            if self.attend == 0 {
                return self.enter(slot);
            }
        }
    }

    /// Says whether the current vCPU can go on at once: there is nobody to choose, nothing to look after, and its list
    /// registers are in the hardware.
    #[inline(always)]
    pub fn is_undisturbed(&self) -> bool {
        let settled = !self.reschedule && !self.folded && self.attend == 0;
        settled && self.current.is_some() && !self.mailbox.has_mail()
    }

    /// Chooses the slot to run, after waking all whose deadlines are over and who are at least as urgent.
    fn choose(&mut self) -> Option<Slot> {
        let now = timer::now();
        self.end_slice(now);
        loop {
            let candidate = self.queue.most_urgent();
            if !self.wake_expired(candidate, now) {
                return candidate;
            }
        }
    }

    /// Sleeps until an interrupt is pending, and takes it.
    fn idle(&mut self) {
        self.settle_console(None);
        self.arm_timer(None);
        if self.mailbox.has_mail() || self.attend != 0 {
            return;
        }
        cpu::wait_for_interrupt();
        self.take_interrupts();
    }

    /// Takes interrupts that came while EL2 worked.
    fn look_for_interrupts(&mut self) {
        if read::isr_el1() & 1 << 7 != 0 {
            self.take_interrupts();
        }
    }

    /// Makes a vCPU want to run; the pCPU chooses anew.
    pub fn wake(&mut self, slot: Slot) {
        self.queue.make_ready(slot);
        self.reschedule = true;
    }

    /// Takes a vCPU off the run queue; the pCPU chooses anew.
    pub fn block(&mut self, slot: Slot) {
        self.queue.block(slot);
        self.reschedule = true;
    }

    /// Puts the current vCPU behind its equals when its time slice is over.
    fn end_slice(&mut self, now: u64) {
        let start = core::mem::replace(&mut self.slice_start, now);
        let Some(slot) = self.current else { return };
        let Some(vcpu) = self.vcpu(slot) else { return };
        if vcpu.time_slice == 0 {
            return;
        }
        vcpu.slice_left = vcpu.slice_left.saturating_sub(now.wrapping_sub(start));
        if vcpu.slice_left == 0 {
            vcpu.slice_left = vcpu.time_slice;
            self.queue.rotate(slot);
        }
    }

    /// Lets the equals of the current vCPU go first.
    pub fn yield_current(&mut self) {
        if let Some(slot) = self.current {
            self.queue.rotate(slot);
            if let Some(vcpu) = self.vcpu(slot) {
                vcpu.slice_left = vcpu.time_slice;
            }
            self.reschedule = true;
        }
    }

    /// Sets EL2's timer for what may interrupt the vCPU that is about to run, or for everything when none is.
    fn arm_timer(&mut self, running: Option<Slot>) {
        let console = self
            .console
            .as_ref()
            .map_or(NEVER, |console| console.deadline());
        let due = match running {
            None => self.deadlines.earliest(),
            Some(slot) => self.due_while(slot),
        };
        timer::arm(due.min(console));
    }

    /// Returns the earliest event that may interrupt a vCPU: of its own timers, of those more urgent, of its equals
    /// when it shares time with them, and the end of its slice.
    fn due_while(&self, slot: Slot) -> u64 {
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return NEVER;
        };
        let own = self.deadlines.of(slot);
        if vcpu.time_slice == 0 {
            return own.min(self.deadlines.earliest_before(vcpu.equals.0));
        }
        let others = self.deadlines.earliest_before(vcpu.equals.1);
        let slice = match self.queue.has_waiting_equal(slot) {
            true => self.slice_start.saturating_add(vcpu.slice_left),
            false => NEVER,
        };
        own.min(others).min(slice)
    }

    /// Says whether a slot fills memory rather than runs a guest.
    fn is_loading(&self, slot: Slot) -> bool {
        self.vcpus
            .get(slot.index())
            .is_some_and(|vcpu| matches!(vcpu.activity, Activity::Loading(_)))
    }
}
