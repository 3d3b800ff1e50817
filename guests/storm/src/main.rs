//! Raises as many interrupts for itself as it can, and checks that each arrives or merges with its like.
//!
//! With one vCPU: the clock's alarm every second, both timers every [`TICK_NS`], and lines on the console. With two, the
//! second one sends the first volleys of SGIs, of SPIs that are pended by register with and without hardware behind them
//! and taken back, and of changed routes; it waits after each until the first has seen one more of every kind.
//!
//! It prints what arrived: `alarms N ticks N` or `volley N posts N seen N N N`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest_runtime::exception::{self, Frame, catch};
use guest_runtime::mmio::Mmio;
use guest_runtime::{entry, gic, layout, mmu, println, smp, sysreg, timer};

/// Distance of two deadlines of each timer.
const TICK_NS: u64 = 100_000;
/// Rounds of a volley, each of [`POSTS`] posts.
const ROUNDS: u64 = 1_000;
const POSTS: u64 = 7;
/// How long what is pended stays so.
const STAY_NS: u64 = 50_000;
/// The SGI that the second vCPU sends.
const SGI: u32 = 5;
/// Registers of the PL031.
const DATA: usize = 0x00;
const MATCH: usize = 0x04;
const MASK: usize = 0x10;
const CLEAR: usize = 0x1c;

/// What arrived at the first vCPU, by kind.
static TICKS: AtomicU64 = AtomicU64::new(0);
static ALARMS: AtomicU64 = AtomicU64::new(0);
static SGIS: AtomicU64 = AtomicU64::new(0);
static SOFT: AtomicU64 = AtomicU64::new(0);

// SAFETY: the PL031 lies there or nothing does; it writes no memory.
const CLOCK: Mmio = unsafe { Mmio::new(layout::RTC) };

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    exception::set_irq_handler(on_interrupt);
    let mut affinities = [0; smp::MAX_VCPUS];
    let vcpus = smp::affinities(&mut affinities);
    gic::enable(layout::RTC_INTID, 0x80);
    if vcpus > 1 {
        gic::enable(SGI, 0x80);
        gic::enable(layout::UART_INTID, 0x80);
        smp::start(1, affinities[1], send_volleys);
    } else {
        start_sources();
    }
    sysreg::unmask_irqs();
    let mut said = 0;
    loop {
        sysreg::wfi();
        let alarms = ALARMS.load(SeqCst);
        if vcpus == 1 {
            println!("a line of some length that a console has to show, again and again");
            if alarms != said {
                println!("alarms {alarms} ticks {}", TICKS.load(SeqCst));
            }
        }
        said = alarms;
    }
}

/// Starts the clock's alarm and both timers.
fn start_sources() {
    if catch(|| CLOCK.write32(CLEAR, 1)).1.is_none() {
        CLOCK.write32(MASK, 1);
        CLOCK.write32(MATCH, CLOCK.read32(DATA) + 1);
    }
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    gic::enable(layout::PHYSICAL_TIMER_INTID, 0x80);
    timer::set_virtual(next());
    timer::set_physical(next());
}

/// Returns the next deadline.
fn next() -> u64 {
    timer::now() + timer::ns_to_ticks(TICK_NS)
}

fn on_interrupt(_: &mut Frame) {
    let intid = gic::acknowledge();
    let count = match intid {
        layout::VIRTUAL_TIMER_INTID => {
            timer::set_virtual(next());
            &TICKS
        }
        layout::PHYSICAL_TIMER_INTID => {
            timer::set_physical(next());
            &TICKS
        }
        layout::RTC_INTID => {
            CLOCK.write32(CLEAR, 1);
            CLOCK.write32(MATCH, CLOCK.read32(DATA) + 1);
            &ALARMS
        }
        SGI => &SGIS,
        layout::UART_INTID => &SOFT,
        _ => return,
    };
    count.fetch_add(1, SeqCst);
    gic::end(intid);
}

/// What the second vCPU does.
fn send_volleys() -> ! {
    gic::init_cpu();
    let own = sysreg::affinity();
    let kinds = [&SGIS, &SOFT, &ALARMS];
    for volley in 1.. {
        for _ in 0..ROUNDS {
            gic::send_sgi(SGI, 0);
            gic::write_bit(gic::ISPENDR, layout::UART_INTID);
            gic::write_bit(gic::ISPENDR, layout::RTC_INTID);
            timer::spin(STAY_NS); // the other pCPU has time to be disturbed
            gic::route(layout::RTC_INTID, own);
            gic::route(layout::RTC_INTID, 0);
            // Taken back, so that the next round is not merged with this one.
            gic::write_bit(gic::ICPENDR, layout::UART_INTID);
            gic::write_bit(gic::ICPENDR, layout::RTC_INTID);
        }
        let before = kinds.map(|kind| kind.load(SeqCst));
        gic::send_sgi(SGI, 0);
        gic::write_bit(gic::ISPENDR, layout::UART_INTID);
        gic::write_bit(gic::ISPENDR, layout::RTC_INTID);
        let came = timer::wait_until(10_000_000_000, || {
            kinds
                .iter()
                .zip(before)
                .all(|(kind, before)| kind.load(SeqCst) > before)
        });
        let [sgis, soft, alarms] = kinds.map(|kind| kind.load(SeqCst));
        if came {
            let posts = volley * (ROUNDS * POSTS + 3);
            println!("volley {volley} posts {posts} seen {sgis} {soft} {alarms}");
        } else {
            println!("FAIL volley {volley}: of {before:?} there are still {sgis} {soft} {alarms}");
        }
    }
    unreachable!()
}
