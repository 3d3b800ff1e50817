//! Arm PL011.
//!
//! Its transmit interrupt is never cleared, only masked: once it has come, unmasking it is enough to be called when there is
//! room.
//!
//! Source: Arm DDI 0183, "Programmer's Model".

use super::{Driver, Port};

pub(super) const DR: u32 = 0x00;
pub(super) const FR: u32 = 0x18;
const LCRH: u32 = 0x2c;
const CR: u32 = 0x30;
const IMSC: u32 = 0x38;
const RIS: u32 = 0x3c;
const ICR: u32 = 0x44;

const FR_RX_EMPTY: u32 = 1 << 4;
const FR_TX_FULL: u32 = 1 << 5;
const INTERRUPT_RX: u32 = 1 << 4;
const INTERRUPT_TX: u32 = 1 << 5;
const INTERRUPT_RX_TIMEOUT: u32 = 1 << 6;
const CR_ENABLE_BOTH_WAYS: u32 = 1 << 9 | 1 << 8 | 1;
const LCRH_FIFO: u32 = 1 << 4;
const LCRH_EIGHT_BITS: u32 = 0b11 << 5;

/// `UARTPeriphID0` to `3` and `UARTPCellID0` to `3` as one number, low bytes first: a PrimeCell, part 0x011, designer 0x41.
const PL011_ID: u64 = 0xb105_f00d_0004_1011;
/// Without revision and configuration.
const ID_MASK: u64 = 0xffff_ffff_000f_ffff;

/// Offset of the eight identification registers, eight bits each, four bytes apart.
pub const IDENTIFICATION: u32 = 0xfe0;

/// Says whether what stands in the identification registers is a PL011's, the first register in the lowest byte.
pub const fn is_identified(id: u64) -> bool {
    id & ID_MASK == PL011_ID
}

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Pl011<P>(P);

impl<P> Pl011<P> {
    /// Takes charge of the registers.
    pub const fn new(port: P) -> Self {
        Self(port)
    }
}

impl<P: Port> Driver for Pl011<P> {
    fn start(self) {
        self.0.write(IMSC, 0);
        if self.0.read(LCRH) & LCRH_FIFO == 0 {
            self.0.write(LCRH, LCRH_EIGHT_BITS | LCRH_FIFO);
        }
        self.0.write(CR, self.0.read(CR) | CR_ENABLE_BOTH_WAYS);
        self.0.write(ICR, INTERRUPT_RX | INTERRUPT_RX_TIMEOUT);
    }

    #[inline(always)]
    fn has_room(self) -> bool {
        self.0.read(FR) & FR_TX_FULL == 0
    }

    #[inline(always)]
    fn try_send(self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.0.write(DR, byte.into());
        }
        room
    }

    fn has_risen(self) -> bool {
        self.0.read(RIS) & INTERRUPT_TX != 0
    }

    #[inline(always)]
    fn try_receive(self) -> Option<u8> {
        (self.0.read(FR) & FR_RX_EMPTY == 0).then(|| self.0.read(DR) as u8)
    }

    #[inline(always)]
    fn listen(self, receive: bool, transmit: bool) {
        let receive = if receive {
            INTERRUPT_RX | INTERRUPT_RX_TIMEOUT
        } else {
            0
        };
        self.0
            .write(IMSC, receive | if transmit { INTERRUPT_TX } else { 0 });
    }
}
