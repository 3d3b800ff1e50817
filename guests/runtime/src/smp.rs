//! Several vCPUs: who they are, their stacks, starting and stopping them.
//!
//! The vCPU that enters first has index 0, whatever its affinity; the others get the index under which they are started.

use crate::{gic, smccc};
use core::sync::atomic::{AtomicUsize, Ordering};

/// The most vCPUs that a guest can use.
pub const MAX_VCPUS: usize = 8;
/// Bytes of stack a vCPU: room for some twenty nested interrupts.
pub const STACK_BYTES: usize = 32 * 1024;

#[repr(C, align(64))]
struct Stacks(core::cell::UnsafeCell<[[u8; STACK_BYTES]; MAX_VCPUS]>);

// SAFETY: each vCPU touches its own stack alone, and only as its stack.
unsafe impl Sync for Stacks {}

#[unsafe(no_mangle)]
static RUNTIME_STACKS: Stacks = Stacks(core::cell::UnsafeCell::new([[0; STACK_BYTES]; MAX_VCPUS]));

static ENTRIES: [AtomicUsize; MAX_VCPUS] = [const { AtomicUsize::new(0) }; MAX_VCPUS];

unsafe extern "C" {
    fn runtime_secondary();
}

/// Returns this vCPU's index.
#[inline(always)]
pub fn index() -> usize {
    // The mask spares a bounds check that could itself fault; start code writes 0..MAX_VCPUS.
    read_sysreg!("tpidr_el1") as usize & (MAX_VCPUS - 1)
}

/// Returns the address at which a started vCPU has to enter.
pub fn secondary_entry() -> u64 {
    runtime_secondary as *const () as u64
}

/// Sets what vCPU `index` will run once it is started with [`secondary_entry`] and its index as context.
pub fn set_entry(index: usize, entry: fn() -> !) {
    ENTRIES[index].store(entry as usize, Ordering::Release);
    crate::sysreg::dsb();
}

/// Starts the vCPU with these affinity fields under `index`; returns PSCI's status.
///
/// The caller's MMU must be on: a started vCPU turns its own on before it reads anything.
pub fn start(index: usize, affinity: u64, entry: fn() -> !) -> i64 {
    set_entry(index, entry);
    smccc::psci(smccc::CPU_ON, [affinity, secondary_entry(), index as u64])
}

/// Returns PSCI's `AFFINITY_INFO` of the vCPU with these affinity fields: 0 on, 1 off, 2 being started.
pub fn state(affinity: u64) -> i64 {
    smccc::psci(smccc::AFFINITY_INFO, [affinity, 0, 0])
}

/// Stops this vCPU; returns only when that is refused.
pub fn stop_self() -> i64 {
    smccc::psci(smccc::CPU_OFF, [0; 3])
}

/// Lists the affinity fields of all vCPUs, as the redistributors tell them; fills `out` and returns how many there are.
pub fn affinities(out: &mut [u64; MAX_VCPUS]) -> usize {
    let mut count = 0;
    for (slot, affinity) in out.iter_mut().zip(gic::redistributor_affinities()) {
        *slot = affinity;
        count += 1;
    }
    count
}

#[unsafe(no_mangle)]
extern "C" fn runtime_next(index: usize) -> ! {
    let entry = ENTRIES[index & (MAX_VCPUS - 1)].load(Ordering::Acquire);
    assert!(entry != 0, "vCPU {index} was started without an entry");
    // SAFETY: only `set_entry` stores here, and it stores a `fn() -> !`.
    let entry: fn() -> ! = unsafe { core::mem::transmute::<usize, fn() -> !>(entry) };
    entry()
}
