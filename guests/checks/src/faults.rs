//! Accesses that nobody answers, and those that a hypervisor cannot decode: the guest gets an abort that it can handle.

use core::arch::asm;
use guest_runtime::exception::{Fault, catch};
use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test, Verdict};
use guest_runtime::{
    el0, esr, expect, expect_eq, fail, gic, layout, mmu, recorder, skip, tests, timer,
};

const GIB: u64 = 1 << 30;
const HOLE: usize = layout::DEVICE_HOLE;

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a23_load_from_a_hole_gets_external_abort,
    a23_store_to_a_hole_gets_external_abort,
    a23_jump_to_a_hole_gets_instruction_abort,
    a23_jump_to_a_device_gets_instruction_abort,
    a23_isv0_ldp_to_gicd_gets_external_abort,
    a23_isv0_stp_to_gicd_gets_external_abort,
    a23_isv0_post_indexed_load_from_gicd_gets_external_abort,
    a23_isv0_vector_load_from_gicd_gets_external_abort,
    a23_isv0_exclusive_to_gicd_gets_abort,
    a23_isv0_pair_to_the_uart_gets_external_abort,
    a23_dc_zva_to_a_device_gets_abort,
    a23_cache_maintenance_of_a_hole_is_survived,
    a23_address_translation_of_a_hole_is_survived,
    a23_table_walk_into_a_hole_gets_abort,
    a23_table_walk_into_a_device_gets_abort,
    a23_load_from_a_hole_at_el0_gets_external_abort,
    a23_aborts_in_a_row_leave_interrupts_working,
    a24_misaligned_device_access_is_survived,
    a15_addresses_past_ram_get_an_abort,
    a21_cache_ranges_at_the_top_are_survived,
    a4_set_way_storm_keeps_memory,
];

/// Checks that a fault was a synchronous external abort of this class with this address.
fn external(fault: Option<Fault>, class: u64, address: usize) -> Result<(), Verdict> {
    let Some(fault) = fault else {
        fail!("no abort")
    };
    expect_eq!(esr::class(fault.esr), class, "exception class");
    expect_eq!(esr::status(fault.esr), esr::STATUS_EXTERNAL, "fault status");
    // FnV (bit 10) says that the address is not known.
    if fault.esr & 1 << 10 == 0 {
        expect_eq!(fault.far, address as u64, "FAR_EL1");
    }
    Ok(())
}

/// Runs one instruction on an address, in `x9`, catching what it raises.
macro_rules! touch {
    ($address:expr, $($instruction:literal),+) => {
        catch(|| {
            // SAFETY: the address is a device or a hole; the registers named here are the ones that the instructions use.
            unsafe {
                asm!($($instruction),+, inout("x9") $address => _, out("x10") _, out("x11") _, out("x12") _, out("v0") _,
                    out("v1") _, options(nostack))
            }
        }).1
    };
}

fn a23_load_from_a_hole_gets_external_abort() -> Outcome {
    external(
        touch!(HOLE + 8, "ldr x10, [x9]"),
        esr::EC_DATA_ABORT,
        HOLE + 8,
    )?;
    external(
        touch!(HOLE + 1, "ldrb w10, [x9]"),
        esr::EC_DATA_ABORT,
        HOLE + 1,
    )?;
    external(
        touch!(layout::MEMORY_HOLE, "ldr x10, [x9]"),
        esr::EC_DATA_ABORT,
        layout::MEMORY_HOLE,
    )
}

fn a23_store_to_a_hole_gets_external_abort() -> Outcome {
    let fault = touch!(HOLE + 4, "str w10, [x9]");
    external(fault, esr::EC_DATA_ABORT, HOLE + 4)?;
    expect!(
        fault.is_some_and(|fault| fault.esr & 1 << 6 != 0),
        "the syndrome says that it was a load"
    );
    external(
        touch!(layout::MEMORY_HOLE + 16, "stp x10, x11, [x9]"),
        esr::EC_DATA_ABORT,
        layout::MEMORY_HOLE + 16,
    )
}

/// Calls `address`, catching what that raises.
fn call(address: usize) -> Option<Fault> {
    catch(|| {
        // SAFETY: nothing is there to be run; the abort returns to after the call.
        unsafe { asm!("blr {a}", a = in(reg) address, out("x30") _, clobber_abi("C")) }
    })
    .1
}

fn a23_jump_to_a_hole_gets_instruction_abort() -> Outcome {
    for _ in 0..100 {
        external(
            call(layout::MEMORY_HOLE),
            esr::EC_INSTRUCTION_ABORT,
            layout::MEMORY_HOLE,
        )?;
    }
    Ok(())
}

fn a23_jump_to_a_device_gets_instruction_abort() -> Outcome {
    if !is_hypervised() {
        skip!("QEMU fetches from its devices");
    }
    let window = mmu::set_window(0, mmu::BLOCK_NORMAL);
    let fault = call(window + layout::GICD);
    mmu::set_window(0, 0);
    external(fault, esr::EC_INSTRUCTION_ABORT, window + layout::GICD)
}

fn a23_isv0_ldp_to_gicd_gets_external_abort() -> Outcome {
    undecodable(touch!(layout::GICD, "ldp w10, w11, [x9]"), layout::GICD)
}

fn a23_isv0_stp_to_gicd_gets_external_abort() -> Outcome {
    let address = layout::GICD + 0x1000;
    undecodable(touch!(address, "stp xzr, xzr, [x9]"), address)
}

fn a23_isv0_post_indexed_load_from_gicd_gets_external_abort() -> Outcome {
    undecodable(touch!(layout::GICD, "ldr w10, [x9], #4"), layout::GICD)
}

fn a23_isv0_vector_load_from_gicd_gets_external_abort() -> Outcome {
    undecodable(touch!(layout::GICD, "ldr q0, [x9]"), layout::GICD)?;
    undecodable(touch!(layout::GICD, "ld1 {{v0.4s}}, [x9]"), layout::GICD)
}

fn a23_isv0_exclusive_to_gicd_gets_abort() -> Outcome {
    if !is_hypervised() {
        skip!("the machine's own GIC answers");
    }
    // The architecture lets an exclusive be reported with a status of its own; either way it is an abort.
    let address = layout::GICD + 0x1000;
    let fault = touch!(address, "ldxr w10, [x9]", "stxr w11, w10, [x9]");
    expect!(
        fault.is_some_and(|fault| esr::class(fault.esr) == esr::EC_DATA_ABORT),
        "no data abort: {fault:x?}"
    );
    Ok(())
}

fn a23_isv0_pair_to_the_uart_gets_external_abort() -> Outcome {
    let address = layout::UART + 0xfe0;
    undecodable(touch!(address, "ldp w10, w11, [x9]"), address)
}

/// Checks the abort of an access that a hypervisor cannot decode; on a bare machine the device answers it.
fn undecodable(fault: Option<Fault>, address: usize) -> Outcome {
    if !is_hypervised() {
        skip!("the machine's own device answers");
    }
    external(fault, esr::EC_DATA_ABORT, address)
}

fn a23_dc_zva_to_a_device_gets_abort() -> Outcome {
    if !is_hypervised() {
        skip!("the machine's own device would be written");
    }
    // As device memory stage 1 refuses it; as normal memory it reaches stage 2, whose syndrome describes no register.
    let fault = touch!(layout::GICD + 0x1000, "dc zva, x9");
    expect!(
        fault.is_some_and(|fault| esr::class(fault.esr) == esr::EC_DATA_ABORT),
        "no data abort: {fault:x?}"
    );
    let window = mmu::set_window(0, mmu::BLOCK_NORMAL);
    let fault = touch!(window + layout::GICD + 0x1000, "dc zva, x9");
    mmu::set_window(0, 0);
    expect!(
        fault.is_some_and(|fault| esr::class(fault.esr) == esr::EC_DATA_ABORT),
        "no data abort: {fault:x?}"
    );
    Ok(())
}

fn a23_cache_maintenance_of_a_hole_is_survived() -> Outcome {
    for address in [HOLE, layout::MEMORY_HOLE, layout::GICD, layout::UART] {
        let faults = [
            touch!(address, "dc civac, x9"),
            touch!(address, "dc cvac, x9"),
            touch!(address, "dc cvau, x9"),
            touch!(address, "ic ivau, x9"),
            touch!(address, "prfm pldl1keep, [x9]"),
        ];
        for fault in faults.iter().flatten() {
            expect_eq!(esr::class(fault.esr), esr::EC_DATA_ABORT, "exception class");
        }
    }
    Ok(())
}

fn a23_address_translation_of_a_hole_is_survived() -> Outcome {
    for address in [
        HOLE,
        layout::MEMORY_HOLE,
        layout::GICD,
        layout::RAM,
        1 << 60,
    ] {
        touch!(address, "at s1e1r, x9", "isb", "mrs x10, par_el1");
        touch!(address, "at s1e0w, x9", "isb", "mrs x10, par_el1");
    }
    let (parameter, fault) = catch(|| {
        let value: u64;
        // SAFETY: a translation of the first byte of RAM, which is mapped.
        unsafe {
            asm!("at s1e1r, {a}", "isb", "mrs {p}, par_el1", a = in(reg) layout::RAM, p = out(reg) value, options(nostack))
        };
        value
    });
    expect!(fault.is_none(), "AT of RAM raised {fault:x?}");
    expect_eq!(parameter & 1, 0, "F in PAR_EL1 for RAM");
    expect_eq!(
        parameter & 0xffff_ffff_f000,
        layout::RAM as u64,
        "address in PAR_EL1 for RAM"
    );
    Ok(())
}

/// Reads through a window whose next table lies at `table`, where there is no memory.
fn walk_into(table: usize) -> Outcome {
    let window = mmu::set_window(1, table as u64 | 3);
    let fault = touch!(window + 0x1234_5678, "ldrb w10, [x9]");
    mmu::set_window(1, 0);
    let Some(fault) = fault else {
        fail!("no abort")
    };
    expect_eq!(esr::class(fault.esr), esr::EC_DATA_ABORT, "exception class");
    let status = esr::status(fault.esr);
    let on_walk = (0x14..=0x17).contains(&status) || status == esr::STATUS_EXTERNAL;
    expect!(on_walk, "fault status {status:#x} is no external abort");
    Ok(())
}

fn a23_table_walk_into_a_hole_gets_abort() -> Outcome {
    walk_into(HOLE)?;
    walk_into(layout::MEMORY_HOLE)
}

fn a23_table_walk_into_a_device_gets_abort() -> Outcome {
    if !is_hypervised() {
        skip!("QEMU walks through its devices");
    }
    walk_into(layout::GICD)?;
    walk_into(layout::UART)
}

core::arch::global_asm!(
    ".section .text.el0_load, \"ax\"",
    ".global checks_el0_load",
    "checks_el0_load: ldr x0, [x0]",
    "svc #0"
);

unsafe extern "C" {
    fn checks_el0_load();
}

fn a23_load_from_a_hole_at_el0_gets_external_abort() -> Outcome {
    let code = checks_el0_load as *const () as usize;
    // The last page of the GiB that RAM begins in: a hole for every RAM of less than a GiB.
    let hole = mmu::EL0_ALIAS + layout::RAM + (1 << 30) - 4096;
    // SAFETY: the code loads and writes nothing; the MMU is on.
    let (_, fault) = unsafe { el0::run(code, hole as u64) };
    external(fault, esr::EC_DATA_ABORT_LOWER, hole)?;
    // SAFETY: as above.
    let (_, fault) = unsafe { el0::run(code, (mmu::EL0_ALIAS + layout::RAM) as u64) };
    expect!(
        fault.is_none(),
        "a load of the image at EL0 raised {fault:x?}"
    );
    Ok(())
}

fn a23_aborts_in_a_row_leave_interrupts_working() -> Outcome {
    crate::fresh_gic();
    gic::enable(5, 0x80);
    for round in 1..=200 {
        gic::write_bit(gic::ISPENDR, 5);
        let fault = touch!(HOLE, "ldr x10, [x9]");
        expect!(fault.is_some(), "no abort in round {round}");
        expect!(
            recorder::wait(round, timer::PATIENCE_NS),
            "no interrupt in round {round}"
        );
    }
    Ok(())
}

fn a24_misaligned_device_access_is_survived() -> Outcome {
    for address in [
        layout::GICD + 1,
        layout::GICD + 0xfffd,
        layout::UART + 2,
        layout::UART + 0xffe,
        HOLE + 3,
    ] {
        touch!(address, "ldr w10, [x9]");
        touch!(address, "ldrh w10, [x9]");
        touch!(address, "ldr x10, [x9]");
    }
    Ok(())
}

fn a15_addresses_past_ram_get_an_abort() -> Outcome {
    // Physical GiBs around the sizes that address spaces have, and aliases of RAM's GiB beyond 36 and 39 bits.
    let gibs = [
        4, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 4095, 4097, 0x3fffe, 0x3ffff,
    ];
    for gib in gibs {
        let window = mmu::set_window(2, (gib * GIB) & 0xffff_ffff_f000 | mmu::BLOCK_NORMAL);
        for offset in [0, 0x12_3450, (1 << 30) - 8] {
            let fault = touch!(window + offset, "ldr x10, [x9]");
            let stored = touch!(window + offset, "str x10, [x9]");
            if fault.is_none() || stored.is_none() {
                mmu::set_window(2, 0);
                if is_hypervised() {
                    fail!("physical GiB {gib} answers");
                }
                skip!("this machine has something up there");
            }
        }
    }
    mmu::set_window(2, 0);
    Ok(())
}

fn a21_cache_ranges_at_the_top_are_survived() -> Outcome {
    for address in [
        u64::MAX,
        u64::MAX - 63,
        1 << 63,
        0xffff_ffff_ffff,
        1 << 48,
        (1 << 39) - 64,
    ] {
        touch!(address, "dc civac, x9");
        touch!(address, "dc ivac, x9");
        touch!(address, "ic ivau, x9");
        touch!(address >> 12, "tlbi vae1is, x9", "dsb ish");
        touch!(address, "tlbi vale1, x9", "dsb ish");
    }
    Ok(())
}

fn a4_set_way_storm_keeps_memory() -> Outcome {
    let mut pattern = [0_u64; 256];
    for (place, value) in pattern.iter_mut().enumerate() {
        *value = core::hint::black_box(0x1234_5678_9abc_def0 ^ place as u64);
    }
    for level in 0..2_u64 {
        for set in 0..128_u64 {
            for way in 0..4_u64 {
                let operand = way << 30 | set << 6 | level << 1;
                touch!(operand, "dc csw, x9");
                touch!(operand, "dc cisw, x9");
                // Dropping dirty lines is for a hypervisor to prevent; a bare machine would lose them.
                if is_hypervised() {
                    touch!(operand, "dc isw, x9");
                }
            }
        }
    }
    for (place, value) in core::hint::black_box(&pattern).iter().enumerate() {
        expect_eq!(
            *value,
            0x1234_5678_9abc_def0 ^ place as u64,
            "a word of the pattern"
        );
    }
    Ok(())
}
