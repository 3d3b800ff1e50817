//! What a life leaves behind, and how the next one looks for it.

use core::arch::asm;
use guest_runtime::exception::catch;
use guest_runtime::{gic, layout, read_sysreg, sysreg, timer, write_sysreg};

/// What everything is filled with: no instruction, text or table has it by chance.
const PATTERN: u64 = 0x6e0b_0d1e_5afe_1e57;
/// Bytes of a page.
const PAGE: usize = 4096;

/// Returns the registers that hold the pattern: bits 0..31 V0 to V31, above them TPIDR_EL0, TPIDRRO_EL0, SP_EL0,
/// CNTV_CVAL_EL0, PAR_EL1 (its address bits), CONTEXTIDR_EL1 (its low half).
pub fn registers() -> u64 {
    let mut found = vectors();
    for (bit, (value, mask)) in [
        (read_sysreg!("tpidr_el0"), u64::MAX),
        (read_sysreg!("tpidrro_el0"), u64::MAX),
        (read_sysreg!("sp_el0"), u64::MAX),
        (read_sysreg!("cntv_cval_el0"), u64::MAX),
        (read_sysreg!("par_el1"), 0xffff_ffff_f000),
        (read_sysreg!("contextidr_el1"), 0xffff_ffff),
    ]
    .into_iter()
    .enumerate()
    {
        if value & mask == PATTERN & mask {
            found |= 1 << (32 + bit);
        }
    }
    found
}

/// Returns which of V0 to V31 hold the pattern in their low half.
fn vectors() -> u64 {
    let found: u64;
    // SAFETY: reads V registers and changes none.
    unsafe {
        asm!(
            "mov {f}, #0",
            ".irp n,31,30,29,28,27,26,25,24,23,22,21,20,19,18,17,16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1,0",
            "umov {v}, v\\n\\().d[0]",
            "cmp {v}, {p}",
            "cset {v}, eq",
            "orr {f}, {v}, {f}, lsl #1",
            ".endr",
            f = out(reg) found, v = out(reg) _, p = in(reg) PATTERN, options(nostack)
        );
    }
    found
}

/// Fills the registers that [`registers`] looks at. Nothing may be done afterwards that uses them.
pub fn fill_registers() {
    // SAFETY: none of these registers is used by this guest; the V registers are declared as changed.
    unsafe {
        write_sysreg!("tpidr_el0", PATTERN);
        write_sysreg!("tpidrro_el0", PATTERN);
        write_sysreg!("sp_el0", PATTERN);
        write_sysreg!("cntv_cval_el0", PATTERN);
        write_sysreg!("par_el1", PATTERN & 0xffff_ffff_f000);
        write_sysreg!("contextidr_el1", PATTERN & 0xffff_ffff);
        asm!(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "dup v\\n\\().2d, {p}",
            ".endr",
            p = in(reg) PATTERN,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
    sysreg::isb();
}

/// Leaves interrupts enabled, pending and active, and a timer running.
pub fn interrupts() {
    gic::init();
    for intid in 0..16 {
        gic::enable(intid, 0x80);
    }
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    gic::enable(layout::UART_INTID, 0x80);
    gic::write_bit(gic::ISPENDR, layout::UART_INTID);
    gic::bank(0).write32(gic::ISPENDR, 0xffff);
    for _ in 0..6 {
        gic::acknowledge();
    }
    timer::set_virtual(timer::now());
}

unsafe extern "C" {
    static __image_end: u8;
}

/// Returns the pages after the image as far as there is memory.
fn pages() -> impl Iterator<Item = usize> {
    let first = (&raw const __image_end as usize).next_multiple_of(PAGE);
    (first..layout::RAM + (1 << 30))
        .step_by(PAGE)
        .take_while(|page| {
            let probe = catch(|| {
                // SAFETY: a load from memory that nobody uses, or from nothing.
                unsafe {
                    asm!("ldr {v}, [{a}]", v = out(reg) _, a = in(reg) *page, options(nostack))
                }
            });
            probe.1.is_none()
        })
}

/// Fills all memory after the image with the pattern, a device tree there included.
pub fn fill_memory() {
    for page in pages() {
        for address in (page..page + PAGE).step_by(8) {
            // SAFETY: beyond the image nothing is used.
            unsafe {
                asm!("str {v}, [{a}]", v = in(reg) PATTERN, a = in(reg) address, options(nostack))
            };
        }
    }
}

/// Counts the words of memory after the image that hold the pattern; returns the last one's address too.
pub fn search() -> (u64, usize) {
    let (mut words, mut last) = (0, 0);
    for page in pages() {
        for address in (page..page + PAGE).step_by(8) {
            let value: u64;
            // SAFETY: beyond the image nothing is used; the page was probed.
            unsafe {
                asm!("ldr {v}, [{a}]", v = out(reg) value, a = in(reg) address, options(nostack))
            };
            if value == PATTERN {
                words += 1;
                last = address;
            }
        }
    }
    (words, last)
}
