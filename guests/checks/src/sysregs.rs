//! Every system-register encoding, read and written at EL1 and read at EL0: each works or is undefined, and life goes on.

use core::sync::atomic::AtomicU64;
use guest_runtime::exception::{Fault, catch};
use guest_runtime::made::{self, MRS, MSR, SVC};
use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test, Verdict};
use guest_runtime::{
    el0, esr, expect, expect_eq, fail, gic, println, read_sysreg, recorder, skip, sysreg, tests,
    timer, write_sysreg,
};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a3_debug_registers_are_survived,
    a1_every_register_is_read_or_undefined_at_el1,
    a1_every_register_is_written_or_undefined_at_el1,
    a1_every_register_is_read_or_undefined_at_el0,
    a1_every_register_is_written_or_undefined_at_el0,
    a1_every_system_instruction_works_or_is_undefined,
    a1_nothing_but_what_is_documented_can_be_read,
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

/// Writes a register by its encoding and returns what it then holds; `None` when either is undefined.
fn written(encoding: u32, value: u64) -> Result<Option<u64>, Verdict> {
    let mut found = None;
    for form in [MSR, MRS] {
        let (x0, fault) = access(form | encoding << 5, value);
        if let Some(fault) = fault {
            acceptable(encoding, &fault)?;
            return Ok(None);
        }
        found = Some(x0);
    }
    Ok(found)
}

fn a3_debug_registers_are_survived() -> Outcome {
    // What Linux touches on the way up: the OS lock, breakpoints, the monitor's control.
    for (crn, crm, op2) in [(1, 0, 4), (0, 2, 2), (0, 0, 5), (0, 0, 7), (1, 3, 4)] {
        written(made::encoding(2, 0, crn, crm, op2), 0)?;
    }
    // Breakpoints and watchpoints as many as the identification says hold what is written, those beyond are undefined; as long
    // as none is on, nothing comes of it.
    let features = read_sysreg!("id_aa64dfr0_el1");
    let address = 0x1234_5678_9abc;
    for number in 0..16_u32 {
        for (value_op2, control_op2, shift) in [(4, 5, 12), (6, 7, 20)] {
            let there = u64::from(number) <= features >> shift & 0xf;
            let value = written(made::encoding(2, 0, 0, number, value_op2), address)?;
            let control = written(made::encoding(2, 0, 0, number, control_op2), 0xf << 5)?;
            let wanted = there.then_some(address);
            expect!(
                !is_hypervised() || value == wanted,
                "value {value_op2} of comparator {number} is {value:x?}"
            );
            expect!(
                !is_hypervised() || control == there.then_some(0xf << 5),
                "control {control_op2} of comparator {number} is {control:x?}"
            );
            written(made::encoding(2, 0, 0, number, control_op2), 0)?;
            written(made::encoding(2, 0, 0, number, value_op2), 0)?;
        }
    }
    let monitor = made::encoding(2, 0, 0, 2, 2);
    expect!(
        written(monitor, 1 << 12)? == Some(1 << 12) && written(monitor, 0)? == Some(0),
        "MDSCR_EL1 does not hold what is written"
    );
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

/// Lets EL0 have, or not, all that EL1 can let it have: counters, timers, performance monitors. What reaches EL2 when EL1 uses
/// it reaches EL2 from there too, then.
fn open_to_el0(open: bool) {
    let (timers, monitors) = if open { (0x303, 0xf) } else { (0, 0) };
    // SAFETY: these change nothing at EL1.
    catch(|| unsafe { write_sysreg!("cntkctl_el1", timers) });
    // SAFETY: as above.
    catch(|| unsafe { write_sysreg!("pmuserenr_el0", monitors) });
    sysreg::isb();
}

/// Runs each encoding at EL0, by a form, with zero in x0.
fn sweep_at_el0(form: u32, what: &str) -> Outcome {
    crate::fresh_gic();
    open_to_el0(true);
    let mut undefined = 0;
    let mut outcome = Ok(());
    for encoding in 0..ENCODINGS {
        let code = made::place(form | encoding << 5, SVC);
        // SAFETY: the code is one MRS or MSR, and SVC; the MMU is on. EL0 reaches nothing that holds this guest up.
        let (_, fault) = unsafe { el0::run(code, 0) };
        if let Some(fault) = fault {
            outcome = outcome.and_then(|()| acceptable(encoding, &fault));
            undefined += 1;
        }
    }
    open_to_el0(false);
    println!(
        "{what} at EL0: {} work, {undefined} undefined",
        ENCODINGS - undefined
    );
    outcome
}

fn a1_every_register_is_read_or_undefined_at_el0() -> Outcome {
    sweep_at_el0(MRS, "reads")
}

fn a1_every_register_is_written_or_undefined_at_el0() -> Outcome {
    sweep_at_el0(MSR, "writes")
}

/// A line that caches are maintained by, and that is zeroed.
#[repr(align(4096))]
struct Line([AtomicU64; 512]);

static LINE: Line = Line([const { AtomicU64::new(0) }; 512]);

fn a1_every_system_instruction_works_or_is_undefined() -> Outcome {
    crate::fresh_gic();
    let address = LINE.0.as_ptr() as u64;
    let mut undefined = 0;
    // SYS and SYSL: caches, address translation, TLBs, and what newer CPUs have besides.
    for form in [made::SYS, made::SYS | 1 << 21] {
        for operation in 0..1 << 14 {
            let (_, fault) = access(form | operation << 5, address);
            // Of EL2's and EL3's own there is nothing.
            let (op1, crn) = (operation >> 11 & 7, operation >> 7 & 15);
            let of_el2 = matches!(op1, 4..=6) && matches!(crn, 7 | 8) && is_hypervised();
            expect!(
                fault.is_some() || !of_el2,
                "SYS #{op1}, C{crn}, C{}, #{} of EL2 works",
                operation >> 3 & 15,
                operation & 7
            );
            if let Some(fault) = fault {
                let class = esr::class(fault.esr);
                expect!(
                    matches!(class, esr::EC_UNKNOWN | esr::EC_SYSREG | 0x19 | 0x1d),
                    "SYS #{op1}, C{crn}, C{}, #{}: {}",
                    operation >> 3 & 15,
                    operation & 7,
                    esr::class_name(fault.esr)
                );
                undefined += 1;
            }
        }
    }
    println!("system instructions: {undefined} of {} undefined", 1 << 15);
    expect!(undefined != 1 << 15, "none works");
    Ok(())
}

/// Whether EL1 may find a register there, by the architecture and by what is shown to a guest.
fn is_documented(encoding: u32) -> bool {
    match fields(encoding) {
        // Debug: comparators, MDCCINT, MDSCR, OSDTRRX, OSDTRTX, OSECCR, ROM, OS lock, power, claim tags; the channel at EL0.
        (2, 0, 0, _, 4..=7) | (2, 0, 0, 0 | 2 | 3 | 6, 2) | (2, 0, 0, 2, 0) | (2, 0, 1, 0, 0) => {
            true
        }
        (2, 0, 1, 1 | 3 | 4, 4) | (2, 0, 7, 8 | 9 | 14, 6) | (2, 3, 0, 1 | 4 | 5, 0) => true,
        // Identification; control; tables; keys; attributes; vectors; context.
        (3, 0, 0, 0..=7, _) | (3, 1, 0, 0, 0..=2 | 7) | (3, 2, 0, 0, 0) => true,
        (3, 3, 0, 0, 1 | 7) => true,
        (3, 0, 1, 0, 0..=2) | (3, 0, 2, 0, 0..=2) | (3, 0, 2, 1..=3, 0..=3) => true,
        (3, 0, 10, 2 | 3, 0) | (3, 0, 12, 0 | 1, 0) | (3, 0, 12, 1, 1) => true,
        (3, 0, 13, 0, 1 | 4) | (3, 3, 13, 0, 2 | 3 | 5) => true,
        // Exceptions, PSTATE, floating point.
        (3, 0, 4, 0, 0..=1) | (3, 0, 4, 1, 0) | (3, 0, 4, 2, 0 | 2..=4) | (3, 0, 4, 3, 0) => true,
        (3, 3, 4, 2, 0 | 1 | 5..=7) | (3, 3, 4, 4, 0 | 1) => true,
        (3, 0, 5, 1, 0 | 1) | (3, 0, 5, 2, 0) | (3, 0, 6, 0, 0) | (3, 0, 7, 4, 0) => true,
        // The interrupt controller, performance monitors, timers, random numbers.
        (3, 0, 4, 6, 0) | (3, 0, 12, 8 | 9 | 11 | 12, _) => true,
        (3, 0, 9, 14, 1 | 2 | 6) | (3, 3, 9, 12..=14, _) | (3, 3, 14, 8..=15, _) => true,
        (3, 0, 14, 1, 0) | (3, 3, 14, 0, 0..=2 | 5 | 6) | (3, 3, 14, 2 | 3, 0..=2) => true,
        (3, 3, 2, 4, 0 | 1) => true,
        _ => false,
    }
}

/// Whether a register may be there that no guest is shown, where it keeps nothing: of an implementation's own, and SMPRI_EL1,
/// which not every emulator lets EL2 trap.
fn may_be_constant(encoding: u32) -> bool {
    matches!(fields(encoding), (3, _, 11 | 15, _, _) | (3, 0, 1, 2, 4))
}

fn a1_nothing_but_what_is_documented_can_be_read() -> Outcome {
    if !is_hypervised() {
        skip!("a machine may have anything");
    }
    crate::fresh_gic();
    let mut found = 0;
    for encoding in (0..ENCODINGS).filter(|encoding| !is_documented(*encoding)) {
        let (value, fault) = access(MRS | encoding << 5, 0);
        if fault.is_some() {
            continue;
        }
        if may_be_constant(encoding) {
            access(MSR | encoding << 5, !value);
            let (after, _) = access(MRS | encoding << 5, 0);
            access(MSR | encoding << 5, value);
            if after == value {
                continue;
            }
        }
        let (op0, op1, crn, crm, op2) = fields(encoding);
        println!("S{op0}_{op1}_C{crn}_C{crm}_{op2} reads as {value:#x}");
        found += 1;
    }
    expect_eq!(found, 0, "registers that no document has, named above");
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
    if is_hypervised() {
        let counting = read_sysreg!("cntvct_el0");
        expect!(
            read_sysreg!("cntvct_el0") >= counting,
            "the counter went back"
        );
    }
    Ok(())
}
