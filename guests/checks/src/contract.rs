//! What a guest may rely on: how it is entered, identification, waiting, counters.

use guest_runtime::exception::catch;
use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    el0, esr, expect, expect_eq, gic, layout, pmu, read_sysreg, recorder, skip, start, sysreg,
    tests, timer, tree, write_sysreg,
};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_entered_as_linux_is,
    c_device_tree_begins_with_its_magic,
    c_mpidr_names_the_first_redistributor,
    c_id_registers_do_not_change,
    c_id_registers_tell_of_what_is_there,
    a2_id_registers_hide_what_is_not_switched,
    c_counter_runs_forward_at_its_frequency,
    c_physical_and_virtual_counts_advance_alike,
    c_wfi_returns_for_a_masked_interrupt,
    c_wfe_returns_after_an_event,
    c_cycle_counter_counts,
    c_counter_has_the_boards_frequency,
    c_fp_is_usable_at_el1_and_el0,
    c_memory_reads_alike_with_and_without_caches,
    a2_registers_of_hidden_features_are_undefined,
    a2_nothing_of_el2_can_be_read,
    a25_fp_registers_survive_a_thousand_ticks,
];

/// Those that need a GICv3.
pub const V3_TESTS: &[Test] = tests![c_interrupts_go_by_system_registers,];

fn c_entered_as_linux_is() -> Outcome {
    let state = start::entry_state();
    expect_eq!(state.other_arguments, 0, "x1, x2 and x3 at entry");
    expect_eq!(state.daif, 0x3c0, "exception masks at entry");
    // MMU, data cache, little endian.
    expect_eq!(
        state.sctlr & (1 | 1 << 2 | 1 << 25),
        0,
        "M, C and EE in SCTLR_EL1 at entry"
    );
    expect_eq!(read_sysreg!("currentel"), 1 << 2, "CurrentEL");
    Ok(())
}

fn c_device_tree_begins_with_its_magic() -> Outcome {
    let address = start::device_tree();
    if address == 0 {
        skip!("no device tree was handed over");
    }
    expect_eq!(address % 8, 0, "alignment of the device tree");
    // SAFETY: whoever entered the guest says that a device tree lies there, in RAM that is mapped.
    let magic =
        unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() };
    expect_eq!(magic, 0xd00d_feed_u32.to_be(), "magic of the device tree");
    Ok(())
}

fn c_mpidr_names_the_first_redistributor() -> Outcome {
    let mpidr = read_sysreg!("mpidr_el1");
    expect!(
        mpidr & 1 << 31 != 0,
        "bit 31 of MPIDR_EL1 ({mpidr:#x}) is not one"
    );
    let named = gic::redistributor_affinities().next().unwrap_or(u64::MAX);
    expect_eq!(named, sysreg::affinity(), "affinity in GICR_TYPER");
    Ok(())
}

/// Reads the ID registers that Linux reads first.
fn id_registers() -> [u64; 10] {
    [
        read_sysreg!("midr_el1"),
        read_sysreg!("mpidr_el1"),
        read_sysreg!("id_aa64pfr0_el1"),
        read_sysreg!("id_aa64pfr1_el1"),
        read_sysreg!("id_aa64dfr0_el1"),
        read_sysreg!("id_aa64isar0_el1"),
        read_sysreg!("id_aa64isar1_el1"),
        read_sysreg!("id_aa64mmfr0_el1"),
        read_sysreg!("id_aa64mmfr1_el1"),
        read_sysreg!("id_aa64mmfr2_el1"),
    ]
}

fn c_id_registers_do_not_change() -> Outcome {
    let first = id_registers();
    for _ in 0..100 {
        timer::spin(10_000);
        expect!(id_registers() == first, "an ID register changed");
    }
    Ok(())
}

fn c_id_registers_tell_of_what_is_there() -> Outcome {
    let features = read_sysreg!("id_aa64pfr0_el1");
    expect!(read_sysreg!("midr_el1") != 0, "MIDR_EL1 is zero");
    expect!(features & 0xf != 0, "EL0 is said to be missing");
    expect!(features >> 4 & 0xf != 0, "EL1 is said to be missing");
    expect!(features >> 16 & 0xf != 0xf, "FP is said to be missing");
    expect!(features >> 20 & 0xf != 0xf, "SIMD is said to be missing");
    expect!(
        (features >> 24 & 0xf != 0) == (gic::version() == 3),
        "the GIC's system registers are said to be missing, or to be there"
    );
    expect!(
        read_sysreg!("id_aa64mmfr0_el1") >> 28 & 0xf != 0xf,
        "the 4 KiB granule is said to be missing"
    );
    Ok(())
}

fn a2_id_registers_hide_what_is_not_switched() -> Outcome {
    if !is_hypervised() {
        skip!("nothing is hidden without a hypervisor");
    }
    let pfr0 = read_sysreg!("id_aa64pfr0_el1");
    let pfr1 = read_sysreg!("id_aa64pfr1_el1");
    let dfr0 = read_sysreg!("id_aa64dfr0_el1");
    expect_eq!(pfr0 >> 8 & 0xf, 0, "EL2 in ID_AA64PFR0_EL1");
    expect_eq!(pfr0 >> 12 & 0xf, 0, "EL3 in ID_AA64PFR0_EL1");
    expect_eq!(pfr0 >> 32 & 0xf, 0, "SVE in ID_AA64PFR0_EL1");
    expect_eq!(pfr0 >> 40 & 0xf, 0, "MPAM in ID_AA64PFR0_EL1");
    expect_eq!(pfr0 >> 44 & 0xf, 0, "AMU in ID_AA64PFR0_EL1");
    expect!(
        pfr1 >> 8 & 0xf <= 1,
        "MTE is shown in ID_AA64PFR1_EL1 ({pfr1:#x})"
    );
    expect_eq!(pfr1 >> 24 & 0xf, 0, "SME in ID_AA64PFR1_EL1");
    expect_eq!(dfr0 >> 4 & 0xf, 0, "trace in ID_AA64DFR0_EL1");
    expect_eq!(dfr0 >> 32 & 0xf, 0, "SPE in ID_AA64DFR0_EL1");
    expect_eq!(dfr0 >> 44 & 0xf, 0, "trace buffer in ID_AA64DFR0_EL1");
    Ok(())
}

fn c_counter_runs_forward_at_its_frequency() -> Outcome {
    let frequency = timer::frequency();
    expect!(
        (1_000_000..=4_000_000_000).contains(&frequency),
        "CNTFRQ_EL0 is {frequency}"
    );
    let mut before = timer::now();
    for _ in 0..10_000 {
        let now = timer::now();
        expect!(
            now >= before,
            "the virtual count went back from {before} to {now}"
        );
        before = now;
    }
    Ok(())
}

fn c_physical_and_virtual_counts_advance_alike() -> Outcome {
    let (least, most) = distance_of_counts();
    timer::spin(5_000_000);
    let (least_later, most_later) = distance_of_counts();
    expect!(
        least <= most_later && least_later <= most,
        "the distance of the counts was {least} to {most} ticks, later {least_later} to {most_later}"
    );
    Ok(())
}

/// Returns between which limits the distance of the physical count from the virtual one lies: they are as far apart as
/// this vCPU stood still between two readings.
fn distance_of_counts() -> (i64, i64) {
    let before = timer::now();
    let physical = timer::physical_now();
    let after = timer::now();
    let distance = |from: u64| physical.wrapping_sub(from) as i64;
    (distance(after), distance(before))
}

fn c_wfi_returns_for_a_masked_interrupt() -> Outcome {
    crate::fresh_gic();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    for _ in 0..100 {
        let deadline = timer::now() + timer::ns_to_ticks(50_000);
        timer::set_virtual(deadline);
        while timer::virtual_control() & timer::CTL_ISTATUS == 0 {
            sysreg::wfi();
        }
        sysreg::wfi(); // pending already: returns at once
        timer::stop_virtual();
    }
    expect_eq!(recorder::taken(), 0, "interrupts taken while masked");
    Ok(())
}

fn c_wfe_returns_after_an_event() -> Outcome {
    for _ in 0..1000 {
        sysreg::sev();
        sysreg::wfe();
    }
    Ok(())
}

fn c_cycle_counter_counts() -> Outcome {
    let version = read_sysreg!("id_aa64dfr0_el1") >> 8 & 0xf;
    if version == 0 || version == 0xf {
        skip!("ID_AA64DFR0_EL1 shows no performance monitors");
    }
    pmu::start_cycles();
    let before = pmu::cycles();
    timer::spin(1_000_000);
    expect!(pmu::cycles() > before, "the cycle counter stands still");
    Ok(())
}

fn c_counter_has_the_boards_frequency() -> Outcome {
    // QEMU's machines count at one of these; whoever has another board adds it here.
    const BOARDS: [u64; 2] = [62_500_000, 1_000_000_000];
    let frequency = timer::frequency();
    expect!(
        BOARDS.contains(&frequency),
        "CNTFRQ_EL0 is {frequency}, no board's"
    );
    Ok(())
}

fn c_interrupts_go_by_system_registers() -> Outcome {
    expect_eq!(read_sysreg!("icc_sre_el1") & 1, 1, "SRE in ICC_SRE_EL1");
    // SAFETY: turning it off is not possible, or would be undone by nobody: the test fails then.
    unsafe { write_sysreg!("icc_sre_el1", 7) };
    sysreg::isb();
    expect_eq!(read_sysreg!("icc_sre_el1") & 1, 1, "SRE after a write");
    crate::fresh_gic();
    gic::enable(2, 0x80);
    gic::send_sgi(2, sysreg::affinity());
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt by the system registers"
    );
    Ok(())
}

core::arch::global_asm!(
    ".section .text.el0_fp, \"ax\"",
    ".global checks_el0_fp",
    "checks_el0_fp:", // x0 doubled, by way of V31
    "fmov d31, x0",
    "add d31, d31, d31",
    "fmov x0, d31",
    "svc #0"
);

unsafe extern "C" {
    fn checks_el0_fp();
}

fn c_fp_is_usable_at_el1_and_el0() -> Outcome {
    let (sum, fault) = catch(|| {
        let sum: u64;
        // SAFETY: changes the registers that are named.
        unsafe {
            core::arch::asm!("fmov d0, {x}", "add d0, d0, d0", "fmov {y}, d0", x = in(reg) 21_u64, y = out(reg) sum,
                out("v0") _, options(nomem, nostack));
        }
        sum
    });
    expect!(fault.is_none(), "FP at EL1: {fault:x?}");
    expect_eq!(sum, 42, "sum at EL1");
    for _ in 0..100 {
        timer::spin(10_000);
        // SAFETY: the code changes V31 alone, which no caller of a function relies on.
        let (sum, fault) = unsafe { el0::run(checks_el0_fp as *const () as usize, 21) };
        expect!(fault.is_none(), "FP at EL0: {fault:x?}");
        expect_eq!(sum, 42, "sum at EL0");
    }
    Ok(())
}

/// Adds up the 64-bit words from `address` to `end` with the MMU and caches off.
fn sum_uncached(address: u64, end: u64) -> u64 {
    let sum: u64;
    // SAFETY: the map is an identity map, so the same instructions go on; in between nothing but `address` is read.
    unsafe {
        core::arch::asm!(
            "mrs {old}, sctlr_el1",
            "bic {new}, {old}, #1",
            "bic {new}, {new}, #4",
            "msr sctlr_el1, {new}",
            "isb",
            "mov {sum}, #0",
            "2: ldr {new}, [{at}], #8",
            "ror {sum}, {sum}, #1",
            "add {sum}, {sum}, {new}",
            "cmp {at}, {end}",
            "b.lo 2b",
            "dsb sy",
            "msr sctlr_el1, {old}",
            "isb",
            old = out(reg) _, new = out(reg) _, sum = out(reg) sum, at = inout(reg) address => _, end = in(reg) end,
            options(nostack)
        );
    }
    sum
}

fn c_memory_reads_alike_with_and_without_caches() -> Outcome {
    let tree = tree::bytes();
    // The tree that was written for this guest, and its text: it was loaded, and nobody here writes either.
    let text = c_memory_reads_alike_with_and_without_caches as *const () as u64 & !0xfff;
    let tree = tree.as_ptr() as u64..tree.as_ptr() as u64 + (tree.len() as u64 & !7);
    for range in [tree, text..text + 4096] {
        if range.is_empty() {
            continue;
        }
        let cached = range.clone().step_by(8).fold(0_u64, |sum, at| {
            // SAFETY: the tree's or the text's bytes.
            let word =
                unsafe { core::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() };
            word.wrapping_add(sum.rotate_right(1))
        });
        expect_eq!(
            sum_uncached(range.start, range.end),
            cached,
            "sum without caches"
        );
    }
    Ok(())
}

/// A register's name, and how it is read.
type Read = (&'static str, fn() -> u64);

/// Registers that a guest must not see.
macro_rules! hidden {
    ($($name:literal)*) => { [$(($name, || read_sysreg!($name))),*] };
}

fn a2_registers_of_hidden_features_are_undefined() -> Outcome {
    if !is_hypervised() {
        skip!("nothing is hidden without a hypervisor");
    }
    let registers: [Read; 26] = hidden!(
        "s3_0_c1_c2_0"   // SVE: ZCR_EL1
        "s3_0_c1_c2_6"   // SME: SMCR_EL1
        "s3_3_c4_c2_2"   // SME: SVCR
        "s3_0_c1_c0_5"   // MTE: RGSR_EL1
        "s3_0_c1_c0_6"   // MTE: GCR_EL1
        "s3_0_c5_c6_0"   // MTE: TFSR_EL1
        "s3_3_c13_c2_0"  // AMU: AMCR_EL0
        "s3_3_c13_c4_0"  // AMU: AMEVCNTR00_EL0
        "s3_0_c10_c5_0"  // MPAM: MPAM1_EL1
        "s3_0_c10_c5_1"  // MPAM: MPAM0_EL1
        "s3_0_c10_c4_4"  // MPAM: MPAMIDR_EL1
        "s3_0_c9_c9_0"   // SPE: PMSCR_EL1
        "s3_0_c9_c10_0"  // SPE: PMBLIMITR_EL1
        "s3_0_c9_c11_0"  // trace buffer: TRBLIMITR_EL1
        "s3_0_c1_c2_1"   // trace filter: TRFCR_EL1
        "s2_1_c0_c1_0"   // trace: TRCPRGCTLR
        "s3_0_c10_c4_0"  // LOR: LORSA_EL1
        "s3_0_c5_c3_0"   // RAS: ERRIDR_EL1
        "s3_0_c5_c4_0"   // RAS: ERXFR_EL1
        "s3_3_c13_c0_7"  // SCXTNUM_EL0
        "s3_0_c13_c0_7"  // SCXTNUM_EL1
        "s3_3_c2_c4_0"   // random numbers: RNDR
        "s3_0_c2_c0_3"   // TCR2_EL1
        "s3_0_c1_c0_3"   // SCTLR2_EL1
        "s3_0_c10_c2_3"  // PIR_EL1
        "s3_0_c4_c3_0"   // NMI: ALLINT
    );
    let isar0 = read_sysreg!("id_aa64isar0_el1");
    for (name, read) in registers {
        let (value, fault) = catch(read);
        // RNDR is the hardware's own where the identification says so: it has no state of anybody's.
        if name == "s3_3_c2_c4_0" && isar0 >> 60 != 0 {
            continue;
        }
        // SVE and SME may have a class of their own.
        let refused = fault.is_some_and(|fault| {
            matches!(
                esr::class(fault.esr),
                esr::EC_UNKNOWN | esr::EC_SYSREG | 0x19 | 0x1d
            )
        });
        expect!(refused, "{name} reads as {value:#x}");
    }
    Ok(())
}

fn a2_nothing_of_el2_can_be_read() -> Outcome {
    let registers: [Read; 20] = hidden!(
        "hcr_el2" "vttbr_el2" "vtcr_el2" "ttbr0_el2" "tcr_el2" "sctlr_el2" "vbar_el2" "esr_el2" "far_el2" "hpfar_el2"
        "elr_el2" "spsr_el2" "tpidr_el2" "cnthctl_el2" "cntvoff_el2" "mdcr_el2" "cptr_el2" "vmpidr_el2" "ich_hcr_el2"
        "sp_el1"
    );
    for (name, read) in registers {
        let (value, fault) = catch(read);
        expect!(
            fault.is_some_and(|fault| esr::class(fault.esr) == esr::EC_UNKNOWN),
            "{name} reads as {value:#x}"
        );
    }
    Ok(())
}

/// Fills V0 to V31, waits until `ticks` interrupts were taken, and returns the sum of the differences found.
fn fp_differences(until: usize) -> u64 {
    use core::arch::asm;
    let differences: u64;
    let taken = recorder::taken_counter();
    // SAFETY: V registers are declared as clobbered; the counter is an atomic that is read only.
    unsafe {
        asm!(
            "mov {x}, #0x1000",
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "add {y}, {x}, #\\n",
            "dup v\\n\\().2d, {y}",
            ".endr",
            "2:",
            "ldar {y}, [{taken}]",
            "cmp {y}, {until}",
            "b.lo 2b",
            "mov {d}, #0",
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "add {y}, {x}, #\\n",
            "umov {z}, v\\n\\().d[0]",
            "eor {z}, {z}, {y}",
            "orr {d}, {d}, {z}",
            "umov {z}, v\\n\\().d[1]",
            "eor {z}, {z}, {y}",
            "orr {d}, {d}, {z}",
            ".endr",
            x = out(reg) _, y = out(reg) _, z = out(reg) _, d = out(reg) differences,
            taken = in(reg) taken, until = in(reg) until,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
    differences
}

fn a25_fp_registers_survive_a_thousand_ticks() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|_| timer::set_virtual(timer::now() + timer::ns_to_ticks(20_000)));
    timer::set_virtual(timer::now());
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    sysreg::unmask_irqs();
    let differences = fp_differences(1000);
    sysreg::mask_irqs();
    timer::stop_virtual();
    expect_eq!(differences, 0, "bits of V registers that changed");
    Ok(())
}
