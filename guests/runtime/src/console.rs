//! The PL011 console: lines that stay whole, by polling the flag register.
//!
//! # Source
//! Arm DDI 0183 (PrimeCell UART PL011), "Register descriptions": `UARTDR`, `UARTFR`, `UARTLCR_H`, `UARTCR`, `UARTIMSC`.

use crate::{exception, layout, mmio::Mmio, mmu, sysreg, timer};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Offset of the data register.
pub const DR: usize = 0x00;
/// Offset of the flag register.
pub const FR: usize = 0x18;
/// Offset of the interrupt mask register.
pub const IMSC: usize = 0x38;
/// Offset of the raw interrupt status register.
pub const RIS: usize = 0x3c;
/// Offset of the masked interrupt status register.
pub const MIS: usize = 0x40;
/// Offset of the interrupt clear register.
pub const ICR: usize = 0x44;
/// Flag: the receive FIFO is empty.
pub const FR_RXFE: u32 = 1 << 4;
/// Flag: the transmit FIFO is full.
pub const FR_TXFF: u32 = 1 << 5;
/// Flag: the transmit FIFO is empty.
pub const FR_TXFE: u32 = 1 << 7;
/// Interrupt: something was received.
pub const INT_RX: u32 = 1 << 4;
/// Interrupt: the transmit FIFO has room.
pub const INT_TX: u32 = 1 << 5;
/// Interrupt: something waits in the receive FIFO.
pub const INT_RT: u32 = 1 << 6;

const LCRH: usize = 0x2c;
const CR: usize = 0x30;

/// The console's registers.
// SAFETY: the PL011 lies there in every layout that guests run in, and it writes no memory.
pub const UART: Mmio = unsafe { Mmio::new(layout::UART) };

// A ticket lock: the vCPU whose ticket is served owns the console.
static NEXT: AtomicU32 = AtomicU32::new(0);
static SERVED: AtomicU32 = AtomicU32::new(0);

static PRESENT: AtomicBool = AtomicBool::new(false);

/// Returns whether there is a console.
pub fn is_present() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// Turns the UART on: 8 bits, FIFOs, both directions, no interrupts.
///
/// A partition may have no console: then everything that is printed is dropped.
pub fn init() {
    let (_, fault) = exception::catch(|| UART.write32(IMSC, 0));
    if fault.is_some() {
        return;
    }
    PRESENT.store(true, Ordering::Relaxed);
    UART.write32(LCRH, 0x70);
    UART.write32(CR, 0x301);
}

/// Sends one byte if the transmit FIFO has room; says whether it did. Without a console it always does.
pub fn try_put(byte: u8) -> bool {
    if !is_present() {
        return true;
    }
    let room = UART.read32(FR) & FR_TXFF == 0;
    if room {
        UART.write32(DR, u32::from(byte));
    }
    room
}

/// Takes one received byte, if there is one.
pub fn try_get() -> Option<u8> {
    if !is_present() || UART.read32(FR) & FR_RXFE != 0 {
        return None;
    }
    Some((UART.read32(DR) & 0xff) as u8)
}

struct Port;

impl Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                while !try_put(b'\r') {}
            }
            while !try_put(byte) {}
        }
        Ok(())
    }
}

/// Prints without another vCPU's text in between. Not for interrupt handlers: what they interrupted may be printing.
pub fn print(arguments: fmt::Arguments<'_>) {
    // Exclusive accesses need cacheable memory; without the MMU one vCPU runs alone.
    if !mmu::is_enabled() {
        let _ = Port.write_fmt(arguments); // Port never fails
        return;
    }
    let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
    while SERVED.load(Ordering::Acquire) != ticket {
        core::hint::spin_loop();
    }
    let _ = Port.write_fmt(arguments); // Port never fails
    SERVED.store(ticket.wrapping_add(1), Ordering::Release);
}

/// Prints whoever holds the console: for the last words of a crash.
pub fn print_anyway(arguments: fmt::Arguments<'_>) {
    let _ = Port.write_fmt(arguments); // Port never fails
}

/// Waits until the UART has sent everything, or gives up when it does not.
pub fn flush() {
    timer::wait_until(timer::PATIENCE_NS, || {
        !is_present() || UART.read32(FR) & FR_TXFE != 0
    });
    sysreg::dsb();
}

/// Prints a line, whole even when other vCPUs print.
#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arguments)*))) };
}
