//! The physical PL011 that EL2 keeps as its console. The firmware's line settings stay.
//!
//! Its transmit interrupt is never cleared, only masked: unmasking it is then enough to be called when there is room.
//!
//! Source: Arm DDI 0183, "Programmer's Model".

use crate::arch::aarch64::mmio::Registers;

const DR: u32 = 0x00;
const FR: u32 = 0x18;
const CR: u32 = 0x30;
const LCRH: u32 = 0x2c;
const IMSC: u32 = 0x38;
const ICR: u32 = 0x44;

const FR_RX_EMPTY: u32 = 1 << 4;
const FR_TX_FULL: u32 = 1 << 5;
const INTERRUPT_RX: u32 = 1 << 4;
const INTERRUPT_TX: u32 = 1 << 5;
const INTERRUPT_RX_TIMEOUT: u32 = 1 << 6;
const CR_ENABLE_BOTH_WAYS: u32 = 1 << 9 | 1 << 8 | 1;
const LCRH_FIFO: u32 = 1 << 4;
const LCRH_EIGHT_BITS: u32 = 0b11 << 5;

/// The console UART.
#[derive(Clone, Copy)]
pub struct Uart {
    registers: Registers,
}

impl Uart {
    /// Takes charge of the UART's registers.
    pub const fn new(registers: Registers) -> Self {
        Self { registers }
    }

    /// Turns both directions and the FIFOs on, interrupts masked.
    pub fn start(self) {
        self.registers.write(IMSC, 0);
        if self.registers.read(LCRH) & LCRH_FIFO == 0 {
            self.registers.write(LCRH, LCRH_EIGHT_BITS | LCRH_FIFO);
        }
        self.registers
            .write(CR, self.registers.read(CR) | CR_ENABLE_BOTH_WAYS);
        self.registers
            .write(ICR, INTERRUPT_RX | INTERRUPT_RX_TIMEOUT);
    }

    /// Sends a byte when there is room, and says whether there was.
    #[inline(always)]
    pub fn try_send(self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.registers.write(DR, byte.into());
        }
        room
    }

    /// Says whether the transmit FIFO has room.
    #[inline(always)]
    pub fn has_room(self) -> bool {
        self.registers.read(FR) & FR_TX_FULL == 0
    }

    /// Takes a received byte. A byte with a line error is taken as it came.
    #[inline(always)]
    pub fn try_receive(self) -> Option<u8> {
        (self.registers.read(FR) & FR_RX_EMPTY == 0).then(|| self.registers.read(DR) as u8)
    }

    /// Asks for interrupts on input, and on room for output when `transmit` says so.
    #[inline(always)]
    pub fn listen(self, receive: bool, transmit: bool) {
        let receive = if receive {
            INTERRUPT_RX | INTERRUPT_RX_TIMEOUT
        } else {
            0
        };
        self.registers
            .write(IMSC, receive | if transmit { INTERRUPT_TX } else { 0 });
    }
}
