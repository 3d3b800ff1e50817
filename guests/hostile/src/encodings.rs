//! System registers and system instructions by random encodings.

use crate::is_native;
use guest_runtime::el0;
use guest_runtime::made::{self, MRS, MSR, SVC, SYS, bearable, is_vital};
use guest_runtime::random::{below, random};

/// Runs one instruction at EL1 with `value` in x0.
fn run(instruction: u32, value: u64) {
    // SAFETY: the callers choose instructions that keep this guest's memory and registers.
    unsafe { made::run(instruction, value) };
}

/// Reads any register.
pub fn read() {
    run(MRS | (random() as u32 & 0x7fff) << 5, 0);
}

/// Reads any register at EL0.
pub fn read_at_el0() {
    let code = made::place(MRS | (random() as u32 & 0x7fff) << 5, SVC);
    // SAFETY: the code is one MRS and SVC; the MMU is on.
    unsafe { el0::run(code, 0) };
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
    // QEMU 7.2's own interrupt controller does not bear all of this.
    if !is_vital(encoding) && !is_native() {
        run(MSR | encoding << 5, random() & bearable(encoding));
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
