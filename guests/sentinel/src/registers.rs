//! Registers over a wait: all that instructions name and some that the system has.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::{read_sysreg, write_sysreg};

static CHANGED: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0x0123_4567_89ab_cdef);

/// Waits for an interrupt, and notes what differs afterwards. Returns the count at the first instruction behind the wait.
pub fn wait() -> u64 {
    let seed = SEED.load(Ordering::Relaxed);
    SEED.store(seed.rotate_left(7) ^ 0x5555, Ordering::Relaxed);
    // SAFETY: this guest has no EL0, and none of these is used else.
    unsafe {
        write_sysreg!("tpidr_el0", seed);
        write_sysreg!("tpidrro_el0", !seed);
        write_sysreg!("sp_el0", seed ^ 1);
        write_sysreg!("far_el1", seed ^ 2);
        write_sysreg!("par_el1", seed & 0xffff_ffff_f000);
        write_sysreg!("contextidr_el1", seed & 0xffff_ffff);
    }
    let (mut changed, now) = general_and_fp(seed);
    changed |= read_sysreg!("tpidr_el0") ^ seed;
    changed |= read_sysreg!("tpidrro_el0") ^ !seed;
    changed |= read_sysreg!("sp_el0") ^ seed ^ 1;
    changed |= read_sysreg!("far_el1") ^ seed ^ 2;
    changed |= read_sysreg!("par_el1") & 0xffff_ffff_f000 ^ seed & 0xffff_ffff_f000;
    changed |= read_sysreg!("contextidr_el1") ^ seed & 0xffff_ffff;
    CHANGED.fetch_or(changed, Ordering::Relaxed);
    now
}

/// Fills V0 to V31 and x3 to x17, waits, and returns all bits that differ, and the count right after the wait.
fn general_and_fp(seed: u64) -> (u64, u64) {
    let (changed, now): (u64, u64);
    // SAFETY: every register that is changed is declared; waiting changes no memory.
    unsafe {
        asm!(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "add x1, x0, #\\n",
            "dup v\\n\\().2d, x1",
            ".endr",
            ".irp n,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
            "eor x\\n, x0, #1 << \\n",
            ".endr",
            "dsb sy",
            "wfi",
            "mrs x20, cntvct_el0",
            "mov x2, #0",
            ".irp n,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
            "eor x1, x0, #1 << \\n",
            "eor x1, x1, x\\n",
            "orr x2, x2, x1",
            ".endr",
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "add x1, x0, #\\n",
            "umov x3, v\\n\\().d[0]",
            "eor x3, x3, x1",
            "orr x2, x2, x3",
            "umov x3, v\\n\\().d[1]",
            "eor x3, x3, x1",
            "orr x2, x2, x3",
            ".endr",
            in("x0") seed, out("x1") _, out("x2") changed, out("x20") now,
            out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
            out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
    (changed, now)
}

/// Returns the bits that changed in any wait.
pub fn changed() -> u64 {
    CHANGED.load(Ordering::Relaxed)
}
