//! Syndromes of traps.
//!
//! # Source
//! Arm DDI 0487, register pages `ESR_EL2`, `HPFAR_EL2`; pseudocode `AArch64.TakeException`.

use bulkhead::trap::access::{Aborted, sort};
use bulkhead::trap::inject::{Context, Features, answer, skip, take};
use bulkhead::trap::quick;
use bulkhead::trap::syndrome::{Trap, decode, describe, describe_fault};
use bulkhead::trap::sysreg::policy;

use crate::bytes::Bytes;

/// Reads bits `high` to `low`.
fn field(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

/// Decodes a syndrome, compares what comes of it with a plain reading, and answers it.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let [esr, hpfar, far] = [(); 3].map(|()| bytes.number(8));
    let [pc, pstate, vbar, sctlr, raw] = [(); 5].map(|()| bytes.number(8));
    let ec = field(esr, 31, 26);
    let trap = decode(esr);
    assert_eq!(kind(trap), class(ec), "class {ec:#x}: {trap:?}");
    assert!(!describe(esr).is_empty());
    assert_eq!(
        describe_fault(esr).is_some(),
        matches!(ec, 0x20 | 0x21 | 0x24 | 0x25)
    );
    match trap {
        Trap::DataAbort(abort) => data_abort(esr, sort(abort, hpfar, far), hpfar, far, raw),
        Trap::SystemRegister(access) => {
            let parts = [
                (access.register.op0(), field(esr, 21, 20)),
                (access.register.op2(), field(esr, 19, 17)),
                (access.register.op1(), field(esr, 16, 14)),
                (access.register.crn(), field(esr, 13, 10)),
                (access.register.crm(), field(esr, 4, 1)),
                (access.rt.into(), field(esr, 9, 5)),
                (access.write.into(), field(esr, 0, 0) ^ 1),
            ];
            for (found, wanted) in parts {
                assert_eq!(u64::from(found), wanted, "{access:?}");
            }
            let _ = policy(access.register, access.write);
        }
        Trap::Hvc { immediate } | Trap::Smc { immediate } => {
            assert_eq!(u64::from(immediate), field(esr, 15, 0));
        }
        _ => {}
    }
    quick_ways_agree(esr, hpfar, far, pc, pstate);
    let features = Features {
        pan: raw & 1 != 0,
        ssbs: raw & 2 != 0,
        mte: raw & 4 != 0,
    };
    let context = Context {
        pc,
        pstate,
        vbar_el1: vbar,
        sctlr_el1: sctlr,
        features,
    };
    if let Some(exception) = answer(trap, far) {
        let taken = take(&context, exception);
        // A guest's exception ends at its own vector, at EL1 with interrupts masked, whatever was in the registers.
        assert_eq!(taken.pstate & 0x1f, 0b00101);
        assert_eq!(field(taken.pstate, 9, 6), 0xf);
        assert_eq!(taken.pstate & !0xf340_13df, 0, "{:#x}", taken.pstate);
        let offset = taken.pc.wrapping_sub(vbar & !0x7ff);
        assert!(matches!(offset, 0 | 0x200 | 0x400 | 0x600), "{offset:#x}");
        assert_eq!((taken.elr_el1, taken.spsr_el1), (pc, pstate));
        assert_eq!(field(taken.esr_el1, 25, 25), 1, "IL");
        assert_eq!(field(taken.esr_el1, 63, 32), 0);
        assert!(taken.far_el1.is_none_or(|reported| reported == far));
        let lower = matches!(pstate & 0x1f, 0) || pstate & 0x10 != 0;
        let reported = field(taken.esr_el1, 31, 26);
        let same = matches!(reported, 0x21 | 0x25);
        assert!(!matches!(reported, 0x20 | 0x21 | 0x24 | 0x25) || same != lower);
    }
}

/// Compares the short ways of a trap with the long ones.
fn quick_ways_agree(esr: u64, hpfar: u64, far: u64, pc: u64, pstate: u64) {
    if quick::steps_plainly(esr, pstate) {
        assert_eq!(skip(pc, pstate, esr), (pc.wrapping_add(4), pstate));
    }
    let Some(plain) = quick::access(esr, hpfar, far) else {
        return;
    };
    let Trap::DataAbort(abort) = decode(esr) else {
        panic!("{plain:?} is no data abort")
    };
    let Aborted::Access { address, access } = sort(abort, hpfar, far) else {
        panic!("{plain:?} is no access")
    };
    assert_eq!(address.0, plain.page << 12 | plain.offset);
    assert_eq!(
        (access.register, access.write),
        (plain.register, plain.write)
    );
    assert_eq!(access.width.bytes() == 4, plain.is_word);
    assert!(access.width.bytes() <= 4);
    // A device's answer of no more bits than are loaded goes to the register as it is.
    let answer = 0x7654_3210 & access.width.mask();
    assert_eq!(access.extend(answer), answer);
}

/// Compares what a data abort comes to with the manual.
fn data_abort(esr: u64, aborted: Aborted, hpfar: u64, far: u64, raw: u64) {
    let [isv, fnv, cm, s1ptw, wnr] = [24, 10, 8, 7, 6].map(|bit| field(esr, bit, bit) != 0);
    let translation = matches!(field(esr, 5, 0), 4..=7 | 0x2b);
    let plain = isv && !cm && !s1ptw && !fnv && translation;
    match aborted {
        Aborted::Access { address, access } => {
            assert!(plain);
            assert_eq!(address.0, field(hpfar, 47, 4) << 12 | field(far, 11, 0));
            assert_eq!(access.write, wnr);
            assert_eq!(u64::from(access.register), field(esr, 20, 16));
            let bytes = 1u32 << field(esr, 23, 22);
            assert_eq!(access.width.bytes(), u64::from(bytes));
            assert_eq!(access.stored(raw), low(raw, bytes));
            assert_eq!(access.extend(raw), loaded(esr, raw, bytes));
        }
        Aborted::Skip => assert!(cm && !s1ptw),
        Aborted::Refuse => assert!(!plain && (!cm || s1ptw)),
    }
}

/// Keeps the lowest bytes.
fn low(value: u64, bytes: u32) -> u64 {
    value & (u64::MAX >> (64 - 8 * bytes))
}

/// Returns what a load leaves in its register: extended by its sign or by zeros, cut where the register has 32 bits.
fn loaded(esr: u64, raw: u64, bytes: u32) -> u64 {
    let value = low(raw, bytes);
    let negative = value >> (8 * bytes - 1) != 0;
    let sign = field(esr, 21, 21) != 0 && negative;
    let filled = if sign {
        u64::MAX.unbounded_shl(8 * bytes)
    } else {
        0
    };
    let register = if field(esr, 15, 15) != 0 { 8 } else { 4 };
    low(value | filled, register)
}

/// Names a trap.
fn kind(trap: Trap) -> &'static str {
    match trap {
        Trap::Wait(_) => "wait",
        Trap::Hvc { .. } => "hvc",
        Trap::Smc { .. } => "smc",
        Trap::SystemRegister(_) => "register",
        Trap::DataAbort(_) => "data",
        Trap::InstructionAbort(_) => "fetch",
        Trap::Fp => "fp",
        Trap::Hidden => "hidden",
        Trap::Undefined => "undefined",
        Trap::IllegalState => "illegal",
        Trap::PcAlignment => "pc",
        Trap::SpAlignment => "sp",
        Trap::SError => "serror",
        Trap::Debug => "debug",
        Trap::OwnDataAbort(_) => "own data",
        Trap::OwnInstructionAbort(_) => "own fetch",
        Trap::Unknown { .. } => "unknown",
    }
}

/// Returns the name of the trap of an exception class, by the manual's table.
fn class(ec: u64) -> &'static str {
    match ec {
        0x00 => "undefined",
        0x01 => "wait",
        0x07 => "fp",
        0x0e => "illegal",
        0x16 => "hvc",
        0x17 => "smc",
        0x18 => "register",
        0x20 => "fetch",
        0x21 => "own fetch",
        0x22 => "pc",
        0x24 => "data",
        0x25 => "own data",
        0x26 => "sp",
        0x2f => "serror",
        0x30 | 0x31 | 0x32 | 0x33 | 0x34 | 0x35 | 0x38 | 0x3a | 0x3c | 0x3d => "debug",
        0x03 | 0x04 | 0x05 | 0x06 | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => "hidden",
        0x11..=0x15 => "hidden",
        0x19 | 0x1a | 0x1b | 0x1c | 0x1d | 0x27 | 0x28 | 0x2c | 0x2d => "hidden",
        _ => "unknown",
    }
}

/// Makes one syndrome of each class, and loads and stores of each width, extension and register.
pub fn seeds() -> Vec<Vec<u8>> {
    const ACCESS: u64 = 1 << 25 | 1 << 24 | 5 << 16 | 7;
    let seed = |esr: u64| {
        let words = [
            esr,
            0x9_0000,
            0x18,
            0x4000_1000,
            0x3c5,
            0xffff_0000_0000_0800,
            0,
            0xfedc_ba98_89ab_cdef,
        ];
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    };
    let classes = (0..0x40).map(|ec| ec << 26 | ACCESS | 2 << 22 | 1 << 15);
    let accesses = (0..32).map(|form| {
        let [sas, sse, sf, wnr] = [form & 3, form >> 2 & 1, form >> 3 & 1, form >> 4];
        0x24 << 26 | ACCESS | sas << 22 | sse << 21 | sf << 15 | wnr << 6
    });
    classes.chain(accesses).map(seed).collect()
}
