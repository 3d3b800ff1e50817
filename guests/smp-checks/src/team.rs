//! The vCPUs as a team: the first one gives jobs, the others do them.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use guest_runtime::suite::{Outcome, Verdict};
use guest_runtime::{expect, fail, gic, layout, recorder, smccc, smp, sysreg, timer};

/// One second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// How long the team waits for something that must come, in nanoseconds: siblings may take turns by long slices.
pub const PATIENCE: u64 = 20 * SECOND;

/// A piece of work that each vCPU does.
pub type Job = fn();

static AFFINITIES: [AtomicU64; smp::MAX_VCPUS] = [const { AtomicU64::new(0) }; smp::MAX_VCPUS];
static SIZE: AtomicUsize = AtomicUsize::new(1);
static JOBS: [AtomicUsize; smp::MAX_VCPUS] = [const { AtomicUsize::new(0) }; smp::MAX_VCPUS];
/// How often each vCPU came up.
pub static STARTS: [AtomicU64; smp::MAX_VCPUS] = [const { AtomicU64::new(0) }; smp::MAX_VCPUS];
/// Interrupts that each vCPU took, by INTID below 64.
pub static RECEIVED: [[AtomicU32; 64]; smp::MAX_VCPUS] =
    [const { [const { AtomicU32::new(0) }; 64] }; smp::MAX_VCPUS];

/// Finds the team and sets the first vCPU's interrupts up.
pub fn init() {
    let mut found = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut found);
    // The one that runs now has index 0, wherever its redistributor lies.
    let own = sysreg::affinity();
    let others = found[..count]
        .iter()
        .copied()
        .filter(|affinity| *affinity != own);
    for (slot, affinity) in AFFINITIES.iter().zip(core::iter::once(own).chain(others)) {
        slot.store(affinity, Ordering::Relaxed);
    }
    SIZE.store(count, Ordering::Release);
    gic::init_distributor();
    recorder::start();
    recorder::set_hook(count_interrupt);
    prepare();
}

fn count_interrupt(intid: u32) {
    recorder::quiet(intid);
    RECEIVED[smp::index()][intid as usize & 63].fetch_add(1, Ordering::AcqRel);
}

/// Sets this vCPU's interrupts up: all SGIs and the virtual timer.
fn prepare() {
    gic::init_cpu();
    for intid in 0..16 {
        gic::enable(intid, 0x80);
    }
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0xa0);
    sysreg::unmask_irqs();
}

/// Returns the number of vCPUs.
pub fn size() -> usize {
    SIZE.load(Ordering::Acquire)
}

/// Returns the affinity fields of vCPU `index`.
pub fn affinity(index: usize) -> u64 {
    AFFINITIES[index].load(Ordering::Relaxed)
}

/// Lets a sibling on the same pCPU run: waits for an interrupt, or a tenth of a millisecond.
pub fn rest() {
    sysreg::mask_irqs();
    timer::set_virtual(timer::now() + timer::ns_to_ticks(100_000));
    sysreg::wfi();
    timer::stop_virtual();
    sysreg::unmask_irqs();
    sysreg::isb();
}

/// Waits with [`rest`] until `done` says so, [`PATIENCE`] at most; returns whether it did.
pub fn wait(mut done: impl FnMut() -> bool) -> bool {
    timer::wait_until(PATIENCE, || {
        let done = done();
        if !done {
            rest();
        }
        done
    })
}

/// What every vCPU but the first runs: counts its start, then does jobs.
pub fn worker() -> ! {
    let index = smp::index();
    prepare();
    STARTS[index].fetch_add(1, Ordering::AcqRel);
    loop {
        let job = JOBS[index].load(Ordering::Acquire);
        if job == 0 {
            rest();
            continue;
        }
        // SAFETY: only `give` stores here, and it stores a `Job`.
        let job: Job = unsafe { core::mem::transmute::<usize, Job>(job) };
        job();
        JOBS[index].store(0, Ordering::Release);
    }
}

/// Gives vCPU `index` a job.
pub fn give(index: usize, job: Job) {
    JOBS[index].store(job as usize, Ordering::Release);
}

/// Waits until all jobs are done.
pub fn finish() -> Outcome {
    for index in 1..size() {
        expect!(
            wait(|| JOBS[index].load(Ordering::Acquire) == 0),
            "vCPU {index} does not finish its job"
        );
    }
    Ok(())
}

/// Does a job on all vCPUs, this one too, and waits for the end.
pub fn together(job: Job) -> Outcome {
    for index in 1..size() {
        give(index, job);
    }
    job();
    finish()
}

/// Starts vCPU `index` as a worker and waits until it is up.
pub fn bring_up(index: usize) -> Outcome {
    let before = STARTS[index].load(Ordering::Acquire);
    let answer = smp::start(index, affinity(index), worker);
    expect!(answer == 0, "CPU_ON of vCPU {index} is {answer}");
    expect!(
        wait(|| STARTS[index].load(Ordering::Acquire) > before),
        "vCPU {index} does not come up"
    );
    Ok(())
}

/// Job: stops the vCPU that does it. Off counts as done, so that a vCPU that comes up again finds no job.
pub fn switch_off() {
    sysreg::mask_irqs();
    JOBS[smp::index()].store(0, Ordering::Release);
    smp::stop_self();
}

/// Lets vCPU `index` stop itself and waits until PSCI says that it is off.
pub fn take_down(index: usize) -> Outcome {
    give(index, switch_off);
    expect!(
        wait(|| smp::state(affinity(index)) == 1),
        "vCPU {index} is not off: AFFINITY_INFO {}",
        smp::state(affinity(index))
    );
    Ok(())
}

/// Ends a test early where there are fewer vCPUs than it needs.
pub fn needs(vcpus: usize) -> Outcome {
    if size() < vcpus {
        Err(Verdict::Skip("needs more vCPUs"))
    } else {
        Ok(())
    }
}

/// Fails unless a PSCI call answered as wanted.
pub fn answered(what: &str, found: i64, wanted: i64) -> Outcome {
    if found != wanted {
        fail!("{what} is {found}, wanted {wanted}");
    }
    Ok(())
}

/// Returns whether a hypervisor is there; the first vCPU's answer holds for all.
pub fn is_hypervised() -> bool {
    smccc::is_hypervised()
}
