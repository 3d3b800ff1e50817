//! Makes every call that there can be: each function number of each owner, 32-bit and 64-bit, by HVC and by SMC, with pointers
//! into EL2's memory for arguments; of yielding calls those at both ends of each owner's. What nobody serves is refused and
//! leaves the arguments as they were.
//!
//! Left out is what ends this guest or makes it wait. The last call of all is one of these: CPU_OFF, by SMC, on the only vCPU.
//!
//! Names and lines are those of the guest `checks`.
#![no_std]
#![no_main]

use guest_runtime::smccc::{self, Conduit, call};
use guest_runtime::suite::{self, Outcome, Score, Test};
use guest_runtime::{entry, expect, layout, mmu, println, sysreg, tests};

const TESTS: &[Test] = tests![
    a26_every_function_number_with_pointers_into_el2_by_hvc,
    a26_every_function_number_with_pointers_into_el2_by_smc,
    a10_every_pointer_into_el2_with_every_call_that_is_served,
    a26_reserved_bits_of_a_function_number_name_nothing,
];

/// Where EL2's own addresses begin.
const EL2: u64 = 0x7f_c000_0000;
const MIB: u64 = 1 << 20;
/// Where EL2 is: by its own addresses the image, what is behind its text, the payload, device registers and stacks, the
/// start-up pool, the tree; by physical ones the image and what is behind it, on a board with RAM where this guest has its own.
const POINTERS: [u64; 12] = [
    EL2,
    EL2 + 0x2_0008,
    EL2 + 0x4_0000,
    EL2 + 2 * MIB,
    EL2 + 1016 * MIB,
    EL2 + 1017 * MIB - 8,
    EL2 + 1018 * MIB,
    EL2 + 1018 * MIB + 0x1_0ff8,
    EL2 + 1022 * MIB,
    layout::RAM as u64 + 2 * MIB,
    layout::RAM as u64 + 2 * MIB + 0x4_0000,
    layout::RAM as u64 + 4 * MIB - 4,
];

/// Fast and yielding, each 32-bit and 64-bit.
const CLASSES: [u32; 4] = [0x8000_0000, 0xc000_0000, 0, 0x4000_0000];
/// Fast alone.
const FAST: &[u32] = &[0x8000_0000, 0xc000_0000];

entry!(main);

fn main() -> ! {
    mmu::enable();
    let Score {
        passed,
        failed,
        skipped,
    } = suite::run_tests(&[TESTS]);
    println!("DONE {passed} passed {failed} failed {skipped} skipped");
    guest_runtime::console::flush();
    call(Conduit::Smc, smccc::CPU_OFF, [0; 3]);
    println!("FAIL a22_cpu_off_of_the_last: it came back");
    loop {
        sysreg::wfi();
    }
}

/// Whether a function ends this guest, or waits: PSCI's CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, and the suspends and
/// resets of later numbers.
fn ends(function: u32) -> bool {
    let number = function & 0x8f00_ffff;
    matches!(number, 0x8400_0001..=0x8400_0002 | 0x8400_0008..=0x8400_0009 | 0x8400_000c..=0x8400_0015)
}

/// Whether somebody may serve it: the architecture's own calls, PSCI and random numbers, a hypervisor's own.
fn may_be_served(function: u32) -> bool {
    let number = function & 0xffff;
    match function >> 24 & 0xbf {
        0x80 => number < 0x20 || matches!(number, 0x3fff | 0x7fff..=0x8000),
        0x84 => number < 0x60,
        0x86 => !(0x40..0xff00).contains(&number),
        _ => false,
    }
}

/// Makes one call. Who does not serve it says so, and changes nothing else.
fn try_call(conduit: Conduit, function: u32, pointer: u64) -> Outcome {
    if ends(function) {
        return Ok(());
    }
    let arguments = [pointer, pointer, pointer];
    let [x0, x1, x2, x3] = call(conduit, function, arguments);
    if may_be_served(function) {
        return Ok(());
    }
    expect!(
        x0 == u64::MAX,
        "call {function:#x} is {x0:#x}, not NOT_SUPPORTED"
    );
    expect!(
        [x1, x2, x3] == arguments,
        "call {function:#x} with {pointer:#x} left {x1:#x} {x2:#x} {x3:#x}"
    );
    Ok(())
}

fn every_number(conduit: Conduit) -> Outcome {
    let mut pointers = POINTERS.iter().cycle();
    for owner in 0..64_u32 {
        for number in 0..0x1_0000_u32 {
            let at_an_end = !(0x80..0xff80).contains(&number);
            let classes = if at_an_end { &CLASSES[..] } else { FAST };
            for class in classes {
                let pointer = pointers.next().copied().unwrap_or(EL2);
                try_call(conduit, class | owner << 24 | number, pointer)?;
            }
        }
    }
    Ok(())
}

fn a26_every_function_number_with_pointers_into_el2_by_hvc() -> Outcome {
    every_number(Conduit::Hvc)
}

fn a26_every_function_number_with_pointers_into_el2_by_smc() -> Outcome {
    every_number(Conduit::Smc)
}

fn a10_every_pointer_into_el2_with_every_call_that_is_served() -> Outcome {
    let numbers = (0..0x100_u32).chain(0x3ff0..0x4000).chain(0x7ff0..0x8010);
    for number in numbers.chain(0xff00..0x1_0000) {
        for owner in [0_u32, 4, 6] {
            for class in CLASSES {
                for pointer in POINTERS {
                    for conduit in [Conduit::Hvc, Conduit::Smc] {
                        try_call(conduit, class | owner << 24 | number, pointer)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn a26_reserved_bits_of_a_function_number_name_nothing() -> Outcome {
    // Bits 23 to 17 are zero in every call; bit 16 is a hint that changes nothing.
    for bit in 17..24_u32 {
        for owner in 0..64_u32 {
            for number in (0..0x60_u32).chain(0xff00..0xff10) {
                for class in CLASSES {
                    let function = class | owner << 24 | 1 << bit | number;
                    for conduit in [Conduit::Hvc, Conduit::Smc] {
                        let [x0, ..] = call(conduit, function, [POINTERS[0]; 3]);
                        expect!(
                            x0 == u64::MAX,
                            "call {function:#x} is {x0:#x}, not NOT_SUPPORTED"
                        );
                    }
                }
            }
        }
    }
    let version = smccc::PSCI_VERSION;
    for conduit in [Conduit::Hvc, Conduit::Smc] {
        let [plain, ..] = call(conduit, version, [0; 3]);
        let [hinted, ..] = call(conduit, version | 1 << 16, [0; 3]);
        expect!(
            plain == hinted,
            "PSCI_VERSION is {plain:#x}, and {hinted:#x} with the hint"
        );
    }
    Ok(())
}
