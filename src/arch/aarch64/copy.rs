//! Filling and copying memory in as few instructions as general registers allow: loading a guest is counted.

use bulkhead::addr::HypVirtAddr;
use core::arch::asm;

/// Bytes moved by one round.
const ROUND: u64 = 32;

/// Copies `bytes` bytes.
///
/// # Safety
/// Both ranges are mapped, the target writable and nobody else's; they do not overlap.
pub unsafe fn copy(from: HypVirtAddr, to: HypVirtAddr, bytes: u64) {
    let whole = bytes & !(ROUND - 1);
    if whole != 0 {
        // SAFETY: the caller's claim, for the first `whole` bytes.
        unsafe {
            asm!("2:", "ldp {a}, {b}, [{from}], #16", "ldp {c}, {d}, [{from}], #16", "stp {a}, {b}, [{to}], #16",
                "stp {c}, {d}, [{to}], #16", "subs {left}, {left}, #32", "b.ne 2b",
                from = inout(reg) from.0 => _, to = inout(reg) to.0 => _, left = inout(reg) whole => _,
                a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _, options(nostack));
        }
    }
    let rest = (bytes - whole) as usize;
    // SAFETY: the caller's claim, for what is left.
    unsafe {
        core::ptr::copy_nonoverlapping(
            (from.0 + whole) as *const u8,
            (to.0 + whole) as *mut u8,
            rest,
        );
    }
}

/// Zeroes `bytes` bytes.
///
/// # Safety
/// The range is mapped, writable and nobody else's.
pub unsafe fn zero(to: HypVirtAddr, bytes: u64) {
    let whole = bytes & !(ROUND - 1);
    if whole != 0 {
        // SAFETY: the caller's claim, for the first `whole` bytes.
        unsafe {
            asm!("2:", "stp xzr, xzr, [{to}], #16", "stp xzr, xzr, [{to}], #16", "subs {left}, {left}, #32", "b.ne 2b",
                to = inout(reg) to.0 => _, left = inout(reg) whole => _, options(nostack));
        }
    }
    let rest = (bytes - whole) as usize;
    // SAFETY: the caller's claim, for what is left.
    unsafe { core::ptr::write_bytes((to.0 + whole) as *mut u8, 0, rest) };
}
