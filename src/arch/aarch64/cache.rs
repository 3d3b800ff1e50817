//! Cache maintenance by virtual address.
//!
//! QEMU has no caches, so none of this is checked there; it follows Arm DDI 0487, "Data cache maintenance".

use super::cpu;
use bulkhead::addr::HypVirtAddr;
use core::arch::asm;

/// Cleans and invalidates `bytes` bytes to the point of coherency, for a guest that starts with its caches off.
#[inline(never)]
pub fn clean_and_invalidate(start: HypVirtAddr, bytes: u64) {
    let line = line_bytes();
    let (first, end) = (start.0 & !(line - 1), start.0.saturating_add(bytes));
    if first < end {
        // Sixteen lines a round, as loading a guest is counted; `at` never passes the line that holds the last byte.
        let rounds = (end - first) / (16 * line);
        // SAFETY: `dc civac` loses no data, whatever the address; the range is mapped by the caller.
        unsafe {
            asm!("cbz {rounds}, 3f",
                "2:", ".rept 16", "dc civac, {at}", "add {at}, {at}, {line}", ".endr",
                "subs {rounds}, {rounds}, #1", "b.ne 2b",
                "3:", "cmp {at}, {end}", "b.hs 4f", "dc civac, {at}", "add {at}, {at}, {line}", "b 3b", "4:",
                at = inout(reg) first => _, rounds = inout(reg) rounds => _, line = in(reg) line, end = in(reg) end,
                options(nostack));
        }
    }
    cpu::dsb_sy();
}

/// Drops all instruction cache lines of the inner-shareable domain.
pub fn invalidate_instructions() {
    // SAFETY: instructions are fetched again.
    unsafe {
        asm!(
            "ic ialluis",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Drops this pCPU's instruction cache lines, for siblings that share it.
pub fn invalidate_local_instructions() {
    // SAFETY: instructions are fetched again.
    unsafe {
        asm!(
            "ic iallu",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Bytes in the smallest data cache line, from `CTR_EL0.DminLine`.
fn line_bytes() -> u64 {
    let ctr: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    4 << (ctr >> 16 & 0xf)
}

/// Cleans and invalidates one line of this pCPU's cache by set and way, as `DC CISW` takes it.
pub fn clean_and_invalidate_set_way(set_way: u64) {
    // SAFETY: loses no data, whatever the operand.
    unsafe { asm!("dc cisw, {}", "dsb sy", in(reg) set_way, options(nostack, preserves_flags)) };
}
