//! Calls by HVC and SMC: PSCI as a guest with one vCPU sees it, and everything that is not known.

use core::arch::asm;
use guest_runtime::exception::catch;
use guest_runtime::smccc::{self, Conduit, call, is_hypervised, psci};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, skip, smp, start, sysreg, tests, timer};

const MS: u64 = 1_000_000;

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_psci_version_is_1_1_or_later,
    c_psci_features_name_what_is_mandatory,
    c_smccc_version_is_1_1_or_later,
    c_calls_by_smc_answer_as_by_hvc,
    c_calls_keep_x4_to_x17,
    a22_cpu_on_of_itself_is_already_on,
    a22_cpu_on_of_nobody_is_refused,
    a22_affinity_info_of_itself_and_of_nobody,
    a22_cpu_suspend_returns_for_an_interrupt,
    a22_cpu_suspend_of_a_wrong_state_is_refused,
    a22_migration_is_not_needed,
    a22_psci_of_later_versions_is_not_supported,
    a26_unknown_calls_are_not_supported_by_hvc,
    a26_unknown_calls_are_not_supported_by_smc,
    a26_calls_with_an_immediate_are_survived,
    a26_function_numbers_at_the_ends_of_each_owner_are_answered,
    a10_pointers_are_never_followed,
    a10_pointers_into_nowhere_are_survived,
    a12_ten_thousand_refused_calls_are_survived,
    a17_workarounds_are_offered_and_keep_registers,
];

fn c_psci_version_is_1_1_or_later() -> Outcome {
    let version = psci(smccc::PSCI_VERSION, [0; 3]);
    expect!(
        (0x1_0001..0x2_0000).contains(&version),
        "PSCI_VERSION is {version:#x}"
    );
    Ok(())
}

fn c_psci_features_name_what_is_mandatory() -> Outcome {
    let mandatory = [
        smccc::PSCI_VERSION,
        smccc::CPU_SUSPEND,
        smccc::CPU_SUSPEND & !0x4000_0000,
        smccc::CPU_OFF,
        smccc::CPU_ON,
        smccc::CPU_ON & !0x4000_0000,
        smccc::AFFINITY_INFO,
        smccc::AFFINITY_INFO & !0x4000_0000,
        smccc::SYSTEM_OFF,
        smccc::SYSTEM_RESET,
        smccc::PSCI_FEATURES,
    ];
    for function in mandatory {
        let answer = psci(smccc::PSCI_FEATURES, [function.into(), 0, 0]);
        expect!(answer >= 0, "PSCI_FEATURES of {function:#x} is {answer}");
    }
    if is_hypervised() {
        let answer = psci(smccc::PSCI_FEATURES, [smccc::SMCCC_VERSION.into(), 0, 0]);
        expect!(answer >= 0, "PSCI_FEATURES of SMCCC_VERSION is {answer}");
    }
    for function in [0x8400_00ff_u32, 0xc400_0000, 0, u32::MAX, 0x8300_0000] {
        let answer = psci(smccc::PSCI_FEATURES, [function.into(), 0, 0]);
        expect!(
            answer == smccc::NOT_SUPPORTED,
            "PSCI_FEATURES of {function:#x} is {answer}"
        );
    }
    Ok(())
}

fn c_smccc_version_is_1_1_or_later() -> Outcome {
    if !is_hypervised() {
        skip!("plain QEMU does not know SMCCC_VERSION");
    }
    let [version, ..] = call(Conduit::Hvc, smccc::SMCCC_VERSION, [0; 3]);
    expect!(
        (0x1_0001..0x2_0000).contains(&version),
        "SMCCC_VERSION is {version:#x}"
    );
    let own = psci(
        smccc::SMCCC_ARCH_FEATURES,
        [smccc::SMCCC_VERSION.into(), 0, 0],
    );
    expect!(own >= 0, "SMCCC_ARCH_FEATURES of SMCCC_VERSION is {own}");
    let unknown = psci(smccc::SMCCC_ARCH_FEATURES, [0x8000_7abc, 0, 0]);
    expect!(
        unknown == smccc::NOT_SUPPORTED,
        "SMCCC_ARCH_FEATURES of an unknown function is {unknown}"
    );
    Ok(())
}

fn c_calls_by_smc_answer_as_by_hvc() -> Outcome {
    if !is_hypervised() {
        skip!("SMC is undefined without EL2 and EL3");
    }
    let [by_hvc, ..] = call(Conduit::Hvc, smccc::PSCI_VERSION, [0; 3]);
    for _ in 0..10 {
        let [by_smc, ..] = call(Conduit::Smc, smccc::PSCI_VERSION, [0; 3]);
        expect_eq!(by_smc, by_hvc, "PSCI_VERSION by SMC");
    }
    Ok(())
}

/// Makes a call with x4 to x17 set to their numbers; returns how many came back changed.
macro_rules! changed_by {
    ($instruction:literal, $function:expr) => {{
        let changed: u64;
        // SAFETY: a version query; all registers that the convention lets it change are declared.
        unsafe {
            asm!(
                ".irp n,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "mov x\\n, #\\n", ".endr",
                $instruction,
                "mov x1, #0",
                ".irp n,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "cmp x\\n, #\\n", "cinc x1, x1, ne", ".endr",
                inout("x0") u64::from($function) => _, out("x1") changed, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
                out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
                out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack)
            );
        }
        changed
    }};
}

fn c_calls_keep_x4_to_x17() -> Outcome {
    expect_eq!(
        changed_by!("hvc #0", smccc::PSCI_VERSION),
        0,
        "registers that PSCI_VERSION changed"
    );
    expect_eq!(
        changed_by!("hvc #0", 0x8200_1234_u32),
        0,
        "registers that an unknown call changed"
    );
    if is_hypervised() {
        expect_eq!(
            changed_by!("smc #0", smccc::PSCI_VERSION),
            0,
            "registers that PSCI_VERSION by SMC changed"
        );
    }
    Ok(())
}

fn a22_cpu_on_of_itself_is_already_on() -> Outcome {
    for function in [smccc::CPU_ON, smccc::CPU_ON & !0x4000_0000] {
        let answer = psci(function, [sysreg::affinity(), layout::RAM as u64, 0]);
        expect!(answer == smccc::ALREADY_ON, "CPU_ON of itself is {answer}");
    }
    Ok(())
}

fn a22_cpu_on_of_nobody_is_refused() -> Outcome {
    let own = sysreg::affinity();
    for target in [
        own ^ 0x80,
        own | 0xff00,
        own | 0xff_0000,
        own | 0xff << 32,
        own | 1 << 24,
        own | 1 << 31,
        u64::MAX,
    ] {
        let answer = psci(smccc::CPU_ON, [target, layout::RAM as u64, 0]);
        expect!(
            answer == smccc::INVALID_PARAMETERS,
            "CPU_ON of {target:#x} is {answer}"
        );
    }
    Ok(())
}

fn a22_affinity_info_of_itself_and_of_nobody() -> Outcome {
    let own = sysreg::affinity();
    let answer = smp::state(own);
    expect!(answer == 0, "AFFINITY_INFO of itself is {answer}");
    let answer = smp::state(own ^ 0x80);
    expect!(
        answer == smccc::INVALID_PARAMETERS,
        "AFFINITY_INFO of nobody is {answer}"
    );
    if !is_hypervised() {
        return Ok(()); // plain QEMU does not look at the level
    }
    let answer = psci(smccc::AFFINITY_INFO, [own, 4, 0]);
    expect!(
        answer == smccc::INVALID_PARAMETERS,
        "AFFINITY_INFO of level 4 is {answer}"
    );
    Ok(())
}

fn a22_cpu_suspend_returns_for_an_interrupt() -> Outcome {
    crate::fresh_gic();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    for _ in 0..20 {
        timer::set_virtual(timer::now() + timer::ns_to_ticks(MS / 10));
        let answer = psci(smccc::CPU_SUSPEND, [0, 0, 0]);
        let woken = timer::wait_until(timer::PATIENCE_NS, || {
            timer::virtual_control() & timer::CTL_ISTATUS != 0
        });
        timer::stop_virtual();
        expect!(answer == 0, "CPU_SUSPEND to standby is {answer}");
        expect!(woken, "the timer stood still over CPU_SUSPEND");
    }
    Ok(())
}

fn a22_cpu_suspend_of_a_wrong_state_is_refused() -> Outcome {
    for state in [0x8000_0000_u64, 0x0f00_0000, 0xffff_ffff] {
        let answer = psci(smccc::CPU_SUSPEND, [state, layout::DEVICE_HOLE as u64, 0]);
        expect!(
            answer == smccc::INVALID_PARAMETERS,
            "CPU_SUSPEND of state {state:#x} is {answer}"
        );
    }
    Ok(())
}

fn a22_migration_is_not_needed() -> Outcome {
    let answer = psci(smccc::MIGRATE_INFO_TYPE, [0; 3]);
    expect!(
        answer == 2 || answer == smccc::NOT_SUPPORTED,
        "MIGRATE_INFO_TYPE is {answer}"
    );
    Ok(())
}

fn a22_psci_of_later_versions_is_not_supported() -> Outcome {
    for number in (0x18..0x40).chain([0xff, 0xffff]) {
        for class in [0x8400_0000_u32, 0xc400_0000] {
            // 0x50 to 0x53 would be the random number service; they are not among these.
            let answer = psci(class | number, [0; 3]);
            expect!(
                answer == smccc::NOT_SUPPORTED,
                "call {:#x} is {answer}",
                class | number
            );
        }
    }
    Ok(())
}

/// Function identifiers that nobody knows, of every range that the convention has.
fn unknown() -> impl Iterator<Item = u32> {
    let owners = [
        0x00, // architecture
        0x01, // CPU service
        0x02, // silicon partner
        0x03, // OEM
        0x04, // standard secure
        0x05, // standard hypervisor
        0x06, // vendor-specific hypervisor
        0x07, 0x1f, // reserved
        0x30, 0x31, // trusted applications
        0x32, 0x3f, // trusted OS
    ];
    let classes = [0x8000_0000_u32, 0xc000_0000, 0x0000_0000, 0x4000_0000];
    let numbers = [0x7abc, 0xfabc];
    owners.into_iter().flat_map(move |owner: u32| {
        classes.into_iter().flat_map(move |class| {
            numbers
                .into_iter()
                .map(move |number| class | owner << 24 | number)
        })
    })
}

fn refuse_unknown(conduit: Conduit) -> Outcome {
    for function in unknown() {
        let [x0, ..] = call(conduit, function, [1, 2, 3]);
        expect!(x0 as i32 == -1, "call {function:#x} is {x0:#x}");
    }
    Ok(())
}

fn a26_unknown_calls_are_not_supported_by_hvc() -> Outcome {
    refuse_unknown(Conduit::Hvc)
}

fn a26_unknown_calls_are_not_supported_by_smc() -> Outcome {
    if !is_hypervised() {
        skip!("SMC is undefined without EL2 and EL3");
    }
    refuse_unknown(Conduit::Smc)
}

fn a26_calls_with_an_immediate_are_survived() -> Outcome {
    catch(|| {
        // SAFETY: calls with an immediate are reserved: refused or undefined.
        unsafe {
            asm!(
                "mov x0, #-1",
                "hvc #1",
                "mov x0, #-1",
                "hvc #0xffff",
                clobber_abi("C")
            )
        }
    });
    catch(|| {
        // SAFETY: as above.
        unsafe {
            asm!(
                "mov x0, #-1",
                "smc #1",
                "mov x0, #-1",
                "smc #0xffff",
                clobber_abi("C")
            )
        }
    });
    Ok(())
}

/// Whether a function ends this guest, or waits: PSCI's CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, and the suspends and
/// resets of later numbers.
fn ends(function: u32) -> bool {
    let number = function & 0x8f00_ffff;
    matches!(number, 0x8400_0001..=0x8400_0002 | 0x8400_0008..=0x8400_0009 | 0x8400_000c..=0x8400_0015)
}

/// A number that no partition, channel or vCPU has.
const NOBODY: u64 = 1 << 62 | 0x7abc_0000;

fn a26_function_numbers_at_the_ends_of_each_owner_are_answered() -> Outcome {
    if !is_hypervised() {
        skip!("plain QEMU ends at some of them");
    }
    for owner in 0..64_u32 {
        // Those at both ends, and where the architecture has some: `every-call` makes them all.
        let all = matches!(owner, 0 | 4 | 6);
        let inside = [0x3f80..0x4000_u32, 0x7f80..0x8080].into_iter().flatten();
        for number in (0..0x80_u32).chain(inside).chain(0xff00..0x1_0000) {
            for class in [0x8000_0000_u32, 0xc000_0000, 0, 0x4000_0000] {
                let function = class | owner << 24 | number;
                if ends(function) {
                    continue;
                }
                let served = all && class & 0x8000_0000 != 0;
                for conduit in [Conduit::Hvc, Conduit::Smc] {
                    let [x0, ..] = call(conduit, function, [NOBODY; 3]);
                    expect!(
                        served || x0 as i32 == -1,
                        "call {function:#x} is {x0:#x}, not NOT_SUPPORTED"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Two pages that calls are given pointers into.
#[repr(align(4096))]
struct Pages([core::sync::atomic::AtomicU64; 1024]);

static PAGES: Pages = Pages([const { core::sync::atomic::AtomicU64::new(PATTERN) }; 1024]);

/// What is in them.
const PATTERN: u64 = 0x0dd5_0ccd_a11f_0045;

fn a10_pointers_are_never_followed() -> Outcome {
    if !is_hypervised() {
        skip!("for a hypervisor's own calls");
    }
    let own = PAGES.0.as_ptr() as u64;
    let code = a10_pointers_are_never_followed as *const () as u64;
    let pointers = [
        own,           // a page of this guest's
        own + 4092,    // across its end
        own + 1,       // misaligned
        code & !0xfff, // its own text
        start::device_tree(),
        layout::RAM as u64 + (1 << 30) - 4, // from nothing into nothing
        layout::RAM as u64 - 4,             // from nothing into RAM
    ];
    let services = [0x8000_0000_u32, 0x8400_0000, 0x8600_0000, 0x8600_ff00];
    for base in services {
        for number in 0..0x100_u32 {
            for wide in [0, 0x4000_0000] {
                let function = base | wide | number;
                for pointer in pointers {
                    if !ends(function) {
                        // x1 names nobody, or is the pointer where nothing is named by it.
                        call(
                            Conduit::Hvc,
                            function,
                            [pointer | 1 << 62, pointer, pointer],
                        );
                    }
                }
            }
        }
    }
    for (place, word) in PAGES.0.iter().enumerate() {
        let found = word.load(core::sync::atomic::Ordering::Relaxed);
        expect!(found == PATTERN, "word {place} is {found:#x}");
    }
    Ok(())
}

fn a10_pointers_into_nowhere_are_survived() -> Outcome {
    if !is_hypervised() {
        skip!("for a hypervisor's own calls");
    }
    let pointers = [
        0,
        layout::GICD as u64,
        layout::MEMORY_HOLE as u64,
        // Where boards have RAM, and EL2 itself with it: physical addresses, and EL2's own virtual ones.
        0x4000_0000,
        0x4020_0000,
        0x4240_0000,
        0x7fff_fff8,
        0x8000_0000,
        0x7f_c000_0000,
        0x7f_ff80_0000,
        0x7f_ffa0_0000,
        1 << 39,
        1 << 48,
        u64::MAX,
    ];
    let [served, ..] = call(Conduit::Hvc, 0x8600_0000, [0; 3]);
    for number in (0..0x40_u32).chain(0xff00..0xff10) {
        for pointer in pointers {
            for class in [0x8600_0000_u32, 0xc600_0000] {
                // What is named by a number in x1, a partition or a channel, is none of these.
                let first = pointer | 1 << 63 | 0x7abc_0000;
                let [x0, ..] = call(Conduit::Hvc, class | number, [first, pointer, pointer]);
                expect!(
                    number >= 0xff00 || served >> number & 1 != 0 || x0 as i32 == -1,
                    "call {:#x} with {pointer:#x} is {x0:#x}",
                    class | number
                );
            }
        }
    }
    Ok(())
}

/// `SMCCC_ARCH_WORKAROUND_1` to `_4`.
const WORKAROUNDS: [u32; 4] = [0x8000_8000, 0x8000_7fff, 0x8000_3fff, 0x8000_0004];

fn a17_workarounds_are_offered_and_keep_registers() -> Outcome {
    if !is_hypervised() {
        skip!("plain QEMU offers none");
    }
    for workaround in WORKAROUNDS {
        let offered = psci(smccc::SMCCC_ARCH_FEATURES, [workaround.into(), 0, 0]);
        // 0: call it; 1: this CPU does not need it; -1: nothing is known.
        expect!(
            (-1..=1).contains(&offered),
            "SMCCC_ARCH_FEATURES of {workaround:#x} is {offered}"
        );
        if offered >= 0 {
            expect_eq!(
                changed_by!("hvc #0", workaround),
                0,
                "registers that a workaround changed"
            );
        }
    }
    Ok(())
}

fn a12_ten_thousand_refused_calls_are_survived() -> Outcome {
    for _ in 0..10_000 {
        let [x0, ..] = call(Conduit::Hvc, 0x8300_7abc, [0; 3]);
        expect!(x0 as i32 == -1, "the call is {x0:#x}");
    }
    Ok(())
}
