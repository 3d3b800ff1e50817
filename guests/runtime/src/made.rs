//! Instructions that are made while the guest runs: accesses to system registers by number, which no assembler takes.
//!
//! [`run`] makes one at a time; a [`Field`] holds many that are made once.
//!
//! # Source
//! Arm DDI 0487, "System instruction class encoding overview"; "Concurrent modification and execution of instructions".

use crate::smp;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// The instruction, and what comes behind it.
#[repr(align(64))]
struct Code([AtomicU32; 2]);

/// A place for each vCPU.
static CODE: [Code; smp::MAX_VCPUS] =
    [const { Code([const { AtomicU32::new(0) }; 2]) }; smp::MAX_VCPUS];

/// `ret`
pub const RET: u32 = 0xd65f_03c0;
/// `svc #0`
pub const SVC: u32 = 0xd400_0001;
/// `mrs x0, S2_0_c0_c0_0`: op0 is 2 plus bit 19, the other fields are bits 18 to 5.
pub const MRS: u32 = 0xd530_0000;
/// `msr S2_0_c0_c0_0, x0`
pub const MSR: u32 = 0xd510_0000;
/// `sys #0, c0, c0, #0, x0`: op0 is 1.
pub const SYS: u32 = 0xd508_0000;

/// Packs op0 (2 or 3), op1, CRn, CRm, op2 as MRS and MSR have them from bit 5 on: 15 bits.
pub const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    (op0 - 2) << 14 | operation(op1, crn, crm, op2)
}

/// Packs op1, CRn, CRm, op2 as SYS has them from bit 5 on: 14 bits.
pub const fn operation(op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op1 << 11 | crn << 7 | crm << 3 | op2
}

/// Says whether a register, by its [`encoding`], holds up a guest of this runtime itself: control, tables, return, stack,
/// attributes, vectors, its index, masks, the count's frequency, and debug control, whose exceptions would be its own affair.
pub const fn is_vital(encoding: u32) -> bool {
    let (op0, crn, crm) = (
        2 + (encoding >> 14 & 1),
        encoding >> 7 & 15,
        encoding >> 3 & 15,
    );
    match op0 {
        2 => true,
        _ => matches!(
            (crn, crm),
            (1 | 2 | 4 | 10 | 13, _) | (12 | 14, 0) | (11 | 15, _)
        ),
    }
}

/// Returns the bits of a register, by its [`encoding`], that the emulator bears: of a larger value for ICC_BPR0_EL1 or
/// ICC_BPR1_EL1 QEMU 7.2 keeps the low three bits, after it has looked whether the whole is large enough, and an assertion
/// about the zero ends it.
pub const fn bearable(encoding: u32) -> u64 {
    const BPR0: u32 = self::encoding(3, 0, 12, 8, 3);
    const BPR1: u32 = self::encoding(3, 0, 12, 12, 3);
    match encoding {
        BPR0 | BPR1 => 7,
        _ => u64::MAX,
    }
}

/// Puts an instruction and its end into place for execution, and returns its address.
pub fn place(instruction: u32, end: u32) -> usize {
    let Code(code) = &CODE[smp::index()];
    code[0].store(instruction, Ordering::Relaxed);
    code[1].store(end, Ordering::Relaxed);
    let address = code.as_ptr() as usize;
    // SAFETY: cache upkeep of the code that was just written.
    unsafe {
        asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", "dsb ish", "isb", a = in(reg) address, options(nostack))
    };
    address
}

/// Runs one instruction at EL1 with `value` in x0, and returns what is there then.
///
/// # Safety
/// It keeps this guest's memory, its stack, and all registers but x0.
pub unsafe fn run(instruction: u32, value: u64) -> u64 {
    let code = place(instruction, RET);
    // SAFETY: the caller's claim; what comes behind it returns.
    unsafe { run_at(code, value) }
}

/// Runs code that returns, with `value` in x0, and returns what is there then.
///
/// # Safety
/// As for [`run`].
unsafe fn run_at(code: usize, value: u64) -> u64 {
    let mut x0 = value;
    // SAFETY: the caller's claim.
    unsafe { asm!("blr {a}", a = in(reg) code, inout("x0") x0, out("x30") _, options(nostack)) };
    x0
}

/// `N` instructions that are made once, a return behind each.
#[repr(C, align(64))]
pub struct Field<const N: usize>([[AtomicU32; 2]; N]);

impl<const N: usize> Field<N> {
    /// Makes a field of nothing.
    #[expect(clippy::new_without_default, reason = "it is too large for a value")]
    pub const fn new() -> Self {
        Self([const { [const { AtomicU32::new(0) }; 2] }; N])
    }

    /// Makes the instructions: the first operand's form, and the number of each from bit 5 on.
    pub fn fill(&self, form: u32) {
        for (number, [instruction, end]) in (0_u32..).zip(&self.0) {
            instruction.store(form | number << 5, Ordering::Relaxed);
            end.store(RET, Ordering::Relaxed);
        }
        let start = self.0.as_ptr() as usize;
        for address in (start..start + size_of::<Self>()).step_by(16) {
            // SAFETY: cache upkeep of code that was just written.
            unsafe { asm!("dc cvau, {a}", a = in(reg) address, options(nostack)) };
        }
        // SAFETY: as before; other vCPUs are not there yet.
        unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack)) };
    }

    /// Returns where an instruction is.
    pub fn at(&self, number: u32) -> usize {
        self.0[number as usize % N].as_ptr() as usize
    }

    /// Runs one at EL1 with `value` in x0, and returns what is there then.
    ///
    /// # Safety
    /// As for [`run`].
    pub unsafe fn run(&self, number: u32, value: u64) -> u64 {
        // SAFETY: the caller's claim; a return is behind it.
        unsafe { run_at(self.at(number), value) }
    }
}
