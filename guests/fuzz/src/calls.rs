//! Calls by HVC and SMC: each that there is, and ranges.

use crate::answers;
use crate::step::Fuzzer;
use core::arch::asm;
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{layout, smp};

macro_rules! calls {
    ($($name:literal $function:literal;)*) => {
        /// The rows.
        pub const ROWS: &[&str] = &[$($name),*, "any architecture call", "any standard call", "any call of ours", "any call of an owner",
            "any fast call", "any call that yields", "HVC with an immediate", "SMC with an immediate"];
        const FUNCTIONS: &[u32] = &[$($function),*];
    };
}

calls! {
    "SMCCC_VERSION" 0x8000_0000; "SMCCC_ARCH_FEATURES" 0x8000_0001; "SMCCC_ARCH_SOC_ID" 0x8000_0002;
    "SMCCC_ARCH_WORKAROUND_1" 0x8000_8000; "SMCCC_ARCH_WORKAROUND_2" 0x8000_7fff; "SMCCC_ARCH_WORKAROUND_3" 0x8000_3fff;
    "PSCI_VERSION" 0x8400_0000; "CPU_ON on itself" 0xc400_0003; "CPU_ON, 32-bit, on itself" 0x8400_0003;
    "AFFINITY_INFO" 0xc400_0004; "AFFINITY_INFO, 32-bit" 0x8400_0004; "MIGRATE" 0xc400_0005; "MIGRATE_INFO_TYPE" 0x8400_0006;
    "MIGRATE_INFO_UP_CPU" 0xc400_0007; "PSCI_FEATURES" 0x8400_000a; "CPU_FREEZE" 0x8400_000b;
    "CPU_DEFAULT_SUSPEND" 0xc400_000c; "NODE_HW_STATE" 0xc400_000d; "PSCI_SET_SUSPEND_MODE" 0x8400_000f;
    "PSCI_STAT_RESIDENCY" 0xc400_0010; "PSCI_STAT_COUNT" 0xc400_0011; "MEM_PROTECT" 0x8400_0013;
    "MEM_PROTECT_CHECK_RANGE" 0xc400_0014; "TRNG_VERSION" 0x8400_0050; "TRNG_FEATURES" 0x8400_0051;
    "TRNG_GET_UUID" 0x8400_0052; "TRNG_RND, 32-bit" 0x8400_0053; "TRNG_RND" 0xc400_0053; "features" 0x8600_0000;
    "watchdog_kick" 0x8600_0002; "watchdog_kick, 64-bit" 0xc600_0002; "partition_list" 0x8600_0018; "partition_info" 0xc600_0019;
    "partition_stop" 0x8600_001a; "partition_start" 0xc600_001b; "partition_restart" 0x8600_001c;
    "partition_crash" 0xc600_001d; "partition_log" 0x8600_001e; "yield" 0x8600_0001; "yield, 64-bit" 0xc600_0001; "channel_signal" 0x8600_0010; "channel_status" 0x8600_0011;
    "channel_signal, 64-bit" 0xc600_0010; "channel_status, 64-bit" 0xc600_0011; "UID" 0x8600_ff01; "revision" 0x8600_ff03;
}

/// Makes one, by either instruction, with arguments that may mean something.
pub fn step(fuzzer: &Fuzzer, row: usize) {
    let drawn = fuzzer.draw() as u32;
    let function = match (FUNCTIONS.get(row), row.wrapping_sub(FUNCTIONS.len())) {
        (Some(function), _) => *function,
        (_, 0) => 0x8000_0000 | drawn & 0x4000_ffff,
        (_, 1) => 0x8400_0000 | drawn & 0x4001_007f,
        (_, 2) => 0x8600_0000 | drawn & 0x4000_ffff,
        (_, 3) => 0x8000_0000 | drawn & 0x7f00_ffff,
        (_, 4) => 0x8000_0000 | drawn,
        (_, 5) => drawn & 0x7fff_ffff,
        (_, last) => return immediate(fuzzer, last == 7),
    };
    if !ends(function) {
        let arguments = arguments(fuzzer, function);
        let conduit = fuzzer.one_of(&[Conduit::Hvc, Conduit::Smc]);
        let [x0, ..] = smccc::call(conduit, function, arguments);
        answers::add_call(function, x0);
    }
}

/// Says whether a call ends, stops or puts to sleep its caller: those are made elsewhere, and with care.
fn ends(function: u32) -> bool {
    const SVE_HINT: u32 = 1 << 16;
    let number = function & 0xbfff_ffff & !SVE_HINT;
    matches!(
        number,
        0x8400_0001..=0x8400_0002 | 0x8400_0008..=0x8400_0009 | 0x8400_000e | 0x8400_0012
    )
}

/// Draws arguments. None makes CPU_ON start a vCPU where it should not.
fn arguments(fuzzer: &Fuzzer, function: u32) -> [u64; 3] {
    const NOBODY: u64 = 1 << 62 | 0xff;
    let first = match (function & 0xff, fuzzer.below(4)) {
        // PSCI: the caller itself, or nobody.
        (3, 0) => NOBODY,
        (3, _) => fuzzer.own,
        (_, 0) => fuzzer.draw() | NOBODY,
        (_, 1) => fuzzer.below(crate::power::count()) as u64,
        (1 | 0xa | 0x51, _) => u64::from(FUNCTIONS[fuzzer.below(FUNCTIONS.len())]),
        (0x53, _) => fuzzer.below(200) as u64,
        _ => fuzzer.below(4) as u64,
    };
    let second = fuzzer.one_of(&[
        smp::secondary_entry(),
        layout::MEMORY_HOLE as u64,
        fuzzer.draw(),
        0,
    ]);
    [first, second, fuzzer.value()]
}

/// A call with an immediate that the convention does not have.
fn immediate(fuzzer: &Fuzzer, smc: bool) {
    let function = FUNCTIONS[fuzzer.below(FUNCTIONS.len())];
    macro_rules! issue {
        ($instruction:literal) => {
            // SAFETY: a call changes x0 to x17 alone, and none of these writes memory.
            unsafe {
                asm!($instruction, inout("x0") u64::from(function) => _, inout("x1") fuzzer.own => _, out("x2") _,
                    out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
                    out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
                    out("x17") _, options(nostack))
            }
        };
    }
    match (smc, fuzzer.below(2)) {
        (false, 0) => issue!("hvc #1"),
        (false, _) => issue!("hvc #0xffff"),
        (true, 0) => issue!("smc #1"),
        (true, _) => issue!("smc #0xffff"),
    }
}
