//! The world switch's register half: EL1 and EL0 state out of the hardware and into it.
//!
//! Virtual timer: it is off while no guest owns it, so its control is read and cleared first and written last.
//!
//! `ACTLR_EL1` is not among them: a guest's accesses trap (`HCR_EL2.TACR`).

use super::cpu;
use super::sysreg::{read, write};
use bulkhead::trap::debug::DebugState;
use bulkhead::trap::sysreg;
use bulkhead::vcpu::{PmuRegisters, SystemRegisters};
use core::arch::asm;
use core::mem::offset_of;

/// Applies a macro to the registers that are copied two at a time, to and from neighbours of the same names in the saved
/// state.
macro_rules! each_pair {
    ($copy:ident $state:ident) => {
        $copy!($state: sp_el0 sp_el1, elr_el1 spsr_el1, sctlr_el1 cpacr_el1, ttbr0_el1 ttbr1_el1, tcr_el1 esr_el1,
            far_el1 mair_el1, vbar_el1 contextidr_el1, tpidr_el1 tpidr_el0, tpidrro_el0 cntkctl_el1, par_el1 csselr_el1)
    };
}

/// Returns where two neighbours lie in the saved state.
macro_rules! pair {
    ($first:ident $second:ident) => {
        const {
            let first = offset_of!(SystemRegisters, $first);
            assert!(offset_of!(SystemRegisters, $second) == first + 8);
            first
        }
    };
}

macro_rules! save_pairs {
    ($state:ident: $($first:ident $second:ident),+) => {$(
        // SAFETY: reads two registers, and writes the two words of the state, which is borrowed alone.
        unsafe {
            asm!(
                concat!("mrs {first}, ", stringify!($first)),
                concat!("mrs {second}, ", stringify!($second)),
                "stp {first}, {second}, [{state}, #{pair}]",
                first = out(reg) _,
                second = out(reg) _,
                state = in(reg) core::ptr::from_mut(&mut *$state),
                pair = const pair!($first $second),
                options(nostack, preserves_flags),
            );
        }
    )+};
}

macro_rules! restore_pairs {
    ($state:ident: $($first:ident $second:ident),+) => {$(
        // SAFETY: reads two words of the state, which is borrowed. The registers are those of EL1 and EL0 alone, and stage 2
        // confines what a guest does with them.
        unsafe {
            asm!(
                "ldp {first}, {second}, [{state}, #{pair}]",
                concat!("msr ", stringify!($first), ", {first}"),
                concat!("msr ", stringify!($second), ", {second}"),
                first = out(reg) _,
                second = out(reg) _,
                state = in(reg) core::ptr::from_ref($state),
                pair = const pair!($first $second),
                options(nostack, preserves_flags, readonly),
            );
        }
    )+};
}

/// Writes zero to control registers 2 to `last` of a kind.
macro_rules! each_comparator {
    ($last:ident: $kind:literal) => {
        each_comparator!(@ $last $kind 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $last:ident $kind:literal $($n:literal)+) => {$(
        if $last >= $n {
            // SAFETY: turns a comparator off that the identification register says is there.
            unsafe {
                core::arch::asm!(concat!("msr ", $kind, stringify!($n), "_EL1, xzr"), options(nostack, preserves_flags));
            }
        }
    )+};
}

/// What this pCPU has beyond the base architecture and a guest may use, as bits: one test finds that there is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features(u8);

impl Features {
    /// Pointer authentication keys exist.
    const POINTER_AUTHENTICATION: u8 = 1 << 0;
    /// A PMUv3 exists.
    const PMU: u8 = 1 << 1;
    /// RAS registers exist: a guest's `DISR_EL1` is `VDISR_EL2`.
    const RAS: u8 = 1 << 2;
    /// SME exists, and with it `TPIDR2_EL0`, which does not trap without fine-grained traps.
    const SME: u8 = 1 << 3;
    /// `AFSR0_EL1`, `AFSR1_EL1` or `AMAIR_EL1` keeps something of what is written: what they hold is up to the
    /// implementation, and for many that is nothing.
    const AUXILIARY: u8 = 1 << 4;

    /// Reads what this pCPU has.
    pub fn of_this_pcpu() -> Self {
        let isar1 = read::id_aa64isar1_el1();
        let isar2 = read::id_aa64isar2_el1();
        let pmu = read::id_aa64dfr0_el1() >> 8 & 0xf;
        let keys = isar1 & 0xff00_0ff0 != 0 || isar2 & 0xff00 != 0;
        let ras = read::id_aa64pfr0_el1() >> 28 & 0xf != 0;
        let sme = read::id_aa64pfr1_el1() >> 24 & 0xf != 0;
        let all = [
            (keys, Self::POINTER_AUTHENTICATION),
            (pmu != 0 && pmu != 0xf, Self::PMU),
            (ras, Self::RAS),
            (sme, Self::SME),
            (keeps_auxiliary(), Self::AUXILIARY),
        ];
        let there = all.iter().filter(|(there, _)| *there);
        Self(there.fold(0, |bits, (_, bit)| bits | bit))
    }

    /// Says whether a PMUv3 exists.
    pub const fn has_pmu(self) -> bool {
        self.0 & Self::PMU != 0
    }

    /// Says whether a world switch has more to do than for the base architecture.
    #[inline(always)]
    const fn are_switched(self) -> bool {
        self.0 & !Self::PMU != 0
    }

    /// Says whether one of them exists.
    #[inline(always)]
    const fn have(self, feature: u8) -> bool {
        self.0 & feature != 0
    }
}

/// Says whether any bit of the auxiliary registers can be set, and leaves them zero. No guest's are in the hardware yet.
fn keeps_auxiliary() -> bool {
    write::afsr0_el1(u64::MAX);
    write::afsr1_el1(u64::MAX);
    write::amair_el1(u64::MAX);
    cpu::isb();
    let kept = read::afsr0_el1() | read::afsr1_el1() | read::amair_el1();
    write::afsr0_el1(0);
    write::afsr1_el1(0);
    write::amair_el1(0);
    kept != 0
}

/// Saves the EL1 and EL0 state of the vCPU that leaves, and turns its virtual timer off.
#[inline(always)]
pub fn save(state: &mut SystemRegisters, features: Features) {
    state.cntv_ctl = read::cntv_ctl_el0();
    write::cntv_ctl_el0(0);
    state.cntv_cval = read::cntv_cval_el0();
    each_pair!(save_pairs state);
    if features.are_switched() {
        save_more(state, features);
    }
}

/// Saves what is beyond the base architecture.
#[inline(never)]
fn save_more(state: &mut SystemRegisters, features: Features) {
    if features.have(Features::AUXILIARY) {
        state.afsr0_el1 = read::afsr0_el1();
        state.afsr1_el1 = read::afsr1_el1();
        state.amair_el1 = read::amair_el1();
    }
    if features.have(Features::POINTER_AUTHENTICATION) {
        save_keys(&mut state.keys);
    }
    if features.have(Features::RAS) {
        state.disr = read::vdisr_el2();
    }
    if features.have(Features::SME) {
        state.tpidr2_el0 = read::tpidr2_el0();
    }
}

/// Loads the EL1 and EL0 state of the vCPU that comes; its virtual timer starts last.
#[inline(always)]
pub fn restore(state: &SystemRegisters, features: Features) {
    each_pair!(restore_pairs state);
    if features.are_switched() {
        restore_more(state, features);
    }
    write::cntv_cval_el0(state.cntv_cval);
    cpu::isb();
    write::cntv_ctl_el0(state.cntv_ctl & 0b11);
}

/// Loads what [`save_more`] saves.
#[inline(never)]
fn restore_more(state: &SystemRegisters, features: Features) {
    if features.have(Features::AUXILIARY) {
        write::afsr0_el1(state.afsr0_el1);
        write::afsr1_el1(state.afsr1_el1);
        write::amair_el1(state.amair_el1);
    }
    if features.have(Features::POINTER_AUTHENTICATION) {
        restore_keys(&state.keys);
    }
    if features.have(Features::RAS) {
        write::vdisr_el2(state.disr);
    }
    if features.have(Features::SME) {
        write::tpidr2_el0(state.tpidr2_el0);
    }
}

/// Saves the performance monitors of a vCPU that uses them, and stops them.
pub fn save_pmu(pmu: &mut PmuRegisters) {
    // Not every implementation traps the guest's writes (QEMU 7.2 has no TPMCR): what it holds is the truth.
    pmu.pmcr = sysreg::pmcr_written(read::pmcr_el0());
    pmu.pmccntr = read::pmccntr_el0();
    pmu.pmccfiltr = read::pmccfiltr_el0();
    pmu.pmcntenset = read::pmcntenset_el0();
    pmu.pmintenset = read::pmintenset_el1();
    pmu.pmovsset = read::pmovsset_el0();
    pmu.pmuserenr = read::pmuserenr_el0();
    pmu.pmselr = read::pmselr_el0();
    write::pmselr_el0(0);
    cpu::isb();
    pmu.event_counter = read::pmxevcntr_el0();
    pmu.event_type = read::pmxevtyper_el0();
    write::pmcr_el0(0);
    write::pmuserenr_el0(0); // else it says where the next guest's EL0 traps to
}

/// Loads the performance monitors of a vCPU that uses them.
pub fn restore_pmu(pmu: &PmuRegisters) {
    write::pmselr_el0(0);
    cpu::isb();
    write::pmxevcntr_el0(pmu.event_counter);
    write::pmxevtyper_el0(pmu.event_type);
    write::pmccntr_el0(pmu.pmccntr);
    write::pmccfiltr_el0(pmu.pmccfiltr);
    write::pmcntenclr_el0(!pmu.pmcntenset & 0xffff_ffff);
    write::pmcntenset_el0(pmu.pmcntenset);
    write::pmintenclr_el1(!pmu.pmintenset & 0xffff_ffff);
    write::pmintenset_el1(pmu.pmintenset);
    write::pmovsclr_el0(!pmu.pmovsset & 0xffff_ffff);
    write::pmovsset_el0(pmu.pmovsset);
    write::pmuserenr_el0(pmu.pmuserenr);
    write::pmselr_el0(pmu.pmselr);
    write::pmcr_el0(pmu.pmcr & !0b110); // without its one-shot resets
}

fn save_keys(keys: &mut [u64; 10]) {
    *keys = [
        read::apia_low(),
        read::apia_high(),
        read::apib_low(),
        read::apib_high(),
        read::apda_low(),
        read::apda_high(),
        read::apdb_low(),
        read::apdb_high(),
        read::apga_low(),
        read::apga_high(),
    ];
}

fn restore_keys(keys: &[u64; 10]) {
    let [
        ia_low,
        ia_high,
        ib_low,
        ib_high,
        da_low,
        da_high,
        db_low,
        db_high,
        ga_low,
        ga_high,
    ] = *keys;
    write::apia_low(ia_low);
    write::apia_high(ia_high);
    write::apib_low(ib_low);
    write::apib_high(ib_high);
    write::apda_low(da_low);
    write::apda_high(da_high);
    write::apdb_low(db_low);
    write::apdb_high(db_high);
    write::apga_low(ga_low);
    write::apga_high(ga_high);
}

/// Reads `PMCEID0_EL0`, or `PMCEID1_EL0` when `second` says so.
pub fn pmu_events(second: bool) -> u64 {
    if second {
        read::pmceid1_el0()
    } else {
        read::pmceid0_el0()
    }
}

/// Puts a guest's breakpoints and watchpoints into the hardware.
pub fn restore_comparators(debug: &DebugState) {
    let [b0, b1] = debug.breakpoints;
    let [w0, w1] = debug.watchpoints;
    write::dbgbvr0_el1(b0.value);
    write::dbgbcr0_el1(b0.control.into());
    write::dbgbvr1_el1(b1.value);
    write::dbgbcr1_el1(b1.control.into());
    write::dbgwvr0_el1(w0.value);
    write::dbgwcr0_el1(w0.control.into());
    write::dbgwvr1_el1(w1.value);
    write::dbgwcr1_el1(w1.control.into());
}

/// Turns the breakpoints and watchpoints off that [`restore_comparators`] sets.
pub fn clear_comparators() {
    write::dbgbcr0_el1(0);
    write::dbgbcr1_el1(0);
    write::dbgwcr0_el1(0);
    write::dbgwcr1_el1(0);
}

/// Turns every breakpoint and watchpoint off (their state after a reset is unknown, and a guest sees the first two
/// alone), and frees the OS lock, with which no guest would ever see a debug exception.
pub fn start_debug() {
    let features = read::id_aa64dfr0_el1();
    let (breakpoints, watchpoints) = (features >> 12 & 0xf, features >> 20 & 0xf);
    clear_comparators();
    each_comparator!(breakpoints: "DBGBCR");
    each_comparator!(watchpoints: "DBGWCR");
    write::mdscr_el1(0);
    write::oslar_el1(0);
    cpu::isb();
}
