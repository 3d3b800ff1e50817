//! vCPUs that sleep, turn themselves off, and are brought back.
//!
//! Anybody may break whatever a sleeper waits for. So there is always one that does not sleep: [`leave`] refuses the last one. The
//! ones that are awake look after the others every so many steps.

use crate::answers::{self, Answer};
use crate::step::{Fuzzer, STATES};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{gic, layout, smp, sysreg, timer};

/// The rows.
pub const ROWS: &[&str] = &[
    "WFI",
    "WFI with the physical timer",
    "WFI with a deadline that is over",
    "CPU_SUSPEND, standby",
    "CPU_SUSPEND, 32-bit, standby",
    "CPU_SUSPEND, power-down",
    "CPU_SUSPEND to a bad address",
    "CPU_SUSPEND to a bad state",
    "SYSTEM_SUSPEND",
    "CPU_OFF",
    "CPU_ON of another",
    "CPU_ON of another, at a bad address",
    "CPU_ON of all at once",
    "AFFINITY_INFO of another",
];

/// The SGI that wakes a sleeper.
const ALARM: u32 = 15;
/// The timers' interrupts.
const TIMERS: u32 = 1 << layout::VIRTUAL_TIMER_INTID | 1 << layout::PHYSICAL_TIMER_INTID;
/// Longest nap, in ticks.
const NAP: usize = 2000;
/// `SYSTEM_SUSPEND`, 64-bit.
const SYSTEM_SUSPEND: u32 = 0xc400_000e;
/// `CPU_SUSPEND`, 32-bit.
const CPU_SUSPEND_32: u32 = 0x8400_0001;
/// Of CPU_SUSPEND's state: power-down, at affinity level 0.
const POWER_DOWN: u64 = 1 << 16;

static COUNT: AtomicUsize = AtomicUsize::new(1);
static AFFINITIES: [AtomicU64; smp::MAX_VCPUS] = [const { AtomicU64::new(0) }; smp::MAX_VCPUS];
/// How many are away.
static AWAY: AtomicUsize = AtomicUsize::new(0);

/// Looks who is there, and returns how many that is.
pub fn find_vcpus() -> usize {
    let mut affinities = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut affinities);
    for (to, from) in AFFINITIES.iter().zip(affinities) {
        to.store(from, SeqCst);
    }
    COUNT.store(count, SeqCst);
    count
}

/// Returns how many vCPUs there are.
pub fn count() -> usize {
    COUNT.load(SeqCst)
}

fn affinity(index: usize) -> u64 {
    AFFINITIES[index].load(SeqCst)
}

/// Draws the affinity fields of a vCPU.
pub fn draw_affinity(fuzzer: &Fuzzer) -> u64 {
    affinity(fuzzer.below(count()))
}

/// Starts all but the first.
pub fn start_others() {
    for index in 1..count() {
        smp::start(index, affinity(index), crate::work_beside);
    }
}

/// Says whether nobody has anything left to do.
pub fn all_finished() -> bool {
    (1..count()).all(|index| STATES[index].finished.load(SeqCst))
}

/// Turns the vCPU off for good.
pub fn finish() -> ! {
    let finished = &Fuzzer::here().state.finished;
    // Somebody may have turned it on just once more.
    if !finished.load(SeqCst) {
        // Not while all others sleep.
        while !leave() {
            look_after_others();
            timer::spin(20_000);
        }
        finished.store(true, SeqCst);
    }
    loop {
        smp::stop_self();
    }
}

/// Notes that the caller goes away; not the last one.
fn leave() -> bool {
    let left = AWAY.fetch_update(SeqCst, SeqCst, |away| {
        (away + 1 < count()).then_some(away + 1)
    });
    left.is_ok()
}

/// Notes that the caller is here, at its start or again.
pub fn arrived() {
    let state = Fuzzer::here().state;
    for away in [&state.off, &state.asleep] {
        if away.swap(false, SeqCst) {
            AWAY.fetch_sub(1, SeqCst);
        }
    }
}

/// Brings back those that are away.
pub fn look_after_others() {
    let here = smp::index();
    for index in (0..count()).filter(|index| *index != here) {
        let state = &STATES[index];
        if state.off.load(SeqCst) && smp::start(index, affinity(index), crate::work_beside) == 0 {
            answers::add(Answer::TurnedOn);
        }
        if state.asleep.load(SeqCst) {
            alarm(index);
        }
    }
}

/// Wakes a sleeper, whatever was done to its interrupts. Its CPU interface it has set up itself.
fn alarm(index: usize) {
    // A look around is no step: nothing of it faults.
    gic::turn_distributor(true);
    if gic::is_v2() {
        // Its own registers nobody else reaches.
        return gic::send_sgi(ALARM, affinity(index));
    }
    let frame = gic::redistributor_at(index);
    frame.write32(gic::GICR_WAKER, 0);
    frame.write32(gic::SGI_FRAME + gic::ICACTIVER, 1 << ALARM);
    frame.write32(gic::SGI_FRAME + gic::IGROUPR, u32::MAX);
    frame.write8(gic::SGI_FRAME + gic::IPRIORITYR + ALARM as usize, 0);
    frame.write32(gic::SGI_FRAME + gic::ISENABLER, 1 << ALARM);
    gic::send_sgi(ALARM, affinity(index));
}

/// Lets interrupts through that end a nap.
fn open_up(fuzzer: &Fuzzer) {
    if gic::is_v2() {
        gic::init_cpu();
        gic::set_priority(ALARM, 0);
        gic::DISTRIBUTOR.write32(gic::ISENABLER, TIMERS);
        return gic::turn_distributor(true);
    }
    let frame = gic::redistributor_at(fuzzer.index);
    // SAFETY: the CPU interface changes no memory; interrupts are masked.
    unsafe {
        guest_runtime::write_sysreg!("icc_ctlr_el1", 0);
        guest_runtime::write_sysreg!("icc_ap0r0_el1", 0);
        guest_runtime::write_sysreg!("icc_ap1r0_el1", 0);
        guest_runtime::write_sysreg!("icc_pmr_el1", gic::MASK_NONE);
        guest_runtime::write_sysreg!("icc_igrpen1_el1", 1);
    }
    frame.write32(gic::SGI_FRAME + gic::IGROUPR, u32::MAX);
    frame.write32(gic::SGI_FRAME + gic::ISENABLER, 1 << ALARM | TIMERS);
    gic::turn_distributor(true);
}

/// Sleeps by `sleep`, unless all others do.
fn nap(fuzzer: &Fuzzer, sleep: impl FnOnce()) {
    if !leave() {
        return;
    }
    fuzzer.state.asleep.store(true, SeqCst);
    open_up(fuzzer);
    timer::set_virtual(timer::now() + fuzzer.below(NAP) as u64);
    sleep();
    arrived();
}

fn wait() {
    sysreg::wfi();
    answers::add(Answer::Waited);
}

/// Makes a call by either instruction.
fn call(fuzzer: &Fuzzer, function: u32, arguments: [u64; 3]) {
    let conduit = fuzzer.one_of(&[Conduit::Hvc, Conduit::Smc]);
    let [x0, ..] = smccc::call(conduit, function, arguments);
    answers::add_call(function, x0);
}

/// Does one.
pub fn step(fuzzer: &Fuzzer, row: usize) {
    let entry = smp::secondary_entry();
    let context = fuzzer.index as u64;
    match row {
        0 => nap(fuzzer, wait),
        1 => nap(fuzzer, || {
            timer::stop_virtual();
            timer::set_physical(timer::physical_now() + fuzzer.below(NAP) as u64);
            wait();
        }),
        2 => nap(fuzzer, || {
            timer::set_virtual(0);
            wait();
        }),
        3 | 4 => nap(fuzzer, || {
            let function = [smccc::CPU_SUSPEND, CPU_SUSPEND_32][row - 3];
            call(fuzzer, function, [0; 3]);
            answers::add(Answer::Suspended);
        }),
        // It comes back as at a start, as the vCPU that it is; the first one would come back as another.
        5 if fuzzer.index != 0 => resume_elsewhere(fuzzer, || {
            call(fuzzer, smccc::CPU_SUSPEND, [POWER_DOWN, entry, context]);
        }),
        6 => call(
            fuzzer,
            smccc::CPU_SUSPEND,
            [POWER_DOWN, layout::MEMORY_HOLE as u64, context],
        ),
        7 => call(
            fuzzer,
            smccc::CPU_SUSPEND,
            [fuzzer.draw() | 1 << 40, entry, context],
        ),
        // Refused, since others are on; or, the first one being alone, at a bad address.
        8 => call(
            fuzzer,
            SYSTEM_SUSPEND,
            [layout::MEMORY_HOLE as u64, context, 0],
        ),
        9 if fuzzer.index != 0 => turn_off(fuzzer),
        10 => start(fuzzer, fuzzer.below(count()), entry),
        11 => start(fuzzer, fuzzer.below(count()), fuzzer.draw() | 1 << 50),
        12 => (0..count()).for_each(|index| start(fuzzer, index, entry)),
        _ => drop(smp::state(draw_affinity(fuzzer))),
    }
}

/// Asks for a vCPU to be turned on.
fn start(fuzzer: &Fuzzer, index: usize, entry: u64) {
    // One that has finished stays off: it would come back to nothing.
    if index != 0 && !STATES[index].finished.load(SeqCst) {
        call(
            fuzzer,
            smccc::CPU_ON,
            [affinity(index), entry, index as u64],
        );
    }
}

/// Turns the vCPU off; somebody turns it on again.
fn turn_off(fuzzer: &Fuzzer) {
    if leave() {
        count_step(fuzzer);
        fuzzer.state.off.store(true, SeqCst);
        answers::add(Answer::TurnedOff);
        smp::stop_self();
        // Refused: still here.
        arrived();
    }
}

/// Suspends so that the vCPU comes back at its start.
fn resume_elsewhere(fuzzer: &Fuzzer, suspend: impl FnOnce()) {
    nap(fuzzer, || {
        count_step(fuzzer);
        answers::add(Answer::PoweredDown);
        suspend();
    });
}

/// Counts a step that does not come back.
fn count_step(fuzzer: &Fuzzer) {
    let done = fuzzer.state.done.load(SeqCst);
    fuzzer.state.done.store(done + 1, SeqCst);
}
