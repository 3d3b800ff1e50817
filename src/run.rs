//! The loop of every pCPU: take a trap, do what it asks, choose who runs next, enter the guest.
//!
//! Each trap starts on an empty stack and ends in [`Pcpu::resume`](crate::pcpu::Pcpu::resume), which returns the
//! registers to load. EL2 runs with interrupts masked; they are looked at between pieces of work.
//!
//! | module | its part |
//! | --- | --- |
//! | [`quick`] | the plain cases of all of it, before the general way |
//! | [`traps`], [`calls`], [`mmio`], [`sysregs`], [`faults`] | what the guest did, and what it gets for it |
//! | [`interrupts`], [`priorities`], [`timers`], [`vgic`] | what the hardware did, and whose it is |
//! | [`schedule`], [`limits`], [`world`], [`fp`], [`handover`] | who runs next, and its registers |
//! | [`lifecycle`], [`loading`], [`watchdog`] | partitions that start and stop |
//! | [`manage`] | partitions that manage others |
//! | [`tracing`] | what of it goes into the pCPU's trace ring, when there is one |
//! | [`stays`] | where EL2's stays end, and in a build for that how long they were |

mod calls;
pub mod channels;
mod faults;
mod fp;
mod handover;
mod interrupts;
mod lifecycle;
mod limits;
pub mod loading;
mod manage;
mod mmio;
mod priorities;
mod quick;
mod schedule;
#[cfg(feature = "stay-counter")]
#[path = "run/stay_counter.rs"]
mod stays;
#[cfg(not(feature = "stay-counter"))]
mod stays;
mod sysregs;
mod timers;
mod tracing;
mod traps;
mod vgic;
mod watchdog;
mod world;

pub use tracing::trace_traps;
pub use world::{Fixed, NOBODY};

use crate::arch::aarch64::sysreg::read;
use crate::pcpu::{Home, Pcpu, Vcpu};
use bulkhead::smccc;
use bulkhead::trap::quick::page;
use bulkhead::vcpu::Context;
use interrupts::HYPERVISOR_TIMER;

/// The end of a trap whose work is done, and something came up.
extern "C" fn attend_turn(context: *mut Context) -> *mut Context {
    finish(this(), context)
}

/// The end of a call that rings a doorbell.
extern "C" fn ring_turn(context: *mut Context) -> *mut Context {
    // SAFETY: as in `save_and_answer`; the borrow ends before the pCPU is borrowed.
    let vcpu = unsafe { &mut *context.cast::<Vcpu>() };
    let [result, index, ..] = &mut vcpu.context.gpr;
    let Some(end) = vcpu.partition.channels.get(*index as u32 as usize) else {
        *result = smccc::result::INVALID_PARAMETERS;
        return context;
    };
    *result = smccc::result::SUCCESS;
    this().ring_and_resume(end)
}

/// The end of a plain store to the first bytes of a page, which rings a doorbell where there is one.
extern "C" fn store_turn(context: *mut Context) -> *mut Context {
    // SAFETY: as in `save_and_answer`; the borrow ends before the pCPU is borrowed.
    let vcpu = unsafe { &mut *context.cast::<Vcpu>() };
    let index = page(read::hpfar_el2()).wrapping_sub(vcpu.emulated.doorbells);
    let Some(end) = vcpu.partition.channels.get(index as usize) else {
        return answer_trap(context);
    };
    vcpu.context.pc = vcpu.context.pc.wrapping_add(4);
    this().ring_and_resume(end)
}

/// The end of a call that lets equals go first.
extern "C" fn yield_turn(_: *mut Context) -> *mut Context {
    let pcpu = this();
    if pcpu.limits.is_some() {
        return yield_within_limits(pcpu);
    }
    pcpu.yield_plainly();
    pcpu.resume()
}

/// [`yield_turn`] on a pCPU with budgets or windows.
#[inline(never)]
fn yield_within_limits(pcpu: &mut Pcpu) -> *mut Context {
    pcpu.yield_elsewhere();
    pcpu.resume()
}

/// The end of an access by a register that the short way did not have at hand. Now all are saved.
extern "C" fn save_and_answer(context: *mut Context) -> *mut Context {
    // SAFETY: the vectors' claim: the context is the first field of the vCPU whose registers are in the hardware, and nothing
    // borrows it or its pCPU yet.
    unsafe { quick::saved_access(context.cast()) }.end(context)
}

/// The end of a trap that the short way left undecided.
extern "C" fn answer_trap(context: *mut Context) -> *mut Context {
    take(context, Pcpu::trap)
}

/// Called by the vectors for an interrupt while a guest ran; `first` is what [`quick`] acknowledged.
#[unsafe(no_mangle)]
extern "C" fn guest_interrupt(context: *mut Context, first: u64) -> *mut Context {
    match first.wrapping_sub(quick::ACKNOWLEDGED) as u32 {
        HYPERVISOR_TIMER => timer_turn(),
        intid => other_interrupt(context, intid),
    }
}

/// [`guest_interrupt`] for EL2's timer: it is chosen anew at once.
#[inline(never)]
fn timer_turn() -> *mut Context {
    let pcpu = this();
    pcpu.take_hypervisor_timer();
    pcpu.resume()
}

/// [`guest_interrupt`] for any other.
#[inline(never)]
fn other_interrupt(context: *mut Context, intid: u32) -> *mut Context {
    take(context, |pcpu| pcpu.take_interrupts_from(intid))
}

/// Called by the vectors for an SError while a guest ran.
#[unsafe(no_mangle)]
extern "C" fn guest_serror(context: *mut Context) -> *mut Context {
    take(context, Pcpu::take_serror)
}

/// Does the work of a trap, and returns the registers to enter. When nothing came up they are those of the vCPU that
/// trapped, which is what [`Pcpu::resume_by_loop`] would come to.
#[inline(always)]
fn take(context: *mut Context, work: impl FnOnce(&mut Pcpu)) -> *mut Context {
    let pcpu = this();
    work(pcpu);
    finish(pcpu, context)
}

/// [`take`] when the work is done.
#[inline(always)]
fn finish(pcpu: &mut Pcpu, context: *mut Context) -> *mut Context {
    if pcpu.reschedule {
        pcpu.resume()
    } else if pcpu.is_undisturbed() {
        context
    } else {
        pcpu.resume_by_loop()
    }
}

/// Returns the pCPU's state, once in a trap.
#[inline(always)]
fn this() -> &'static mut Pcpu {
    // SAFETY: a trap's entry; the borrow of the short way has ended.
    let Some(pcpu) = (unsafe { Home::this() }) else {
        unreachable!("a guest ran before its pCPU was set up")
    };
    pcpu
}

/// Starts scheduling on this pCPU, for good.
pub fn start() -> ! {
    // SAFETY: start-up's one borrow, given up by entering the guest on a fresh stack.
    let Some(pcpu) = (unsafe { Home::this() }) else {
        unreachable!("scheduling started before the pCPU was set up")
    };
    pcpu.console = pcpu.system.console.take_server(pcpu.id);
    if pcpu.shape.is_memory_mapped() {
        pcpu.claim_interrupts();
    }
    pcpu.mailbox
        .online
        .store(true, core::sync::atomic::Ordering::SeqCst);
    // Who posts looks at `online` after it wrote; we look at what it wrote after `online`. One of us sees the other.
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    let context = pcpu.resume_by_loop();
    pcpu.trace_entry();
    // SAFETY: `resume` loaded the vCPU whose context it returns.
    unsafe { crate::arch::aarch64::vectors::resume_guest(context) }
}
