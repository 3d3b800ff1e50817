//! Every system-register encoding, read and written at EL1 and read at EL0: each works or is undefined, and life goes on.

use guest_runtime::exception::{Fault, catch};
use guest_runtime::made::{self, MRS, MSR, SVC};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    el0, esr, expect, fail, gic, println, read_sysreg, recorder, smccc, sysreg, tests, timer,
};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a3_debug_registers_are_survived,
    a1_every_register_is_read_or_undefined_at_el1,
    a1_every_register_is_written_or_undefined_at_el1,
    a1_every_register_is_read_or_undefined_at_el0,
    a1_interrupts_work_after_the_sweep,
];

/// Encodings of op0 2 and 3: bits 19..5 of the instruction.
const ENCODINGS: u32 = 1 << 15;

/// Runs one access at EL1 with `value` in x0; returns x0 after it, and its fault.
fn access(instruction: u32, value: u64) -> (u64, Option<Fault>) {
    // SAFETY: one MRS or MSR; which registers are written is chosen by the callers.
    catch(|| unsafe { made::run(instruction, value) })
}

/// Writes an encoding's name, as an assembler takes it, into a failure.
fn fields(encoding: u32) -> (u32, u32, u32, u32, u32) {
    (
        2 + (encoding >> 14),
        encoding >> 11 & 7,
        encoding >> 7 & 15,
        encoding >> 3 & 15,
        encoding & 7,
    )
}

/// Checks that a fault is one of those that an access that does not exist or is not enabled has.
fn acceptable(encoding: u32, fault: &Fault) -> Outcome {
    // Undefined; trapped (EL0); FP, SVE and SME that are not enabled.
    if !matches!(
        esr::class(fault.esr),
        esr::EC_UNKNOWN | esr::EC_SYSREG | 0x07 | 0x19 | 0x1d
    ) {
        let (op0, op1, crn, crm, op2) = fields(encoding);
        fail!(
            "S{op0}_{op1}_C{crn}_C{crm}_{op2}: {} ({:#x})",
            esr::class_name(fault.esr),
            fault.esr
        );
    }
    Ok(())
}

fn a3_debug_registers_are_survived() -> Outcome {
    // What Linux touches on the way up: the OS lock, breakpoints, the monitor's control.
    for name in [
        0xd510_1080_u32 | 4 << 5,
        0xd510_0240,
        0xd510_00a0,
        0xd510_00c0,
        0xd510_1380,
    ] {
        access(name & !0x1f, 0);
    }
    Ok(())
}

/// Whether reading it at EL1 does something: acknowledging an interrupt.
fn read_has_effects(encoding: u32) -> bool {
    matches!(fields(encoding), (3, 0, 12, 8 | 12, 0))
}

fn a1_every_register_is_read_or_undefined_at_el1() -> Outcome {
    crate::fresh_gic();
    let mut undefined = 0;
    for encoding in (0..ENCODINGS).filter(|encoding| !read_has_effects(*encoding)) {
        let (_, fault) = access(MRS | encoding << 5, 0);
        if let Some(fault) = fault {
            acceptable(encoding, &fault)?;
            undefined += 1;
        }
    }
    println!(
        "reads at EL1: {} work, {undefined} undefined",
        ENCODINGS - undefined
    );
    expect!(undefined < ENCODINGS, "nothing can be read");
    Ok(())
}

/// Whether writing back what was read changes how this guest runs: exception return and stack, the masks, timers.
fn write_is_left_out(encoding: u32) -> bool {
    matches!(
        fields(encoding),
        (3, 0, 4, 0, 0 | 1) | (3, 0, 4, 1, 0) | (3, 0, 12, 8 | 12, 0)
    )
}

fn a1_every_register_is_written_or_undefined_at_el1() -> Outcome {
    crate::fresh_gic();
    let mut undefined = 0;
    for encoding in (0..ENCODINGS).filter(|encoding| !write_is_left_out(*encoding)) {
        // What can be read is written back as it was; what is for writing only gets zero.
        let (value, unreadable) = access(MRS | encoding << 5, 0);
        let value = if unreadable.is_some() { 0 } else { value };
        let (_, fault) = access(MSR | encoding << 5, value);
        if let Some(fault) = fault {
            acceptable(encoding, &fault)?;
            undefined += 1;
        }
    }
    println!(
        "writes at EL1: {} work, {undefined} undefined",
        ENCODINGS - undefined
    );
    expect!(undefined < ENCODINGS, "nothing can be written");
    Ok(())
}

fn a1_every_register_is_read_or_undefined_at_el0() -> Outcome {
    crate::fresh_gic();
    let mut undefined = 0;
    for encoding in 0..ENCODINGS {
        let code = made::place(MRS | encoding << 5, SVC);
        // SAFETY: the code is one MRS and SVC; the MMU is on.
        let (_, fault) = unsafe { el0::run(code, 0) };
        if let Some(fault) = fault {
            acceptable(encoding, &fault)?;
            undefined += 1;
        }
    }
    println!(
        "reads at EL0: {} work, {undefined} undefined",
        ENCODINGS - undefined
    );
    Ok(())
}

fn a1_interrupts_work_after_the_sweep() -> Outcome {
    crate::fresh_gic();
    gic::enable(5, 0x80);
    gic::send_sgi(5, sysreg::affinity());
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt comes after the sweep"
    );
    if smccc::is_hypervised() {
        let counting = read_sysreg!("cntvct_el0");
        expect!(
            read_sysreg!("cntvct_el0") >= counting,
            "the counter went back"
        );
    }
    Ok(())
}
