//! AArch32 at EL0: hidden, and survived by whoever goes there all the same.
//!
//! Each piece is one instruction that a hypervisor may see as a trap with a class of its own, and a call behind it. Where the
//! CPU has AArch32 state at EL0 it runs there, ends with that call or with a fault, and either comes back to EL1; where it
//! has none, the exception return itself is illegal.
//!
//! # Source
//! Arm DDI 0487, "T32 and A32 Instruction Set Instruction Encodings"; register page `ESR_EL2`, table of `EC` values.

use guest_runtime::el0::{self, A32, T32};
use guest_runtime::exception::Fault;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    esr, expect, expect_eq, fail, gic, layout, made, mmu, read_sysreg, skip, smccc, tests, timer,
    write_sysreg,
};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a11_aarch32_is_hidden,
    a11_a_call_from_aarch32_comes_back,
    a11_every_kind_of_trap_from_aarch32_comes_back,
    a11_a_trapped_wait_in_an_it_block_is_stepped_over,
    a11_aborts_of_aarch32_come_back,
    a11_aarch64_goes_on_as_before,
];

/// `svc #0` of A32.
const CALL: u32 = 0xef00_0000;
/// Two `svc #0` of T32.
const SHORT_CALLS: u32 = 0xdf00_df00;

fn a11_aarch32_is_hidden() -> Outcome {
    if !smccc::is_hypervised() {
        skip!("nothing is hidden without a hypervisor");
    }
    let pfr0 = read_sysreg!("id_aa64pfr0_el1");
    expect_eq!(pfr0 & 0xff, 0x11, "EL0 and EL1 in ID_AA64PFR0_EL1");
    // The AArch32 identification registers read as zero where there is no AArch32.
    let words = [
        read_sysreg!("id_pfr0_el1"),
        read_sysreg!("id_pfr1_el1"),
        read_sysreg!("id_dfr0_el1"),
        read_sysreg!("id_mmfr0_el1"),
        read_sysreg!("id_isar0_el1"),
        read_sysreg!("mvfr0_el1"),
    ];
    expect!(words == [0; 6], "AArch32 identification: {words:x?}");
    Ok(())
}

/// Runs one instruction of A32 and a call behind it.
fn run(instruction: u32) -> (u32, Fault) {
    let code = made::place(instruction, CALL);
    // SAFETY: the callers' instructions write no memory.
    unsafe { el0::run_aarch32(code, 0x55, A32) }
}

/// Says whether this CPU has no AArch32 state.
fn is_missing(fault: Fault) -> bool {
    esr::class(fault.esr) == esr::EC_ILLEGAL_STATE
}

fn a11_a_call_from_aarch32_comes_back() -> Outcome {
    // add r0, r0, #1
    let (value, fault) = run(0xe280_0001);
    if is_missing(fault) {
        return Ok(());
    }
    expect_eq!(esr::class(fault.esr), esr::EC_SVC_AARCH32, "class");
    expect_eq!(value, 0x56, "r0");
    // movs r0, #7; svc
    let code = made::place(0xdf00_2007, SHORT_CALLS);
    // SAFETY: the code writes no memory.
    let (value, fault) = unsafe { el0::run_aarch32(code, 0, T32) };
    expect_eq!(esr::class(fault.esr), esr::EC_SVC_AARCH32, "class of T32");
    expect_eq!(value, 7, "r0 of T32");
    Ok(())
}

/// Instructions of A32 by the trap that they may be.
const TRAPS: [(&str, u32); 40] = [
    ("MRC CNTP_CTL", 0xee1e_0f32),
    ("MCR CNTP_CTL", 0xee0e_0f32),
    ("MCR CNTP_TVAL", 0xee0e_0f12),
    ("MRRC CNTP_CVAL", 0xec51_0f2e),
    ("MCRR CNTP_CVAL", 0xec41_0f2e),
    ("MRRC CNTPCT", 0xec51_0f0e),
    ("MRRC CNTVCT", 0xec51_0f1e),
    ("MRC CNTV_CTL", 0xee1e_0f33),
    ("MRC CNTFRQ", 0xee1e_0f10),
    ("MRC PMCR", 0xee19_0f1c),
    ("MCR PMCR", 0xee09_0f1c),
    ("MRC PMCCNTR", 0xee19_0f1d),
    ("MRRC PMCCNTR", 0xec51_0f09),
    ("MCR PMUSERENR", 0xee09_0f1e),
    ("MRC PMXEVCNTR", 0xee19_0f5d),
    ("MRC MIDR", 0xee10_0f10),
    ("MRC CTR", 0xee10_0f30),
    ("MRC SCTLR", 0xee11_0f10),
    ("MRC ACTLR", 0xee11_0f30),
    ("MRC TPIDRURO", 0xee1d_0f70),
    ("MCR TPIDRURW", 0xee0d_0f50),
    ("MRC implementation-defined c15", 0xee1f_0f11),
    ("MCR implementation-defined c9", 0xee09_0f10),
    ("MCR DCISW", 0xee07_0f56),
    ("MCR TLBIALL", 0xee08_0f17),
    ("MCR CP15DMB", 0xee07_0fba),
    ("MRC DBGDIDR", 0xee10_0e10),
    ("MRC DBGDSCR", 0xee10_0e11),
    ("MRC DBGDTRRX", 0xee10_0e15),
    ("MRRC DBGDRAR", 0xec51_0e01),
    ("LDC DBGDTRTX", 0xecb0_5e01),
    ("STC DBGDTRRX", 0xecad_5e01),
    ("MRC TEECR", 0xee16_0e10),
    ("VMRS FPSID", 0xeef0_0a10),
    ("VMRS FPSCR", 0xeef1_0a10),
    ("VADD", 0xee30_0b00),
    ("CDP of no coprocessor", 0xee00_0000),
    ("HVC", 0xe140_0070),
    ("SMC", 0xe160_0070),
    ("BKPT", 0xe120_0070),
];

/// Further ones, that are undefined or change the state of AArch32.
const OTHERS: [(&str, u32); 8] = [
    ("UDF", 0xe7f0_00f0),
    ("SETEND BE", 0xf101_0200),
    ("CPS to another mode", 0xf102_0013),
    ("MSR CPSR", 0xe12f_f000),
    ("RFE", 0xf890_0a00),
    ("BXJ", 0xe12f_ff20),
    ("MRC of a false condition", 0x0e10_0e10),
    ("WFE", 0xe320_f002),
];

fn a11_every_kind_of_trap_from_aarch32_comes_back() -> Outcome {
    let (enables, monitors) = (read_sysreg!("cntkctl_el1"), read_sysreg!("pmuserenr_el0"));
    // SAFETY: EL1 lets EL0 go as far as EL2.
    unsafe {
        write_sysreg!("cntkctl_el1", enables | 0x303);
        write_sysreg!("pmuserenr_el0", 0xf);
    }
    let mut outcome = Ok(());
    for (name, instruction) in TRAPS.into_iter().chain(OTHERS) {
        let (_, fault) = run(instruction);
        if is_missing(fault) {
            break;
        }
        outcome = came_back(name, fault);
        if outcome.is_err() {
            break;
        }
    }
    // SAFETY: what was there.
    unsafe {
        write_sysreg!("cntkctl_el1", enables);
        write_sysreg!("pmuserenr_el0", monitors);
    }
    timer::stop_physical();
    outcome
}

/// Checks that it was the call that ended a piece, or the guest's own exception for what it may not do.
fn came_back(name: &str, fault: Fault) -> Outcome {
    let class = esr::class(fault.esr);
    // Undefined; coprocessors that EL1 keeps from EL0; FP; aborts of what has an operand; BKPT.
    let own = matches!(
        class,
        0x00 | 0x03..=0x06 | 0x07 | 0x0c | 0x11 | 0x20 | 0x22 | 0x24 | 0x38
    );
    if !own {
        fail!("{name}: {:#x}", fault.esr);
    }
    Ok(())
}

fn a11_a_trapped_wait_in_an_it_block_is_stepped_over() -> Outcome {
    crate::fresh_gic();
    // Pending while masked: a wait that is not trapped ends at once.
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    timer::set_virtual(timer::now());
    // ite eq; wfieq; movne r0, #1; svc. With ITSTATE left as it was, the move would be done.
    let code = made::place(0xbf30_bf0c, 0xdf00_2001);
    // SAFETY: the code writes no memory.
    let (value, fault) = unsafe { el0::run_aarch32(code, 0, T32) };
    timer::stop_virtual();
    if is_missing(fault) {
        return Ok(());
    }
    expect_eq!(esr::class(fault.esr), esr::EC_SVC_AARCH32, "class");
    expect_eq!(value, 0, "r0: the move of the other condition was done");
    Ok(())
}

fn a11_aborts_of_aarch32_come_back() -> Outcome {
    let at = |address: u32, instruction: u32| {
        let code = made::place(instruction, CALL);
        // SAFETY: the address is a hole, or the device's that EL0 may not reach.
        unsafe { el0::run_aarch32(code, address, A32) }.1
    };
    // The last page of the GiB that EL0 reaches RAM in: a hole, for every RAM of less than a GiB.
    let hole = (mmu::set_low_alias(false) + (1 << 30) - 4096) as u32;
    for (name, instruction) in [
        ("LDR", 0xe590_0000_u32),
        ("STR", 0xe580_0000),
        ("LDRD", 0xe1c0_00d0),
        ("LDM", 0xe890_00fe),
        ("STM", 0xe880_00fe),
        ("LDREX", 0xe190_0f9f),
        ("SWP or undefined", 0xe100_0090),
        ("BX", 0xe12f_ff10),
    ] {
        for address in [hole, layout::GICD as u32, layout::UART as u32] {
            let fault = at(address, instruction);
            if is_missing(fault) {
                return Ok(());
            }
            let class = esr::class(fault.esr);
            expect!(
                matches!(class, 0x00 | 0x20 | 0x24),
                "{name} at {address:#x}: {:#x}",
                fault.esr
            );
        }
    }
    Ok(())
}

fn a11_aarch64_goes_on_as_before() -> Outcome {
    crate::fresh_gic();
    let code = made::place(made::MRS | 0x5e82 << 5, made::SVC); // mrs x0, tpidr_el0
    // SAFETY: the code reads a register.
    let (_, fault) = unsafe { el0::run(code, 0) };
    expect!(fault.is_none(), "EL0 in AArch64 state: {fault:x?}");
    gic::enable(3, 0x80);
    gic::write_bit(gic::ISPENDR, 3);
    expect!(
        guest_runtime::recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt comes any more"
    );
    Ok(())
}
