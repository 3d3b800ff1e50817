//! The loop of every pCPU: take a trap, do what it asks, choose who runs next, enter the guest.
//!
//! Each trap starts on an empty stack and ends in [`Pcpu::resume`](crate::pcpu::Pcpu::resume), which returns the
//! registers to load. EL2 runs with interrupts masked; they are looked at between pieces of work.
//!
//! | module | its part |
//! | --- | --- |
//! | [`traps`], [`calls`], [`mmio`], [`sysregs`], [`faults`] | what the guest did, and what it gets for it |
//! | [`interrupts`], [`timers`], [`vgic`] | what the hardware did, and whose it is |
//! | [`schedule`], [`world`], [`fp`] | who runs next, and its registers |
//! | [`lifecycle`], [`loading`] | partitions that start and stop |

mod calls;
mod faults;
mod fp;
mod interrupts;
mod lifecycle;
pub mod loading;
mod mmio;
mod schedule;
mod sysregs;
mod timers;
mod traps;
mod vgic;
mod world;

pub use world::NOBODY;

use crate::pcpu::{Home, Pcpu};
use bulkhead::vcpu::Context;

/// Called by the vectors for a synchronous exception of the guest, with its registers.
#[unsafe(no_mangle)]
extern "C" fn guest_synchronous(context: *mut Context) -> *mut Context {
    take(context, Pcpu::trap)
}

/// Called by the vectors for an interrupt while a guest ran.
#[unsafe(no_mangle)]
extern "C" fn guest_interrupt(context: *mut Context) -> *mut Context {
    take(context, Pcpu::take_interrupts)
}

/// Called by the vectors for an SError while a guest ran.
#[unsafe(no_mangle)]
extern "C" fn guest_serror(context: *mut Context) -> *mut Context {
    take(context, Pcpu::take_serror)
}

/// Does the work of a trap, and returns the registers to enter. When nothing came up they are those of the vCPU that
/// trapped, which is what [`Pcpu::resume`] would come to.
#[inline(always)]
fn take(context: *mut Context, work: impl FnOnce(&mut Pcpu)) -> *mut Context {
    // SAFETY: a trap's entry.
    let Some(pcpu) = (unsafe { Home::this() }) else {
        unreachable!("a guest ran before its pCPU was set up")
    };
    work(pcpu);
    if pcpu.is_undisturbed() {
        context
    } else {
        pcpu.resume()
    }
}

/// Starts scheduling on this pCPU, for good.
pub fn start() -> ! {
    // SAFETY: start-up's one borrow, given up by entering the guest on a fresh stack.
    let Some(pcpu) = (unsafe { Home::this() }) else {
        unreachable!("scheduling started before the pCPU was set up")
    };
    pcpu.mailbox
        .online
        .store(true, core::sync::atomic::Ordering::SeqCst);
    // Who posts looks at `online` after it wrote; we look at what it wrote after `online`. One of us sees the other.
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    let context = pcpu.resume();
    // SAFETY: `resume` loaded the vCPU whose context it returns.
    unsafe { crate::arch::aarch64::vectors::resume_guest(context) }
}
