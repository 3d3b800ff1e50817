//! The short way from one vCPU to another: a choice between two that have nothing unusual about them, and their registers
//! exchanged in one go.
//!
//! It is one round of [`Pcpu::resume_by_loop`] without what does not apply, and comes to the same:
//!
//! * It is taken only when nothing is there that the loop looks after first: mail that is heard, slots to attend, an interrupt
//!   or an SError that is pending, a deadline that is over of somebody who would go first, a register write that is half
//!   done, the console's turn. Where one of them is, nothing was done that the loop would not do: the mask was lowered for
//!   who comes. The loop does the rest.
//! * Who comes is an equal of who leaves, or more urgent by a level: the mask holds nothing back that it is to let through
//!   now. It is ready, or it waits for its virtual timer, which is due: it wakes as part of coming. Where that is not all
//!   that it would hear, nobody is here, and the loop chooses anew.
//! * Neither has a quirk ([`crate::pcpu::Quirks`]), so what a world switch does for such a one is left out. `HCR_EL2` and
//!   `MDCR_EL2` are then the same for both, and no sibling's translations are here.
//! * `ICH_HCR_EL2` is that of a vCPU for which nothing waits outside of its list registers. It stays so, unless who comes
//!   wants more.
//! * Where the pCPU slept, the vCPU that is here waits, its list registers are in the model, nobody is ready, and the mask comes
//!   down from all to who woke.

use super::timers::{VIRTUAL_TIMER, next_deadline, waits_for_this};
use super::tracing::note_turn;
use super::vgic::interface_control;
use super::world::{come_as_is, come_for_timer, confine_plainly, leave_as_is, leave_folded};
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cpu, switch};
use crate::hw::{gicv3, list_registers, timer};
use crate::pcpu::{Activity, Pcpu, kick_from};
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::trace::What;
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
            None => {
                self.reschedule = true;
                self.resume_by_loop()
            }
        }
    }

    /// Makes the most urgent vCPU's registers those in the hardware, and returns them, when that is the short way.
    #[inline(always)]
    fn hand_over(&mut self) -> Option<*mut Context> {
        let from = self.current?;
        let pressed = self.attend | self.unfinished != 0 || self.folded;
        if pressed || self.limits.is_some() || self.console_is_due() {
            return None;
        }
        let now = timer::now();
        let (to, wakes) = self.next_turn(now)?;
        self.hand_over_to::<false>(now, from, to, wakes)
    }

    /// [`Pcpu::hand_over`] when the pCPU slept, to who woke. The vCPU that is here waits, with its list registers in the model.
    #[inline(never)]
    pub fn wake_from_sleep(&mut self) -> Option<*mut Context> {
        let from = self.current?;
        let limited = self.limits.is_some() || self.held_back;
        if self.attend | self.unfinished != 0 || limited || self.console_is_due() {
            return None;
        }
        let now = timer::now();
        let (to, wakes) = self.next_turn(now)?;
        match wakes {
            true => self.hand_over_to::<true>(now, from, to, true),
            false => None,
        }
    }

    /// Returns who comes, and whether it waits for a deadline that is over: it is more urgent than all that are ready.
    #[inline(always)]
    fn next_turn(&mut self, now: u64) -> Option<(Slot, bool)> {
        let ready = self.queue.most_urgent();
        let Some(due) = self.deadlines.expired(now) else {
            return Some((ready?, false));
        };
        let Some(ready) = ready else {
            return Some((due, true));
        };
        let (first, behind) = self.vcpus.get(ready.index())?.equals;
        match due {
            _ if due >= behind => Some((ready, false)),
            _ if due < first => Some((due, true)),
            _ => None,
        }
    }

    /// [`Pcpu::hand_over`] from one vCPU to another, which `wakes` for that; `SLEPT` says that the pCPU did, and heard
    /// everybody.
    #[inline(always)]
    fn hand_over_to<const SLEPT: bool>(
        &mut self,
        now: u64,
        from: Slot,
        to: Slot,
        wakes: bool,
    ) -> Option<*mut Context> {
        let both = [from.index(), to.index()];
        let [out, next] = self.vcpus.get_disjoint_mut(both).ok()?;
        let quirks = out.quirks.or(next.quirks);
        let comes = match wakes {
            // The deadline of an equal may be over, too.
            true => next.is_alone_in_rank() && waits_for_this(next, now),
            false => next.activity == Activity::Ready,
        };
        if !quirks.are_none() || !comes {
            return None;
        }
        let gate = next.gate;
        if SLEPT || out.equals.1 != next.equals.1 {
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
            if wakes {
                writer.put(now, What::Wake.word(Some(to)));
            }
            note_turn(writer, to);
        }
        let left = match SLEPT {
            true => leave_folded(out, self.held),
            false => leave_as_is(out),
        };
        if SLEPT {
            self.folded = false;
        }
        if left.kick != 0 {
            let here = (self.id, self.mailbox, self.gate.heard.slots);
            kick_from(
                here,
                self.system,
                &mut self.attend,
                out.partition,
                left.kick,
            );
        }
        out.interface.save_shallow();
        switch::save(&mut out.context.system, self.features);
        cpu::isb(); // the timer's line is low from here on
        self.redistributor.deactivate(VIRTUAL_TIMER.into());
        let deadline = next_deadline(out, left.in_flight);
        self.deadlines.set(from, deadline);
        let coming = match wakes {
            true => come_for_timer(next, left.held),
            false => come_as_is(next, left.held),
        };
        if coming.kick != 0 {
            let here = (self.id, self.mailbox, self.gate.heard.slots);
            kick_from(
                here,
                self.system,
                &mut self.attend,
                next.partition,
                coming.kick,
            );
        }
        if coming.unfinished {
            self.held = left.held;
            return Some(self.resume_without());
        }
        if wakes {
            next.activity = Activity::Ready;
            self.queue.make_ready_here(to);
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
        let trap = match self.fp_owner.is(to) {
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
        if self.attend != 0 {
            return Some(self.resume_by_loop());
        }
        Some(core::ptr::from_mut(next).cast())
    }

    /// Ends [`Pcpu::hand_over`] when who comes needs another round for its list registers: nobody is here.
    #[cold]
    #[inline(never)]
    fn resume_without(&mut self) -> *mut Context {
        self.current = None;
        write::ich_hcr_el2(0);
        self.resume_by_loop()
    }
}
