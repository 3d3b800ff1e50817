//! What a guest may rely on: how it is entered, identification, waiting, counters.

use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    expect, expect_eq, gic, layout, pmu, read_sysreg, recorder, skip, start, sysreg, tests, timer,
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
    a25_fp_registers_survive_a_thousand_ticks,
];

fn c_entered_as_linux_is() -> Outcome {
    let state = start::entry_state();
    expect_eq!(state.other_arguments, 0, "x1, x2 and x3 at entry");
    expect_eq!(state.daif, 0x3c0, "exception masks at entry");
    expect_eq!(state.sctlr & 1, 0, "MMU enable at entry");
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
        features >> 24 & 0xf != 0,
        "the GIC's system registers are said to be missing"
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
    let offset = timer::physical_now().wrapping_sub(timer::now());
    timer::spin(5_000_000);
    let virtual_now = timer::now();
    let physical_now = timer::physical_now();
    let drift = physical_now.wrapping_sub(virtual_now).wrapping_sub(offset) as i64;
    let most = timer::ns_to_ticks(2_000_000) as i64;
    expect!(
        drift.abs() < most,
        "the distance of the counts changed by {drift} ticks"
    );
    Ok(())
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
