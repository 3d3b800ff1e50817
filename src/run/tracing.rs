//! What goes into the pCPU's trace ring, see [`bulkhead::trace`].
//!
//! Without a ring the slow paths, where somebody is chosen, wakes or waits, look once whether there is one; the fast ones
//! do not even that. A trap is recorded by vectors of its own ([`trace_traps`]), around the handlers that all traps have.

use super::guest_serror;
use super::quick::{Answer, quick_interrupt_by_either, quick_synchronous_by_either};
use super::timers::VIRTUAL_TIMER;
use crate::arch::aarch64::sysreg::read;
use crate::arch::aarch64::vectors;
use crate::hw::list_registers::{self, Shape};
use crate::hw::{gic, gich};
use crate::pcpu::{Home, Pcpu, Vcpu};
use bulkhead::sched::Slot;
use bulkhead::trace::{UNKNOWN, What, Writer, bits, call};
use bulkhead::trap::syndrome::{ec, exception_class};
use bulkhead::vcpu::Context;

/// Lets this pCPU's traps be recorded, when it has a ring.
pub fn trace_traps() {
    // SAFETY: start-up's borrow, which ends here.
    let traces = unsafe { Home::this() }.is_some_and(|pcpu| pcpu.trace.is_some());
    if traces {
        vectors::use_traced();
    } else if gic::is_memory_mapped() {
        vectors::use_memory_mapped();
    }
    super::stays::count_stays();
}

/// Called by the traced vectors in the place of `quick_synchronous`.
///
/// # Safety
/// As for that.
#[unsafe(no_mangle)]
unsafe extern "C" fn traced_quick_synchronous(vcpu: *mut Vcpu) -> Answer {
    let esr = read::esr_el2();
    // HVC64 and SMC64 differ in the lowest bit alone.
    let calls = exception_class(esr) | 1 == ec::SMC64;
    // SAFETY: the caller's claim.
    let first = unsafe { (*vcpu).context.gpr[0] };
    // What else is in the register is the guest's own.
    let call = if calls { call(first) } else { 0 };
    let syndrome = esr as u32;
    note_trap(What::Trap { syndrome, call });
    // SAFETY: the caller's claim.
    let answer = unsafe { quick_synchronous_by_either(vcpu) };
    if answer.is_done() {
        note_entry();
    }
    answer
}

/// Called by the traced vectors in the place of `quick_interrupt`.
///
/// # Safety
/// As for that.
#[unsafe(no_mangle)]
unsafe extern "C" fn traced_quick_interrupt(vcpu: *mut Vcpu) -> u64 {
    let intid = gic::intid(gic::highest_pending()) as u16;
    let late = lateness(intid);
    note_trap(What::Interrupt { intid, late });
    // SAFETY: the caller's claim.
    let left = unsafe { quick_interrupt_by_either(vcpu) };
    if left == 0 {
        note_entry();
    }
    left
}

/// Called by the traced vectors in the place of `guest_serror`.
#[unsafe(no_mangle)]
extern "C" fn traced_serror(context: *mut Context) -> *mut Context {
    note_trap(What::SError);
    guest_serror(context)
}

/// Records that the guest left.
fn note_trap(what: What) {
    // SAFETY: a trap's entry; the borrow ends before the handler takes its own.
    if let Some(pcpu) = unsafe { Home::this() } {
        let (current, shape) = (pcpu.current, pcpu.shape);
        if let Some(writer) = &mut pcpu.trace {
            writer.put(now(), what.word(current));
            match shape.is_memory_mapped() {
                false => writer.leave(current, used(shape), list_register),
                true => writer.leave(current, used(shape), gich::read_list_register),
            }
        }
    }
}

/// Records what is entered. The traced vectors call it on the general way.
#[unsafe(no_mangle)]
extern "C" fn note_entry() {
    // SAFETY: the handler's borrow is over, and the guest's trap takes the next one.
    if let Some(pcpu) = unsafe { Home::this() } {
        pcpu.trace_entry();
    }
}

/// Returns which list registers hold something.
#[inline(always)]
fn used(shape: Shape) -> u16 {
    let there = u32::MAX >> (32 - u32::from(shape.count.clamp(1, 16)));
    !shape.empty_list_registers() & there as u16
}

/// Reads a list register.
#[inline(never)]
fn list_register(index: u8) -> u64 {
    list_registers::read_list_register(index)
}

/// Returns for how long the virtual timer in the hardware has been due, when an interrupt is that.
fn lateness(intid: u16) -> u32 {
    if intid != VIRTUAL_TIMER {
        return UNKNOWN;
    }
    let late = now().wrapping_sub(read::cntv_cval_el0());
    u32::try_from(late).unwrap_or(UNKNOWN)
}

impl Pcpu {
    /// Records something about a vCPU.
    #[inline(always)]
    pub fn trace(&mut self, slot: Slot, what: What) {
        if self.trace.is_some() {
            self.record(what.word(Some(slot)));
        }
    }

    /// Records what the pCPU does from here on, unless it does so already.
    #[inline(always)]
    pub fn trace_turn(&mut self, slot: Option<Slot>, what: What) {
        if self.trace.is_some() {
            self.record_turn(what.word(slot));
        }
    }

    /// Records the end of a sleep.
    #[inline(always)]
    pub fn trace_awake(&mut self) {
        if self.trace.is_some() {
            let intid = gic::intid(gic::highest_pending()) as u16;
            self.record_turn(What::Awake { intid }.word(None));
        }
    }

    /// Records which interrupts the current vCPU finds that it did not leave, and that it is entered.
    pub fn trace_entry(&mut self) {
        let (Some(slot), Some(writer)) = (self.current, &mut self.trace) else {
            return;
        };
        for index in bits(used(self.shape)) {
            let value = self.shape.read_list_register(index);
            if let Some(intid) = writer.newly_pending(slot, index, value) {
                let late = lateness(intid);
                let what = What::Inject { intid, late };
                writer.put(now(), what.word(Some(slot)));
            }
        }
        writer.put(now(), What::Enter.word(Some(slot)));
    }

    #[cold]
    #[inline(never)]
    fn record(&mut self, word: u64) {
        if let Some(writer) = &mut self.trace {
            writer.put(now(), word);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_turn(&mut self, word: u64) {
        if let Some(writer) = &mut self.trace {
            writer.turn_to(now(), word);
        }
    }
}

/// Records that a vCPU runs from here on.
#[cold]
#[inline(never)]
pub fn note_turn(writer: &mut Writer<'static>, slot: Slot) {
    writer.turn_to(now(), What::Run.word(Some(slot)));
}

/// Returns the time. The counter is read without a barrier: a few instructions' error is worth less than the wait.
fn now() -> u64 {
    read::cntpct_el0()
}
