//! An interrupt handler that writes down what came, for tests.
//!
//! Each vCPU has a log of its own. What a test wants done besides, it gives as a hook.

use crate::exception::{self, Frame};
use crate::{console, gic, layout, smp, sysreg, timer};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Interrupts that a log holds; later ones are counted only.
pub const LOG: usize = 64;

/// What a test does in the handler, between acknowledging and ending: it gets the INTID.
pub type Hook = fn(u32);

struct Log {
    taken: AtomicUsize,
    ended: AtomicUsize,
    spurious: AtomicUsize,
    intids: [AtomicU32; LOG],
    ends: [AtomicU32; LOG],
    entered: AtomicU64,
}

static LOGS: [Log; smp::MAX_VCPUS] = [const {
    Log {
        taken: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        spurious: AtomicUsize::new(0),
        intids: [const { AtomicU32::new(0) }; LOG],
        ends: [const { AtomicU32::new(0) }; LOG],
        entered: AtomicU64::new(0),
    }
}; smp::MAX_VCPUS];

static HOOK: AtomicUsize = AtomicUsize::new(0);

/// The hook that lets level interrupts fall: stops the timers, masks the UART.
pub fn quiet(intid: u32) {
    match intid {
        layout::VIRTUAL_TIMER_INTID => timer::stop_virtual(),
        layout::PHYSICAL_TIMER_INTID => timer::stop_physical(),
        layout::UART_INTID => console::UART.write32(console::IMSC, 0),
        _ => {}
    }
}

/// Starts with empty logs and [`quiet`] as the hook.
pub fn start() {
    for log in &LOGS {
        log.taken.store(0, Ordering::Relaxed);
        log.ended.store(0, Ordering::Relaxed);
        log.spurious.store(0, Ordering::Relaxed);
    }
    set_hook(quiet);
    exception::set_irq_handler(handle);
}

/// Sets what is done in the handler.
pub fn set_hook(hook: Hook) {
    HOOK.store(hook as usize, Ordering::Release);
}

/// Returns how many interrupts this vCPU took since [`start`].
pub fn taken() -> usize {
    LOGS[smp::index()].taken.load(Ordering::Acquire)
}

/// Returns the counter behind [`taken`], for assembly that waits on it.
pub fn taken_counter() -> *const usize {
    LOGS[smp::index()].taken.as_ptr()
}

/// Returns how many interrupts vCPU `index` took since [`start`].
pub fn taken_by(index: usize) -> usize {
    LOGS[index].taken.load(Ordering::Acquire)
}

/// Returns how many times this vCPU was interrupted without anything to acknowledge.
pub fn spurious() -> usize {
    LOGS[smp::index()].spurious.load(Ordering::Relaxed)
}

/// Returns the INTID that this vCPU took as number `number`, from 0.
pub fn intid(number: usize) -> u32 {
    LOGS[smp::index()].intids[number % LOG].load(Ordering::Relaxed)
}

/// Returns the INTID that this vCPU ended as number `number`, from 0.
pub fn end(number: usize) -> u32 {
    LOGS[smp::index()].ends[number % LOG].load(Ordering::Relaxed)
}

/// Returns the virtual count at the last interrupt's entry on this vCPU.
pub fn entered() -> u64 {
    LOGS[smp::index()].entered.load(Ordering::Relaxed)
}

/// Waits up to `timeout_ns` with interrupts unmasked until `count` were taken; returns whether they were.
pub fn wait(count: usize, timeout_ns: u64) -> bool {
    sysreg::unmask_irqs();
    let came = timer::wait_until(timeout_ns, || taken() >= count);
    sysreg::mask_irqs();
    came
}

/// Takes what is pending now, and gives what is late a millisecond to come.
pub fn settle() {
    wait(usize::MAX, 1_000_000);
}

fn add(counter: &AtomicUsize) -> usize {
    let value = counter.load(Ordering::Relaxed);
    counter.store(value + 1, Ordering::Release);
    value
}

fn handle(frame: &mut Frame) {
    let log = &LOGS[smp::index()];
    let intid = gic::acknowledge();
    if (1020..1024).contains(&intid) {
        add(&log.spurious);
        return;
    }
    log.entered.store(frame.entered, Ordering::Relaxed);
    log.intids[log.taken.load(Ordering::Relaxed) % LOG].store(intid, Ordering::Relaxed);
    add(&log.taken);
    let hook = HOOK.load(Ordering::Acquire);
    // SAFETY: only `set_hook` stores here, and it stores a `Hook`.
    let hook: Hook = unsafe { core::mem::transmute::<usize, Hook>(hook) };
    hook(intid);
    sysreg::mask_irqs();
    log.ends[log.ended.load(Ordering::Relaxed) % LOG].store(intid, Ordering::Relaxed);
    add(&log.ended);
    gic::end(intid);
}
