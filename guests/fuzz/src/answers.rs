//! What EL2 answers: a row for each decision that its pure code knows, counted where the guest sees that it was made.
//!
//! For system registers EL2's own table says which decision that is ([`policy`]); the match has all of them, so that a new one
//! does not build without a row. Left out are decisions that cannot be had here:
//!
//! | decision | why |
//! | --- | --- |
//! | `Interface` | the CPU interface's common registers trap where `ICH_HCR_EL2.TC` stands in for `TDIR`, which QEMU has |
//! | `CacheBySetWay` | nothing traps these |
//! | a cache operation on nothing, stepped over | QEMU has no caches, so these do not fault |
//! | misaligned PC or SP, illegal state, SError | they go to EL1 by themselves; a test of `inject` has each |
//! | `SystemOff`, `SystemReset`, `CpuOff` of the last vCPU, a fault that ends a life | another partition's: `lives` has runs of its own; here some hundred ([`starts`]) |
//!
//! Loads and stores that EL2 emulates are the rows of forms, of regions and of the interrupt controller's registers.

use crate::counts;
use bulkhead::trap::debug::DebugRegister;
use bulkhead::trap::sysreg::{SgiGroup, SysReg, SysRegAction, policy};
use bulkhead::trap::timer::TimerRegister;
use guest_runtime::{channel, esr, smp};

macro_rules! answers {
    ($($name:ident $text:literal;)*) => {
        /// A decision.
        #[derive(Clone, Copy)]
        pub enum Answer { $(#[doc = $text] $name),* }
        /// The rows.
        pub const ROWS: &[&str] = &[$($text),*];
    };
}

answers! {
    Fixed "a register of one value";
    Identification "an identification register";
    SgiGroup1 "an SGI of group 1";
    SgiGroup1Alias "an SGI of the other state's group 1";
    SgiGroup0 "an SGI of group 0";
    Deactivation "a deactivation by ICC_DIR_EL1";
    TimerControlRead "CNTP_CTL_EL0 read";
    TimerControlWrite "CNTP_CTL_EL0 written";
    TimerCompareRead "CNTP_CVAL_EL0 read";
    TimerCompareWrite "CNTP_CVAL_EL0 written";
    TimerValueRead "CNTP_TVAL_EL0 read";
    TimerValueWrite "CNTP_TVAL_EL0 written";
    DebugControl "MDSCR_EL1";
    DebugLock "OSLAR_EL1";
    DebugLockStatus "OSLSR_EL1";
    BreakpointValue "a breakpoint's address";
    BreakpointControl "a breakpoint's control";
    WatchpointValue "a watchpoint's address";
    WatchpointControl "a watchpoint's control";
    DebugClaim "DBGCLAIMSET_EL1";
    DebugUnclaim "DBGCLAIMCLR_EL1";
    DebugZero "a debug register that is zero";
    PmuControlRead "PMCR_EL0 read";
    PmuControlWrite "PMCR_EL0 written";
    Pmu "another PMU register";
    PmuEvents "PMCEID0_EL0 or PMCEID1_EL0";
    Undefined "an undefined instruction";
    DataAbort "an abort of a load or store that nothing answers";
    FetchAbort "an abort of a fetch that nothing answers";
    Refused "a call that is not served";
    Served "a call's result in x0";
    Served4 "a call's results in x0 to x3";
    Mitigated "a workaround on a call";
    Yielded "a yield";
    Rang "a channel's doorbell by call";
    Told "a channel's state by call";
    Kicked "a kick of a watchdog that there is not";
    Managed "an order of one who manages nobody";
    TurnedOn "CPU_ON of a vCPU that is off";
    TurnedOff "CPU_OFF";
    Waited "WFI";
    Suspended "CPU_SUSPEND, standby";
    PoweredDown "CPU_SUSPEND, power-down";
}

/// Counts one.
pub fn add(answer: Answer) {
    counts::add_answer(smp::index(), answer as usize);
}

/// Counts the answer to an access to a system register that did not fault.
pub fn add_register(encoding: u32, write: bool) {
    let field = |shift: u32, mask: u32| encoding >> shift & mask;
    let register = SysReg::new(
        2 | field(14, 1),
        field(11, 7),
        field(7, 15),
        field(3, 15),
        field(0, 7),
    );
    if let Some(answer) = of_register(policy(register, write), write) {
        add(answer);
    }
}

/// Returns the row of a decision. One that faults is counted as that.
fn of_register(action: SysRegAction, write: bool) -> Option<Answer> {
    let by = |read, written| Some(if write { written } else { read });
    match action {
        SysRegAction::Fixed(_) => Some(Answer::Fixed),
        SysRegAction::IdRegister => Some(Answer::Identification),
        SysRegAction::Sgi(SgiGroup::Group1) => Some(Answer::SgiGroup1),
        SysRegAction::Sgi(SgiGroup::Group1Alias) => Some(Answer::SgiGroup1Alias),
        SysRegAction::Sgi(SgiGroup::Group0) => Some(Answer::SgiGroup0),
        SysRegAction::Deactivate => Some(Answer::Deactivation),
        SysRegAction::PhysicalTimer(register) => match register {
            TimerRegister::Control => by(Answer::TimerControlRead, Answer::TimerControlWrite),
            TimerRegister::CompareValue => by(Answer::TimerCompareRead, Answer::TimerCompareWrite),
            TimerRegister::TimerValue => by(Answer::TimerValueRead, Answer::TimerValueWrite),
        },
        SysRegAction::Debug(register) => Some(of_debug(register)),
        SysRegAction::PmuControl => by(Answer::PmuControlRead, Answer::PmuControlWrite),
        SysRegAction::Pmu => Some(Answer::Pmu),
        SysRegAction::PmuEvents => Some(Answer::PmuEvents),
        SysRegAction::Interface(_) | SysRegAction::CacheBySetWay | SysRegAction::Undefined => None,
    }
}

fn of_debug(register: DebugRegister) -> Answer {
    match register {
        DebugRegister::SystemControl => Answer::DebugControl,
        DebugRegister::OsLockAccess => Answer::DebugLock,
        DebugRegister::OsLockStatus => Answer::DebugLockStatus,
        DebugRegister::BreakpointValue(_) => Answer::BreakpointValue,
        DebugRegister::BreakpointControl(_) => Answer::BreakpointControl,
        DebugRegister::WatchpointValue(_) => Answer::WatchpointValue,
        DebugRegister::WatchpointControl(_) => Answer::WatchpointControl,
        DebugRegister::ClaimSet => Answer::DebugClaim,
        DebugRegister::ClaimClear => Answer::DebugUnclaim,
        DebugRegister::Zero => Answer::DebugZero,
    }
}

/// Counts the answer to a call that came back with this in x0.
pub fn add_call(function: u32, x0: u64) {
    const NOT_SUPPORTED: u32 = u32::MAX;
    let narrow = function & !(1 << 30);
    add(match narrow {
        _ if x0 as u32 == NOT_SUPPORTED => Answer::Refused,
        0x8000_8000 | 0x8000_7fff | 0x8000_3fff => Answer::Mitigated,
        0x8600_0001 => Answer::Yielded,
        0x8600_0002 => Answer::Kicked,
        0x8600_0010 => Answer::Rang,
        0x8600_0011 => Answer::Told,
        0x8600_0018..=0x8600_001e => Answer::Managed,
        0x8600_ff01 | 0x8600_ff03 | 0x8400_0052 => Answer::Served4,
        0x8400_0003 if x0 == 0 => Answer::TurnedOn,
        _ => Answer::Served,
    });
}

/// Counts the answer of a step that ended with an exception.
pub fn add_fault(syndrome: u64) {
    /// `DFSC`, `IFSC`: a synchronous external abort, not on a walk.
    const EXTERNAL: u64 = 0x10;
    let external = syndrome & 0x3f == EXTERNAL;
    match esr::class(syndrome) {
        esr::EC_UNKNOWN => add(Answer::Undefined),
        esr::EC_DATA_ABORT | esr::EC_DATA_ABORT_LOWER if external => add(Answer::DataAbort),
        esr::EC_INSTRUCTION_ABORT if external => add(Answer::FetchAbort),
        _ => {}
    }
}

/// Returns how often the partition at the other end of the first channel was started: after two resets comes a fault.
pub fn starts() -> u32 {
    channel::number(0).map_or(0, |channel| channel.peer().generation)
}
