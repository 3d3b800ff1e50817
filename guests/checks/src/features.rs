//! What the identification registers promise, and what a guest can use: one instruction for each feature that has one.
//!
//! What is shown must work. What is hidden must be undefined, but for the few that no control of EL2's can take away and
//! that have no state, or whose state goes along with the vCPU anyhow.
//!
//! # Source
//! Arm DDI 0487, register pages `ID_AA64*_EL1`, and the instructions' own pages.

use core::arch::asm;
use core::sync::atomic::AtomicU64;
use guest_runtime::exception::catch;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{esr, fail, made, read_sysreg, tests};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a2_what_is_shown_works_and_what_is_hidden_is_undefined,
    a2_id_registers_of_aarch32_read_as_zero,
];

/// What becomes of the instruction on a CPU whose feature is hidden.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// It is undefined.
    Undefined,
    /// It may work: nothing traps it, and it shares nothing.
    Harmless,
}
use Hidden::{Harmless, Undefined};

/// An identification register.
type Id = fn() -> u64;

/// A feature: its name, its field, the least value that promises the instruction, the instruction, and what it does where
/// the feature is hidden. x0 is the address of eight bytes.
type Feature = (&'static str, Id, u32, u64, u32, Hidden);

fn pfr0() -> u64 {
    // FP and SIMD say 0xf for "not there": none and half precision are then 0 and 2.
    read_sysreg!("id_aa64pfr0_el1").wrapping_add(0x11 << 16)
}
fn pfr1() -> u64 {
    read_sysreg!("id_aa64pfr1_el1")
}
fn dfr0() -> u64 {
    read_sysreg!("id_aa64dfr0_el1")
}
fn isar0() -> u64 {
    read_sysreg!("id_aa64isar0_el1")
}
fn isar1() -> u64 {
    read_sysreg!("id_aa64isar1_el1")
}
fn isar2() -> u64 {
    read_sysreg!("s3_0_c0_c6_2")
}
fn mmfr1() -> u64 {
    read_sysreg!("id_aa64mmfr1_el1")
}
fn mmfr2() -> u64 {
    read_sysreg!("id_aa64mmfr2_el1")
}
fn mmfr3() -> u64 {
    read_sysreg!("s3_0_c0_c7_3")
}

/// Address authentication has three fields, by algorithm; so has the generic one.
fn address_keys() -> u64 {
    (isar1() >> 4 & 0xff) | isar2() >> 12 & 0xf
}
fn generic_keys() -> u64 {
    (isar1() >> 24 & 0xff) | isar2() >> 8 & 0xf
}
/// Folds the three into one field.
fn address() -> u64 {
    u64::from(address_keys() != 0)
}
fn generic() -> u64 {
    u64::from(generic_keys() != 0)
}

const FEATURES: &[Feature] = &[
    ("FP: fmov s0, wzr", pfr0, 16, 1, 0x1e27_03e0, Undefined),
    ("FP16: fadd h0, h0, h0", pfr0, 16, 2, 0x1ee0_2800, Undefined),
    ("SIMD: add v0.16b", pfr0, 20, 1, 0x4e20_8400, Undefined),
    ("AES: aese", isar0, 4, 1, 0x4e28_4800, Undefined),
    ("PMULL: pmull v0.1q", isar0, 4, 2, 0x0ee0_e000, Undefined),
    ("SHA1: sha1h", isar0, 8, 1, 0x5e28_0800, Undefined),
    ("SHA256: sha256h", isar0, 12, 1, 0x5e00_4000, Undefined),
    ("SHA512: sha512h", isar0, 12, 2, 0xce60_8000, Undefined),
    ("CRC32: crc32b", isar0, 16, 1, 0x1ac0_4000, Undefined),
    ("LSE: stadd", isar0, 20, 2, 0xb83f_001f, Undefined),
    ("RDM: sqrdmlah", isar0, 28, 1, 0x2e40_8400, Undefined),
    ("SHA3: eor3", isar0, 32, 1, 0xce00_0000, Undefined),
    ("SM3: sm3partw1", isar0, 36, 1, 0xce60_c000, Undefined),
    ("SM4: sm4e", isar0, 40, 1, 0xcec0_8400, Undefined),
    ("DotProd: sdot", isar0, 44, 1, 0x0e80_9400, Undefined),
    ("FHM: fmlal", isar0, 48, 1, 0x0e20_ec00, Undefined),
    ("FlagM: cfinv", isar0, 52, 1, 0xd500_401f, Undefined),
    ("FlagM2: axflag", isar0, 52, 2, 0xd500_405f, Undefined),
    ("RNG: mrs rndr", isar0, 60, 1, 0xd53b_2400, Undefined),
    ("DPB: dc cvap", isar1, 0, 1, 0xd50b_7c20, Undefined),
    ("DPB2: dc cvadp", isar1, 0, 2, 0xd50b_7d20, Undefined),
    ("PAuth: pacia", address, 0, 1, 0xdac1_0000, Undefined),
    ("PAuth: pacga", generic, 0, 1, 0x9ac0_3000, Undefined),
    ("JSCVT: fjcvtzs", isar1, 12, 1, 0x1e7e_0000, Undefined),
    ("FCMA: fcadd", isar1, 16, 1, 0x2e80_e400, Undefined),
    ("LRCPC: ldapr", isar1, 20, 1, 0xb8bf_c000, Undefined),
    ("LRCPC2: ldapur", isar1, 20, 2, 0x9940_0000, Undefined),
    ("FRINTTS: frint32z", isar1, 32, 1, 0x1e28_4000, Undefined),
    ("SB: sb", isar1, 36, 1, 0xd503_30ff, Undefined),
    ("SPECRES: cfp rctx", isar1, 40, 1, 0xd50b_7380, Undefined),
    ("BF16: bfdot", isar1, 44, 1, 0x2e40_fc00, Undefined),
    ("I8MM: smmla", isar1, 52, 1, 0x4e80_a400, Undefined),
    // With a deadline that has passed.
    ("WFxT: wfet xzr", isar2, 0, 1, 0xd503_101f, Harmless),
    ("MOPS: setp", isar2, 16, 1, 0x19ca_0520, Undefined),
    ("HBC: bc.eq", isar2, 20, 1, 0x5400_0030, Undefined),
    ("CSSC: abs", isar2, 52, 1, 0xdac0_2000, Undefined),
    ("RAS: mrs erridr_el1", pfr0, 28, 1, 0xd538_5300, Undefined),
    ("SVE: rdvl", pfr0, 32, 1, 0x04bf_5020, Undefined),
    ("MPAM: mrs mpam1_el1", pfr0, 40, 1, 0xd538_a500, Undefined),
    ("AMU: mrs amcr_el0", pfr0, 44, 1, 0xd53b_d200, Undefined),
    ("DIT: mrs dit", pfr0, 48, 1, 0xd53b_42a0, Undefined),
    ("CSV2: mrs scxtnum_el0", pfr0, 56, 2, 0xd53b_d0e0, Undefined),
    // A bit of PSTATE, which a trap saves. Where the bit is there and the instruction is not, QEMU has both.
    ("SSBS2: mrs ssbs", pfr1, 4, 2, 0xd53b_42c0, Harmless),
    ("MTE: mrs gcr_el1", pfr1, 8, 2, 0xd538_10c0, Undefined),
    // A bit of PSTATE, which a trap saves.
    ("MTE: mrs tco", pfr1, 8, 1, 0xd53b_42e0, Harmless),
    ("SME: rdsvl", pfr1, 24, 1, 0x04bf_5820, Undefined),
    ("SME: mrs svcr", pfr1, 24, 1, 0xd53b_4240, Undefined),
    // Switched with the vCPU, where no fine-grained trap takes it away.
    ("SME: mrs tpidr2_el0", pfr1, 24, 1, 0xd53b_d0a0, Harmless),
    // A bit of PSTATE, which a trap saves.
    ("NMI: mrs allint", pfr1, 36, 1, 0xd538_4300, Harmless),
    ("GCS: mrs gcscr_el1", pfr1, 44, 1, 0xd538_2500, Undefined),
    ("PMU: mrs pmccntr_el0", dfr0, 8, 1, 0xd53b_9d00, Undefined),
    ("trace: mrs trcidr0", dfr0, 4, 1, 0xd531_08e0, Undefined),
    ("SPE: mrs pmscr_el1", dfr0, 32, 1, 0xd538_9900, Undefined),
    ("TRF: mrs trfcr_el1", dfr0, 40, 1, 0xd538_1220, Undefined),
    (
        "TRBE: mrs trblimitr_el1",
        dfr0,
        44,
        1,
        0xd538_9b00,
        Undefined,
    ),
    ("BRBE: mrs brbcr_el1", dfr0, 52, 1, 0xd531_9000, Undefined),
    ("LOR: mrs lorid_el1", mmfr1, 16, 1, 0xd538_a4e0, Undefined),
    ("PAN: mrs pan", mmfr1, 20, 1, 0xd538_4260, Undefined),
    ("PAN2: at s1e1rp", mmfr1, 20, 2, 0xd508_7900, Undefined),
    ("UAO: mrs uao", mmfr2, 4, 1, 0xd538_4280, Undefined),
    ("TCR2: mrs tcr2_el1", mmfr3, 0, 1, 0xd538_2060, Undefined),
    (
        "SCTLR2: mrs sctlr2_el1",
        mmfr3,
        4,
        1,
        0xd538_1060,
        Undefined,
    ),
    ("S1PIE: mrs pir_el1", mmfr3, 8, 1, 0xd538_a260, Undefined),
    ("S1POE: mrs por_el1", mmfr3, 16, 1, 0xd538_a280, Undefined),
];

/// Memory that the loads and stores among them use.
static MEMORY: AtomicU64 = AtomicU64::new(0);

fn a2_what_is_shown_works_and_what_is_hidden_is_undefined() -> Outcome {
    for (name, register, shift, least, instruction, hidden) in FEATURES {
        let code = made::place(*instruction, made::RET);
        let mut x0 = MEMORY.as_ptr() as u64;
        let (_, fault) = catch(|| {
            // SAFETY: one instruction that changes nothing but x0, v0, flags and eight bytes that are for this.
            unsafe {
                asm!("blr {a}", a = in(reg) code, inout("x0") x0, out("x9") _, out("x10") _, out("x30") _, out("v0") _)
            }
        });
        let shown = register() >> shift & 0xf >= *least;
        let works = fault.is_none();
        let class = fault.map_or("it works", |fault| esr::class_name(fault.esr));
        if shown && !works {
            fail!("{name} is shown, but: {class}");
        }
        if !shown && works && *hidden == Undefined {
            fail!("{name} is hidden, but: {class}");
        }
    }
    core::hint::black_box(MEMORY.as_ptr());
    Ok(())
}

fn a2_id_registers_of_aarch32_read_as_zero() -> Outcome {
    if !guest_runtime::smccc::is_hypervised() {
        guest_runtime::skip!("nothing is hidden without a hypervisor");
    }
    for crm in 1..4_u32 {
        for op2 in 0..8_u32 {
            let read = made::MRS | 1 << 19 | crm << 8 | op2 << 5;
            // SAFETY: a read of an identification register.
            let (value, fault) = catch(|| unsafe { made::run(read, 1) });
            if value != 0 || fault.is_some() {
                fail!("ID register c0_c{crm}_{op2} is {value:#x}");
            }
        }
    }
    Ok(())
}
