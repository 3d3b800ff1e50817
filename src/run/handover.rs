//! The short way from one vCPU to another: a choice between two that have nothing unusual about them, and their registers
//! exchanged in one go.
//!
//! It is one round of [`Pcpu::resume_by_loop`] without what does not apply, and comes to the same:
//!
//! * It is taken only when nothing is there that the loop looks after first: mail that is heard, slots to attend, an interrupt
//!   or an SError that is pending, a deadline that is over of somebody who would go first, a register write that is half
//!   done, the console's turn. Where one of them is, nothing was done that the loop would not do: somebody was told that its
//!   deadline is over, the mask was lowered for who comes. The loop does the rest.
//! * Who comes is an equal of who leaves, or more urgent by a level: the mask holds nothing back that it is to let through
//!   now.
//! * Neither has a quirk ([`crate::pcpu::Quirks`]), so what a world switch does for such a one is left out. `HCR_EL2` and
//!   `MDCR_EL2` are then the same for both, and no sibling's translations are here.
//! * `ICH_HCR_EL2` is that of a vCPU for which nothing waits outside of its list registers. It stays so, unless who comes
//!   wants more.

use super::timers::{VIRTUAL_TIMER, next_deadline};
use super::tracing::note_turn;
use super::vgic::interface_control;
use super::world::{come_as_is, confine_plainly, leave_as_is};
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cpu, switch};
use crate::hw::{gicv3, list_registers, timer};
use crate::pcpu::{Activity, Pcpu};
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::trap::controls;
use bulkhead::vcpu::Context;

/// `ISR_EL1.A` and `ISR_EL1.I`: an SError, or an interrupt that the mask lets through, is pending.
const PRESSING: u64 = 1 << 8 | 1 << 7;

impl Pcpu {
    /// The end of a trap after which it is to be chosen anew: returns the registers of the vCPU to enter.
    #[inline(never)]
    pub fn resume(&mut self) -> *mut Context {
        match self.hand_over() {
            Some(context) => context,
            None => self.resume_by_loop(),
        }
    }

    /// Makes the most urgent vCPU's registers those in the hardware, and returns them, when that is the short way.
    #[inline(always)]
    fn hand_over(&mut self) -> Option<*mut Context> {
        let from = self.current?;
        if self.unfinished != 0
            || self.limits.is_some()
            || self.console_is_due()
            || self.is_pressed()
        {
            return None;
        }
        let now = timer::now();
        let over = self.wake_expired(self.queue.most_urgent(), now);
        let context = self.hand_over_at(now, from, over);
        if context.is_none() && over {
            // That was work enough for one stay.
            self.look_for_interrupts();
        }
        context
    }

    /// [`Pcpu::hand_over`] of a vCPU at a time; `over` says that somebody's deadline was, who has been told.
    #[inline(always)]
    fn hand_over_at(&mut self, now: u64, from: Slot, over: bool) -> Option<*mut Context> {
        let to = self.queue.most_urgent()?;
        // Who is over may have been told of much, or be the one that is here.
        if self.is_pressed() {
            return None;
        }
        let both = [from.index(), to.index()];
        let [out, next] = self.vcpus.get_disjoint_mut(both).ok()?;
        let quirks = out.quirks.or(next.quirks);
        if !quirks.are_none() || next.activity != Activity::Ready {
            return None;
        }
        if over && self.deadlines.earliest_before(next.equals.1) <= now {
            return None;
        }
        let gate = next.gate;
        if out.equals.1 != next.equals.1 {
            // Where two ranks share a level, what was silenced for the one may have to speak for the other.
            if gate.mask >= self.gate.mask {
                return None;
            }
            self.gate = gate;
            gicv3::set_mask(gate.mask);
            self.mailbox.mail.publish(gate.heard);
        }
        cpu::dsb_sy(); // an SError of what the guest did last is pending by now
        cpu::isb(); // the register is not read before
        let pressed = read::isr_el1() & PRESSING != 0 || self.mailbox.mail.has(gate.heard);
        if pressed || read::ich_hcr_el2() != list_registers::HCR_ENABLE {
            return None;
        }
        if let Some(writer) = &mut self.trace {
            note_turn(writer, to);
        }
        let left = leave_as_is(out);
        out.interface.save_shallow();
        switch::save(&mut out.context.system, self.features);
        cpu::isb(); // the timer's line is low from here on
        self.redistributor.deactivate(VIRTUAL_TIMER.into());
        let deadline = next_deadline(out, left.in_flight);
        self.deadlines.set(from, deadline);
        let coming = come_as_is(next, left.held);
        if coming.unfinished {
            self.held = left.held;
            self.current = None;
            write::ich_hcr_el2(0);
            return Some(self.tell_after_switch([(from, left.kick), (to, coming.kick)]));
        }
        self.held = coming.held;
        (self.current, self.chosen) = (Some(to), to);
        self.reschedule = false;
        confine_plainly(next);
        next.interface.restore_shallow();
        if coming.in_flight {
            self.redistributor.activate(VIRTUAL_TIMER.into());
            cpu::dsb_sy(); // before the timer's line rises
        }
        if coming.hcr != 0 {
            write::ich_hcr_el2(interface_control(self.shape, coming.hcr));
        }
        let trap = match self.fp_owner == Some(to) {
            true => 0,
            false => controls::CPTR_TFP,
        };
        write::cptr_el2(controls::CPTR_GUEST | trap);
        switch::restore(&next.context.system, self.features);
        let own = next.own_deadline; // the hardware watches the other one
        self.deadlines.set(to, own);
        let console = match &self.console {
            Some(console) if gate.heard.console() => console.deadline(),
            _ => NEVER,
        };
        let others = self.deadlines.earliest_before(next.equals.0);
        timer::arm(own.min(others).min(console));
        if left.kick | coming.kick != 0 {
            return Some(self.tell_after_switch([(from, left.kick), (to, coming.kick)]));
        }
        Some(core::ptr::from_mut(next).cast())
    }

    /// Says whether somebody is to be looked after, or list registers are in the model.
    #[inline(always)]
    fn is_pressed(&self) -> bool {
        self.attend != 0 || self.folded
    }

    /// Ends [`Pcpu::hand_over`] when others are to be told of something, or half of it is done.
    #[cold]
    #[inline(never)]
    fn tell_after_switch(&mut self, kicks: [(Slot, u16); 2]) -> *mut Context {
        for (slot, vcpus) in kicks {
            if let Some(vcpu) = self.vcpus.get(slot.index()) {
                self.kick(vcpu.partition, vcpus);
            }
        }
        self.resume_by_loop()
    }
}
