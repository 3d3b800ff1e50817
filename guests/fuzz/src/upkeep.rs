//! Caches, TLBs, translations, barriers.

use crate::access::{REGIONS, address};
use crate::step::Fuzzer;
use core::arch::asm;
use guest_runtime::made::{Field, SYS, operation};

/// An instruction for each operation that there could be.
static OPERATIONS: Field<0x4000> = Field::new();

macro_rules! operations {
    ($($name:literal $op1:literal $crn:literal $crm:literal $op2:literal;)*) => {
        /// The rows.
        pub const ROWS: &[&str] = &[$($name),*, "any operation", "barriers"];
        const NUMBERS: &[u32] = &[$(operation($op1, $crn, $crm, $op2)),*];
    };
}

operations! {
    "IC IALLUIS" 0 7 1 0; "IC IALLU" 0 7 5 0; "IC IVAU" 3 7 5 1; "DC IVAC" 0 7 6 1; "DC ISW" 0 7 6 2; "DC CSW" 0 7 10 2;
    "DC CISW" 0 7 14 2; "DC ZVA" 3 7 4 1; "DC CVAC" 3 7 10 1; "DC CVAU" 3 7 11 1; "DC CVAP" 3 7 12 1; "DC CIVAC" 3 7 14 1;
    "DC IGVAC" 0 7 6 3; "AT S1E1R" 0 7 8 0; "AT S1E1W" 0 7 8 1; "AT S1E0R" 0 7 8 2; "AT S1E0W" 0 7 8 3; "AT S12E1R" 4 7 8 4;
    "AT S1E2R" 4 7 8 0; "TLBI VMALLE1" 0 8 7 0; "TLBI VAE1" 0 8 7 1; "TLBI ASIDE1" 0 8 7 2; "TLBI VAAE1" 0 8 7 3;
    "TLBI VALE1" 0 8 7 5; "TLBI VMALLE1IS" 0 8 3 0; "TLBI VAE1IS" 0 8 3 1; "TLBI ASIDE1IS" 0 8 3 2; "TLBI VAALE1IS" 0 8 3 7;
    "TLBI IPAS2E1" 4 8 4 1; "TLBI IPAS2E1IS" 4 8 0 1; "TLBI ALLE1" 4 8 7 4; "TLBI VMALLS12E1IS" 4 8 3 6; "TLBI ALLE2" 4 8 7 0;
    "TLBI ALLE3" 6 8 7 0; "CFP RCTX" 3 7 3 4;
}

/// Makes the instructions.
pub fn prepare() {
    OPERATIONS.fill(SYS);
}

/// Does one, on an address of any region.
pub fn step(fuzzer: &Fuzzer, row: usize) {
    let at = address(fuzzer, fuzzer.below(REGIONS.len())) as u64;
    let (number, operand) = match (NUMBERS.get(row), row - NUMBERS.len().min(row)) {
        // By address and ASID, or by level, set and way.
        (Some(number), _) if ROWS[row].starts_with("TLBI") => {
            (*number, at >> 12 | fuzzer.draw() << 48)
        }
        (Some(number), _) if ROWS[row].ends_with("SW") => (*number, fuzzer.draw()),
        (Some(number), _) => (*number, at),
        // Zeroing a line of this guest's own memory is left out.
        (None, 0) => {
            let crn = 7 + fuzzer.below(2) as u32;
            let drawn = fuzzer.draw() as u32;
            (
                operation(drawn & 7, crn, drawn >> 3 & 15, drawn >> 7 & 7),
                fuzzer.draw() | 1 << 45,
            )
        }
        (None, _) => return barriers(),
    };
    // SAFETY: upkeep of scratch memory, or of what is not this guest's; dropping translations makes them be read again.
    unsafe { OPERATIONS.run(number, operand) };
}

fn barriers() {
    // SAFETY: barriers and hints change nothing; `sb` is a barrier or undefined.
    unsafe {
        asm!(
            "dsb sy",
            "dmb ishst",
            "isb",
            "dsb nshld",
            "clrex",
            "yield",
            "sev",
            "csdb",
            "ssbb",
            "hint #16",
            "hint #17",
            ".inst 0xd50330ff",
            options(nostack)
        )
    }
}
