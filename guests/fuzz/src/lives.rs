//! A keeper of partitions that end again and again: the guest `mayfly`, each of whose lives ends in the way that its number
//! says. What stays stopped is started, what waits for an order gets it; and now and then any order comes, at any time.
//!
//! The keeper is more urgent than those that it keeps, and all live on one pCPU. So nothing changes between its look at one
//! and its order, and it knows what each order must be answered.

use crate::counts;
use crate::step::Fuzzer;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest_runtime::channel::{Channel, Memory};
use guest_runtime::manage::{self, Info, phase};
use guest_runtime::{channel, gic, layout, println, sysreg, timer};

/// Ways in which a life ends, by the remainder of its number.
const WAYS: [&str; 8] = [
    "SYSTEM_RESET",
    "SYSTEM_RESET2",
    "a fault that has no answer",
    "SYSTEM_OFF",
    "CPU_OFF of the last vCPU",
    "a watchdog that is not kicked",
    "an order to stop",
    "an order to restart",
];
/// Of these: what crash records are kept of, and what the keeper does.
const CRASHES: [usize; 2] = [2, 5];
const STOPPED: usize = 6;
const RESTARTED: usize = 7;

/// What orders come to.
const ANSWERS: [&str; 8] = [
    "a start",
    "a stop",
    "a restart",
    "a start of what runs, refused",
    "a start or restart of what stops, refused",
    "an order that changes nothing",
    "words of a crash record",
    "bytes of a log",
];
const REFUSED_AS_IT_RUNS: usize = 3;
const REFUSED_AS_IT_STOPS: usize = 4;
const NOTHING: usize = 5;
const CRASH: usize = 6;
const LOG: usize = 7;

/// One of so many looks brings any order.
const WHIMS: usize = 4;
/// Longest time between two looks, in nanoseconds.
const NAP_NS: usize = 100_000;
/// Most partitions that are kept.
const MOST: usize = 4;
/// Lives between two lines.
const PROGRESS: u64 = 1000;

/// One that is kept.
#[derive(Clone, Copy)]
struct Kept {
    number: u64,
    channel: Channel,
    /// How often it had been started at the last look.
    starts: u32,
    /// Orders that came while it ran or left.
    orders: u64,
}

static ANSWERED: [AtomicU64; ANSWERS.len()] = [const { AtomicU64::new(0) }; ANSWERS.len()];
/// Lives that an order ended, by whether another one followed.
static ORDERED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Finds those that are kept.
fn find() -> [Option<Kept>; MOST] {
    let mut all = [None; MOST];
    let kept = channel::all().filter(|found| found.name.starts_with("kept"));
    for (place, found) in all.iter_mut().zip(kept) {
        let is_peer = |number: &u64| {
            manage::info(*number).is_ok_and(|info| name_of(&info) == found.peer.as_bytes())
        };
        *place = (0..16).find(is_peer).map(|number| Kept {
            number,
            channel: Channel::new(found),
            starts: 0,
            orders: 0,
        });
    }
    all
}

fn name_of(info: &Info) -> &[u8] {
    info.name.split(|byte| *byte == 0).next().unwrap_or(&[])
}

/// Keeps them for a number of lives. Returns how many lives that were.
pub fn keep(fuzzer: &Fuzzer, lives: u64) -> u64 {
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let mut all = find();
    let count = all.iter().flatten().count();
    let (mut ended, mut told) = (0, 0);
    while count != 0 && ended < lives {
        if let Some(one) = &mut all[fuzzer.below(count)] {
            look(fuzzer, one);
        }
        nap(fuzzer);
        ended = all.iter().flatten().map(|one| u64::from(one.starts)).sum();
        if ended / PROGRESS != told {
            told = ended / PROGRESS;
            println!("{ended} lives");
        }
    }
    for one in all.iter().flatten() {
        check_crashes(one);
    }
    print(&all);
    ended
}

/// Sleeps for a moment.
fn nap(fuzzer: &Fuzzer) {
    let length = timer::ns_to_ticks(fuzzer.below(NAP_NS) as u64);
    timer::set_virtual(timer::now() + length);
    sysreg::wfi();
    timer::stop_virtual();
    let intid = gic::acknowledge();
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
}

/// Looks at one, and does what it needs or anything.
fn look(fuzzer: &Fuzzer, one: &mut Kept) {
    let Some(info) = ask(one) else { return };
    if info.starts() < one.starts {
        println!("FAIL lives: start {} after {}", info.starts(), one.starts);
    }
    one.starts = info.starts();
    let way = one.starts as usize % WAYS.len();
    match fuzzer.below(WHIMS) {
        0 => on_a_whim(fuzzer, one, &info),
        _ => match info.phase() {
            phase::STOPPED => {
                // Once more changes nothing.
                order(one, &info, manage::STOP);
                order(one, &info, manage::START);
            }
            phase::STOPPING | phase::RESTARTING => order(one, &info, manage::START),
            phase::RUNNING if way == STOPPED => order(one, &info, manage::STOP),
            phase::RUNNING if way == RESTARTED => order(one, &info, manage::RESTART),
            _ => {}
        },
    }
}

/// Asks how one is.
fn ask(one: &Kept) -> Option<Info> {
    match manage::info(one.number) {
        Ok(info) => Some(info),
        Err(refused) => {
            println!("FAIL lives: partition {}: {refused}", one.number);
            None
        }
    }
}

/// Asks or orders anything.
fn on_a_whim(fuzzer: &Fuzzer, one: &mut Kept, info: &Info) {
    match fuzzer.below(8) {
        0 => read(one, manage::CRASH, fuzzer.draw(), CRASH),
        1 => read(one, manage::LOG, fuzzer.draw(), LOG),
        drawn @ 2..=4 => order(
            one,
            info,
            [manage::START, manage::STOP, manage::RESTART][drawn - 2],
        ),
        // Refused where it runs, and nothing is spoiled.
        _ => order(one, info, manage::START),
    }
}

/// Reads a piece of what is kept of one.
fn read(one: &Kept, function: u32, first: u64, answer: usize) {
    match manage::call(function, [one.number, first])[0] as i64 {
        manage::DONE => count(answer),
        refused => println!("FAIL lives: call {function:#x}: {refused}"),
    }
}

/// Gives an order, and compares its answer with what it must be.
fn order(one: &mut Kept, info: &Info, function: u32) {
    let (result, answer) = expected(function, info.phase());
    let got = manage::ask(function, one.number);
    if got != result {
        println!(
            "FAIL lives: call {function:#x} in phase {}: {got}",
            info.phase()
        );
    }
    count(answer);
    let ends = matches!(
        info.phase(),
        phase::LOADING | phase::RUNNING | phase::RESTARTING
    );
    if ends && got == manage::DONE {
        one.orders += 1;
    }
    if info.phase() == phase::RUNNING && got == manage::DONE {
        ORDERED[usize::from(function == manage::RESTART)].fetch_add(1, Relaxed);
    }
}

/// Returns the result of an order in a phase, and what it comes to.
fn expected(function: u32, now: u8) -> (i64, usize) {
    use manage::{DONE, RESTART, RUNS, START, STOP, STOPS};
    match (function, now) {
        (START, phase::LOADING | phase::RUNNING) => (RUNS, REFUSED_AS_IT_RUNS),
        (START, phase::STOPPED) => (DONE, 0),
        (START, _) | (RESTART, phase::STOPPING) => (STOPS, REFUSED_AS_IT_STOPS),
        (STOP, phase::STOPPED | phase::STOPPING) | (RESTART, phase::RESTARTING) => (DONE, NOTHING),
        (STOP, _) => (DONE, 1),
        _ => (DONE, 2),
    }
}

fn count(answer: usize) {
    ANSWERED[answer].fetch_add(1, Relaxed);
}

/// Says how often a life was about to end in a way.
fn meant(one: &Kept, way: usize) -> u64 {
    one.channel.memory.acquire(8 * way)
}

/// Compares the crash records that were taken with the crashes that were meant: an order may have come in between.
fn check_crashes(one: &Kept) {
    let Some(info) = ask(one) else { return };
    let meant: u64 = CRASHES.iter().map(|way| meant(one, *way)).sum();
    // The last one may still be on its way.
    let least = meant.saturating_sub(one.orders + 1);
    if !(least..=meant).contains(&info.crashes) {
        println!(
            "FAIL lives: {} crash records of {meant} crashes, {} orders",
            info.crashes, one.orders
        );
    }
}

/// Prints how often each came up.
fn print(all: &[Option<Kept>]) {
    let ends = WAYS.iter().enumerate().map(|(way, name)| {
        let meant = all.iter().flatten().map(|one| meant(one, way)).sum();
        (
            *name,
            match way {
                STOPPED => ORDERED[0].load(Relaxed),
                RESTARTED => ORDERED[1].load(Relaxed),
                _ => meant,
            },
        )
    });
    counts::print_group("end of a life", ends, true);
    let answers = ANSWERS.iter().zip(&ANSWERED);
    let answers = answers.map(|(name, count)| (*name, count.load(Relaxed)));
    counts::print_group("order", answers, true);
}
