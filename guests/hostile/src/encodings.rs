//! System registers and system instructions by random encodings.

use crate::{below, is_native, random};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_runtime::el0;

/// The access, and the return.
#[repr(align(64))]
struct Code([AtomicU32; 2]);

static CODE: Code = Code([const { AtomicU32::new(0) }; 2]);

const RET: u32 = 0xd65f_03c0;
const SVC: u32 = 0xd400_0001;
const MRS: u32 = 0xd530_0000;
const MSR: u32 = 0xd510_0000;
/// `sys #0, c0, c0, #0, x0`: op0 is 1.
const SYS: u32 = 0xd508_0000;

/// Puts the two instructions into place for execution.
fn place(instruction: u32, end: u32) {
    CODE.0[0].store(instruction, Ordering::Relaxed);
    CODE.0[1].store(end, Ordering::Relaxed);
    // SAFETY: cache upkeep of the code that was just written.
    unsafe {
        asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", "dsb ish", "isb", a = in(reg) CODE.0.as_ptr(), options(nostack))
    };
}

/// Runs one instruction at EL1 with `value` in x0.
fn run(instruction: u32, value: u64) {
    place(instruction, RET);
    // SAFETY: the callers choose instructions that keep this guest's memory and registers.
    unsafe {
        asm!("blr {a}", a = in(reg) CODE.0.as_ptr(), inout("x0") value => _, out("x30") _, options(nostack))
    };
}

/// Reads any register.
pub fn read() {
    run(MRS | (random() as u32 & 0x7fff) << 5, 0);
}

/// Reads any register at EL0.
pub fn read_at_el0() {
    place(MRS | (random() as u32 & 0x7fff) << 5, SVC);
    // SAFETY: the code is one MRS and SVC; the MMU is on.
    unsafe { el0::run(CODE.0.as_ptr() as usize, 0) };
}

/// Whether a register holds up this guest itself: control, tables, return, stack, attributes, vectors, its index, masks,
/// the count's frequency, and debug control, whose exceptions would be its own affair.
fn is_vital(encoding: u32) -> bool {
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

/// Writes a random value to a register that is not vital.
pub fn write() {
    let encoding = random() as u32 & 0x7fff;
    // Half of them where something is: the interrupt controller, performance monitors, timers.
    let encoding = match below(6) {
        0 => 1 << 14 | 12 << 7 | encoding & 0x3f | 8 << 3,
        1 => 1 << 14 | 3 << 11 | 9 << 7 | encoding & 0x7f,
        2 => 1 << 14 | 3 << 11 | 14 << 7 | encoding & 0x7f,
        _ => encoding,
    };
    // QEMU 7.2's own interrupt controller does not bear all of this: an assertion about ICC_BPR1_EL1 ends it.
    if !is_vital(encoding) && !is_native() {
        run(MSR | encoding << 5, random());
    }
}

/// Runs a cache, TLB or address translation instruction on a random operand.
pub fn operate() {
    let (op1, crm, op2) = (
        random() as u32 & 7,
        random() as u32 & 15,
        random() as u32 & 7,
    );
    let crn = if below(2) == 0 { 7 } else { 8 };
    // Never an address of RAM: zeroing a line there would change this guest's own memory.
    let operand = random() | 1 << 45;
    run(SYS | op1 << 16 | crn << 12 | crm << 8 | op2 << 5, operand);
}
