//! Rows that measure one operation from before to after.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::exception::catch;
use guest_runtime::{console, gic, layout, smccc, timer};

/// Returns the ticks between a read of the count before the instructions and one after them.
macro_rules! ticks {
    ([$($instruction:literal),*], $($operands:tt)*) => {{
        let (before, after): (u64, u64);
        // SAFETY: the rows below access devices that are there, or memory of their own, and name what they change.
        unsafe {
            asm!("isb", "mrs {before}, cntvct_el0", $($instruction,)* "mrs {after}, cntvct_el0",
                before = out(reg) before, after = out(reg) after, $($operands)*)
        };
        after - before
    }};
}

/// Returns what reading the count twice costs, the least of many times.
pub fn overhead() -> u64 {
    (0..1000)
        .map(|_| ticks!([], options(nostack)))
        .min()
        .unwrap_or(0)
}

/// A load from this guest's own memory.
pub fn untrapped_load() -> Option<u64> {
    static WORD: AtomicU64 = AtomicU64::new(1);
    Some(ticks!(["ldr {v}, [{a}]"], v = out(reg) _, a = in(reg) WORD.as_ptr(), options(nostack)))
}

/// `PSCI_VERSION` by the instruction given.
macro_rules! call {
    ($instruction:literal) => {
        ticks!(
            ["mov x0, #0", "movk x0, #0x8400, lsl #16", "mov x1, #0", "mov x2, #0", "mov x3, #0", $instruction],
            out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
            out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            out("x16") _, out("x17") _, options(nostack)
        )
    };
}

/// `PSCI_VERSION` by HVC.
pub fn hypercall_hvc() -> Option<u64> {
    Some(call!("hvc #0"))
}

/// `PSCI_VERSION` by SMC, which plain QEMU without EL2 does not have.
pub fn hypercall_smc() -> Option<u64> {
    smccc::is_hypervised().then(|| call!("smc #0"))
}

fn read(address: usize) -> u64 {
    ticks!(["ldr {v:w}, [{a}]"], v = out(reg) _, a = in(reg) address, options(nostack))
}

fn write(address: usize, value: u32) -> u64 {
    ticks!(["str {v:w}, [{a}]"], v = in(reg) value, a = in(reg) address, options(nostack))
}

const UART_WORD: usize = layout::UART_INTID as usize / 32 * 4;
const UART_BIT: u32 = 1 << (layout::UART_INTID % 32);

/// A read of GICD_CTLR.
pub fn gicd_ctlr_read() -> Option<u64> {
    Some(read(layout::GICD + gic::GICD_CTLR))
}

/// A read of GICD_ISENABLER1.
pub fn gicd_isenabler_read() -> Option<u64> {
    Some(read(layout::GICD + gic::ISENABLER + UART_WORD))
}

/// A write of GICD_ISENABLER1 that enables the UART's interrupt, which was disabled.
pub fn gicd_isenabler_write() -> Option<u64> {
    gic::DISTRIBUTOR.write32(gic::ICENABLER + UART_WORD, UART_BIT);
    Some(write(layout::GICD + gic::ISENABLER + UART_WORD, UART_BIT))
}

/// A read of the UART's flags.
pub fn pl011_flag_read() -> Option<u64> {
    console::is_present().then(|| read(layout::UART + console::FR))
}

/// Returns the byte that the next write sends: lines of dots.
fn next_byte() -> u32 {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let sent = SENT.load(Ordering::Relaxed);
    SENT.store(sent + 1, Ordering::Relaxed);
    u32::from(match sent % 64 {
        62 => b'\r',
        63 => b'\n',
        _ => b'.',
    })
}

/// A write of the UART's data register while it has room.
pub fn pl011_data_write() -> Option<u64> {
    if !console::is_present() {
        return None;
    }
    timer::wait_until(1_000_000_000, || {
        console::UART.read32(console::FR) & console::FR_TXFF == 0
    });
    Some(write(layout::UART + console::DR, next_byte()))
}

/// The same with everything that sending it costs this vCPU: a line of bytes until it is sent, shared out on its bytes.
pub fn pl011_data_write_with_drain() -> Option<u64> {
    const BYTES: u64 = 64;
    if !console::is_present() || catch(console::flush).1.is_some() {
        return None;
    }
    let before = timer::now();
    for _ in 0..BYTES {
        while console::UART.read32(console::FR) & console::FR_TXFF != 0 {}
        console::UART.write32(console::DR, next_byte());
    }
    while console::UART.read32(console::FR) & console::FR_TXFE == 0 {}
    Some((timer::now() - before) / BYTES)
}
