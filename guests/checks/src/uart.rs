//! The console's UART as drivers use it: identification, flags, transmit and receive interrupts.

use guest_runtime::console::{self, UART};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, recorder, skip, tests, timer};

/// Nanoseconds after which a UART without loopback is taken for one.
const A_MOMENT: u64 = 10_000_000;
const CR: usize = 0x30;
const ENABLED: u32 = 0x301;
const LOOPBACK: u32 = 0x80;

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_uart_identifies_as_a_pl011,
    c_uart_is_empty_after_it_was_drained,
    c_uart_keeps_its_settings,
    c_uart_interrupt_clear_holds_until_the_next_byte,
    c_uart_receives_by_loopback,
    c_uart_receive_interrupt_by_loopback,
    c_uart_ten_thousand_bytes_by_interrupt_are_all_taken,
];

fn c_uart_identifies_as_a_pl011() -> Outcome {
    for (place, (wanted, kept)) in [
        (0x11, 0xff),
        (0x10, 0xff),
        (0x04, 0x0f),
        (0, 0xff),
        (0x0d, 0xff),
        (0xf0, 0xff),
        (0x05, 0xff),
        (0xb1, 0xff),
    ]
    .into_iter()
    .enumerate()
    {
        expect_eq!(
            UART.read32(0xfe0 + place * 4) & kept,
            wanted,
            "identification register"
        );
    }
    Ok(())
}

fn c_uart_is_empty_after_it_was_drained() -> Outcome {
    let drained = timer::wait_until(timer::PATIENCE_NS, || {
        UART.read32(console::FR) & console::FR_TXFE != 0
    });
    let flags = UART.read32(console::FR);
    expect!(drained, "flags are {flags:#x}, it does not drain");
    expect_eq!(
        flags & (console::FR_TXFF | 1 << 3),
        0,
        "full and busy flags of an empty UART"
    );
    Ok(())
}

fn c_uart_keeps_its_settings() -> Outcome {
    for (offset, value) in [
        (0x24, 0x0d),
        (0x28, 0x15),
        (0x34, 0x12),
        (console::IMSC, 0x50),
    ] {
        UART.write32(offset, value);
        let found = UART.read32(offset);
        expect!(
            found == value,
            "offset {offset:#x} reads {found:#x}, written {value:#x}"
        );
    }
    UART.write32(console::IMSC, 0);
    expect_eq!(
        UART.read32(console::MIS),
        0,
        "UARTMIS with everything masked"
    );
    Ok(())
}

fn c_uart_interrupt_clear_holds_until_the_next_byte() -> Outcome {
    crate::fresh_gic();
    console::flush();
    UART.write32(console::ICR, 0x7ff);
    expect_eq!(
        UART.read32(console::RIS) & console::INT_TX,
        0,
        "transmit bit of UARTRIS after it was cleared"
    );
    UART.write32(console::DR, u32::from(b'\n'));
    let again = timer::wait_until(timer::PATIENCE_NS, || {
        UART.read32(console::RIS) & console::INT_TX != 0
    });
    expect!(
        again,
        "sending a byte does not raise the transmit interrupt"
    );
    Ok(())
}

/// Sends one byte to itself; returns what was received, if anything was in that time. Loopback is off again afterwards.
fn loop_back(byte: u8, patience_ns: u64) -> Option<u8> {
    console::flush();
    while console::try_get().is_some() {}
    UART.write32(CR, ENABLED | LOOPBACK);
    UART.write32(console::DR, u32::from(byte));
    timer::wait_until(patience_ns, || {
        UART.read32(console::FR) & console::FR_RXFE == 0
    });
    let received = console::try_get();
    UART.write32(CR, ENABLED);
    received
}

fn c_uart_receives_by_loopback() -> Outcome {
    // A new line: it does no harm where loopback is not modelled, as in QEMU 7.2.
    let Some(found) = loop_back(b'\n', A_MOMENT) else {
        skip!("this UART has no loopback")
    };
    expect_eq!(found, b'\n', "byte received");
    for byte in 0..=255 {
        let found = loop_back(byte, timer::PATIENCE_NS);
        expect!(found == Some(byte), "{byte:#x} came back as {found:x?}");
    }
    expect!(
        UART.read32(console::FR) & console::FR_RXFE != 0,
        "the receive FIFO is not empty at the end"
    );
    Ok(())
}

fn c_uart_receive_interrupt_by_loopback() -> Outcome {
    crate::fresh_gic();
    if loop_back(b'\n', A_MOMENT).is_none() {
        skip!("this UART has no loopback");
    }
    // The level falls by reading the byte alone, as drivers do.
    recorder::set_hook(|_| while console::try_get().is_some() {});
    UART.write32(console::IMSC, console::INT_RX | console::INT_RT);
    gic::enable(layout::UART_INTID, 0x80);
    UART.write32(CR, ENABLED | LOOPBACK);
    for _ in 0..3 {
        UART.write32(console::DR, u32::from(b'x'));
        recorder::settle();
    }
    UART.write32(CR, ENABLED);
    UART.write32(console::IMSC, 0);
    expect_eq!(recorder::taken(), 3, "interrupts for three bytes");
    Ok(())
}

/// Sends what is left of a text of new lines as long as there is room; masks the interrupt at the end.
fn refill(_: u32) {
    use core::sync::atomic::Ordering;
    while UART.read32(console::FR) & console::FR_TXFF == 0 {
        let left = LEFT.load(Ordering::Relaxed);
        if left == 0 {
            UART.write32(console::IMSC, 0);
            return;
        }
        LEFT.store(left - 1, Ordering::Relaxed);
        let byte = if left % 100 == 1 { b'\n' } else { b'=' };
        UART.write32(console::DR, u32::from(byte));
    }
    UART.write32(console::ICR, console::INT_TX);
}

static LEFT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

fn c_uart_ten_thousand_bytes_by_interrupt_are_all_taken() -> Outcome {
    use core::sync::atomic::Ordering;
    crate::fresh_gic();
    console::flush();
    recorder::set_hook(refill);
    LEFT.store(10_000, Ordering::Relaxed);
    gic::enable(layout::UART_INTID, 0x80);
    UART.write32(console::IMSC, console::INT_TX);
    // The first byte by hand: a UART that was never used has not raised its interrupt yet.
    UART.write32(console::DR, u32::from(b'\n'));
    let sent = {
        guest_runtime::sysreg::unmask_irqs();
        let sent = timer::wait_until(timer::PATIENCE_NS, || LEFT.load(Ordering::Relaxed) == 0);
        guest_runtime::sysreg::mask_irqs();
        sent
    };
    UART.write32(console::IMSC, 0);
    expect!(
        sent,
        "{} bytes are left after twenty seconds",
        LEFT.load(Ordering::Relaxed)
    );
    Ok(())
}
