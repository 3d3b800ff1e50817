//! Counts how long EL2 stays, by the counter, in a build that is made for that (feature `stay-counter`).
//!
//! The vectors read the counter in their second instruction; it is read again when the trap is done, a constant number of
//! instructions before the return. Where long work looks for interrupts, and before and behind a WFI, a stay ends and another
//! one begins. `cargo xtask bench --longest` knows the places of all reads by the sections `.stay_begin` and `.stay_end`.
//!
//! The counter is `CNTPCT_EL0`, not the cycle counter: that one is the guests', switched with them and stopped at EL2. Under
//! icount with a counter of 1 GHz it counts instructions; on a chip its ticks are of 1 to 50 ns, and a stay of thousands of
//! instructions has hundreds of them.
//!
//! [`STAYS`] is read by a debugger or an emulator's monitor: for each pCPU and each kind of trap the number of stays, their sum,
//! the longest, and how many there are of each power of two of ticks.

use super::guest_serror;
use super::quick::{Answer, quick_interrupt_by_either, quick_synchronous_by_either};
use crate::arch::aarch64::sysreg::read;
use crate::arch::aarch64::{counting, cpu};
use crate::pcpu::{Home, Vcpu};
use bulkhead::ids::{MAX_PCPUS, PcpuId};
use bulkhead::trap::syndrome::exception_class;
use bulkhead::vcpu::Context;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whether every entry of a guest has to be seen.
pub const COUNTED: bool = true;

/// Kinds of traps: 0 to 63 exception classes, then interrupts, SErrors, and what follows a look at interrupts.
const KINDS: usize = 67;
const INTERRUPT: u64 = 64;
const SERROR: u64 = 65;
const PIECE: u64 = 66;
/// Powers of two that are told apart.
const POWERS: usize = 29;

/// What is known of a kind: number, sum, longest, and the numbers by power of two.
type Kind = [AtomicU64; 3 + POWERS];

/// One pCPU's: when its stay began, what it is, and all kinds.
#[repr(C)]
struct Stays {
    begun: AtomicU64,
    kind: AtomicU64,
    kinds: [Kind; KINDS],
}

/// All pCPUs'; the host reads it.
#[unsafe(no_mangle)]
static STAYS: [Stays; MAX_PCPUS] = [const {
    Stays {
        begun: AtomicU64::new(0),
        kind: AtomicU64::new(0),
        kinds: [const { [const { AtomicU64::new(0) }; 3 + POWERS] }; KINDS],
    }
}; MAX_PCPUS];

/// Begins a stay.
fn open(pcpu: PcpuId, begun: u64, kind: u64) {
    if let Some(stays) = STAYS.get(usize::from(pcpu.0)) {
        stays.kind.store(kind, Relaxed);
        stays.begun.store(begun, Relaxed);
    }
}

/// Ends a stay, if one has begun, and says whether.
fn close(pcpu: PcpuId) -> bool {
    let now = counting::end();
    let Some(stays) = STAYS.get(usize::from(pcpu.0)) else {
        return false;
    };
    let begun = stays.begun.swap(0, Relaxed);
    let kind = stays.kinds.get(stays.kind.load(Relaxed) as usize);
    let (1.., Some([count, sum, longest, powers @ ..])) = (begun, kind) else {
        return false;
    };
    let ticks = now.wrapping_sub(begun);
    let power = ticks.checked_ilog2().unwrap_or(0) as usize;
    for (counter, more) in [(count, 1), (sum, ticks)]
        .into_iter()
        .chain(powers.get(power).map(|power| (power, 1)))
    {
        counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
    }
    longest.store(longest.load(Relaxed).max(ticks), Relaxed);
    true
}

/// Ends a stay, does something, and begins the next one. Never a part of its callers: they stay as they are without it.
#[inline(never)]
fn cut(pcpu: PcpuId, between: impl FnOnce()) {
    let was_open = close(pcpu);
    between();
    if was_open {
        open(pcpu, counting::begin(), PIECE);
    }
}

/// Marks a place where long work looks for interrupts.
#[inline(always)]
pub fn preemption_point(pcpu: PcpuId) {
    cpu::preemption_point();
    cut(pcpu, || {});
}

/// Sleeps until an interrupt is pending, masked or not.
#[inline(always)]
pub fn wait_for_interrupt(pcpu: PcpuId) {
    cut(pcpu, cpu::wait_for_interrupt);
}

/// Lets this pCPU's stays be counted.
pub fn count_stays() {
    counting::use_vectors();
}

/// Begins the stay of a trap that has just come.
fn open_here(begun: u64, kind: u64) {
    // SAFETY: a trap's entry; the borrow ends before the handler takes its own.
    if let Some(pcpu) = unsafe { Home::this() } {
        open(pcpu.id, begun, kind);
    }
}

/// Called by the counting vectors in the place of `quick_synchronous`, with the counter as it was at the vector.
///
/// # Safety
/// As for that.
#[unsafe(no_mangle)]
unsafe extern "C" fn counted_quick_synchronous(vcpu: *mut Vcpu, begun: u64) -> Answer {
    open_here(begun, exception_class(read::esr_el2()).into());
    // SAFETY: the caller's claim.
    let answer = unsafe { quick_synchronous_by_either(vcpu) };
    if answer.is_done() {
        close_stay();
    }
    answer
}

/// Called by the counting vectors in the place of `quick_interrupt`.
///
/// # Safety
/// As for that.
#[unsafe(no_mangle)]
unsafe extern "C" fn counted_quick_interrupt(vcpu: *mut Vcpu, begun: u64) -> u64 {
    open_here(begun, INTERRUPT);
    // SAFETY: the caller's claim.
    let left = unsafe { quick_interrupt_by_either(vcpu) };
    if left == 0 {
        close_stay();
    }
    left
}

/// Called by the counting vectors for an SError, which has no short way.
#[unsafe(no_mangle)]
extern "C" fn counted_quick_serror(_: *mut Vcpu, begun: u64) -> u64 {
    open_here(begun, SERROR);
    1
}

/// Called by the counting vectors in the place of `guest_serror`.
#[unsafe(no_mangle)]
extern "C" fn counted_serror(context: *mut Context) -> *mut Context {
    guest_serror(context)
}

/// Ends this pCPU's stay. The counting vectors call it on the general way.
#[unsafe(no_mangle)]
extern "C" fn close_stay() {
    // SAFETY: the handler's borrow is over, and the guest's trap takes the next one.
    if let Some(pcpu) = unsafe { Home::this() } {
        close(pcpu.id);
    }
}
