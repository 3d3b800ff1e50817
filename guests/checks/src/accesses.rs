//! Loads and stores to emulated registers in every form that a hypervisor has to decode: width, sign, register, size.

use core::arch::asm;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, skip, tests};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a24_loads_extend_as_their_form_says,
    a24_loads_to_the_zero_register_change_nothing,
    a24_stores_of_the_zero_register_store_zero,
    a24_stores_come_from_every_register,
    a24_half_word_loads_extend,
    a24_byte_stores_change_one_byte,
];

/// Those that need a GICv3.
pub const V3_TESTS: &[Test] = tests![
    a24_loads_reach_every_register,
    a24_wide_load_equals_its_halves,
];

/// Priorities of SGIs 8 to 11: a register that holds what is written, five bits in each byte at least.
fn word() -> usize {
    gic::bank(0).base() + gic::IPRIORITYR + 8
}

/// Loads from `address` by the instruction, into a register that was all ones before.
macro_rules! load {
    ($form:literal, $address:expr) => {{
        let value: u64;
        // SAFETY: a load from a device register without side effects.
        unsafe {
            asm!("mov {v}, #-1", concat!($form, ", [{a}]"), v = out(reg) value, a = in(reg) $address, options(nostack))
        };
        value
    }};
}

/// Stores to `address` by the instruction.
macro_rules! store {
    ($form:literal, $value:expr, $address:expr) => {{
        let value: u64 = $value;
        // SAFETY: a store to an SGI's priority.
        unsafe { asm!(concat!($form, ", [{a}]"), v = in(reg) value, a = in(reg) $address, options(nostack)) };
    }};
}

fn a24_loads_extend_as_their_form_says() -> Outcome {
    crate::fresh_gic();
    store!("str {v:w}", 0x5090_a8f8, word());
    expect_eq!(load!("ldrb {v:w}", word()), 0xf8, "LDRB");
    expect_eq!(load!("ldrsb {v:w}", word()), 0xffff_fff8, "LDRSB, 32-bit");
    expect_eq!(
        load!("ldrsb {v:x}", word()),
        0xffff_ffff_ffff_fff8,
        "LDRSB, 64-bit"
    );
    expect_eq!(
        load!("ldrsb {v:x}", word() + 3),
        0x50,
        "LDRSB of a positive byte"
    );
    expect_eq!(load!("ldr {v:w}", word()), 0x5090_a8f8, "LDR, 32-bit");
    expect_eq!(
        load!("ldrsw {v:x}", word()),
        0x5090_a8f8,
        "LDRSW of a positive word"
    );
    store!("str {v:w}", 0xd090_a8f8, word());
    expect_eq!(
        load!("ldr {v:w}", word()),
        0xd090_a8f8,
        "LDR, 32-bit, bit 31 set"
    );
    expect_eq!(load!("ldrsw {v:x}", word()), 0xffff_ffff_d090_a8f8, "LDRSW");
    expect_eq!(load!("ldar {v:w}", word()), 0xd090_a8f8, "LDAR, 32-bit");
    expect_eq!(load!("ldurb {v:w}", word()), 0xf8, "LDURB");
    Ok(())
}

/// Loads the word at `address` into each of the registers in turn and counts those that did not get `wanted`.
macro_rules! load_into {
    ($address:expr, $wanted:expr, $($register:literal)*) => {{
        let mut wrong = 0_u32;
        $({
            let found: u64;
            // SAFETY: a load from a device register; the register is put back, the frame pointer too.
            unsafe {
                asm!(concat!("mov {s}, ", $register), concat!("ldr ", $register, ", [{a}]"),
                    concat!("mov {f}, ", $register), concat!("mov ", $register, ", {s}"),
                    a = in(reg) $address, s = out(reg) _, f = out(reg) found, options(nostack));
            }
            wrong += u32::from(found != $wanted);
        })*
        wrong
    }};
}

fn a24_loads_reach_every_register() -> Outcome {
    crate::fresh_gic();
    // The lower half of GICR_TYPER differs from the upper one only in what this test does not need: any 64-bit value will do.
    let typer = gic::redistributor().base() + gic::GICR_TYPER;
    let wanted = load!("ldr {v:x}", typer);
    let wrong = load_into!(typer, wanted,
        "x0" "x1" "x2" "x3" "x4" "x5" "x6" "x7" "x8" "x9" "x10" "x11" "x12" "x13" "x14" "x15" "x16" "x17" "x18" "x19"
        "x20" "x21" "x22" "x23" "x24" "x25" "x26" "x27" "x28" "x29" "x30");
    expect_eq!(wrong, 0, "registers that did not get what was loaded");
    Ok(())
}

fn a24_loads_to_the_zero_register_change_nothing() -> Outcome {
    crate::fresh_gic();
    let (before, after): (u64, u64);
    // SAFETY: loads from a device register without side effects; SP is read only.
    unsafe {
        asm!("mov {b}, sp", "ldr wzr, [{a}]", "ldrb wzr, [{a}]", "ldrsb xzr, [{a}]", "ldrsw xzr, [{a}]", "mov {e}, sp",
            a = in(reg) word(), b = out(reg) before, e = out(reg) after, options(nostack));
    }
    expect_eq!(after, before, "SP");
    Ok(())
}

fn a24_stores_of_the_zero_register_store_zero() -> Outcome {
    crate::fresh_gic();
    store!("str {v:w}", 0xf8f8_f8f8, word());
    // SAFETY: a store to an SGI's priority.
    unsafe { asm!("strb wzr, [{a}]", a = in(reg) word(), options(nostack)) };
    expect_eq!(load!("ldr {v:w}", word()), 0xf8f8_f800, "after STRB of WZR");
    // SAFETY: as above.
    unsafe { asm!("str wzr, [{a}]", a = in(reg) word(), options(nostack)) };
    expect_eq!(load!("ldr {v:w}", word()), 0, "after STR of WZR");
    Ok(())
}

/// Stores a byte from each of the registers in turn and counts those that did not arrive.
macro_rules! store_from {
    ($address:expr, $value:expr, $($register:literal)*) => {{
        let mut wrong = 0_u32;
        $({
            // SAFETY: a store to an SGI's priority; the register is put back, the frame pointer too.
            unsafe {
                asm!("strb wzr, [{a}]", concat!("mov {s}, x", $register), concat!("mov x", $register, ", {v}"),
                    concat!("strb w", $register, ", [{a}]"), concat!("mov x", $register, ", {s}"),
                    a = in(reg) $address, v = in(reg) $value, s = out(reg) _, options(nostack));
            }
            wrong += u32::from(load!("ldrb {v:w}", $address) != $value & 0xff);
        })*
        wrong
    }};
}

fn a24_stores_come_from_every_register() -> Outcome {
    crate::fresh_gic();
    let value = 0xffff_ffff_ffff_ffa8_u64;
    // Not those that the compiler picks for the address: x8 to x10 come by chance, the rest by name.
    let wrong = store_from!(word(), value,
        "0" "1" "2" "3" "4" "5" "6" "7" "11" "12" "13" "14" "15" "16" "17" "18" "19" "20" "21" "22" "23" "24" "25" "26"
        "27" "28" "29" "30");
    expect_eq!(wrong, 0, "registers whose byte did not arrive");
    Ok(())
}

fn a24_wide_load_equals_its_halves() -> Outcome {
    let typer = gic::redistributor().base() + gic::GICR_TYPER;
    let wide = load!("ldr {v:x}", typer);
    expect_eq!(
        load!("ldr {v:w}", typer),
        wide & 0xffff_ffff,
        "lower half of GICR_TYPER"
    );
    expect_eq!(
        load!("ldr {v:w}", typer + 4),
        wide >> 32,
        "upper half of GICR_TYPER"
    );
    Ok(())
}

fn a24_half_word_loads_extend() -> Outcome {
    // The UART's integer divisor is the one register of 16 bits here that keeps bit 15.
    let divisor = layout::UART + 0x24;
    let before = load!("ldr {v:w}", divisor);
    let outcome = half_words(divisor);
    store!("str {v:w}", before, divisor);
    outcome
}

fn half_words(divisor: usize) -> Outcome {
    store!("str {v:w}", 0x8001, divisor);
    if load!("ldr {v:w}", divisor) != 0x8001 {
        skip!("the UART's divisor does not keep what is written");
    }
    expect_eq!(load!("ldrh {v:w}", divisor), 0x8001, "LDRH");
    expect_eq!(load!("ldrsh {v:w}", divisor), 0xffff_8001, "LDRSH, 32-bit");
    expect_eq!(
        load!("ldrsh {v:x}", divisor),
        0xffff_ffff_ffff_8001,
        "LDRSH, 64-bit"
    );
    store!("strh {v:w}", 0xffff_0001, divisor);
    let stored = load!("ldr {v:w}", divisor);
    expect!(stored == 1, "STRH stored {stored:#x}");
    Ok(())
}

fn a24_byte_stores_change_one_byte() -> Outcome {
    crate::fresh_gic();
    store!("str {v:w}", 0, word());
    store!("strb {v:w}", 0x1111_11a0, word() + 2);
    expect_eq!(
        load!("ldr {v:w}", word()),
        0x00a0_0000,
        "after STRB to byte 2"
    );
    Ok(())
}
