//! Filling and copying memory in as few instructions as general registers allow: loading a guest is counted.

use bulkhead::addr::HypVirtAddr;
use core::arch::asm;

/// Bytes moved by one round.
const ROUND: u64 = 64;

/// Copies `bytes` bytes.
///
/// # Safety
/// Both ranges are mapped, the target writable and nobody else's; they do not overlap.
pub unsafe fn copy(from: HypVirtAddr, to: HypVirtAddr, bytes: u64) {
    let whole = bytes & !(ROUND - 1);
    if whole != 0 {
        // SAFETY: the caller's claim, for the first `whole` bytes.
        unsafe {
            asm!("2:", "ldp {a}, {b}, [{from}], #64", "ldp {c}, {d}, [{from}, #-48]", "stp {a}, {b}, [{to}], #64",
                "stp {c}, {d}, [{to}, #-48]", "ldp {a}, {b}, [{from}, #-32]", "ldp {c}, {d}, [{from}, #-16]",
                "stp {a}, {b}, [{to}, #-32]", "stp {c}, {d}, [{to}, #-16]", "subs {left}, {left}, #64", "b.ne 2b",
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

/// Returns the bytes that `DC ZVA` zeroes, a power of two, or 0 where it must not be used (`DCZID_EL0`).
fn zeroed_at_once() -> u64 {
    let dczid: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) dczid, options(nomem, nostack, preserves_flags)) };
    if dczid & 1 << 4 != 0 {
        return 0;
    }
    4 << (dczid & 0xf)
}

/// Zeroes `bytes` bytes of normal memory.
///
/// # Safety
/// The range is mapped, writable and nobody else's.
#[inline(never)]
pub unsafe fn zero(to: HypVirtAddr, bytes: u64) {
    let block = zeroed_at_once();
    let is_whole = block != 0 && bytes != 0 && (to.0 | bytes) & (16 * block - 1) == 0;
    if is_whole {
        // SAFETY: the caller's claim; whole blocks of normal memory.
        unsafe {
            asm!("2:", ".rept 16", "dc zva, {to}", "add {to}, {to}, {block}", ".endr",
                "subs {left}, {left}, {block}, lsl #4", "b.ne 2b",
                to = inout(reg) to.0 => _, left = inout(reg) bytes => _, block = in(reg) block, options(nostack));
        }
        return;
    }
    let whole = bytes & !(ROUND - 1);
    if whole != 0 {
        // SAFETY: the caller's claim, for the first `whole` bytes.
        unsafe {
            asm!("2:", "stp xzr, xzr, [{to}], #64", "stp xzr, xzr, [{to}, #-48]", "stp xzr, xzr, [{to}, #-32]",
                "stp xzr, xzr, [{to}, #-16]", "subs {left}, {left}, #64", "b.ne 2b",
                to = inout(reg) to.0 => _, left = inout(reg) whole => _, options(nostack));
        }
    }
    let rest = (bytes - whole) as usize;
    // SAFETY: the caller's claim, for what is left.
    unsafe { core::ptr::write_bytes((to.0 + whole) as *mut u8, 0, rest) };
}
