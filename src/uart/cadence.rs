//! Cadence's UART, as Xilinx builds it into Zynq and Zynq UltraScale+.
//!
//! Its interrupt status remembers events until they are cleared. The transmit interrupt means "the FIFO has run empty": one
//! that is remembered while the FIFO holds something would call for nothing, so it is forgotten when it is asked for.
//!
//! Source: AMD UG1087 (Zynq UltraScale+ register reference), "UART Module", and UG1085, "UART Controller".

use super::{Driver, Port};

const CR: u32 = 0x00;
const IER: u32 = 0x08;
const IDR: u32 = 0x0c;
const ISR: u32 = 0x14;
const RTRIG: u32 = 0x20;
pub(super) const SR: u32 = 0x2c;
pub(super) const FIFO: u32 = 0x30;

/// RXEN and TXEN.
const CR_ENABLE: u32 = 1 << 2 | 1 << 4;
/// RXDIS and TXDIS.
const CR_DISABLE: u32 = 1 << 3 | 1 << 5;
/// Receive trigger and receive timeout.
const RX: u32 = 1 | 1 << 8;
/// Transmit FIFO empty.
const TX_EMPTY: u32 = 1 << 3;
const ALL: u32 = 0x1fff;
const SR_RX_EMPTY: u32 = 1 << 1;
const SR_TX_EMPTY: u32 = 1 << 3;
const SR_TX_FULL: u32 = 1 << 4;

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Cadence<P>(P);

impl<P> Cadence<P> {
    /// Takes charge of the registers.
    pub const fn new(port: P) -> Self {
        Self(port)
    }
}

impl<P: Port> Driver for Cadence<P> {
    fn start(self) {
        self.0.write(IDR, ALL);
        self.0.write(CR, self.0.read(CR) & !CR_DISABLE | CR_ENABLE);
        self.0.write(RTRIG, 1);
        self.0.write(ISR, RX);
    }

    fn has_room(self) -> bool {
        self.0.read(SR) & SR_TX_FULL == 0
    }

    fn try_send(self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.0.write(FIFO, byte.into());
        }
        room
    }

    fn has_risen(self) -> bool {
        self.0.read(ISR) & TX_EMPTY != 0
    }

    fn try_receive(self) -> Option<u8> {
        (self.0.read(SR) & SR_RX_EMPTY == 0).then(|| self.0.read(FIFO) as u8)
    }

    fn listen(self, receive: bool, transmit: bool) {
        if receive {
            self.0.write(ISR, RX);
            self.0.write(IER, RX);
        } else {
            self.0.write(IDR, RX);
        }
        if transmit {
            if self.0.read(SR) & SR_TX_EMPTY == 0 {
                self.0.write(ISR, TX_EMPTY);
            }
            self.0.write(IER, TX_EMPTY);
        } else {
            self.0.write(IDR, TX_EMPTY);
        }
    }

    fn may_miss(self) -> bool {
        // Should the FIFO run empty between the look and the clearing, that is forgotten.
        true
    }
}
