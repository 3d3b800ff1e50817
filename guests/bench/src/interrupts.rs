//! Rows that measure from a cause to the first instruction of its interrupt handler.

use super::operations::flood;
use super::{own_vectors, since_deadline};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::{gic, gicv2, layout, read_sysreg, sysreg, timer, write_sysreg};

/// Runs the instructions and waits, with interrupts on, until the handler ran; returns the count before them (x9) and that
/// at the handler's first instruction (x10). `None` when it did not run within some million instructions.
macro_rules! until_handler {
    ($quiet:expr, [$($cause:literal),*], [$($wait:literal),*], $($operands:tt)*) => {{
        let (before, entered, ran): (u64, u64, u64);
        let vectors = read_sysreg!("vbar_el1");
        let own = own_vectors();
        // SAFETY: the table of this guest changes x10, x11 and x13 in its interrupt entry and nothing else; the runtime's
        // table is put back with interrupts masked.
        unsafe {
            write_sysreg!("vbar_el1", own);
            asm!(
                "adr x15, 3f", "mov x13, #0", "mov x14, #0x400000", "msr daifclr, #2", "isb", concat!("mrs x9, ", counter!()), "771:",
                $($cause,)*
                "2:", $($wait,)* "cbnz x13, 3f", "subs x14, x14, #1", "b.ne 2b", "3:", "772:", "msr daifset, #2",
                ".pushsection .bench.marks, \"\", %progbits", ".quad 771b, 772b", ".popsection",
                out("x9") before, out("x10") entered, out("x11") _, in("x12") $quiet, out("x13") ran, out("x14") _, out("x15") _,
                $($operands)*
            );
            write_sysreg!("vbar_el1", vectors);
        }
        sysreg::isb();
        (ran != 0).then_some((before, entered))
    }};
}

fn distance(counts: Option<(u64, u64)>) -> Option<u64> {
    counts.map(|(before, entered)| entered.saturating_sub(before))
}

/// An SGI to this vCPU: from the write of ICC_SGI1R_EL1, or GICD_SGIR.
pub fn self_sgi() -> Option<u64> {
    const SGI: u32 = 5;
    gic::enable(SGI, 0x80);
    if gic::is_v2() {
        let (value, address) = (gicv2::TO_SELF | SGI, layout::GICD + gicv2::SGIR);
        return distance(
            until_handler!(0_usize, ["str {v:w}, [{a}]"], [], v = in(reg) value, a = in(reg) address, options(nostack)),
        );
    }
    let value = u64::from(SGI) << 24 | 1 << (sysreg::affinity() & 15);
    distance(
        until_handler!(0_usize, ["msr icc_sgi1r_el1, {v}"], [], v = in(reg) value, options(nostack)),
    )
}

/// Sets the next deadline: some thousand ticks ahead, each time at another distance.
fn next_deadline() -> u64 {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let round = ROUND.load(Ordering::Relaxed);
    ROUND.store(round + 1, Ordering::Relaxed);
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let deadline = timer::now() + timer::ns_to_ticks(20_000) + round * 37 % 1009;
    timer::set_virtual(deadline);
    deadline
}

/// From a deadline to the handler: no read of the count lies between, so that there is no overhead in it.
fn from_deadline(deadline: u64, counts: Option<(u64, u64)>) -> Option<u64> {
    counts.map(|(_, entered)| since_deadline(deadline, entered))
}

/// The virtual timer's deadline while the vCPU is busy.
pub fn timer_busy() -> Option<u64> {
    let deadline = next_deadline();
    from_deadline(
        deadline,
        until_handler!(0_usize, [], ["nop"], options(nostack)),
    )
}

/// The virtual timer's deadline while the vCPU waits with WFI.
pub fn timer_wfi() -> Option<u64> {
    let deadline = next_deadline();
    from_deadline(
        deadline,
        until_handler!(0_usize, [], ["wfi"], options(nostack)),
    )
}

/// The virtual timer's deadline while less urgent interrupts fill the list registers and wait beyond them.
pub fn timer_full_vgic() -> Option<u64> {
    flood::begin();
    gic::set_mask(0x90);
    let deadline = next_deadline();
    let ticks = from_deadline(
        deadline,
        until_handler!(0_usize, [], ["nop"], options(nostack)),
    );
    gic::set_mask(gic::MASK_NONE);
    flood::end();
    ticks
}

/// The real-time clock's registers: data, match, mask, clear.
const DATA: usize = 0x00;
const MATCH: usize = 0x04;
const MASK: usize = 0x10;
const CLEAR: usize = 0x1c;

/// An interrupt of a device that is passed through: the PL031, whose match register raises it at once when it is given the
/// present second. From that write.
pub fn spi_passed_through() -> Option<u64> {
    // SAFETY: the PL031 lies there or nothing does; it writes no memory.
    let clock = unsafe { Mmio::new(layout::RTC) };
    if catch(|| clock.read32(DATA)).1.is_some() {
        return None;
    }
    clock.write32(CLEAR, 1);
    clock.write32(MASK, 1);
    gic::enable(layout::RTC_INTID, 0x80);
    // The second may pass between reading and writing it: once more then.
    for _ in 0..3 {
        let second = clock.read32(DATA);
        let counts = until_handler!(layout::RTC + CLEAR, ["str {v:w}, [{a}]"], [], v = in(reg) second,
            a = in(reg) layout::RTC + MATCH, options(nostack));
        if counts.is_some() {
            return distance(counts);
        }
    }
    None
}

/// An SPI that is pended by register: from the write of GICD_ISPENDR1.
pub fn ispendr_to_handler() -> Option<u64> {
    let intid = layout::UART_INTID;
    gic::enable(intid, 0x80);
    let address = layout::GICD + gic::ISPENDR + intid as usize / 32 * 4;
    distance(
        until_handler!(0_usize, ["str {v:w}, [{a}]"], [], v = in(reg) 1_u32 << (intid % 32), a = in(reg) address,
        options(nostack)),
    )
}
