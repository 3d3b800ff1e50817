//! Reads of places where perhaps nothing answers. Start-up looks this way before it believes a device tree: an external
//! abort is then an answer and not the end.
//!
//! The vectors know the probing load by its address (`hypervisor_exception`): an exception of that one instruction goes
//! on at `probe_failed`. Nothing else at EL2 recovers from an exception. An abort that the board reports late, as an
//! SError, is not caught.

use bulkhead::addr::HypVirtAddr;
use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.first, "ax"
    .global probe_word, probe_load, probe_failed
probe_word:                         // x0: the address; the answer has 32 bits, or is all ones
probe_load:
    ldr     w0, [x0]
    ret
probe_failed:
    mov     x0, #-1
    ret
    .text
"#
);

unsafe extern "C" {
    fn probe_word(address: u64) -> u64;
}

/// Says whether a page of memory answers and keeps what is written to it. What was there stays.
///
/// # Safety
/// As for [`word`], and the page is writable memory that nobody uses.
pub unsafe fn keeps(page: HypVirtAddr) -> bool {
    // SAFETY: the caller's claim.
    let Some(old) = (unsafe { word(page) }) else {
        return false;
    };
    let place = page.0 as *mut u32;
    // SAFETY: the caller's claim; it answered a read.
    unsafe {
        place.write_volatile(!old);
        let kept = place.read_volatile() == !old;
        place.write_volatile(old);
        kept
    }
}

/// Reads a word, or returns `None` when nothing answers there.
///
/// # Safety
/// `address` is mapped and a multiple of four, and reading changes nothing there that matters. The pCPU runs start-up:
/// registers that are a guest's else (`SP_EL0`, `TPIDR_EL0`) are overwritten when nothing answers.
pub unsafe fn word(address: HypVirtAddr) -> Option<u32> {
    // SAFETY: the caller's claim.
    let answer = unsafe { probe_word(address.0) };
    u32::try_from(answer).ok()
}
