//! The 16550 and its kin: National's, Synopsys's, the auxiliary UART of Broadcom's BCM2835.
//!
//! Its transmit interrupt stands from when the transmitter has run empty, or was found empty as the interrupt was asked for,
//! until a byte is written; the identification register, whose reading would take it away, is not read. "Room" is an empty
//! transmitter, for the one status bit that all kin share says no more: a byte at a time goes out.
//!
//! Source: TI SLLS177 (TL16C550C), "Programming the ACE"; Broadcom BCM2835 ARM Peripherals, "Mini UART".

use super::{Driver, Port};

const DATA: u32 = 0;
const IER: u32 = 1;
const FCR: u32 = 2;
const LCR: u32 = 3;
const MCR: u32 = 4;
const LSR: u32 = 5;
pub(super) const SCRATCH: u32 = 7;

const IER_RX: u8 = 1;
const IER_TX: u8 = 1 << 1;
/// FIFOs on, called at the first byte.
const FCR_FIFO: u8 = 1;
/// DLAB: the first two registers are the divisor's.
const LCR_DIVISOR: u8 = 1 << 7;
/// OUT2: lets the interrupt out of the chip, on boards that wire it so.
const MCR_OUT2: u8 = 1 << 3;
const LSR_DATA: u8 = 1;
const LSR_EMPTY: u8 = 1 << 5;

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Ns16550<P> {
    port: P,
    shift: u8,
    wide: bool,
}

impl<P> Ns16550<P> {
    /// Takes charge of the registers, which are `1 << shift` bytes apart, and `wide` if they have 32 bits.
    pub const fn new(port: P, shift: u8, wide: bool) -> Self {
        Self { port, shift, wide }
    }
}

impl<P: Port> Ns16550<P> {
    fn read(self, register: u32) -> u8 {
        let offset = register << (self.shift & 15);
        match self.wide {
            true => self.port.read(offset) as u8,
            false => self.port.read8(offset),
        }
    }

    fn write(self, register: u32, value: u8) {
        let offset = register << (self.shift & 15);
        match self.wide {
            true => self.port.write(offset, value.into()),
            false => self.port.write8(offset, value),
        }
    }
}

impl<P: Port> Driver for Ns16550<P> {
    fn start(self) {
        let line = self.read(LCR);
        if line & LCR_DIVISOR != 0 {
            self.write(LCR, line & !LCR_DIVISOR);
        }
        self.write(IER, 0);
        self.write(FCR, FCR_FIFO);
        self.write(MCR, self.read(MCR) | MCR_OUT2);
    }

    fn has_room(self) -> bool {
        self.read(LSR) & LSR_EMPTY != 0
    }

    fn try_send(self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.write(DATA, byte);
        }
        room
    }

    fn has_risen(self) -> bool {
        // Asked for now, it comes at once.
        self.has_room()
    }

    fn try_receive(self) -> Option<u8> {
        (self.read(LSR) & LSR_DATA != 0).then(|| self.read(DATA))
    }

    fn listen(self, receive: bool, transmit: bool) {
        let receive = if receive { IER_RX } else { 0 };
        self.write(IER, receive | if transmit { IER_TX } else { 0 });
    }
}
