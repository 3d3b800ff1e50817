//! Breakpoints and watchpoints: mine stop me and nobody else's do.

use crate::ROUNDS;
use core::arch::{asm, global_asm};
use core::sync::atomic::AtomicU64;
use guest_runtime::exception::{Fault, catch};
use guest_runtime::random::{below, random};
use guest_runtime::suite::Outcome;
use guest_runtime::{esr, expect, expect_eq, sysreg, write_sysreg};

global_asm!(
    ".balign 4",
    "breakpoint_spots:",
    ".rept 4",
    "nop",
    "ret",
    ".endr"
);

unsafe extern "C" {
    static breakpoint_spots: [u64; SPOTS];
}

/// Places that a breakpoint may be at; both partitions have them at the same addresses.
const SPOTS: usize = 4;
/// Words that a watchpoint may be at, likewise.
static WORDS: [AtomicU64; SPOTS] = [const { AtomicU64::new(0) }; SPOTS];
/// `DBGBCR<n>_EL1`: one instruction, at EL1, on.
const FETCH_AT_EL1: u64 = 0xf << 5 | 0b01 << 1 | 1;
/// `DBGWCR<n>_EL1`: eight bytes, loads and stores, at EL1, on.
const ACCESS_AT_EL1: u64 = 0xff << 5 | 0b11 << 3 | 0b01 << 1 | 1;
/// `MDSCR_EL1`: breakpoints are on, for the kernel too.
const MONITOR: u64 = 1 << 15 | 1 << 13;
/// Exception classes: a breakpoint, a watchpoint, of this EL.
const BREAKPOINT: u64 = 0x31;
const WATCHPOINT: u64 = 0x35;

/// Sets breakpoints and watchpoints at places drawn by lot, lets time pass, and goes to every place. In every third round there
/// are none: whoever has debug exceptions on, and none set, would stop at those of a neighbour that were left in place.
pub fn survive(pass: fn()) -> Outcome {
    let mut outcome = Ok(());
    for round in 0..ROUNDS / 10 {
        let (fetches, accesses) = match below(3) {
            0 => (Pair::NONE, Pair::NONE),
            _ => (Pair::draw(), Pair::draw()),
        };
        set(fetches, accesses, MONITOR);
        pass();
        outcome = look(round, fetches, accesses);
        if outcome.is_err() {
            break;
        }
    }
    set(Pair::NONE, Pair::NONE, 0);
    outcome
}

/// Where each of two comparators is, when it is on.
#[derive(Clone, Copy, Debug)]
struct Pair([Option<usize>; 2]);

impl Pair {
    const NONE: Self = Self([None; 2]);

    fn draw() -> Self {
        Self([(); 2].map(|()| (below(3) != 0).then(|| random() as usize % SPOTS)))
    }

    fn is_at(self, place: usize) -> bool {
        self.0.contains(&Some(place))
    }

    /// Returns value and control of a comparator, of those that are `on` like that.
    fn registers(self, number: usize, on: u64, at: fn(usize) -> usize) -> (u64, u64) {
        match self.0[number] {
            Some(place) => (at(place) as u64, on),
            None => (at(0) as u64, 0),
        }
    }
}

fn set(fetches: Pair, accesses: Pair, monitor: u64) {
    let [b0, b1] = [0, 1].map(|number| fetches.registers(number, FETCH_AT_EL1, spot));
    let [w0, w1] = [0, 1].map(|number| accesses.registers(number, ACCESS_AT_EL1, word));
    // SAFETY: nothing but the places can match, and each exception there is caught; else they are masked.
    unsafe {
        write_sysreg!("mdscr_el1", monitor);
        write_sysreg!("dbgbvr0_el1", b0.0);
        write_sysreg!("dbgbcr0_el1", b0.1);
        write_sysreg!("dbgbvr1_el1", b1.0);
        write_sysreg!("dbgbcr1_el1", b1.1);
        write_sysreg!("dbgwvr0_el1", w0.0);
        write_sysreg!("dbgwcr0_el1", w0.1);
        write_sysreg!("dbgwvr1_el1", w1.0);
        write_sysreg!("dbgwcr1_el1", w1.1);
    }
    sysreg::isb();
}

/// Goes to every place, and says whether it stopped where it is to stop.
fn look(round: u64, fetches: Pair, accesses: Pair) -> Outcome {
    for place in 0..SPOTS {
        judge(round, place, visit(place), fetches, BREAKPOINT)?;
        judge(round, place, load(place), accesses, WATCHPOINT)?;
    }
    Ok(())
}

fn judge(round: u64, place: usize, fault: Option<Fault>, set: Pair, class: u64) -> Outcome {
    expect!(
        fault.is_some() == set.is_at(place),
        "round {round}: place {place} stopped: {}, those of class {class:#x} are at {set:?}",
        fault.is_some()
    );
    if let Some(fault) = fault {
        expect_eq!(esr::class(fault.esr), class, "exception class");
    }
    Ok(())
}

fn spot(place: usize) -> usize {
    (&raw const breakpoint_spots) as usize + place * 8
}

fn word(place: usize) -> usize {
    WORDS[place].as_ptr() as usize
}

/// Goes to a place with debug exceptions let through, and returns the one that came.
fn visit(place: usize) -> Option<Fault> {
    let at = spot(place);
    catch(|| {
        // SAFETY: a place is `nop` and `ret`; `catch` steps over the first when a breakpoint stops there.
        unsafe {
            asm!("msr daifclr, #8", "isb", "blr {at}", "msr daifset, #8", at = in(reg) at, out("x30") _,
                options(nostack));
        }
    })
    .1
}

/// Loads a word with debug exceptions let through, and returns the one that came.
fn load(place: usize) -> Option<Fault> {
    let at = word(place);
    catch(|| {
        // SAFETY: a load of a static; `catch` steps over it when a watchpoint stops there.
        unsafe {
            asm!("msr daifclr, #8", "isb", "ldr {at}, [{at}]", "msr daifset, #8", at = inout(reg) at => _,
                options(nostack));
        }
    })
    .1
}
