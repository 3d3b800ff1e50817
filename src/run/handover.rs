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
//!   now. It is ready, or it waits for its virtual timer, which is due, or for a doorbell that who leaves rings: it wakes as
//!   part of coming, its interrupt goes from nowhere into its list register, and its partition's lock is taken once for
//!   all of that. Where that is not all that it would hear, nothing was done but to lower the mask, and the loop does it, after
//!   the general way of a ring.
//! * It is live in its vGIC from then on, before who leaves has left: nothing can keep it away any more, and what others do to
//!   it meanwhile comes with a call, as to one that runs.
//! * A ring does not look whose deadline is over: who would go before the one that comes is more urgent than both, and EL2's
//!   timer, which is armed for it, interrupts at once.
//! * The guest is entered from here, past the frames of the trap, which nobody needs any more, unless the entry is recorded.
//! * Neither has a quirk ([`crate::pcpu::Quirks`]), so what a world switch does for such a one is left out. `HCR_EL2` and
//!   `MDCR_EL2` are then the same for both, and no sibling's translations are here.
//! * `ICH_HCR_EL2` is that of a vCPU for which nothing waits outside of its list registers. It stays so, unless who comes
//!   wants more.
//! * Where the pCPU slept, the vCPU that is here waits, its list registers are in the model, nobody is ready, and the mask comes
//!   down from all to who woke.

use super::stays::COUNTED;
use super::timers::{VIRTUAL_TIMER, next_deadline, waits_for_this};
use super::tracing::note_turn;
use super::vgic::interface_control;
use super::world::{
    come_at_once, come_by_choice, come_for_one, confine_plainly, leave_as_is, was_in_flight,
};
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::vectors::resume_guest;
use crate::arch::aarch64::{cpu, switch};
use crate::hw::{gicv3, list_registers, timer};
use crate::pcpu::{Activity, Pcpu, kick_from};
use crate::system::ChannelEnd;
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::trace::What;
use bulkhead::trap::controls;
use bulkhead::trap::syndrome::{ec, exception_class};
use bulkhead::vcpu::Context;
use bulkhead::vgic::{Leaving, list_register};
use core::hint::cold_path;
use core::ptr::{NonNull, null_mut};

/// `ISR_EL1.A` and `ISR_EL1.I`: an SError, or an interrupt that the mask lets through, is pending.
const PRESSING: u64 = 1 << 8 | 1 << 7;

impl Pcpu {
    /// The end of a trap after which it is to be chosen anew: returns the registers of the vCPU to enter.
    #[inline(always)]
    pub fn resume(&mut self) -> *mut Context {
        self.turn(None, false)
    }

    /// The end of a trap in which the current vCPU rings the doorbell at the other end of a channel: the same. When that is a
    /// call, its result for one that rings is there already.
    #[inline(always)]
    pub fn ring_and_resume(&mut self, end: &'static ChannelEnd) -> *mut Context {
        self.turn(Some(end), false)
    }

    /// Goes on after the pCPU slept, to who woke, when that is the short way. The vCPU that is here waits, with its list
    /// registers in the model.
    #[inline(always)]
    pub fn wake_from_sleep(&mut self) -> Option<NonNull<Context>> {
        NonNull::new(self.turn(None, true))
    }

    /// Does what the three above do. After a sleep it returns null when the loop is to go on.
    #[inline(never)]
    fn turn(&mut self, ring: Option<&'static ChannelEnd>, slept: bool) -> *mut Context {
        match self.hand_over(ring, slept) {
            Some(context) => context,
            None => self.turn_by_loop(ring, slept),
        }
    }

    /// [`Pcpu::turn`] in the general way.
    #[inline(never)]
    fn turn_by_loop(&mut self, ring: Option<&'static ChannelEnd>, slept: bool) -> *mut Context {
        if slept {
            return null_mut();
        }
        let Some(end) = ring else {
            self.reschedule = true;
            return self.resume_by_loop();
        };
        let result = self.ring_end(end);
        if exception_class(read::esr_el2()) != ec::DATA_ABORT_LOWER {
            self.answer(&[result]);
        }
        if self.limits.is_none() {
            // Who was to come may not have, but the mask is that one's.
            let mask = self.gate.mask;
            let own = self.current_vcpu().map(|vcpu| vcpu.gate.mask);
            self.reschedule |= own != Some(mask);
        }
        match self.current {
            Some(slot) if !self.reschedule && self.is_undisturbed() => self.enter(slot),
            // What kept the short way from this one does so still.
            _ => self.resume_by_loop(),
        }
    }

    /// Makes the registers of the most urgent vCPU, or of the one for which the current one rings, those in the hardware, and
    /// returns them, when that is the short way. Nothing rang where it is not.
    #[inline(always)]
    fn hand_over(
        &mut self,
        ring: Option<&'static ChannelEnd>,
        slept: bool,
    ) -> Option<*mut Context> {
        let from = self.current?;
        let pressed = self.attend | self.unfinished != 0 || self.folded != slept;
        if pressed || self.limits.is_some() || self.console_is_due() {
            cold_path();
            return None;
        }
        let (now, to, wakes) = match ring {
            Some(end) => (0, *self.homes.get(usize::from(end.peer.0))?, true),
            None => {
                let now = timer::now();
                let (to, wakes) = self.next_turn(now)?;
                (now, to, wakes)
            }
        };
        self.hand_over_to(ring, slept, now, from, to, wakes)
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

    /// [`Pcpu::hand_over`] from one vCPU to another, which `wakes` for that; `slept` says that the pCPU did, and heard everybody.
    /// Returns only when that is not the short way, or when there is something to look after or to record first.
    #[inline(always)]
    fn hand_over_to(
        &mut self,
        ring: Option<&'static ChannelEnd>,
        slept: bool,
        now: u64,
        from: Slot,
        to: Slot,
        wakes: bool,
    ) -> Option<*mut Context> {
        let both = [from.index(), to.index()];
        let [out, next] = self.vcpus.get_disjoint_mut(both).ok()?;
        let quirks = out.quirks.or(next.quirks);
        let comes = match (ring, wakes) {
            (Some(_), _) => next.activity == Activity::Waiting,
            // The deadline of an equal may be over, too.
            (None, true) => next.is_alone_in_rank() && waits_for_this(next, now),
            (None, false) => next.activity == Activity::Ready && !slept,
        };
        if !quirks.are_none() || !comes {
            cold_path();
            return None;
        }
        let gate = next.gate;
        if gate.mask < self.gate.mask {
            self.gate = gate;
            gicv3::set_mask(gate.mask);
            self.mailbox.mail.publish(gate.heard);
        } else if slept || wakes || out.equals.1 != next.equals.1 {
            // Less urgent; or two ranks share a level, and what was silenced for the one may have to speak for the other.
            cold_path();
            return None;
        }
        cpu::dsb_sy(); // an SError of what the guest did last is pending by now
        cpu::isb(); // the register is not read before
        let pressed = read::isr_el1() & PRESSING != 0 || self.mailbox.mail.has(gate.heard);
        if pressed || read::ich_hcr_el2() != list_registers::HCR_ENABLE {
            cold_path();
            return None;
        }
        let first = match (ring, wakes) {
            (Some(end), _) => come_for_one(next, Some(end.peer_intid))?,
            (None, true) => come_for_one(next, None)?,
            (None, false) => 0,
        };
        if first != 0 {
            next.activity = Activity::Ready;
            self.queue.make_ready_here(next.slot);
        }
        let left = match slept {
            true => {
                cold_path();
                self.folded = false;
                Leaving {
                    held: self.held,
                    in_flight: was_in_flight(out),
                    kick: 0,
                }
            }
            false => leave_as_is(out),
        };
        if left.kick != 0 {
            cold_path();
            let here = (self.id, self.mailbox, self.gate.heard.slots);
            let whose = out.partition;
            kick_from(here, self.system, &mut self.attend, whose, left.kick);
        }
        out.interface.save_shallow();
        switch::save(&mut out.context.system, self.features);
        cpu::isb(); // the timer's line is low from here on
        self.redistributor.deactivate(VIRTUAL_TIMER.into());
        let deadline = next_deadline(out, left.in_flight);
        self.deadlines.set(out.slot, deadline);
        let (held, in_flight, hcr) = match first {
            0 => match come_at_once(next, left.held) {
                Some(coming) => (coming.held, coming.in_flight, 0),
                None => {
                    cold_path();
                    let here = (self.id, self.mailbox, self.gate.heard.slots);
                    let coming =
                        come_by_choice(next, left.held, here, self.system, &mut self.attend);
                    if coming.unfinished {
                        self.held = left.held;
                        return Some(self.resume_without());
                    }
                    (coming.held, coming.in_flight, coming.hcr)
                }
            },
            _ => {
                list_registers::write_first_alone(first, left.held);
                (1, first & list_register::HW != 0, 0)
            }
        };
        self.held = held;
        let to = next.slot;
        (self.current, self.chosen) = (Some(to), to);
        self.reschedule = false;
        confine_plainly(next);
        next.interface.restore_shallow();
        if in_flight {
            self.redistributor.activate(VIRTUAL_TIMER.into());
            cpu::dsb_sy(); // before the timer's line rises
        }
        if hcr != 0 {
            cold_path();
            write::ich_hcr_el2(interface_control(self.shape, hcr));
        }
        let trap = match self.fp_owner.is(to) {
            true => 0,
            false => controls::CPTR_TFP,
        };
        write::cptr_el2(controls::CPTR_GUEST | trap);
        switch::restore(&next.context.system, self.features);
        let own = next.own_deadline; // the hardware watches the other one
        self.deadlines.set(next.slot, own);
        let console = match &self.console {
            Some(console) if self.gate.heard.console() => console.deadline(),
            _ => NEVER,
        };
        let others = self.deadlines.earliest_before(next.equals.0);
        timer::arm(own.min(others).min(console));
        let observed = self.trace.is_some() || COUNTED;
        if self.attend != 0 || observed {
            let slot = next.slot;
            return Some(self.end_turn(slot, first != 0));
        }
        let context = core::ptr::from_mut(next).cast();
        // SAFETY: its registers are in the hardware, and its context has this pCPU's stack, which nobody needs any more.
        unsafe { resume_guest(context) }
    }

    /// Ends [`Pcpu::hand_over`] to one that came, and that `woke` for that, when it may not be entered at once.
    #[cold]
    #[inline(never)]
    fn end_turn(&mut self, slot: Slot, woke: bool) -> *mut Context {
        if let Some(writer) = &mut self.trace {
            if woke {
                writer.put(timer::now(), What::Wake.word(Some(slot)));
            }
            note_turn(writer, slot);
        }
        match self.attend {
            0 => self.enter(slot),
            _ => self.resume_by_loop(),
        }
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
