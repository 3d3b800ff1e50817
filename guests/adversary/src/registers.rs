//! System registers: every encoding that may trap, read and written.

use guest_runtime::exception::catch;
use guest_runtime::made::{self, MRS, MSR, SYS, encoding};
use guest_runtime::{sysreg, timer};

/// Runs one instruction at EL1 with `value` in x0.
fn run(instruction: u32, value: u64) {
    // SAFETY: the callers choose instructions that keep this guest's memory and registers.
    catch(|| unsafe { made::run(instruction, value) });
}

fn read(register: u32) {
    run(MRS | register << 5, 0);
}

fn write(register: u32, value: u64) {
    run(MSR | register << 5, value);
}

/// Goes through them.
pub fn all() {
    sysreg::mask_irqs();
    for crm in 0..8 {
        for op2 in 0..8 {
            read(encoding(3, 0, 0, crm, op2));
            write(encoding(3, 0, 0, crm, op2), 0);
        }
    }
    // Debug registers; what they mean is switched off again at once.
    for crm in 0..16 {
        for op2 in 4..8 {
            read(encoding(2, 0, 0, crm, op2));
            write(encoding(2, 0, 0, crm, op2), 0x1e4);
            write(encoding(2, 0, 0, crm, op2), 0);
        }
    }
    for crm in 0..4 {
        for op2 in 0..8 {
            read(encoding(2, 0, 1, crm, op2));
            read(encoding(2, 0, 7, 8 + crm, op2));
        }
    }
    // Performance monitors and the physical timer; auxiliary control; what nobody has.
    for crm in 12..15 {
        for op2 in 0..8 {
            read(encoding(3, 3, 9, crm, op2));
            write(encoding(3, 3, 9, crm, op2), u64::MAX);
            write(encoding(3, 3, 9, crm, op2), 0);
        }
    }
    for (op1, crm, op2) in [
        (3, 2, 0),
        (3, 2, 1),
        (3, 2, 2),
        (3, 8, 0),
        (3, 12, 0),
        (3, 15, 7),
        (7, 2, 1),
    ] {
        for value in [0, 1, timer::physical_now() + 3000, u64::MAX] {
            read(encoding(3, op1, 14, crm, op2));
            write(encoding(3, op1, 14, crm, op2), value);
        }
    }
    timer::stop_physical();
    for register in [
        encoding(3, 0, 1, 0, 1),
        encoding(3, 0, 15, 0, 0),
        encoding(3, 4, 1, 1, 0),
    ] {
        read(register);
        write(register, u64::MAX);
    }
    // The interrupt controller's interface: what may trap.
    for (crn, crm, op2) in [
        (12, 11, 1),
        (12, 11, 3),
        (12, 11, 5),
        (12, 11, 6),
        (12, 11, 7),
        (12, 12, 5),
        (12, 12, 4),
    ] {
        read(encoding(3, 0, crn, crm, op2));
        write(encoding(3, 0, crn, crm, op2), 0);
        write(encoding(3, 0, crn, crm, op2), 5);
    }
    // Caches by set and way.
    for crm in [6, 10, 14] {
        for way in 0..4_u64 {
            run(SYS | 7 << 12 | crm << 8 | 2 << 5, way << 30);
        }
    }
    crate::use_fp();
}
