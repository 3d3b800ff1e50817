//! Rows that measure one operation from before to after.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_runtime::stats::Summary;
use guest_runtime::{console, gic, layout, smccc, timer};

/// Returns how far the count of `counter!` goes on from a read before the instructions to one after them. The section `.bench.marks`
/// tells the host, which may watch from outside, where what is measured begins and ends.
macro_rules! ticks {
    ([$($instruction:expr),*], $($operands:tt)*) => {{
        let (before, after): (u64, u64);
        // SAFETY: the rows below access devices that are there, or memory of their own, and name what they change.
        unsafe {
            core::arch::asm!("isb", concat!("mrs {before}, ", counter!()), "771:", $($instruction,)* "772:",
                concat!("mrs {after}, ", counter!()),
                ".pushsection .bench.marks, \"\", %progbits", ".quad 771b, 772b", ".popsection",
                before = out(reg) before, after = out(reg) after, $($operands)*)
        };
        after - before
    }};
}

/// Returns what reading the count twice costs.
pub fn overhead() -> Summary {
    let mut all = Summary::new();
    for _ in 0..1000 {
        all.add(ticks!([], options(nostack)));
    }
    all
}

/// A load from this guest's own memory.
pub fn untrapped_load() -> Option<u64> {
    static WORD: AtomicU64 = AtomicU64::new(1);
    Some(ticks!(["ldr {v}, [{a}]"], v = out(reg) _, a = in(reg) WORD.as_ptr(), options(nostack)))
}

/// A call without arguments: its function's identifier in two halves, and the instruction.
macro_rules! call {
    ($low:literal, $high:literal, $instruction:literal) => {
        ticks!(
            [
                concat!("mov x0, #", $low), concat!("movk x0, #", $high, ", lsl #16"), "mov x1, #0", "mov x2, #0",
                "mov x3, #0", $instruction
            ],
            out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
            out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            out("x16") _, out("x17") _, options(nostack)
        )
    };
}

/// `PSCI_VERSION` by HVC.
pub fn hypercall_hvc() -> Option<u64> {
    Some(call!("0", "0x8400", "hvc #0"))
}

/// `PSCI_VERSION` by SMC, which plain QEMU without EL2 does not have.
pub fn hypercall_smc() -> Option<u64> {
    smccc::is_hypervised().then(|| call!("0", "0x8400", "smc #0"))
}

/// `SMCCC_VERSION`.
pub fn call_smccc_version() -> Option<u64> {
    smccc::is_hypervised().then(|| call!("0", "0x8000", "hvc #0"))
}

/// `PSCI_FEATURES` of `PSCI_VERSION`.
pub fn call_psci_features() -> Option<u64> {
    smccc::is_hypervised().then(|| call!("10", "0x8400", "hvc #0"))
}

/// The hypervisor's own "features".
pub fn call_features() -> Option<u64> {
    smccc::is_hypervised().then(|| call!("0", "0x8600", "hvc #0"))
}

/// A function that nobody serves.
pub fn call_unknown() -> Option<u64> {
    smccc::is_hypervised().then(|| call!("0x1234", "0x8700", "hvc #0"))
}

/// `PSCI_VERSION` while the FP registers are in use.
pub fn call_fp_live() -> Option<u64> {
    // SAFETY: FP is on, and the register is named.
    unsafe { asm!("fmov d31, #1.0", out("v31") _, options(nostack)) };
    smccc::is_hypervised().then(|| call!("0", "0x8400", "hvc #0"))
}

/// `PSCI_VERSION` while more interrupts are pending than there are list registers.
pub fn call_full_vgic() -> Option<u64> {
    if !smccc::is_hypervised() {
        return None;
    }
    flood::begin();
    let ticks = call!("0", "0x8400", "hvc #0");
    flood::end();
    Some(ticks)
}

/// More pending interrupts than list registers: they stay pending, since interrupts are masked while rows run.
pub mod flood {
    use guest_runtime::{gic, sysreg};

    /// These SGIs are used by no row.
    const SGIS: core::ops::Range<u32> = 6..15;
    /// Less urgent than what the rows measure.
    const PRIORITY: u8 = 0xa0;

    /// Makes them pending.
    pub fn begin() {
        for sgi in SGIS {
            gic::enable(sgi, PRIORITY);
            gic::send_sgi(sgi, sysreg::affinity());
        }
    }

    /// Takes them back.
    pub fn end() {
        let mask = (1 << SGIS.end) - (1 << SGIS.start);
        gic::write_bits(gic::ICPENDR, 0, mask);
        gic::write_bits(gic::ICENABLER, 0, mask);
    }
}

#[inline(always)]
fn read(address: usize) -> u64 {
    ticks!(["ldr {v:w}, [{a}]"], v = out(reg) _, a = in(reg) address, options(nostack))
}

#[inline(always)]
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
pub fn next_byte() -> u32 {
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
